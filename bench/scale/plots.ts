/** What a dimension's figures look like: latency, and processor time of an op, over its axis. */
import { lineChart, type Series } from '../../loadtest/report/charts.ts';
import type { Checked } from './fit.ts';
import type { ModelPoint } from './observe.ts';
import { isIdleSample, isLoadSample, isQueueSample, type Dimension, type Sample } from './point.ts';

export interface Plot {
  /** For the SVG's file. */
  readonly name: string;
  readonly svg: string;
  readonly caption: string;
}

const CAPTIONS = {
  latency: 'From the time at which an op was meant to be sent: P50, and P95 dashed.',
  cores: 'Holdfast and etcd together, without the load.',
} as const;

/** Drawn at this place on a logarithmic axis, which has no 0. */
const ZERO_ON_LOG = 0.5;

export function plotsOf(dimension: Dimension, samples: readonly Sample[]): Plot[] {
  const own = samples.filter((sample) => sample.dimension === dimension.name);
  // Without an axis there is nothing to plot over.
  if (new Set(own.map(({ point }) => point.x)).size < 2 || own.some(isIdleSample)) return [];
  const timed = own.filter((sample) => isLoadSample(sample) || isQueueSample(sample));
  const latency = [
    ...seriesOf(dimension, timed, 'P50', (sample) => sample.p50Ms),
    ...seriesOf(dimension, timed, 'P95', (sample) => sample.p95Ms).map((s) => ({ ...s, dashed: true })),
  ];
  const used = seriesOf(dimension, timed, 'cores', ({ cores }) => {
    return cores.front + cores.lanes + cores.other + cores.etcd;
  });
  return [
    plot(dimension, 'latency', `${dimension.title}: latency`, 'ms', latency),
    plot(dimension, 'cores', `${dimension.title}: processor time`, 'cores', used),
  ];
}

/** Every point once: where the model is right, it lies on the line. */
export function modelPlots(checked: readonly Checked<ModelPoint>[]): Plot[] {
  if (checked.length < 2) return [];
  const of = (
    name: string,
    label: string,
    measured: (point: Checked<ModelPoint>) => number,
    model: (point: Checked<ModelPoint>) => number,
  ): Plot => {
    const points = checked.map((point): [number, number] => [measured(point), model(point)]);
    points.sort((a, b) => a[0] - b[0]);
    const ends = [points[0][0], points[points.length - 1][0]];
    const svg = lineChart({
      title: `Model and measurement: ${label}`,
      x: { label: `measured ${label}`, log: true },
      y: { label: `predicted ${label}`, log: true },
      series: [
        { name: 'predicted without having seen the point', points, dots: true },
        { name: 'as measured', points: ends.map((end): [number, number] => [end, end]), dashed: true },
      ],
    });
    return { name: `model-${name}`, svg, caption: `Each point of the dimensions, by its ${label}.` };
  };
  return [
    of(
      'p50',
      'P50 ms',
      (c) => c.observation.p50Ms,
      (c) => c.unseen.p50Ms,
    ),
    of(
      'commits',
      'commits/s',
      (c) => c.observation.commitsPerSecond,
      (c) => c.unseen.commitsPerSecond,
    ),
  ];
}

function seriesOf<T extends Sample>(
  { axis }: Dimension,
  samples: readonly T[],
  what: string,
  value: (sample: T) => number,
): Series[] {
  const byName = new Map<string, [x: number, y: number][]>();
  for (const sample of samples) {
    const name = `${what}, ${sample.point.series}`;
    const x = axis.isLog ? Math.max(ZERO_ON_LOG, sample.point.x) : sample.point.x;
    byName.set(name, [...(byName.get(name) ?? []), [x, value(sample)]]);
  }
  return [...byName].map(([name, points]) => {
    return { name, points: points.sort((a, b) => a[0] - b[0]), dots: true };
  });
}

function plot(
  dimension: Dimension,
  name: 'latency' | 'cores',
  title: string,
  label: string,
  series: readonly Series[],
): Plot {
  const svg = lineChart({
    title,
    x: { label: dimension.axis.label, log: dimension.axis.isLog },
    y: { label, log: name === 'latency' },
    series: [...series],
  });
  return { name: `${dimension.name}-${name}`, svg, caption: CAPTIONS[name] };
}
