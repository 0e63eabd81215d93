/** The model's coefficients from measured points, and how well they tell the points they were not made from. Pure. */
import { fitNonNegative, type Equation } from './least-squares.ts';
import {
  chainsOf,
  commitLatencyMs,
  predict,
  queueing,
  utilizationOf,
  type Coefficients,
  type Cores,
  type Prediction,
  type Setting,
} from './model.ts';

/** What was measured at a setting. */
export interface Observation {
  readonly setting: Setting;
  readonly commitsPerSecond: number;
  readonly commitMs: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly cores: Cores;
}

/** An observation beside what the model makes of it. */
export interface Checked<T extends Observation> {
  readonly observation: T;
  /** From coefficients that were fitted with this point. */
  readonly fitted: Prediction;
  /** From coefficients that were fitted with all other points. */
  readonly unseen: Prediction;
}

/** In µs: so little processor time that its relative error says nothing. */
const CORES_MIN = 0.02;
const MS_MIN = 0.2;
const MICRO = 1e6;

/** Throws when there is no observation. */
export function fit(observations: readonly Observation[]): Coefficients {
  if (observations.length === 0) throw new Error('there is no measured point to fit the model to');
  const cost = (part: keyof Cores, features: (o: Observation) => number[]): number[] =>
    fitNonNegative(observations.map((o) => relative(features(o), o.cores[part] * MICRO, CORES_MIN * MICRO)));
  const ops = (o: Observation): number => o.setting.opsPerSecond;
  const frames = (o: Observation): number => ops(o) / o.setting.opsPerFrame;
  const front = cost('front', (o) => [
    ...[ops(o), frames(o), o.commitsPerSecond],
    ...[ops(o) * o.setting.forwarded, o.setting.processes],
  ]);
  const lanes = cost('lanes', (o) => [ops(o), o.commitsPerSecond, o.setting.processes * o.setting.lanes]);
  const other = cost('other', (o) => [ops(o), o.setting.processes]);
  const etcd = cost('etcd', (o) => [ops(o), o.commitsPerSecond, o.setting.shards]);
  const load = cost('load', (o) => [ops(o), frames(o), 1]);
  return {
    front: { op: front[0], frame: front[1], round: front[2], forward: front[3], second: front[4] },
    lanes: { op: lanes[0], commit: lanes[1], second: lanes[2] },
    other: { op: other[0], second: other[1] },
    etcd: { op: etcd[0], commit: etcd[1], second: etcd[2] },
    load: { op: load[0], frame: load[1], second: load[2] },
    roundTrip: fitRoundTrip(observations),
    answering: fitAnswering(observations),
  };
}

function fitRoundTrip(observations: readonly Observation[]): Coefficients['roundTrip'] {
  const equations = observations
    .filter(({ commitsPerSecond }) => commitsPerSecond > 0)
    .map(({ setting, commitMs, commitsPerSecond, cores }) => {
      const neighbours = chainsOf(setting) / setting.shards - 1;
      const opsOfLane = (setting.opsPerSecond / commitsPerSecond) * setting.shards;
      const queue = queueing(utilizationOf(setting, cores, 1));
      return relative([1, opsOfLane, neighbours, queue], commitMs - setting.distanceMs, MS_MIN);
    });
  if (equations.length === 0) throw new Error('no measured point has commits');
  const [baseMs, perOpMs, perNeighbourMs, queueMs] = fitNonNegative(equations);
  return { baseMs, perOpMs, perNeighbourMs, queueMs };
}

function fitAnswering(observations: readonly Observation[]): Coefficients['answering'] {
  const equations = observations.map(({ setting, commitMs, commitsPerSecond, p50Ms, cores }) => {
    const known = commitLatencyMs(commitMs, commitsPerSecond / chainsOf(setting), setting.wait);
    const queue = queueing(utilizationOf(setting, cores, 1));
    // Relative to the whole latency: what is left of it beside the commits may be next to nothing.
    const weight = 1 / Math.max(MS_MIN, p50Ms) ** 2;
    return { features: [1, queue, setting.forwarded], value: p50Ms - known, weight };
  });
  const [overheadMs, queueMs, hopMs] = fitNonNegative(equations);
  const [p95OfP50] = fitNonNegative(observations.map(({ p50Ms, p95Ms }) => relative([p50Ms], p95Ms, MS_MIN)));
  return { overheadMs, queueMs, hopMs, p95OfP50 };
}

/** Deviations count by their part of the value. */
function relative(features: readonly number[], value: number, least: number): Equation {
  return { features, value, weight: 1 / Math.max(least, Math.abs(value)) ** 2 };
}

/** Each point beside the model's prediction, with and without having seen it. */
export function check<T extends Observation>(observations: readonly T[]): Checked<T>[] {
  const all = fit(observations);
  return observations.map((observation, i) => {
    const rest = observations.toSpliced(i, 1);
    const fitted = predict(all, observation.setting);
    const unseen = rest.length === 0 ? fitted : predict(fit(rest), observation.setting);
    return { observation, fitted, unseen };
  });
}

/** How far off the model is: medians of |model / measured − 1|. */
export interface Errors {
  readonly points: number;
  readonly p50: number;
  readonly commits: number;
  readonly cores: number;
}

/** @param of with the point, or without having seen it */
export function errorsOf(checked: readonly Checked<Observation>[], of: 'fitted' | 'unseen'): Errors {
  const median = (error: (one: Checked<Observation>) => [model: number, measured: number]): number => {
    const errors = checked.map((one) => {
      const [model, measured] = error(one);
      return Math.abs(model / measured - 1);
    });
    return errors.sort((a, b) => a - b)[errors.length >>> 1] ?? NaN;
  };
  return {
    points: checked.length,
    p50: median((one) => [one[of].p50Ms, one.observation.p50Ms]),
    commits: median((one) => [one[of].commitsPerSecond, one.observation.commitsPerSecond]),
    cores: median((one) => [productCores(one[of].cores), productCores(one.observation.cores)]),
  };
}

/** Without the load. */
export function productCores({ front, lanes, other, etcd }: Cores): number {
  return front + lanes + other + etcd;
}
