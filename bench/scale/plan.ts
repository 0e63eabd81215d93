/**
 * How many shards, processes and cores so many ops a second need, by the model.
 * Pure.
 *
 * Processes that share shards are a cell: a Holdfast cluster of its own, and
 * its names are known by something that clients can compute. Every lane of a
 * cell commits to every shard of it, so commits a shard grow with lanes ×
 * processes, and one cell for everything would spend its etcd on small commits.
 */
import { predict, type Coefficients, type Prediction, type Setting } from './model.ts';

export interface PlanLimits {
  /** Part of a front's or a lane's core that may be in use. */
  readonly threadUtilization: number;
  /** Processors of each etcd member, and the part of them that may be in use. */
  readonly memberCores: number;
  readonly memberUtilization: number;
  readonly membersPerShard: number;
  /** Journal bytes of an op (`entryTemplate` of bench/entry.ts, names of 21 bytes), and what a member's disk may be asked to write and sync, bytes/s. */
  readonly bytesPerOp: number;
  readonly diskBytesPerSecond: number;
  /** An entry's bytes have a bound (limits.ts). */
  readonly entryBytes: number;
  readonly p50Ms: number;
  readonly opsPerFrame: number;
  readonly distanceMs: number;
  /** At least so many in a cell, so that one may die. */
  readonly processesMin: number;
}

export interface Plan {
  readonly opsPerSecond: number;
  readonly cells: number;
  /** Of one cell. */
  readonly shards: number;
  readonly processes: number;
  readonly lanes: number;
  readonly cellOpsPerSecond: number;
  readonly prediction: Prediction;
  /** Of all cells. */
  readonly holdfastCores: number;
  readonly etcdCores: number;
  /** What the plan would break first with more load. */
  readonly limit: string;
}

export const DEFAULT_LIMITS: PlanLimits = {
  threadUtilization: 0.6,
  memberCores: 4,
  memberUtilization: 0.5,
  membersPerShard: 3,
  bytesPerOp: 31,
  diskBytesPerSecond: 100e6,
  entryBytes: 256 * 1024,
  p50Ms: 5,
  opsPerFrame: 64,
  distanceMs: 0.5,
  processesMin: 2,
};

const SHARDS = [1, 2, 3, 4, 6, 8, 12, 16];
const PROCESSES_MAX = 16;
const LANES = [1, 2, 4];
const STEPS = 20;

interface Shape {
  readonly shards: number;
  readonly processes: number;
  readonly lanes: number;
}

/** The cheapest by cores. Throws when even the smallest load breaks a limit. */
export function planFor(costs: Coefficients, opsPerSecond: number, limits = DEFAULT_LIMITS): Plan {
  let best: Plan | undefined;
  for (const shape of shapes(limits)) {
    const plan = planOf(costs, opsPerSecond, shape, limits);
    if (plan !== undefined && (best === undefined || coresOf(plan) < coresOf(best))) best = plan;
  }
  if (best === undefined) throw new Error('no cell keeps the limits, however little it is asked');
  return best;
}

/** All in one cell of so many shards: the fewest processes that keep the limits, or undefined. */
export function planOneCell(
  costs: Coefficients,
  opsPerSecond: number,
  shards: number,
  limits = DEFAULT_LIMITS,
): Plan | undefined {
  for (let processes = limits.processesMin; processes <= 1_024; processes = Math.ceil(processes * 1.25)) {
    const shape = { shards, processes, lanes: 1 };
    if (brokenLimit(predictFor(costs, opsPerSecond, shape, limits), opsPerSecond, shape, limits) === '') {
      return complete(costs, opsPerSecond, 1, shape, limits, 'processes');
    }
  }
  return undefined;
}

export function coresOf({ holdfastCores, etcdCores }: Plan): number {
  return holdfastCores + etcdCores;
}

function* shapes(limits: PlanLimits): Generator<Shape> {
  for (const shards of SHARDS) {
    for (let processes = limits.processesMin; processes <= PROCESSES_MAX; processes++) {
      for (const lanes of LANES) yield { shards, processes, lanes };
    }
  }
}

function planOf(
  costs: Coefficients,
  opsPerSecond: number,
  shape: Shape,
  limits: PlanLimits,
): Plan | undefined {
  const broken = (ops: number): string =>
    brokenLimit(predictFor(costs, ops, shape, limits), ops, shape, limits);
  const { capacity, limit } = capacityOf(broken, opsPerSecond);
  if (capacity <= 0) return undefined;
  const cells = Math.ceil(opsPerSecond / capacity);
  return complete(costs, opsPerSecond, cells, shape, limits, limit);
}

/** The most, up to `most`, that breaks nothing, and what breaks beyond it. */
function capacityOf(broken: (ops: number) => string, most: number): { capacity: number; limit: string } {
  if (broken(most) === '') return { capacity: most, limit: 'none: it does more' };
  let [low, high] = [0, most];
  for (let i = 0; i < STEPS; i++) {
    const middle = (low + high) / 2;
    if (broken(middle) === '') low = middle;
    else high = middle;
  }
  return { capacity: Math.floor(low), limit: broken(high) };
}

function complete(
  costs: Coefficients,
  opsPerSecond: number,
  cells: number,
  shape: Shape,
  limits: PlanLimits,
  limit: string,
): Plan {
  const cellOpsPerSecond = opsPerSecond / cells;
  const prediction = predictFor(costs, cellOpsPerSecond, shape, limits);
  const { front, lanes, other, etcd } = prediction.cores;
  return {
    ...{ opsPerSecond, cells, ...shape, cellOpsPerSecond, prediction, limit },
    holdfastCores: cells * (front + lanes + other),
    etcdCores: cells * etcd * limits.membersPerShard,
  };
}

/** Everything has machines of its own, and clients send when they like. */
function predictFor(costs: Coefficients, opsPerSecond: number, shape: Shape, limits: PlanLimits): Prediction {
  const { opsPerFrame, distanceMs, memberCores } = limits;
  const setting: Setting = {
    ...{ opsPerSecond, opsPerFrame, ...shape, distanceMs, isLocal: false, sendTicks: Infinity },
    forwarded: (shape.processes - 1) / shape.processes,
    ...{ wait: 0.5, sharedCores: undefined, extraCores: 0 },
  };
  return predict(costs, setting, memberCores);
}

/** '' = none. */
function brokenLimit(
  { cores, opsPerCommit, p50Ms }: Prediction,
  opsPerSecond: number,
  { shards, processes, lanes }: Shape,
  limits: PlanLimits,
): string {
  if (cores.front / processes > limits.threadUtilization) return 'the fronts';
  if (cores.lanes / (processes * lanes) > limits.threadUtilization) return 'the lanes';
  if (cores.etcd / shards > limits.memberCores * limits.memberUtilization) return "etcd's processors";
  if ((opsPerSecond * limits.bytesPerOp) / shards > limits.diskBytesPerSecond) return "etcd's disk";
  if (opsPerCommit * limits.bytesPerOp > limits.entryBytes) return "an entry's size";
  if (p50Ms > limits.p50Ms) return 'P50';
  return '';
}
