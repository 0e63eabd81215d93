import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { closedLoop, openModel } from '../../../bench/peers/measure.ts';
import type { LockClient, Shape } from '../../../bench/peers/peer.ts';

function shape(blocks: number, concurrency: number, locksPerBlock = 1): Shape {
  return { blocks, concurrency, locksPerBlock, nameOf: String };
}

/** Locks in memory that answer after `delayMs`, and see whether they are used as locks are. */
class Memory implements LockClient {
  readonly held = new Set<number>();
  readonly used = new Set<number>();
  open = 0;
  openMax = 0;
  wrong = 0;
  delayMs: number;

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }

  async acquire(block: number): Promise<void> {
    if (this.held.has(block)) this.wrong++;
    this.held.add(block);
    this.used.add(block);
    await this.#answer();
  }

  async release(block: number): Promise<void> {
    if (!this.held.has(block)) this.wrong++;
    await this.#answer();
    this.held.delete(block);
  }

  async close(): Promise<void> {}

  async #answer(): Promise<void> {
    this.openMax = Math.max(this.openMax, ++this.open);
    await pause(this.delayMs);
    this.open--;
  }
}

test('the closed loop has as many blocks in flight as it was told, each in one hand', async () => {
  const memory = new Memory(5);
  const result = await closedLoop(memory, shape(12, 4), { warmupMs: 50, ms: 400 });
  expect(memory.openMax).toBe(4);
  expect(memory.wrong).toBe(0);
  expect(memory.used.size).toBe(12);
  expect(result.failures).toEqual({});
  expect(result.latency.p50Ms).toBeGreaterThan(4);
  expect(result.toWallMs - result.fromWallMs).toBeCloseTo(400, 3);
});

test('the rate of the closed loop follows from the time of an answer, and counts names, not blocks', async () => {
  const result = await closedLoop(new Memory(20), shape(100, 5, 64), { warmupMs: 0, ms: 600 });
  const ideal = (5 * 64 * 1000) / 20;
  expect(result.opsPerSecond).toBeLessThanOrEqual(ideal * 1.05);
  expect(result.opsPerSecond).toBeGreaterThan(ideal * 0.5);
  expect(result.offeredPerSecond).toBe(result.opsPerSecond);
  expect(result.latency.count % 64).toBe(0);
});

test('what is answered in the warm-up does not count', async () => {
  const memory = new Memory(1);
  const started = performance.now();
  memory.delayMs = 0;
  const slower = setTimeout(() => (memory.delayMs = 300), 100);
  const result = await closedLoop(memory, shape(10, 1), { warmupMs: 150, ms: 400 });
  clearTimeout(slower);
  expect(performance.now() - started).toBeGreaterThan(500);
  expect(result.latency.count).toBeLessThanOrEqual(2);
  expect(result.opsPerSecond).toBeLessThanOrEqual(2 / 0.4);
});

test('failures are counted by message, end the run when they are many, and are not released', async () => {
  let released = 0;
  const failing: LockClient = {
    acquire: () => Promise.reject(new Error('it is held')),
    release: async () => void released++,
    close: async () => {},
  };
  const started = performance.now();
  const result = await closedLoop(failing, shape(8, 2), { warmupMs: 0, ms: 20_000 });
  expect(performance.now() - started).toBeLessThan(5_000);
  expect(released).toBe(0);
  expect(result.opsPerSecond).toBe(0);
  const count = result.failures['it is held'];
  expect(count).toBeGreaterThanOrEqual(100);
  expect(count).toBeLessThan(110);
});

test('the open model sends by the clock while nothing is answered, and counts from the intended time', async () => {
  const memory = new Memory(250);
  const result = await openModel(memory, shape(1_000, 1), { warmupMs: 0, ms: 500 }, 200);
  expect(memory.openMax).toBeGreaterThan(15);
  expect(memory.wrong).toBe(0);
  expect(result.offeredPerSecond).toBeCloseTo(200, 0);
  expect(result.latency.p50Ms).toBeGreaterThan(245);
  expect(result.unanswered).toBe(0);
});

test('a stalled process is charged for what it should have sent meanwhile', async () => {
  const memory = new Memory(0);
  const stall = setTimeout(() => {
    const until = performance.now() + 200;
    while (performance.now() < until);
  }, 250);
  const result = await openModel(memory, shape(1_000, 1), { warmupMs: 0, ms: 400 }, 400);
  clearTimeout(stall);
  expect(result.offeredPerSecond).toBeCloseTo(400, 0);
  expect(result.latency.maxMs).toBeGreaterThan(150);
});

test('the open model tells what was never answered, and refuses a name that is still open', async () => {
  const deaf: LockClient = {
    acquire: () => new Promise(() => {}),
    release: async () => {},
    close: async () => {},
  };
  const result = await openModel(deaf, shape(10, 1), { warmupMs: 0, ms: 200 }, 200, 20);
  expect(result.unanswered).toBe(10);
  expect(result.failures).toEqual({ 'all names are still open': 10 });
  expect(result.opsPerSecond).toBe(0);
});
