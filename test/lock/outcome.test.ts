/** A lane uses one Outcome for all of its ops: what one op left there is not the next one's. */
import { beforeEach, expect, it } from 'vitest';
import { EFFECT_BYTES_MAX, EffectWriter } from '../../src/lock/effects.ts';
import { apply, Outcome } from '../../src/lock/machine.ts';
import { Slot } from '../../src/lock/slot.ts';
import type { Witness } from '../../src/lock/witness.ts';
import { opOf, type OpWords } from './op-words.ts';

const NOBODY: Witness = {
  granted() {},
  refused() {},
  lost() {},
  contended() {},
  changed() {},
  begins() {},
  due() {},
};
const A = 'uuid:a';
const B = 'uuid:b';

let slot: Slot;
let out: Outcome;
let effects: EffectWriter;
let now: number;
beforeEach(() => {
  slot = new Slot(7, 1_000);
  out = new Outcome();
  effects = new EffectWriter(16 * EFFECT_BYTES_MAX, 0);
  now = 1_000;
});

function run(words: OpWords): Outcome {
  now++;
  const attempt = words.waitMs === undefined ? 0 : now;
  apply(slot, opOf({ receivedAt: now, attempt, ...words }), now, effects, out, NOBODY);
  return out;
}

it('shows no holder of a lock that only somebody waits for, right after one that is held', () => {
  const delay = { lockDelayMs: 1_000 };
  run({ kind: 'acquire', name: 'plain', token: A });
  run({ kind: 'acquire', name: 'n', token: A, ...delay });
  run({ kind: 'acquire', name: 'n', token: B, waitMs: 60_000 });
  run({ kind: 'force', name: 'n' });
  expect(run({ kind: 'get', name: 'plain' })).toMatchObject({ holders: 1 });
  expect(run({ kind: 'get', name: 'n' })).toMatchObject({ holders: 0, row: 0, queueLength: 1 });
});

it('has held nothing when somebody who waits takes that back', () => {
  run({ kind: 'acquire', name: 'n', token: A });
  const row = slot.claims.find(Buffer.from('n'), 0, 1, opOf({ kind: 'get', name: 'n' }).hash | 0);
  slot.claims.arm(row, 1, now + 30_000, now + 30_000);
  run({ kind: 'acquire', name: 'n', token: B, waitMs: 60_000 });
  now += 5_000;
  expect(run({ kind: 'release', name: 'n', token: A }).heldMs).toBeGreaterThan(4_000);
  run({ kind: 'acquire', name: 'other', token: A });
  run({ kind: 'acquire', name: 'other', token: B, waitMs: 60_000 });
  expect(run({ kind: 'release', name: 'other', token: B })).toMatchObject({ status: 204, heldMs: 0 });
});
