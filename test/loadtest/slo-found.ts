/** What a run of the gate would have found, made up for tests of judging and reporting. */
import type { CeilingResult } from '../../bench/ceiling.ts';
import { latencyOf, newHistogram, type Latency, type LoadResult } from '../../loadtest/result.ts';
import type { Profile } from '../../loadtest/slo/config.ts';
import type { CeilingMeasurement, Measurement, ProfileRuns } from '../../loadtest/slo/records.ts';

const STARTED = '2026-01-31T12:00:00.000Z';
const FOOTPRINT = {
  databaseBytes: 60e6,
  logBytes: 800e6,
  etcdMemoryBytes: 200e6,
  holdfastMemoryBytes: 150e6,
};
const CPU = {
  holdfast: { total: 0.6, main: 0.2, others: [0.35, 0.05] },
  etcd: { total: 0.5, main: 0, others: [0.5] },
  load: { total: 0.2, main: 0.2, others: [] },
};

/** 1,000 ops, of which each percentile has the latency given. */
export function latencies(p50Ms: number, p95Ms: number, p99Ms: number): Latency {
  const histogram = newHistogram();
  histogram.recordValueWithCount(Math.round(p50Ms * 1000), 600);
  histogram.recordValueWithCount(Math.round(p95Ms * 1000), 360);
  histogram.recordValueWithCount(Math.round(p99Ms * 1000), 40);
  return latencyOf(histogram);
}

const NONE = latencyOf(newHistogram());

export function newResult(given: Partial<LoadResult> = {}): LoadResult {
  const latency = given.latency ?? latencies(2, 5, 15);
  return {
    workload: 'acquire-release',
    protocol: 'binary',
    seconds: 2,
    processes: 1,
    sockets: 8,
    opsPerFrame: 64,
    offered: 500,
    achieved: 500,
    answered: 1_000,
    unanswered: 0,
    cut: 0,
    unsent: 0,
    errors: {},
    refusals: {},
    safety: { twoHolders: 0, fallingFences: 0, examples: [] },
    latency,
    byOp: { acquire: latency, release: latency },
    handOff: NONE,
    sendLag: latencies(0.1, 0.5, 1),
    timeline: [0, 1, 2].map((atSeconds) => ({
      ...{ atSeconds, sent: 500, answered: 500, errors: 0, histogram: '' },
      ...{ p50Ms: latency.p50Ms, p95Ms: latency.p95Ms, p99Ms: latency.p99Ms, maxMs: latency.maxMs },
    })),
    cpuSeconds: 0.4,
    fromWallMs: 0,
    toWallMs: 2_000,
    ...given,
  };
}

export function newRun(given: Partial<LoadResult> = {}, run = 1): Measurement {
  const counters = { commitsPerSecond: 900, fsyncMs: 0.7, collections: 20, collectionMs: 30 };
  return { run, startedAt: STARTED, result: newResult(given), cpu: CPU, footprint: FOOTPRINT, counters };
}

export function newCeiling(latency: Latency, run = 1): CeilingMeasurement {
  const result: CeilingResult = {
    ...{ offered: 500, achieved: 500, latency, sendLag: NONE, commitsPerSecond: 1_000, bytesPerEntry: 2_000 },
    ...{ cpuSeconds: 0.2, fromWallMs: 0, toWallMs: 2_000 },
  };
  const { holdfastMemoryBytes: _, ...footprint } = FOOTPRINT;
  return { run, startedAt: STARTED, result, cpu: { etcd: CPU.etcd, load: CPU.load }, footprint };
}

export function newProfile(given: Partial<Profile> = {}): Profile {
  return {
    name: 'steady',
    about: 'lock ops',
    workload: 'acquire-release',
    rate: 500,
    seconds: 2,
    warmupSeconds: 1,
    ceiling: false,
    targets: { achieved: 0.99, errorRate: 0, p50Ms: 2.5, p95Ms: 6, p99Ms: 20 },
    ...given,
  };
}

export function newFound(given: Partial<ProfileRuns> = {}): ProfileRuns {
  return { profile: newProfile(), runs: [newRun()], ceilings: [], ...given };
}
