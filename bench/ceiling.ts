/**
 * The ceiling (DESIGN §11): a bare generator that commits journal entries of
 * the bytes Holdfast writes to the same etcd at the same offered rate. No
 * sockets, no locks, no decisions. One commit in flight a shard; what arrives
 * meanwhile forms the next entry. Whatever Holdfast needs beyond this is its own.
 *
 *   node ceiling.js '{"shards": [["http://127.0.0.1:2379"]], "rate": 66667, …}'
 *
 * prints its result as one line of JSON.
 */
import type { Histogram } from 'hdr-histogram-js';
import { latencyOf, newHistogram, type Latency } from '../loadtest/latency.ts';
import { LIMITS } from '../src/limits.ts';
import { openEtcdStore } from '../src/shard/etcd/store.ts';
import { Chain, type Arrivals } from './chain.ts';

export interface CeilingSettings {
  /** Endpoints by shard. */
  readonly shards: readonly (readonly string[])[];
  /** Ops a second over all shards, half of them acquires, half releases. */
  readonly rate: number;
  readonly opsPerFrame: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

export interface CeilingResult {
  readonly offered: number;
  readonly achieved: number;
  readonly latency: Latency;
  readonly sendLag: Latency;
  readonly commitsPerSecond: number;
  readonly bytesPerEntry: number;
  readonly cpuSeconds: number;
  /** The measured time, in ms since 1970. */
  readonly fromWallMs: number;
  readonly toWallMs: number;
}

const LEASE_MARGIN_MS = 60_000;

/** What all shards of a run measure together. */
class Measure implements Arrivals {
  readonly latency: Histogram = newHistogram();
  readonly lag: Histogram = newHistogram();
  readonly from: number;
  readonly to: number;
  offered = 0;
  onTime = 0;
  commits = 0;
  bytes = 0;
  failure: unknown;

  constructor(from: number, to: number) {
    this.from = from;
    this.to = to;
  }

  committed(intendedAt: number, now: number, ops: number): void {
    if (now >= this.from && now < this.to) this.onTime += ops;
    if (intendedAt < this.from || intendedAt >= this.to) return;
    this.latency.recordValueWithCount(Math.round((now - intendedAt) * 1000), Math.max(1, Math.round(ops)));
  }

  wrote(now: number, bytes: number): void {
    if (now < this.from) return;
    this.commits++;
    this.bytes += bytes;
  }

  failed(error: unknown): void {
    this.failure ??= error;
  }
}

async function runCeiling(settings: CeilingSettings): Promise<CeilingResult> {
  const { shards, rate, opsPerFrame, warmupSeconds, seconds } = settings;
  const stores = shards.map((endpoints, i) =>
    openEtcdStore({ name: `s${i}`, engine: 'etcd', endpoints, weight: 1 }),
  );
  const startAt = performance.now() + 200;
  const measure = new Measure(startAt + warmupSeconds * 1000, startAt + (warmupSeconds + seconds) * 1000);
  const chains = stores.map((store) => new Chain(store, measure));
  for (const chain of chains) await chain.begin((warmupSeconds + seconds) * 1000 + LEASE_MARGIN_MS);
  const compaction = setInterval(() => {
    for (const chain of chains) chain.compact().catch((error: unknown) => measure.failed(error));
  }, LIMITS.compactEveryMs);
  const cpuSeconds = await offer(chains, measure, startAt, (opsPerFrame * 1000) / rate, opsPerFrame);
  clearInterval(compaction);
  for (const chain of chains) {
    while (!chain.idle) await new Promise((resolve) => setTimeout(resolve, 10));
    if (measure.failure !== undefined) throw measure.failure;
    await chain.end();
  }
  return {
    offered: measure.offered / seconds,
    achieved: measure.onTime / seconds,
    latency: latencyOf(measure.latency),
    sendLag: latencyOf(measure.lag),
    commitsPerSecond: measure.commits / seconds,
    bytesPerEntry: measure.bytes / Math.max(1, measure.commits),
    cpuSeconds,
    fromWallMs: performance.timeOrigin + measure.from,
    toWallMs: performance.timeOrigin + measure.to,
  };
}

/** Frames by the clock, each spread over the shards as names are. Returns the CPU seconds of the measured time. */
function offer(
  chains: Chain[],
  measure: Measure,
  startAt: number,
  everyMs: number,
  ops: number,
): Promise<number> {
  let nextAt = startAt;
  let cpu: NodeJS.CpuUsage | undefined;
  return new Promise((resolve) => {
    const tick = (): void => {
      const now = performance.now();
      for (; nextAt <= now && nextAt < measure.to; nextAt += everyMs) {
        if (nextAt >= measure.from) {
          cpu ??= process.cpuUsage();
          measure.offered += ops;
          measure.lag.recordValue(Math.round((now - nextAt) * 1000));
        }
        for (const chain of chains) chain.arrived(nextAt, ops / chains.length);
      }
      if (now < measure.to) {
        setTimeout(tick, 1);
      } else {
        const used = process.cpuUsage(cpu);
        resolve((used.user + used.system) / 1e6);
      }
    };
    tick();
  });
}

if (process.argv[2] !== undefined) {
  const result = await runCeiling(JSON.parse(process.argv[2]) as CeilingSettings);
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
