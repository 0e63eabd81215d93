/**
 * `npm run bench:expiry`: ten million claims are taken and all run out within
 * a minute. What they take in memory, how long the garbage collector
 * stops a thread for them, and what it does to the latency of other locks.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { startEtcd, type EtcdCluster } from '../src/cli/etcd-server.ts';
import { pause, startHoldfast, type HoldfastServer } from '../test/servers/holdfast.ts';
import { runLoadDriver } from './children.ts';
import { residentBytes } from './cpu.ts';
import { scrapeSum } from './scrape.ts';

interface Options {
  readonly claims: number;
  readonly ttl: number;
  readonly rate: number;
  readonly seconds: number;
}

const OTHERS = { workload: 'acquire-release', warmupSeconds: 1, names: 8_192 } as const;
/** So many times the load driver is started to take them: they run out within one part of the time that this takes. */
const PARTS = 4;
const LOOK_MS = 250;
const START_MS = 5_000;
const PAUSES_TOLD = 8;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** The longest pauses of the collector, all threads, as `--trace-gc` has written them; the start of the process left out. */
function longestPauses(output: string): string[] {
  const pattern =
    /\[\d+:(0x[0-9a-f]+)[^\]]*\] +(\d+) ms: (\S+)[^\n]*? ([\d.]+) \([^\n]* MB, (?:pooled: [\d.]+ MB, )?([\d.]+) \/ /g;
  return [...output.matchAll(pattern)]
    .map(([, thread, at, kind, heap, ms]) => ({ thread, at: Number(at), kind, heap, ms: Number(ms) }))
    .filter(({ at }) => at > START_MS)
    .toSorted((a, b) => b.ms - a.ms)
    .slice(0, PAUSES_TOLD)
    .map(
      ({ thread, at, kind, heap, ms }) =>
        `${ms} ms (${kind}, thread ${thread.slice(-6)}, heap ${heap} MB, at ${(at / 1_000).toFixed(0)} s)`,
    );
}

/** Resolves once no more than `rest` claims are held; returns how long the fall from the first to the last took, in s. */
async function expiring(server: HoldfastServer, claims: number, rest: number): Promise<number> {
  let begunAt = 0;
  for (;;) {
    const held = await scrapeSum(server.url, 'holdfast_held');
    if (begunAt === 0 && held < claims * 0.999) begunAt = performance.now();
    if (held <= rest) return (performance.now() - begunAt) / 1_000;
    await pause(LOOK_MS);
  }
}

async function others(server: HoldfastServer, options: Options, when: string): Promise<void> {
  const { rate, seconds } = options;
  const { result } = await runLoadDriver({ ...OTHERS, url: server.wsUrl, rate, seconds }, new Map());
  const { p50Ms, p95Ms, p99Ms, maxMs } = result.latency;
  say(
    `${rate} ops/s on other locks ${when}: P50 ${p50Ms.toFixed(2)}, P95 ${p95Ms.toFixed(2)}, P99 ${p99Ms.toFixed(2)}, ` +
      `max ${maxMs.toFixed(0)} ms; achieved ${result.achieved.toFixed(0)}, errors ${JSON.stringify(result.errors)}`,
  );
}

async function run(options: Options, folder: string, etcd: EtcdCluster[]): Promise<void> {
  const { claims, ttl } = options;
  etcd.push(await startEtcd({ dataFolder: join(folder, 's0') }));
  const where = { folder, etcd: etcd.map((cluster) => cluster.endpoints) };
  const server = await startHoldfast({ ...where, nodeArgs: ['--trace-gc'] });
  try {
    const empty = residentBytes(server.pid);
    await others(server, options, 'before');
    const startedAt = performance.now();
    for (let part = 0; part < PARTS; part++) {
      // The later a part is taken, the shorter its TTL: all parts run out at the same time.
      const ttlMs = ttl * 1_000 - Math.round(performance.now() - startedAt);
      const names = Math.ceil(claims / PARTS);
      const hold = { url: server.wsUrl, workload: 'hold', rate: 64, seconds: 1, warmupSeconds: 0 } as const;
      const { result } = await runLoadDriver({ ...hold, names, ttlMs }, new Map());
      if (Object.keys(result.errors).length > 0) say(`errors: ${JSON.stringify(result.errors)}`);
    }
    const held = await scrapeSum(server.url, 'holdfast_held');
    const bytes = (residentBytes(server.pid) - empty) / held;
    say(
      `${held} claims held after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s; ` +
        `resident memory grew by ${bytes.toFixed(0)} bytes a claim, name included`,
    );
    const gone = expiring(server, held, held / 1_000);
    while ((await scrapeSum(server.url, 'holdfast_held')) > held * 0.99) await pause(LOOK_MS);
    await others(server, options, 'while they run out');
    say(`all of them were gone ${(await gone).toFixed(1)} s after the first`);
    await others(server, options, 'afterwards');
    say(`longest pauses of the garbage collector:\n  ${longestPauses(server.output).join('\n  ')}`);
  } finally {
    await server.stop();
  }
}

const options = new Command('expiry')
  .option('--claims <n>', 'claims', Number, 10_000_000)
  .option('--ttl <s>', 'their TTL: longer than it takes to take them all', Number, 120)
  .option('--rate <ops/s>', 'load on other locks meanwhile', Number, 5_000)
  .option('--seconds <s>', 'how long that is measured, each time', Number, 15)
  .parse()
  .opts<Options>();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-expiry-'));
const etcd: EtcdCluster[] = [];
try {
  say(`${options.claims} claims, ${cpus().length} cores of ${cpus()[0].model.trim()}`);
  await run(options, folder, etcd);
} finally {
  for (const cluster of etcd) await cluster.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
