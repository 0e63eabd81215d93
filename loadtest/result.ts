/**
 * What a load run found, and how several processes' findings become one.
 * Latencies are microseconds in the histograms and milliseconds in results.
 */
import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
} from 'hdr-histogram-js';
import { WORKLOADS, type LoadSettings } from './workloads.ts';

const STEPS = ['', 'acquire', 'renew', 'release', 'get'];
const HIGHEST_US = 600_000_000;

export interface Latency {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** HdrHistogram, compressed, base64. */
  readonly histogram: string;
}

export interface LoadResult {
  readonly workload: string;
  readonly seconds: number;
  readonly processes: number;
  readonly sockets: number;
  readonly opsPerFrame: number;
  /** Ops a second that were meant to be sent, and that got the expected answer, in the measured time. */
  readonly offered: number;
  readonly achieved: number;
  readonly answered: number;
  /** Never answered though the connection stood, lost with a cut connection, never sent for want of an idle client. */
  readonly unanswered: number;
  readonly cut: number;
  readonly unsent: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Grants whose fencing token was not higher than the one before it: must be 0. */
  readonly fenceViolations: number;
  readonly latency: Latency;
  readonly byOp: Readonly<Record<string, Latency>>;
  /** How late the driver itself was: part of the latency above. */
  readonly sendLag: Latency;
  readonly cpuSeconds: number;
  /** The measured time, in ms since 1970. */
  readonly fromWallMs: number;
  readonly toWallMs: number;
}

export function newHistogram(): Histogram {
  return build({ bitBucketSize: 32, highestTrackableValue: HIGHEST_US, numberOfSignificantValueDigits: 3 });
}

export function latencyOf(histogram: Histogram): Latency {
  const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000;
  return {
    count: histogram.totalCount,
    p50Ms: at(50),
    p95Ms: at(95),
    p99Ms: at(99),
    p999Ms: at(99.9),
    maxMs: histogram.maxValue / 1000,
    histogram: encodeIntoCompressedBase64(histogram),
  };
}

export class Recorder {
  fenceViolations = 0;
  readonly #settings: LoadSettings;
  readonly #total: Histogram[] = STEPS.map(newHistogram);
  readonly #second = newHistogram();
  readonly #lag = newHistogram();
  readonly #errors = new Map<string, number>();
  #from = Infinity;
  #to = Infinity;
  #cpuAtStart: NodeJS.CpuUsage | undefined;
  #offered = 0;
  #onTime = 0;
  #answered = 0;
  #cut = 0;
  #unsent = 0;
  #secondSent = 0;
  #secondAnswered = 0;

  constructor(settings: LoadSettings) {
    this.#settings = settings;
  }

  /** Measures what was intended in [fromMs, toMs). */
  start(fromMs: number, toMs: number): void {
    this.#from = fromMs;
    this.#to = toMs;
  }

  pause(): void {
    this.#from = Infinity;
  }

  /** `isOwnLag`: between the intended time and now the driver could have sent it. */
  arrival(intendedAt: number, now: number, ops: number, isOwnLag: boolean): void {
    if (intendedAt >= this.#from) {
      this.#cpuAtStart ??= process.cpuUsage();
      if (isOwnLag) this.#lag.recordValueWithCount(Math.round((now - intendedAt) * 1000), 1);
    }
    this.offered(intendedAt, ops);
  }

  offered(intendedAt: number, ops: number): void {
    this.#secondSent += ops;
    if (intendedAt >= this.#from && intendedAt < this.#to) this.#offered += ops;
  }

  /** They belong to the end of the measured time: the backlog is sent in order. */
  unsent(ops: number): void {
    this.#offered += ops;
    this.#unsent += ops;
  }

  /** `ops` expected answers came at `now`. */
  answered(step: number, intendedAt: number, now: number, ops: number): void {
    this.#secondAnswered += ops;
    if (now >= this.#from && now < this.#to) this.#onTime += ops;
    const us = Math.min(HIGHEST_US, Math.max(0, Math.round((now - intendedAt) * 1000)));
    this.#second.recordValueWithCount(us, ops);
    if (intendedAt < this.#from || intendedAt >= this.#to) return;
    this.#answered += ops;
    this.#total[step].recordValueWithCount(us, ops);
  }

  failed(code: string): void {
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }

  cut(intendedAt: number, ops: number): void {
    if (intendedAt >= this.#from) this.#cut += ops;
  }

  /** The last second in one line. */
  line(seconds: number, open: number): string {
    const at = (percentile: number): string =>
      (this.#second.getValueAtPercentile(percentile) / 1000).toFixed(1);
    const errors = [...this.#errors.values()].reduce((sum, n) => sum + n, 0);
    const line =
      `${seconds.toFixed(0).padStart(4)} s  sent ${this.#secondSent}  answered ${this.#secondAnswered}  ` +
      `p50 ${at(50)} p95 ${at(95)} p99 ${at(99)} ms  open ${open}  errors ${errors}`;
    this.#second.reset();
    this.#secondSent = 0;
    this.#secondAnswered = 0;
    return line;
  }

  result(open: number): LoadResult {
    const { workload, seconds, sockets, opsPerFrame } = this.#settings;
    const all = newHistogram();
    const byOp: Record<string, Latency> = {};
    for (const step of WORKLOADS[workload].cycle) {
      const histogram = this.#total[STEPS.indexOf(step)];
      all.add(histogram);
      byOp[step] = latencyOf(histogram);
    }
    const cpu = process.cpuUsage(this.#cpuAtStart);
    return {
      workload,
      seconds,
      processes: 1,
      sockets,
      opsPerFrame,
      offered: this.#offered / seconds,
      achieved: this.#onTime / seconds,
      answered: this.#answered,
      unanswered: open,
      cut: this.#cut,
      unsent: this.#unsent,
      errors: Object.fromEntries(this.#errors),
      fenceViolations: this.fenceViolations,
      latency: latencyOf(all),
      byOp,
      sendLag: latencyOf(this.#lag),
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      fromWallMs: performance.timeOrigin + this.#from,
      toWallMs: performance.timeOrigin + this.#to,
    };
  }
}

/** The results of processes that ran side by side, as one. */
export function mergeResults(results: readonly LoadResult[]): LoadResult {
  const sum = (of: (result: LoadResult) => number): number =>
    results.reduce((n, result) => n + of(result), 0);
  const first = results[0];
  const errors: Record<string, number> = {};
  for (const result of results) {
    for (const [code, count] of Object.entries(result.errors)) errors[code] = (errors[code] ?? 0) + count;
  }
  return {
    workload: first.workload,
    seconds: first.seconds,
    processes: sum((r) => r.processes),
    sockets: sum((r) => r.sockets),
    opsPerFrame: first.opsPerFrame,
    offered: sum((r) => r.offered),
    achieved: sum((r) => r.achieved),
    answered: sum((r) => r.answered),
    unanswered: sum((r) => r.unanswered),
    cut: sum((r) => r.cut),
    unsent: sum((r) => r.unsent),
    errors,
    fenceViolations: sum((r) => r.fenceViolations),
    latency: mergeLatencies(results.map((r) => r.latency)),
    byOp: Object.fromEntries(
      Object.keys(first.byOp).map((op) => [op, mergeLatencies(results.map((r) => r.byOp[op]))]),
    ),
    sendLag: mergeLatencies(results.map((r) => r.sendLag)),
    cpuSeconds: sum((r) => r.cpuSeconds),
    fromWallMs: Math.min(...results.map((r) => r.fromWallMs)),
    toWallMs: Math.max(...results.map((r) => r.toWallMs)),
  };
}

export function mergeLatencies(latencies: readonly Latency[]): Latency {
  const all = newHistogram();
  for (const latency of latencies) all.add(decodeFromCompressedBase64(latency.histogram));
  return latencyOf(all);
}
