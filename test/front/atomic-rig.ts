/** A process over a model, and atomic batches to it. `begin` makes all of it anew. */
import { expect } from 'vitest';
import type { Op } from '../../src/op.ts';
import { acquireOp, type AskedBatch, freshToken, lockKey, ModelProcess } from './coordinator-rig.ts';
import { type Fate, ModelSlots } from './model-slots.ts';
import { SteppedClock } from './stepped-clock.ts';

export const TTL_MS = 30_000;
export const S = 'session-0123456789abcdef';

export let clock: SteppedClock;
export let model: ModelSlots;
export let a: ModelProcess;
export let tokens: string[];

export function begin(): void {
  clock = new SteppedClock();
  model = new ModelSlots(clock);
  restart();
  tokens = [];
}

/** Another process takes the place of the one that was asked so far. */
export function restart(): void {
  a = new ModelProcess(model);
}

export function slotOf(name: string): number {
  const key = Buffer.from(lockKey(name));
  return model.slotOfKey(key, 0, key.length);
}

/** Locks of as many slots, of all three owners, in the order in which these are asked. */
export function names(count: number): string[] {
  const all = Array.from({ length: 200 }, (_, i) => `lock-${i}`);
  const bySlot = new Map(all.map((name) => [slotOf(name), name]));
  const slots = Array.from({ length: count }, (_, slot) => slot);
  return slots.sort((x, y) => (x % 3) - (y % 3) || x - y).map((slot) => bySlot.get(slot)!);
}

/** Acquires of these locks, with fresh tokens. */
export function acquires(of: readonly string[], session = ''): Op[] {
  tokens = of.map(() => freshToken());
  return repeat(of, session);
}

/** The same with the tokens of the last ones. */
export const repeat = (of: readonly string[], session = ''): Op[] =>
  of.map((name, i) => acquireOp(name, tokens[i], session, session === '' ? TTL_MS : 0));

/** Which of these locks are really held by the tokens of the last batch. */
export const held = (of: readonly string[]): boolean[] =>
  of.map((name, i) => {
    const claim = model.claims.get(lockKey(name));
    return claim?.token === tokens[i] && claim.pending === undefined;
  });

export function take(of: readonly string[], session = ''): AskedBatch {
  const asked = a.batch(acquires(of, session));
  expect(asked.told).toEqual([]);
  clock.advance(60);
  return asked;
}

export function takeSingle(name: string): void {
  const op = acquireOp(name, freshToken(), '', 60_000);
  op.receivedAt = clock.now();
  const refuse = (): void => {};
  model.submit(op, slotOf(name), { answers() {}, refuse });
  clock.advance(5);
}

/** The next op of `kind` has this fate. */
export function once(kind: number, fate: Fate, skip = 0): void {
  let left = skip;
  model.fate = (op) => (op.kind === kind && left-- === 0 ? fate : { delayMs: 1 });
}

/** All that is in a slot is gone, as after its end. */
export function loseClaims(slot: number): void {
  for (const [key, stub] of model.stubs) if (stub.slot === slot) model.stubs.delete(key);
  for (const [key, claim] of model.claims) if (claim.slot === slot) model.claims.delete(key);
}

export function expectNothingLeft(): void {
  expect(model.stubs.size).toBe(0);
  expect(a.connections.open).toBe(0);
  expect(a.calls.size).toBe(0);
}
