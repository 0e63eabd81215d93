import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { CoresSampler } from '../../../bench/peers/cores.ts';
import { PEERS } from '../../../bench/peers/list.ts';
import { Unavailable, type Peer } from '../../../bench/peers/peer.ts';
import { bestConcurrency, Session, type PeerRuns } from '../../../bench/peers/session.ts';
import { temporaryFolder } from '../../servers/holdfast.ts';

const TIMES = { seconds: 1, sweepSeconds: 1, rateSeconds: 1, warmupSeconds: 0, rate: 10 };

test('the smallest concurrency that is nearly as good as the best is taken', () => {
  const steps = (...rates: number[]) =>
    rates.map((opsPerSecond, i) => ({ concurrency: 8 ** i, opsPerSecond }));
  expect(bestConcurrency(steps(10, 80, 100, 60))).toBe(64);
  expect(bestConcurrency(steps(10, 98, 100, 99))).toBe(8);
  expect(bestConcurrency(steps(50))).toBe(1);
});

test('a peer that can not be had, or fails, is noted, tried no more, and leaves no folder', async () => {
  const root = await temporaryFolder();
  const said: string[] = [];
  let starts = 0;
  const peerWith = (error: Error): Peer => ({
    ...PEERS[0],
    start() {
      starts++;
      return Promise.reject(error);
    },
  });
  const session = new Session(TIMES, (line) => said.push(line));
  const runsOf = (error: Error): PeerRuns => ({
    ...{ peer: peerWith(error), sweep: [], saturated: [], paced: [] },
    missing: undefined,
  });
  const unavailable = runsOf(new Unavailable('there is no Go'));
  const broken = runsOf(new Error('the port is taken'));
  for (const runs of [unavailable, unavailable, broken]) await session.run(runs, join(root.path, 'data'));
  expect(unavailable.missing).toBe('there is no Go');
  expect(broken.missing).toBe('it failed: the port is taken');
  expect(starts).toBe(2);
  expect(said).toHaveLength(2);
  expect(existsSync(join(root.path, 'data'))).toBe(false);
  await root.remove();
});

test('what the processes below a server use counts as its own', async () => {
  const busy = 'const until = Date.now() + 1500; while (Date.now() < until);';
  const shell = spawn('sh', ['-c', `"${process.execPath}" -e '${busy}'; true`], { stdio: 'ignore' });
  const ended = new Promise((resolve) => shell.once('exit', resolve));
  const sampler = new CoresSampler(new Map([['shell', shell.pid!]]));
  const from = performance.timeOrigin + performance.now();
  await pause(1_100);
  const cores = sampler.between(from, performance.timeOrigin + performance.now());
  sampler.stop();
  await ended;
  expect(cores['shell']).toBeGreaterThan(0.2);
  expect(cores['shell']).toBeLessThan(1.5);
});
