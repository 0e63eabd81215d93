/** What a load run found, and how several processes' findings become one. */
import type { StepFound } from './knee.ts';
import { mergeLatencies, type Latency } from './latency.ts';
import { mergeTimelines, type Second } from './timeline.ts';

export { latencyOf, mergeLatencies, newHistogram, type Latency } from './latency.ts';
export type { Second } from './timeline.ts';

export type Protocol = 'binary' | 'json' | 'http';

/** What must not be: all 0, or the run has failed. */
export interface Safety {
  /** Two clients believed at one time that they held a lock which only one of them may hold; more than `limit` a semaphore. */
  readonly twoHolders: number;
  /** Grants whose fencing token was not above that of an exclusive grant known before they were asked for. */
  readonly fallingFences: number;
  /** The first of them in words, at most ten. */
  readonly examples: readonly string[];
}

export interface LoadResult {
  readonly workload: string;
  readonly protocol: Protocol;
  /** The measured time; shorter than asked for if the run was stopped. */
  readonly seconds: number;
  readonly processes: number;
  readonly sockets: number;
  readonly opsPerFrame: number;
  /** Ops a second that were meant to be sent, and that got an expected answer, in the measured time. */
  readonly offered: number;
  readonly achieved: number;
  readonly answered: number;
  /** Never answered though the connection stood, lost with a cut connection, never sent for want of an idle client. */
  readonly unanswered: number;
  readonly cut: number;
  readonly unsent: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Refusals that the workload expects, such as `lock_held`, by code: part of `answered`. */
  readonly refusals: Readonly<Record<string, number>>;
  readonly safety: Safety;
  readonly latency: Latency;
  readonly byOp: Readonly<Record<string, Latency>>;
  /** From the release of a lock that was waited for to the grant. */
  readonly handOff: Latency;
  /** How late the driver itself was: part of the latency above. */
  readonly sendLag: Latency;
  /** The measured time second by second. */
  readonly timeline: readonly Second[];
  /** Of a run in steps: each step, and the highest rate that was held (0: none). */
  readonly steps?: readonly StepFound[];
  readonly knee?: number;
  readonly cpuSeconds: number;
  /** The measured time, in ms since 1970. */
  readonly fromWallMs: number;
  readonly toWallMs: number;
}

const EXAMPLES_MAX = 10;

/** The results of processes that ran side by side, as one. */
export function mergeResults(results: readonly LoadResult[]): LoadResult {
  const sum = (of: (result: LoadResult) => number): number =>
    results.reduce((n, result) => n + of(result), 0);
  const first = results[0];
  const ops = [...new Set(results.flatMap((r) => Object.keys(r.byOp)))];
  return {
    workload: first.workload,
    protocol: first.protocol,
    seconds: Math.max(...results.map((r) => r.seconds)),
    processes: sum((r) => r.processes),
    sockets: sum((r) => r.sockets),
    opsPerFrame: first.opsPerFrame,
    offered: sum((r) => r.offered),
    achieved: sum((r) => r.achieved),
    answered: sum((r) => r.answered),
    unanswered: sum((r) => r.unanswered),
    cut: sum((r) => r.cut),
    unsent: sum((r) => r.unsent),
    errors: mergeCounts(results.map((r) => r.errors)),
    refusals: mergeCounts(results.map((r) => r.refusals)),
    safety: mergeSafety(results.map((r) => r.safety)),
    latency: mergeLatencies(results.map((r) => r.latency)),
    byOp: Object.fromEntries(ops.map((op) => [op, mergeLatencies(results.flatMap((r) => r.byOp[op] ?? []))])),
    handOff: mergeLatencies(results.map((r) => r.handOff)),
    sendLag: mergeLatencies(results.map((r) => r.sendLag)),
    timeline: mergeTimelines(results.map((r) => r.timeline)),
    cpuSeconds: sum((r) => r.cpuSeconds),
    fromWallMs: Math.min(...results.map((r) => r.fromWallMs)),
    toWallMs: Math.max(...results.map((r) => r.toWallMs)),
  };
}

export function mergeSafety(parts: readonly Safety[]): Safety {
  return {
    twoHolders: parts.reduce((n, part) => n + part.twoHolders, 0),
    fallingFences: parts.reduce((n, part) => n + part.fallingFences, 0),
    examples: parts.flatMap((part) => part.examples).slice(0, EXAMPLES_MAX),
  };
}

/** Ops that failed, or were never answered as they should have been. */
export function errorsOf({ errors, unanswered, cut, unsent }: LoadResult): number {
  return Object.values(errors).reduce((sum, count) => sum + count, unanswered + cut + unsent);
}

/** The same, and whatever was unsafe. */
export function failuresOf(result: LoadResult): number {
  const { twoHolders, fallingFences } = result.safety;
  return errorsOf(result) + twoHolders + fallingFences;
}

/** Nothing that must not be has been seen. */
export function isSafe({ safety }: Pick<LoadResult, 'safety'>): boolean {
  return safety.twoHolders === 0 && safety.fallingFences === 0;
}

function mergeCounts(parts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const part of parts) {
    for (const [code, count] of Object.entries(part)) counts[code] = (counts[code] ?? 0) + count;
  }
  return counts;
}
