/**
 * What stands on one shard's slots beyond a single op: waits, watches, and
 * grants that were put off because too many came free at once.
 *
 *   a slot has more to grant than an op has room for ──► backlog ──bit by bit──► done
 *   the slot is lost, or goes to another term ──► everybody attached to it hears `moving`
 *
 * Waiters themselves are the slot's; those that nobody is attached to stay
 * silent, and are withdrawn by their timers.
 */
import { CODES } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { detach, expire, heldFor, work } from '../lock/machine.ts';
import { RowKind } from '../lock/rows.ts';
import { Kind } from '../op.ts';
import { writeRefusal } from './decide.ts';
import { Hearing, type HearingHost } from './hearing.ts';
import type { Hold } from './hold.ts';
import type { Round } from './round.ts';

/** Grants of one slot in one go, before the next slot and other ops get their turn. */
const WORK_BUDGET = 256;

/** Ends of claims take at most this much of a round, so that requests find room however many end at once. */
const EXPIRY_SHARE = 1 / 3;
const WORK_SHARE = 1 / 2;

export class Standing {
  readonly hearing: Hearing;
  /** Slots with more to grant. */
  private readonly backlog = new Set<Hold>();

  constructor(host: HearingHost, open: Round) {
    this.hearing = new Hearing(host, open);
  }

  /** A round trip is due though no op asks for one. */
  get due(): boolean {
    return this.hearing.watches.due;
  }

  /** There is more to grant. */
  get behind(): boolean {
    return this.backlog.size > 0;
  }

  /** The machine was called for this slot. */
  called(hold: Hold): void {
    if (hold.slot.hasWork) this.backlog.add(hold);
  }

  /** Grants what was put off, slot by slot, into the first half of the round: the rest is for other ops. */
  work(now: number, changed: (hold: Hold) => void): void {
    const { hearing } = this;
    for (const hold of this.backlog) {
      if (!hearing.round.isBelow(WORK_SHARE)) return;
      const { slot } = hold;
      const before = slot.counter;
      hearing.now = now;
      const more = work(slot, now, hearing.round.effects, hearing, WORK_BUDGET);
      if (slot.counter !== before) changed(hold);
      this.backlog.delete(hold);
      if (!more) continue;
      // Behind the others.
      this.backlog.add(hold);
      if (slot.counter === before) return;
    }
  }

  /** `row` may be over: ends it if so. Returns when to look again (monotonic ms), 0 = never. */
  expire(hold: Hold, row: number, now: number, changed: (hold: Hold) => void): number {
    const { hearing } = this;
    const { slot } = hold;
    if (!hearing.round.isBelow(EXPIRY_SHARE)) return now + LIMITS.laneTickMs;
    const before = slot.counter;
    const isClaim = slot.claims.lives(row) && slot.claims.kind(row) === RowKind.claim;
    const heldMs = isClaim ? heldFor(slot, row, now) : 0;
    hearing.now = now;
    const again = expire(slot, row, now, hearing.round.effects, hearing);
    if (slot.counter === before) return again;
    if (heldMs > 0) hearing.counters.recordHold(heldMs);
    changed(hold);
    return again;
  }

  /** `round` is about to leave: what it changes is told to who watches. */
  seal(round: Round): void {
    this.hearing.watches.tell(round);
  }

  /**
   * The client at the far end of `connection` may be gone: its waiters keep
   * their places for a while, and are not granted unless they come back.
   */
  detach({ slot }: Hold, connection: number, now: number): void {
    detach(slot, connection, now, this.hearing);
    this.hearing.watches.forget(slot, connection);
  }

  /** The slot takes no op here any more: who is attached to it has to turn to its next owner. */
  leave(hold: Hold, round: Round, now: number): void {
    const { slot } = hold;
    const code = CODES.moving.wire;
    const tell = (kind: Kind, { connection, id }: { connection: number; id: number }): void => {
      const to = { connection, id, kind, slot: slot.number, receivedAt: now, since: now };
      round.tell(to, code, 0, writeRefusal(round, id, code));
    };
    this.backlog.delete(hold);
    if (!slot.hasAside) return;
    for (const waiter of slot.aside.attached.values()) tell(Kind.acquire, waiter);
    slot.aside.attached.clear();
    this.hearing.watches.leave(slot, (watcher) => tell(Kind.watch, watcher));
  }
}
