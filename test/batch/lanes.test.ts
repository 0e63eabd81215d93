import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { afterEach, expect, test } from 'vitest';
import { Lanes } from '../../src/batch/lanes.ts';
import type { LaneMessage } from '../../src/lane/messages.ts';

const worker = fileURLToPath(new URL('./echo-worker.mjs', import.meta.url));
const identity = { id: 'p', address: '', version: '' };

interface Heard {
  lane: number;
  message: LaneMessage & { threadId?: number; lane?: number };
}

let heard: Heard[] = [];
let failures: Error[] = [];
let lanes: Lanes | undefined;

afterEach(async () => {
  await lanes?.stop();
  lanes = undefined;
  heard = [];
  failures = [];
});

async function start(count: number): Promise<Lanes> {
  const started = new Lanes({
    lanes: count,
    worker,
    onMessage: (lane, message) => heard.push({ lane, message }),
    onFailure: (error) => failures.push(error),
  });
  lanes = started;
  const shared = new SharedArrayBuffer(8);
  for (let lane = 0; lane < count; lane++) {
    const keeperPort = new MessageChannel().port1;
    const setup = {
      process: identity,
      slots: 4_096,
      shards: [],
      dataFolder: '',
      requestTimeoutMs: 1_000,
      keeperPort,
      counters: shared,
      progress: shared,
    };
    await started.start(lane, setup);
  }
  return started;
}

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !done(); i++) await sleep(10);
  expect(done()).toBe(true);
}

function batch(...bytes: number[]): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

const ignore = (): void => undefined;

test('every task of a lane runs in its own thread, also while others are under way', async () => {
  const pool = await start(3);
  for (let i = 0; i < 60; i++) pool.send(i % 3, batch(i), 1, i, ignore);
  const echoes = (): Heard[] => heard.filter(({ message }) => message.kind === 'bounced');
  await until(() => echoes().length === 60);
  const threads = new Map<number, number>();
  for (const { lane, message } of heard) {
    if (message.kind !== 'log') continue;
    expect(message.fields).toMatchObject({ lane, lanes: 3 });
    threads.set(lane, message.fields.threadId as number);
  }
  expect(new Set(threads.values()).size).toBe(3);
  for (const { lane, message } of echoes()) {
    expect(message.lane).toBe(lane);
    expect(message.threadId).toBe(threads.get(lane));
    expect(message.kind === 'bounced' && new Uint8Array(message.buffer)[0] % 3).toBe(lane);
  }
  for (const lane of [0, 1, 2]) {
    const order = echoes()
      .filter((echo) => echo.lane === lane)
      .map(({ message }) => (message.kind === 'bounced' ? new Uint8Array(message.buffer)[0] : -1));
    expect(order).toEqual([...order].sort((a, b) => a - b));
  }
});

test('a batch is handed over, not copied', async () => {
  const pool = await start(1);
  const buffer = batch(1, 2, 3);
  let taken = false;
  pool.send(0, buffer, 3, 0, () => (taken = true));
  expect(buffer.byteLength).toBe(0);
  await until(() => heard.some(({ message }) => message.kind === 'bounced'));
  await until(() => taken);
});

test('stop lets each lane say goodbye and is no failure', async () => {
  const pool = await start(2);
  await pool.stop();
  lanes = undefined;
  const goodbyes = heard.filter(({ message }) => message.kind === 'log' && message.message === 'stopped');
  expect(goodbyes.map(({ lane }) => lane).sort()).toEqual([0, 1]);
  expect(failures).toEqual([]);
});

test.each([
  ['throws', 255, /defect/],
  ['dies', 254, /ended|exited/],
])('a worker that %s is one failure', async (_, byte, reason) => {
  const pool = await start(2);
  pool.send(1, batch(byte), 1, 0, ignore);
  await until(() => failures.length > 0);
  await sleep(50);
  expect(failures.length).toBe(1);
  expect(failures[0].message).toMatch(reason);
});
