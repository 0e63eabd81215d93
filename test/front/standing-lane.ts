/**
 * The other end of a standing request: a lane that decides it, an owner that
 * changes, and a way to it that is cut now and then. What is true is kept here;
 * what the client is told may not contradict it.
 */
import { Kind } from '../../src/op.ts';
import type { Sent, StandingRig } from './standing-rig.ts';

type State = 'none' | 'waiting' | 'held';

export class TruthLane {
  state: State = 'none';
  /** Whose the wait is; undefined: its front has not come for it. */
  private attached: Sent | undefined;
  private readonly rig: StandingRig;
  private arrived = 0;
  /** Answers on their way back. */
  private back: (() => void)[] = [];
  /** Ops whose last answer has not been sent. */
  private open: Sent[] = [];

  constructor(rig: StandingRig) {
    this.rig = rig;
  }

  /** The next op that was sent arrives. `isFree`: nobody else has the lock. */
  arrive(isFree: boolean): void {
    const op = this.rig.sent[this.arrived];
    if (op === undefined) return;
    this.arrived++;
    this.open.push(op);
    if (op.kind === Kind.acquire) this.acquire(op, isFree);
    else if (op.kind === Kind.cancel) this.cancel(op);
    else this.release(op);
  }

  /** An answer arrives. */
  deliver(): void {
    this.back.shift()?.();
  }

  /** The lock comes free. */
  free(): void {
    const { attached } = this;
    if (this.state !== 'waiting' || attached === undefined) return;
    this.state = 'held';
    this.answer(attached, () => this.rig.grants(attached));
    this.attached = undefined;
  }

  timeOut(): void {
    const { attached } = this;
    if (this.state !== 'waiting' || attached === undefined) return;
    if (this.rig.clock.now() < attached.receivedAt + attached.waitMs) return;
    this.state = 'none';
    this.answer(attached, () => this.rig.fails(attached, 'wait_timeout'));
    this.attached = undefined;
  }

  /** The slot gets another owner, which keeps the place. */
  move(): void {
    const { attached } = this;
    if (attached !== undefined) this.answer(attached, () => this.rig.fails(attached, 'moving'));
    this.attached = undefined;
  }

  /** A front that does not come back loses its place. */
  giveUp(): void {
    if (this.state === 'waiting' && this.attached === undefined) this.state = 'none';
  }

  /** The slot has no owner: the op was not taken. */
  refuse(code: 'moving' | 'shard_unavailable'): void {
    const op = this.rig.sent[this.arrived];
    if (op === undefined) return;
    this.arrived++;
    this.back.push(() => this.rig.fails(op, code));
  }

  /** The way is cut: what is on it may still arrive or not, but is not answered any more. */
  cut(arrives: () => boolean, isFree: boolean): void {
    const under = this.rig.sent.slice(this.arrived);
    while (this.arrived < this.rig.sent.length) {
      if (arrives()) this.arrive(isFree);
      else this.arrived++;
    }
    const unanswered = new Set([...this.open, ...under]);
    this.back = [];
    this.open = [];
    this.attached = undefined;
    for (const op of unanswered) this.rig.fails(op, 'outcome_unknown');
  }

  private acquire(op: Sent, isFree: boolean): void {
    if (this.state === 'held') return this.answer(op, () => this.rig.grants(op, 200));
    if (this.state === 'none' && isFree) {
      this.state = 'held';
      return this.answer(op, () => this.rig.grants(op));
    }
    const { attached } = this;
    if (attached !== undefined) this.answer(attached, () => this.rig.fails(attached, 'cancelled'));
    this.state = 'waiting';
    this.attached = op;
    this.back.push(() => this.rig.queued(op));
  }

  private cancel(op: Sent): void {
    const { attached } = this;
    // A wait that no front has come back for is whoever's who has its token.
    if (this.state !== 'waiting' || (attached !== undefined && attached.attempt !== op.attempt)) {
      return this.answer(op, () => this.rig.fails(op, 'not_held'));
    }
    this.state = 'none';
    this.attached = undefined;
    if (attached !== undefined) this.answer(attached, () => this.rig.fails(attached, 'cancelled'));
    this.answer(op, () => this.rig.says(op, 200));
  }

  private release(op: Sent): void {
    this.state = 'none';
    this.answer(op, () => this.rig.says(op, 204));
  }

  private answer(op: Sent, say: () => void): void {
    this.open = this.open.filter((other) => other !== op);
    this.back.push(say);
    // Until it has arrived a cut loses it.
    this.open.push(op);
    const index = this.back.length - 1;
    const tell = this.back[index];
    this.back[index] = () => {
      this.open = this.open.filter((other) => other !== op);
      tell();
    };
  }
}
