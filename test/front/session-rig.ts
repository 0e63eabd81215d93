/** One session of a process over a model: what tests of sessions begin with. `begin` makes all of it anew. */
import { expect } from 'vitest';
import { Kind, type Op } from '../../src/op.ts';
import { freshToken, homeKey, lockKey, ModelProcess } from './coordinator-rig.ts';
import { type Fate, ModelSlots } from './model-slots.ts';
import { SteppedClock } from './stepped-clock.ts';

export const TTL_MS = 5_000;
export const S = 'session-0123456789abcdef';

export let clock: SteppedClock;
export let model: ModelSlots;
export let a: ModelProcess;

export function begin(slots?: number): void {
  clock = new SteppedClock();
  model = new ModelSlots(clock, slots);
  a = new ModelProcess(model);
}

/** The slot of a lock. */
export function slotOf(name: string): number {
  const key = Buffer.from(lockKey(name));
  return model.slotOfKey(key, 0, key.length);
}

export function homeSlot(): number {
  const key = Buffer.from(homeKey(S));
  return model.slotOfKey(key, 0, key.length);
}

/** A name in a slot that is neither the home nor one of `others`. */
export function nameAway(others: readonly string[] = []): string {
  const taken = [homeSlot(), ...others.map(slotOf)];
  for (let i = 0; ; i++) if (!taken.includes(slotOf(`away-${i}`))) return `away-${i}`;
}

export function open(): void {
  const asked = a.session(Kind.sessionOpen, S, TTL_MS);
  clock.advance(10);
  expect(asked.told).toMatchObject([{ status: 201, ttlMs: TTL_MS }]);
}

export function hold(name: string, process = a): string {
  const token = freshToken();
  const asked = process.acquire(name, token, S);
  clock.advance(20);
  expect(asked.told).toMatchObject([{ status: 201, ttlMs: TTL_MS }]);
  return token;
}

export const isOf = (kind: number) => (op: Op) => op.kind === kind;

/** The next op that `test` says yes to has this fate. */
export function once(test: (op: Op) => boolean, fate: Fate): void {
  let isOver = false;
  model.fate = (op) => {
    if (isOver || !test(op)) return { delayMs: 1 };
    isOver = true;
    return fate;
  };
}

export function expectQuiet(...processes: ModelProcess[]): void {
  for (const { connections, calls } of processes) {
    expect(connections.open).toBe(0);
    expect(calls.size).toBe(0);
  }
}
