/**
 * Charts of reports as SVG text: drawn by ECharts without a browser, the same
 * bytes for the same figures, and readable on a light and on a dark page.
 *
 * Pure functions. Text from outside is escaped, and every chart has a `<title>`
 * for those who can't see it. Widths and heights are pixels; a page scales the
 * chart to its own width.
 */
import { rangeOf, shortNumber, type Axis } from './axes.ts';
import {
  colourOf,
  draw,
  FONT,
  heading,
  literal,
  markLines,
  nameAxis,
  placeBy,
  rowHeight,
  TEXT,
  valueAxis,
  widthOf,
  type Named,
} from './drawing.ts';
import { clean } from './escape.ts';

export type { Axis } from './axes.ts';

const WIDTH = 760;
const HEIGHT = 360;
const PERCENTILES = [0, 50, 75, 90, 99, 99.9, 99.99, 99.999, 99.9999];

export interface Size {
  readonly width?: number;
  readonly height?: number;
}

export interface Series {
  readonly name: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly dashed?: boolean;
  /** In steps, filled down to the axis: for histograms. */
  readonly filled?: boolean;
  /** A dot at each point: for few points that were measured one by one. */
  readonly dots?: boolean;
}

/** A line across the chart, such as a target. */
export interface Mark {
  readonly axis: 'x' | 'y';
  readonly at: number;
  readonly label: string;
}

export interface LineChart extends Size {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly series: readonly Series[];
  readonly marks?: readonly Mark[];
}

export interface PercentileChart extends Size {
  readonly title: string;
  /** Of the latency; logarithmic unless it says otherwise. */
  readonly y: Axis;
  /** Points are [percentile, latency]; 100 has no place on the axis and is left out. */
  readonly series: readonly Series[];
  readonly marks?: readonly Omit<Mark, 'axis'>[];
}

export interface Bar {
  readonly name: string;
  readonly value: number;
  /** Stands after the value. */
  readonly note?: string;
}

export interface BarChart extends Size {
  readonly title: string;
  readonly x: Axis;
  readonly bars: readonly Bar[];
}

export interface StackedBarChart extends Size {
  readonly title: string;
  readonly x: Axis;
  /** What every row is made of, in the order it is stacked. */
  readonly parts: readonly string[];
  readonly rows: readonly { readonly name: string; readonly values: readonly number[] }[];
  readonly marks?: readonly Omit<Mark, 'axis'>[];
}

/** Lines over two axes. On a log axis, points that are not above 0 are left out. */
export function lineChart(chart: LineChart): string {
  const { title, x, marks = [], width = WIDTH, height = HEIGHT } = chart;
  const series = chart.series.map((one) => ({ ...one, name: clean(one.name), points: drawable(one, chart) }));
  const y = chart.y.log ? chart.y : { min: 0, ...chart.y };
  const values = (place: 0 | 1): number[] => [
    ...series.flatMap((one) => one.points.map((point) => point[place])),
    ...marks.filter((mark) => mark.axis === 'xy'[place]).map((mark) => mark.at),
  ];
  const [xRange, yRange] = [rangeOf(x, values(0), 'tight'), rangeOf(y, values(1), 'ticks')];
  const [head, top] = heading(title, series.map(inLegend), width);
  const places = { x: placeBy(x, xRange), y: placeBy(y, yRange) };
  return draw(title, width, height, {
    ...head,
    grid: gridBelow(top + 22),
    xAxis: { ...valueAxis(x, xRange, 'x'), splitLine: { show: false } },
    yAxis: valueAxis(y, yRange, 'y'),
    series: series.map((one, i) => ({
      ...lineOf(one, i),
      ...(i === 0 ? { markLine: markLines(marks, places) } : {}),
    })),
  });
}

/** Latency by percentile, every further nine as wide as the one before it: the axis is 1 / (1 − p), logarithmic. */
export function percentileChart(chart: PercentileChart): string {
  const place = (percentile: number): number => 100 / (100 - percentile);
  const series = chart.series.map((one) => ({
    ...one,
    points: one.points
      .filter(([percentile]) => percentile < 100)
      .map(([percentile, value]): [number, number] => [place(percentile), value]),
  }));
  const farthest = Math.max(100, ...series.flatMap((one) => one.points.map((point) => point[0])));
  const shown = PERCENTILES.filter((percentile) => percentile !== 75 || farthest < 20_000);
  return lineChart({
    ...chart,
    x: {
      label: 'percentile of ops',
      log: true,
      min: 1,
      max: farthest,
      ticks: shown.map(place),
      format: (at) => `${Number((100 - 100 / at).toPrecision(7))} %`,
    },
    y: { log: true, ...chart.y },
    series,
    marks: (chart.marks ?? []).map((mark) => ({ ...mark, axis: 'y' })),
  });
}

/** Horizontal bars, the first on top, each with its value and note after it. On a log axis a value of 0 has no bar. */
export function barChart(chart: BarChart): string {
  const { title, bars, width = WIDTH } = chart;
  const names = bars.map((bar) => bar.name);
  const x = chart.x.log ? chart.x : { min: 0, ...chart.x };
  const format = x.format ?? shortNumber;
  const labels = bars.map(({ value, note }) =>
    clean(`${format(value)}${note === undefined ? '' : ` · ${note}`}`),
  );
  const range = rangeOf(
    x,
    bars.map((bar) => bar.value),
    'ticks',
  );
  const [head, top] = heading(title, [], width);
  return draw(title, width, chart.height ?? top + 60 + bars.length * rowHeight(names), {
    ...head,
    // The longest bar leaves room for what stands after it.
    grid: { ...gridBelow(top), right: 24 + Math.max(0, ...labels.map((label) => widthOf(label, 12))) },
    xAxis: valueAxis(x, range, 'x'),
    yAxis: nameAxis(names),
    series: [
      {
        ...barsOf(
          bars.map((bar) => (x.log ? Math.max(bar.value, range.min) : bar.value)),
          0,
        ),
        label: {
          show: true,
          position: 'right',
          color: TEXT,
          fontFamily: FONT,
          fontSize: 12,
          textBorderWidth: 0,
          formatter: ({ dataIndex }: { dataIndex: number }) => literal(labels[dataIndex])(),
        },
      },
    ],
  });
}

/** Horizontal bars of parts that add up, such as processor time by process. */
export function stackedBarChart(chart: StackedBarChart): string {
  const { title, rows, marks = [], width = WIDTH } = chart;
  const names = rows.map((row) => row.name);
  const x = { min: 0, ...chart.x };
  const parts: Named[] = chart.parts.map((name) => ({ name: clean(name) }));
  const sums = rows.map((row) => row.values.reduce((sum, value) => sum + value, 0));
  const range = rangeOf(x, [...sums, ...marks.map((mark) => mark.at)], 'ticks');
  const [head, top] = heading(title, parts, width);
  const placed = marks.map((mark) => ({ ...mark, axis: 'x' as const }));
  return draw(title, width, chart.height ?? top + 60 + rows.length * rowHeight(names), {
    ...head,
    grid: gridBelow(top),
    xAxis: valueAxis(x, range, 'x'),
    yAxis: nameAxis(names),
    series: parts.map(({ name }, i) => ({
      ...barsOf(
        rows.map((row) => row.values[i] ?? 0),
        i,
      ),
      name,
      stack: 'all',
      ...(i === 0 ? { markLine: markLines(placed, { x: placeBy(x, range), y: () => 0 }) } : {}),
    })),
  });
}

function drawable({ points }: Series, { x, y }: LineChart): (readonly [number, number])[] {
  const fits = (axis: Axis, value: number): boolean => Number.isFinite(value) && (!axis.log || value > 0);
  return points.filter((point) => fits(x, point[0]) && fits(y, point[1]));
}

function inLegend({ name, dashed, filled }: Series): Named {
  return { name, icon: filled ? 'box' : dashed ? 'dashes' : 'line' };
}

function gridBelow(top: number): object {
  return { left: 20, right: 28, top, bottom: 44, outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' };
}

function lineOf(series: Series, i: number): object {
  const colour = colourOf(i);
  const isDotted = series.dots ?? series.points.length < 2;
  return {
    type: 'line',
    name: series.name,
    silent: true,
    data: series.points.map((point) => [...point]),
    step: series.filled ? 'end' : false,
    showSymbol: isDotted,
    symbol: isDotted ? 'circle' : 'none',
    symbolSize: 6,
    itemStyle: { color: colour },
    lineStyle: { color: colour, width: 1.8, type: series.dashed ? [6, 4] : 'solid' },
    ...(series.filled ? { areaStyle: { color: colour, opacity: 0.18 } } : {}),
  };
}

function barsOf(data: readonly number[], i: number): object {
  return { type: 'bar', silent: true, barMaxWidth: 18, itemStyle: { color: colourOf(i) }, data };
}
