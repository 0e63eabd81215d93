/** The charts of the report. */
import type { ProcessCpu } from '../../bench/cpu.ts';
import {
  barChart,
  lineChart,
  percentileChart,
  stackedBarChart,
  type Bar,
  type Mark,
  type Series,
} from '../report/charts.ts';
import { JsHistogram } from 'hdr-histogram-js';
import { addUp, type Latency } from '../latency.ts';
import type { LoadResult } from '../result.ts';
import { median, middleRun } from './judge.ts';
import {
  isMeasured,
  type CeilingMeasurement,
  type Footprint,
  type Measurement,
  type ProfileRuns,
} from './records.ts';
import { grouped, targetText } from './words.ts';

export interface Figure {
  /** Of its file, without `.svg`. */
  readonly name: string;
  readonly svg: string;
  readonly caption: string;
}

/** Points of a percentile plot for every nine. */
const POINTS_A_NINE = 12;
/** A percentile is shown while so many ops of a run lie beyond it. */
const OPS_BEYOND_MIN = 10;
/** Columns of a histogram for every tenfold of latency. */
const COLUMNS_A_DECADE = 25;
const PARTS = ['Holdfast: front', 'Holdfast: lane', 'Holdfast: other threads', 'etcd', 'load'];

/** @param cores of the machine */
export function profileFigures(found: ProfileRuns, cores: number): Figure[] {
  const runs = found.runs.filter(isMeasured);
  const middle = middleRun(runs);
  if (middle === undefined) return [];
  const { name } = found.profile;
  const of = runs.length === 1 ? '' : ` of ${runs.length} runs`;
  const shown = runs.length === 1 ? '' : ` of run ${middle.run}, whose P95 is the middle one`;
  return [
    {
      name: `${name}-percentiles`,
      svg: percentiles(found, runs),
      caption: `From the intended send time${of === '' ? '' : `; each point is the median${of}`}.`,
    },
    {
      name: `${name}-histogram`,
      svg: histogram(found, runs),
      caption: `All ops${of}, in columns that are each a tenth wider than the one before.`,
    },
    { name: `${name}-throughput`, svg: throughput(found, middle), caption: `Each second${shown}.` },
    {
      name: `${name}-latency`,
      svg: latency(found, middle),
      caption: `Of the answers that came in each second${shown}.`,
    },
    {
      name: `${name}-cpu`,
      svg: processors(`Processor time by process: ${name}`, rowsOfCpu(found), cores),
      caption: `${of === '' ? '' : `Medians${of}. `}The lane is the busiest of Holdfast's threads beside the main one.`,
    },
  ];
}

/** What stands for all profiles together. */
export function overviewFigures(profiles: readonly ProfileRuns[], cores: number): Figure[] {
  const measured = profiles.filter(({ runs }) => runs.some(isMeasured));
  if (measured.length === 0) return [];
  const series = measured.map(({ profile, runs }) => ({
    name: `${profile.name}, ${grouped(profile.rate)}/s`,
    points: medianPercentiles(runs.filter(isMeasured).map(({ result }) => result.latency)),
  }));
  const rows = measured.map((found) => ({ ...rowsOfCpu(found)[0], name: found.profile.name }));
  return [
    {
      name: 'percentiles',
      svg: percentileChart({ title: 'Latency by percentile', y: { label: 'latency, ms' }, series }),
      caption:
        'From the intended send time, everything on one machine; each point is the median of the runs.',
    },
    {
      name: 'p95',
      svg: barChart({
        title: 'P95 of each profile',
        x: { label: 'latency, ms' },
        bars: measured.map(p95Bar),
      }),
      caption: 'Medians of the runs, from the intended send time.',
    },
    {
      name: 'cpu',
      svg: processors('Processor time by process', rows, cores),
      caption: "Medians of the runs. The lane is the busiest of Holdfast's threads beside the main one.",
    },
    {
      name: 'footprint',
      svg: footprint(profiles),
      caption: 'At the end of each run, in the order they were made.',
    },
  ];
}

function p95Bar({ profile, runs }: ProfileRuns): Bar {
  const value = median(runs.filter(isMeasured).map(({ result }) => result.latency.p95Ms))!;
  const bound = profile.targets.p95Ms;
  return {
    name: `${profile.name}, ${grouped(profile.rate)} ops/s`,
    value,
    ...(bound === undefined ? {} : { note: `target ≤ ${bound} ms` }),
  };
}

function percentiles(found: ProfileRuns, runs: readonly Measurement[]): string {
  const ceilings = found.ceilings.filter(isMeasured);
  const worst = runs.toSorted((a, b) => b.result.latency.p95Ms - a.result.latency.p95Ms)[0];
  const series: Series[] = [
    { name: 'Holdfast', points: medianPercentiles(runs.map(({ result }) => result.latency)) },
  ];
  if (ceilings.length > 0) {
    const points = medianPercentiles(ceilings.map(({ result }) => result.latency));
    series.push({ name: 'the bare ceiling at the same rate', points });
  }
  if (runs.length > 1) {
    const points = medianPercentiles([worst.result.latency]);
    series.push({ name: `Holdfast, the run with the highest P95`, points, dashed: true });
  }
  return percentileChart({
    title: `Latency by percentile: ${titleOf(found)}`,
    y: { label: 'latency, ms' },
    series,
    marks: latencyMarks(found),
  });
}

/** For each percentile, the median over the runs: so that P50, P95 and P99 are those that are judged. */
export function medianPercentiles(latencies: readonly Latency[]): [number, number][] {
  const histograms = latencies.filter(({ count }) => count > 0).map(({ histogram }) => addUp([histogram]));
  const least = Math.min(...histograms.map(({ totalCount }) => totalCount));
  const points: [number, number][] = [];
  for (let i = 0; ; i++) {
    const beyond = 10 ** (-i / POINTS_A_NINE);
    if (!Number.isFinite(least) || (i > 0 && beyond * least < OPS_BEYOND_MIN)) return points;
    const percentile = 100 * (1 - beyond);
    const values = histograms.map((histogram) => histogram.getValueAtPercentile(percentile) / 1000);
    points.push([percentile, median(values)!]);
  }
}

function histogram(found: ProfileRuns, runs: readonly Measurement[]): string {
  const ceilings = found.ceilings.filter(isMeasured).map(({ result }) => result.latency);
  return lineChart({
    title: `Latency histogram: ${titleOf(found)}`,
    x: { label: 'latency, ms', log: true },
    y: { label: '% of ops' },
    series: [
      { name: 'Holdfast', points: columnsOf(runs.map(({ result }) => result.latency)), filled: true },
      ...(ceilings.length === 0
        ? []
        : [{ name: 'the bare ceiling at the same rate', points: columnsOf(ceilings), filled: true }]),
    ],
  });
}

/** [where a column begins in ms, per cent of all ops in it]; a last one of 0 ends it. */
function columnsOf(latencies: readonly Latency[]): [number, number][] {
  const all = addUp(latencies.map((latency) => latency.histogram));
  if (!(all instanceof JsHistogram) || all.totalCount === 0) return [];
  const counts: number[] = [];
  for (let i = 0; i < all.countsArrayLength; i++) {
    const count = all.getCountAtIndex(i);
    if (count === 0) continue;
    const column = Math.floor(Math.log10(Math.max(1, all.valueFromIndex(i))) * COLUMNS_A_DECADE);
    counts[column] = (counts[column] ?? 0) + count;
  }
  const first = counts.findIndex((count) => count > 0);
  const beginsAt = (column: number): number => 10 ** (column / COLUMNS_A_DECADE) / 1000;
  return Array.from({ length: counts.length - first + 1 }, (_, i) => [
    beginsAt(first + i),
    (100 * (counts[first + i] ?? 0)) / all.totalCount,
  ]);
}

function throughput(found: ProfileRuns, { result }: Measurement): string {
  const each = secondsOf(result);
  const rate = (of: 'sent' | 'answered'): [number, number][] =>
    each.map((second) => [second.atSeconds, second[of] / second.lasted]);
  const failed = each.map((second): [number, number] => [second.atSeconds, second.errors / second.lasted]);
  return lineChart({
    title: `Throughput: ${titleOf(found)}`,
    x: { label: 'measured time, s', min: 0 },
    y: { label: 'ops/s' },
    series: [
      { name: 'sent', points: rate('sent'), dashed: true },
      { name: 'answered as expected', points: rate('answered') },
      { name: 'errors', points: failed },
    ],
  });
}

/** The seconds of the measured time, each with how long it lasted: the last one may be shorter. */
function secondsOf({ timeline }: LoadResult) {
  const measured = timeline.filter(({ atSeconds }) => atSeconds > 0);
  return measured.map((second, i) => ({
    ...second,
    lasted: second.atSeconds - (measured[i - 1]?.atSeconds ?? 0),
  }));
}

function latency(found: ProfileRuns, { result }: Measurement): string {
  const each = secondsOf(result).filter(({ answered }) => answered > 0);
  const line = (name: string, of: 'p50Ms' | 'p95Ms' | 'p99Ms' | 'maxMs'): Series => ({
    name,
    points: each.map((second) => [second.atSeconds, second[of]]),
  });
  return lineChart({
    title: `Latency over time: ${titleOf(found)}`,
    x: { label: 'measured time, s', min: 0 },
    y: { label: 'latency, ms', log: true },
    series: [line('P50', 'p50Ms'), line('P95', 'p95Ms'), line('P99', 'p99Ms'), line('highest', 'maxMs')],
    marks: latencyMarks(found).map((mark) => ({ ...mark, axis: 'y' })),
  });
}

function latencyMarks({ profile: { targets } }: ProfileRuns): Omit<Mark, 'axis'>[] {
  return (['p50Ms', 'p95Ms', 'p99Ms'] as const).flatMap((target) => {
    const bound = targets[target];
    return bound === undefined ? [] : [{ at: bound, label: targetText({ target, bound }) }];
  });
}

interface CpuRow {
  readonly name: string;
  readonly values: readonly number[];
}

function processors(title: string, rows: readonly CpuRow[], cores: number): string {
  const marks = [{ at: cores, label: `${cores} cores` }];
  return stackedBarChart({ title, x: { label: 'cores' }, parts: PARTS, rows, marks });
}

/** Holdfast, and below it the ceiling. */
function rowsOfCpu({ runs, ceilings }: ProfileRuns): CpuRow[] {
  const row = (name: string, all: readonly (Measurement | CeilingMeasurement)[]): CpuRow[] => {
    const parts = all.map(({ cpu, result }) => partsOf(cpu, result.cpuSeconds, result));
    return all.length === 0
      ? []
      : [{ name, values: PARTS.map((_, i) => median(parts.map((one) => one[i]))!) }];
  };
  return [
    ...row('Holdfast', runs.filter(isMeasured)),
    ...row('the bare ceiling', ceilings.filter(isMeasured)),
  ];
}

function partsOf(
  cpu: Readonly<Record<string, ProcessCpu>>,
  loadCpuSeconds: number,
  { fromWallMs, toWallMs }: Pick<LoadResult, 'fromWallMs' | 'toWallMs'>,
): number[] {
  const { main = 0, others = [], total = 0 } = cpu['holdfast'] ?? {};
  const lane = others[0] ?? 0;
  // The driver knows that of all its processes.
  const load = loadCpuSeconds / ((toWallMs - fromWallMs) / 1000);
  return [main, lane, Math.max(0, total - main - lane), cpu['etcd']?.total ?? 0, load];
}

function footprint(profiles: readonly ProfileRuns[]): string {
  const all: (Measurement | CeilingMeasurement)[] = profiles.flatMap(({ runs, ceilings }) => [
    ...runs.filter(isMeasured),
    ...ceilings.filter(isMeasured),
  ]);
  const inOrder = all.toSorted((a, b) => a.startedAt.localeCompare(b.startedAt));
  const line = (name: string, of: keyof Footprint): Series => ({
    name,
    points: inOrder.flatMap(({ footprint }, i): [number, number][] => {
      const bytes = footprint[of];
      return bytes === undefined ? [] : [[i + 1, bytes / 2 ** 20]];
    }),
    dots: inOrder.length < 50,
  });
  return lineChart({
    title: 'Disk and memory',
    x: { label: 'runs so far, ceilings too', min: 0 },
    y: { label: 'MiB' },
    series: [
      line("etcd's database", 'databaseBytes'),
      line("etcd's write-ahead log", 'logBytes'),
      line("etcd's memory", 'etcdMemoryBytes'),
      line("Holdfast's memory, at most", 'holdfastMemoryBytes'),
    ],
  });
}

function titleOf({ profile }: ProfileRuns): string {
  return `${profile.name}, ${grouped(profile.rate)} ops/s`;
}
