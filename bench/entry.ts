/**
 * The bytes that acquire-release load writes to the journal, made by the real
 * machine: what the ceiling commits, so that both sides commit the same.
 */
import { randomBytes } from 'node:crypto';
import { EffectWriter } from '../src/lock/effects.ts';
import { apply, Outcome } from '../src/lock/machine.ts';
import { DEAF } from './machine.ts';
import { Slot } from '../src/lock/slot.ts';
import { Kind, Op } from '../src/op.ts';

const LOCKS = 1_024;
const CAPACITY_BYTES = 1024 * 1024;
/** Slots of a run have long counters: each number takes three bytes. */
const COUNTER = 100_000;
const TTL_MS = 30_000;

export interface EntryTemplate {
  /** One entry: grants and releases of as many locks, in turn. */
  readonly bytes: Uint8Array;
  readonly bytesPerOp: number;
}

export function entryTemplate(): EntryTemplate {
  const effects = new EffectWriter(CAPACITY_BYTES, 0);
  const outcome = new Outcome();
  const op = new Op();
  const start = effects.at;
  for (let i = 0; i < LOCKS; i++) {
    const name = Buffer.from(`load-a1b2c3-0-${String(i).padStart(7, '0')}`);
    const slot = new Slot((i * 37) % 4096, 0);
    slot.counter = COUNTER;
    op.bytes = Buffer.concat([name, randomBytes(16)]);
    op.hash = randomBytes(4).readUInt32LE(0);
    op.keyLength = name.length;
    op.tokenAt = name.length;
    op.tokenLength = 16;
    op.ttlMs = TTL_MS;
    for (const kind of [Kind.acquire, Kind.release]) {
      op.kind = kind;
      apply(slot, op, 0, effects, outcome, DEAF);
      if (!outcome.changed) throw new Error('the machine refused an op that it must accept');
    }
  }
  const bytes = effects.bytes.slice(0, effects.at);
  return { bytes, bytesPerOp: (effects.at - start) / (2 * LOCKS) };
}
