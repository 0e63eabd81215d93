/**
 * Drives one slot with ops in words, the way a lane does: rounds that return in
 * order, claims that are armed then, timers on the rows, entries that are kept.
 */
import { codeOfWire } from '../../src/errors.ts';
import { ttlPadMs } from '../../src/limits.ts';
import { CHUNK_BYTES_MIN, encodeCheckpoint, loadCheckpoint } from '../../src/lock/checkpoint.ts';
import { EFFECT_BYTES_MAX, EffectWriter } from '../../src/lock/effects.ts';
import { apply, detach, expire, Outcome, work } from '../../src/lock/machine.ts';
import { rearm, replayEntry } from '../../src/lock/replay.ts';
import { RowKind } from '../../src/lock/rows.ts';
import { Slot } from '../../src/lock/slot.ts';
import type { Witness } from '../../src/lock/witness.ts';
import { MODE_NAMES } from '../../src/op.ts';
import { hashOf, opOf, type OpWords, SLOT, tokenBytes } from './op-words.ts';

export { hashOf, opOf, type OpWords, SLOT, tokenBytes };
export const ENDED_KEEP_MS = 16_000;
const HEADROOM = 32;

/** What apply said, in words. */
export interface Said {
  readonly status: number;
  readonly code: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
  readonly armable: boolean;
  readonly current: boolean;
  readonly changed: boolean;
  // What is as usual is left out.
  readonly queued?: number;
  readonly released?: number;
  readonly holders?: number;
  readonly queueLength?: number;
  readonly mode?: string;
  readonly limit?: number;
  readonly retryAfterMs?: number;
  readonly slots?: string;
  readonly slotState?: number;
}

/** What the witness heard, in words; `of`: the attempt of a waiter, the fencing token of a claim. */
export interface Heard {
  readonly what: 'granted' | 'refused' | 'lost' | 'contended' | 'changed' | 'begins';
  readonly of: number | string;
  readonly more?: string | number;
}

interface Grant {
  readonly row: number;
  readonly fencingToken: number;
  readonly ttlMs: number;
}

export class SlotRig {
  slot: Slot;
  now: number;
  /** All entries so far, the open one left out. */
  readonly entries: Uint8Array[] = [];
  readonly effects = new EffectWriter(HEADROOM + 4 * EFFECT_BYTES_MAX, HEADROOM);
  heard: Heard[] = [];
  private open: Grant[] = [];
  private flight: Grant[] | undefined;
  private sentAt = 0;
  /** Row → the earliest timer that is set for it. */
  private readonly timers = new Map<number, number>();

  constructor(now = 1_000, slot = new Slot(SLOT, ENDED_KEEP_MS)) {
    this.now = now;
    this.slot = slot;
  }

  run(words: OpWords): Said {
    if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
    const out = new Outcome();
    apply(this.slot, opOf({ receivedAt: this.now, ...words }), this.now, this.effects, out, this.witness);
    if (out.armable) this.open.push({ row: out.row, fencingToken: out.fencingToken, ttlMs: out.ttlMs });
    const said = inWords(out);
    this.work();
    return said;
  }

  /** The open round sets out, unless another is under way. */
  send(): void {
    if (this.flight !== undefined) return;
    this.flight = this.open;
    this.open = [];
    this.sentAt = this.now;
    this.seal();
  }

  /** The round under way has returned: its claims are armed. */
  land(): void {
    for (const { row, fencingToken, ttlMs } of this.flight ?? []) {
      const freeAt = this.now + ttlMs + ttlPadMs(ttlMs);
      if (this.slot.claims.arm(row, fencingToken, this.sentAt + ttlMs, freeAt)) this.setTimer(row, freeAt);
    }
    this.flight = undefined;
  }

  /** A round trip that takes no time. */
  trip(): void {
    this.land();
    this.send();
    this.land();
  }

  /** The timers of all rows fire, due or not, in the order of the rows' numbers. */
  expireAll(): void {
    const { claims } = this.slot;
    const rows = [...claims.rows()].map((row) => ({ row, number: claims.fencingToken(row) }));
    for (const { row, number } of rows.sort((a, b) => a.number - b.number)) {
      if (!claims.is(row, number)) continue;
      if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
      if ((this.timers.get(row) ?? Infinity) <= this.now) this.timers.delete(row);
      const again = expire(this.slot, row, this.now, this.effects, this.witness);
      if (again > 0 && again < Infinity) this.setTimer(row, again);
      this.work();
    }
  }

  /** An heir reads the journal back. */
  takeOver(): void {
    this.seal();
    const heir = new Slot(SLOT, ENDED_KEEP_MS);
    for (const entry of this.entries) replayEntry(entry, 0, entry.length, () => heir, this.now);
    this.own(heir);
  }

  /** Another term gets a checkpoint with the times that are left. */
  handOver(): void {
    this.seal();
    this.slot.forgetEnded(this.now);
    const next = new Slot(SLOT, ENDED_KEEP_MS);
    loadCheckpoint(next, encodeCheckpoint(this.slot, CHUNK_BYTES_MIN, this.now), this.now, true);
    this.own(next);
  }

  detach(connection: number): void {
    detach(this.slot, connection, this.now, this.witness);
  }

  private own(slot: Slot): void {
    this.slot = slot;
    this.open = [];
    this.flight = undefined;
    this.timers.clear();
    rearm(slot, this.now, (row) => this.setTimer(row, slot.claims.freeAt(row)));
  }

  seal(): void {
    this.entries.push(this.effects.bytes.slice(HEADROOM, this.effects.at));
    this.effects.reset();
  }

  remembers(name: string, token: string): boolean {
    const bytes = tokenBytes(token);
    return this.slot.hasEnded(hashOf(name), bytes, 0, bytes.length, this.now);
  }

  /** Rows that would never be looked at again though their time ends. */
  rowsWithoutTimer(): number[] {
    const { claims } = this.slot;
    return [...claims.rows()].filter((row) => {
      const hasTime = claims.hasOwnTime(row) || claims.kind(row) === RowKind.waiter;
      const freeAt = claims.freeAt(row);
      return hasTime && freeAt !== Infinity && !((this.timers.get(row) ?? Infinity) <= freeAt);
    });
  }

  setTimer(row: number, at: number): void {
    this.timers.set(row, Math.min(at, this.timers.get(row) ?? Infinity));
  }

  private work(): void {
    for (let rounds = 0; this.slot.hasWork; rounds++) {
      if (rounds > 1_000) throw new Error('work that never ends');
      if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
      work(this.slot, this.now, this.effects, this.witness, 1);
    }
  }

  readonly witness: Witness = {
    granted: (slot, row, waiter) => {
      this.heard.push({ what: 'granted', of: waiter.attempt, more: slot.claims.fencingToken(row) });
      this.willArm(row);
    },
    refused: (slot, waiter, code, row) => {
      if (!slot.claims.lives(row)) throw new Error('told of a waiter whose row has gone');
      this.heard.push({ what: 'refused', of: waiter.attempt, more: code });
    },
    lost: (slot, row, _listener, event) =>
      this.heard.push({ what: 'lost', of: slot.claims.fencingToken(row), more: event }),
    contended: (slot, row) => this.heard.push({ what: 'contended', of: slot.claims.fencingToken(row) }),
    changed: (_slot, key) => this.heard.push({ what: 'changed', of: key }),
    begins: (slot, row) => {
      this.heard.push({ what: 'begins', of: slot.claims.fencingToken(row) });
      this.willArm(row);
    },
    due: (_slot, row, at) => this.setTimer(row, at),
  };

  private willArm(row: number): void {
    const { claims } = this.slot;
    if (claims.hasOwnTime(row))
      this.open.push({ row, fencingToken: claims.fencingToken(row), ttlMs: claims.ttlMs(row) });
  }
}

function inWords(out: Outcome): Said {
  const { status, fencingToken, ttlMs, armable, current, changed } = out;
  const said: Said = {
    status: out.queued > 0 ? 0 : status,
    code: codeOfWire(out.code) ?? '',
    fencingToken,
    ttlMs,
    armable,
    current,
    changed,
  };
  const { queued, released, holders, queueLength, limit, retryAfterMs, slotState } = out;
  const slots = out.sessionSlots === undefined ? undefined : JSON.stringify([...out.sessionSlots]);
  const mode = out.mode === 0 ? undefined : MODE_NAMES[out.mode];
  const more = { queued, released, holders, queueLength, mode, limit, retryAfterMs, slots, slotState };
  return Object.assign(said, Object.fromEntries(Object.entries(more).filter(([, value]) => value)));
}
