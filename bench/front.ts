/**
 * The front alone: real sockets, real piscina lanes, but lanes that only echo
 * (bench/echo-lane.ts). Tells what the front's thread costs per op.
 *
 *   node build/bench/front.js [seconds] [bin|json|http]
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { Collector } from '../src/batch/collector.ts';
import { Lanes } from '../src/batch/lanes.ts';
import { Routing } from '../src/batch/routing.ts';
import { systemClock } from '../src/clock.ts';
import { Authenticator } from '../src/front/auth.ts';
import { Front } from '../src/front/front.ts';
import { LIMITS } from '../src/limits.ts';
import { Buffers } from '../src/lane/buffers.ts';
import { KeyedTokens } from '../src/protocol/keyed-token.ts';
import { CpuSampler } from './cpu.ts';
import type { Mode } from './front-load.ts';

interface Load {
  readonly mode: Mode;
  readonly opsPerFrame: number;
  readonly opsPerSecond: number;
  readonly sockets: number;
}

const LOADS: readonly Load[] = [
  { mode: 'bin', opsPerFrame: 64, opsPerSecond: 1_000_000, sockets: 8 },
  { mode: 'bin', opsPerFrame: 64, opsPerSecond: 66_667, sockets: 8 },
  { mode: 'bin', opsPerFrame: 1, opsPerSecond: 66_667, sockets: 8 },
  { mode: 'json', opsPerFrame: 64, opsPerSecond: 100_000, sockets: 8 },
  { mode: 'json', opsPerFrame: 1, opsPerSecond: 30_000, sockets: 8 },
  { mode: 'http', opsPerFrame: 1, opsPerSecond: 20_000, sockets: 64 },
];

const LANES = 1;
const FIRST_MS = 1_000;

async function startFront(): Promise<{ front: Front; lanes: Lanes; port: number }> {
  const identity = { id: 'bench', address: '', version: '0' };
  const settings = { lanes: LANES, worker: fileURLToPath(new URL('./echo-lane.js', import.meta.url)) };
  const lanes = new Lanes({
    ...settings,
    onMessage: (lane, message): void => front.laneMessage(lane, message),
    onFailure(error) {
      throw error;
    },
  });
  const requestTimeoutMs = LIMITS.requestTimeoutMsDefault;
  const hashKey = { k0: 0x01020304, k1: 0x05060708 };
  const buffers = new Buffers();
  const routing = new Routing(new Collector(LANES, lanes, buffers), {
    slots: LIMITS.slots,
    hashKey,
    shards: ['s0'],
    requestTimeoutMs,
    process: identity.id,
    clock: systemClock,
  });
  const front = new Front({
    auth: new Authenticator(undefined),
    keyedTokens: new KeyedTokens(new Uint8Array(32)),
    settings: { host: '127.0.0.1', port: 0, requestTimeoutMs, allowOrigins: [] },
    routing,
    lanes: LANES,
    clock: systemClock,
    buffers,
    identity,
    shards: [],
    metrics: () => Promise.resolve(''),
    log: console,
  });
  for (let lane = 0; lane < LANES; lane++) {
    const keeperPort = new MessageChannel().port1;
    const shared = new SharedArrayBuffer(8);
    await lanes.start(lane, {
      process: identity,
      slots: LIMITS.slots,
      shards: [],
      dataFolder: '',
      requestTimeoutMs,
      keeperPort,
      counters: shared,
      progress: shared,
    });
  }
  return { front, lanes, port: await front.listen() };
}

function runLoad(
  load: Load,
  port: number,
  seconds: number,
): Promise<{ sent: number; answered: number; failed: number }> {
  const file = fileURLToPath(new URL('./front-load.js', import.meta.url));
  const values = [file, port, load.mode, load.opsPerFrame, load.opsPerSecond, seconds, load.sockets].map(
    String,
  );
  return new Promise((resolve, reject) => {
    execFile(process.execPath, values, (error, stdout) =>
      error ? reject(error) : resolve(JSON.parse(stdout)),
    );
  });
}

const seconds = Number(process.argv[2] ?? 5);
const { front, lanes, port } = await startFront();
for (const load of LOADS.filter(({ mode }) => process.argv[3] === undefined || mode === process.argv[3])) {
  const sampler = new CpuSampler(new Map([['front', process.pid]]));
  const begin = performance.timeOrigin + performance.now();
  const result = await runLoad(load, port, seconds);
  sampler.stop();
  const cpu = sampler.between(begin + FIRST_MS, begin + seconds * 1_000);
  const { main, total } = cpu.get('front')!;
  const rate = result.answered / seconds;
  const nanos = ((main * 1e9) / rate).toFixed(0);
  console.log(
    `${load.mode} x${load.opsPerFrame} ${load.sockets} sockets: ${rate.toFixed(0)} of ${load.opsPerSecond} ops/s, ` +
      `front ${main.toFixed(2)} cores (${nanos} ns/op), lane and rest ${(total - main).toFixed(2)}, ` +
      `${result.sent - result.answered} unanswered, ${result.failed} refused`,
  );
}
front.close();
await lanes.stop();
