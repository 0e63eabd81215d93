/**
 * Whether a profile met its targets. Latencies and the achieved part are judged
 * by their medians over the runs; errors by all runs together; a run that died
 * or was not safe fails the profile, whatever the others did.
 */
import { errorsOf, type LoadResult } from '../result.ts';
import type { TargetName, Targets } from './config.ts';
import { isMeasured, type Measurement, type ProfileRuns } from './records.ts';
import { median as medianOf } from '../median.ts';

/** Of a profile or of a ceiling: medians over its runs. */
export interface Figures {
  readonly runs: number;
  readonly offered: number;
  readonly achieved: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

export interface Check {
  readonly target: TargetName;
  /** The bound, and what was measured; undefined: nothing was. */
  readonly bound: number;
  readonly measured: number | undefined;
  readonly met: boolean;
}

export interface Verdict {
  readonly profile: string;
  readonly figures: Figures | undefined;
  readonly ceiling: Figures | undefined;
  readonly checks: readonly Check[];
  /** Runs that died, their ceilings' too. */
  readonly died: readonly string[];
  readonly errors: number;
  readonly errorRate: number;
  /** Of all runs: two holders of a lock, falling fencing tokens. */
  readonly unsafe: number;
  /** Every target, no run died, and nothing was unsafe. */
  readonly met: boolean;
  /** The same without targets: nothing died, failed or was unsafe. */
  readonly worked: boolean;
}

/** undefined of nothing. Of an even number, the mean of the middle two. */
export function median(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : medianOf(values);
}

export function judge({ profile, runs, ceilings }: ProfileRuns): Verdict {
  const measured = runs.filter(isMeasured);
  const figures = figuresOf(measured.map(({ result }) => result));
  const ceiling = figuresOf(ceilings.filter(isMeasured).map(({ result }) => result));
  const died = [
    ...runs.flatMap((run) => (isMeasured(run) ? [] : [`run ${run.run}: ${run.failure}`])),
    ...ceilings.flatMap((run) => (isMeasured(run) ? [] : [`ceiling of run ${run.run}: ${run.failure}`])),
  ];
  const errors = sum(measured.map(({ result }) => errorsOf(result)));
  const all = sum(measured.map(({ result }) => result.offered * result.seconds));
  const errorRate = errors / Math.max(1, all);
  const unsafe = sum(measured.map(({ result }) => result.safety.twoHolders + result.safety.fallingFences));
  const checks = checksOf(profile.targets, measuredBy(measured, figures, ceiling, errorRate));
  const isSound = runs.length > 0 && died.length === 0 && unsafe === 0;
  return {
    profile: profile.name,
    figures,
    ceiling,
    checks,
    died,
    errors,
    errorRate,
    unsafe,
    met: isSound && checks.every((check) => check.met),
    worked: isSound && errors === 0,
  };
}

/** The run that stands for the others in plots over time: that with the middle P95. */
export function middleRun(runs: readonly Measurement[]): Measurement | undefined {
  return runs.toSorted((a, b) => a.result.latency.p95Ms - b.result.latency.p95Ms)[(runs.length - 1) >> 1];
}

type Measured = Readonly<Record<TargetName, number | undefined>>;

function measuredBy(
  runs: readonly Measurement[],
  figures: Figures | undefined,
  ceiling: Figures | undefined,
  errorRate: number,
): Measured {
  const handOffs = runs.map(({ result }) => result.handOff).filter(({ count }) => count > 0);
  return {
    achieved: median(runs.map(({ result }) => result.achieved / result.offered)),
    errorRate: runs.length === 0 ? undefined : errorRate,
    p50Ms: figures?.p50Ms,
    p95Ms: figures?.p95Ms,
    p99Ms: figures?.p99Ms,
    handOffP50Ms: median(handOffs.map(({ p50Ms }) => p50Ms)),
    handOffP95Ms: median(handOffs.map(({ p95Ms }) => p95Ms)),
    overCeilingP50Ms:
      figures === undefined || ceiling === undefined ? undefined : figures.p50Ms - ceiling.p50Ms,
  };
}

function checksOf(targets: Targets, measured: Measured): Check[] {
  return (Object.keys(measured) as TargetName[]).flatMap((target) => {
    const bound = targets[target];
    if (bound === undefined) return [];
    const value = measured[target];
    // A figure that is not a number meets nothing.
    const met = value !== undefined && (target === 'achieved' ? value >= bound : value <= bound);
    return [{ target, bound, measured: value, met }];
  });
}

type WithLatency = Pick<LoadResult, 'offered' | 'achieved' | 'latency'>;

function figuresOf(results: readonly WithLatency[]): Figures | undefined {
  if (results.length === 0) return undefined;
  const of = (value: (result: WithLatency) => number): number => median(results.map(value))!;
  return {
    runs: results.length,
    offered: of((result) => result.offered),
    achieved: of((result) => result.achieved),
    p50Ms: of(({ latency }) => latency.p50Ms),
    p95Ms: of(({ latency }) => latency.p95Ms),
    p99Ms: of(({ latency }) => latency.p99Ms),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
