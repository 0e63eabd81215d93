/** The load driver against a real server, briefly: what it measures here means nothing. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LoadResult } from '../../loadtest/result.ts';
import { ROOT, startHoldfast, temporaryFolder, type HoldfastServer } from '../servers/holdfast.ts';

const run = promisify(execFile);
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: HoldfastServer;

beforeAll(async () => {
  folder = await temporaryFolder();
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [tsc, '-p', join(ROOT, 'tsconfig.bench.json')]);
  server = await startHoldfast({ folder: folder.path });
}, 180_000);
afterAll(async () => {
  await server?.stop();
  await folder.remove();
});

async function load(...args: string[]): Promise<LoadResult & { progress: string }> {
  const json = join(folder.path, `${Math.random()}.json`);
  const always = ['--url', server.wsUrl, '--warmup', '0.3', '--json', json];
  const program = join(ROOT, 'build/loadtest/main.js');
  const { stderr } = await run(process.execPath, [program, ...always, ...args]);
  return { ...(JSON.parse(await readFile(json, 'utf8')) as LoadResult), progress: stderr };
}

// Side by side: they mostly wait for the clock.
test.concurrent.each([
  ['mixed-80-20', ['--rate', '4000', '--names', '1024', '--processes', '2'], 'binary'],
  ['waiters', ['--rate', '400', '--processes', '2', '--share-names', '--names', '4'], 'binary'],
  ['hot-names', ['--rate', '400', '--names', '10', '--protocol', 'json'], 'json'],
  ['sessions', ['--rate', '400', '--hold', '10', '--protocol', 'http'], 'http'],
])('%s %j', async (workload, flags, protocol) => {
  const result = await load('--workload', workload, '--seconds', '1', ...flags);
  expect(result).toMatchObject({ workload, protocol, errors: {}, cut: 0, unanswered: 0, seconds: 1 });
  expect(result.safety).toEqual({ twoHolders: 0, fallingFences: 0, examples: [] });
  expect(result.answered).toBeGreaterThan(0);
  expect(result.timeline).toHaveLength(1);
  expect(result.timeline[0].sent).toBeGreaterThan(0);
  expect(result.progress).toMatch(/^ +1 s {2}sent \d+ {2}answered \d+/m);
  if (workload === 'hot-names') expect(result.refusals['lock_held']).toBeGreaterThan(0);
});

test.concurrent('rates up in steps', async () => {
  const steps = ['--profile', 'step', '--from', '500', '--to', '1000', '--steps', '2', '--seconds', '4'];
  const result = await load('--names', '1024', '--p95', '10000', '--achieved', '0.1', ...steps);
  expect(result.steps!.map(({ rate }) => rate)).toEqual([500, 1000]);
  expect(result.knee).toBe(1000);
});
