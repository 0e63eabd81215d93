import { DOMParser, type Document } from '@xmldom/xmldom';
import { describe, expect, test } from 'vitest';
import {
  barChart,
  lineChart,
  percentileChart,
  stackedBarChart,
  type LineChart,
} from '../../../loadtest/report/charts.ts';

const LATENCY: LineChart = {
  title: 'Latency over time',
  x: { label: 'time, s' },
  y: { label: 'latency, ms', log: true },
  series: [
    { name: 'P50', points: Array.from({ length: 20 }, (_, i) => [i + 1, 2 + (i % 3)]) },
    { name: 'P95', points: Array.from({ length: 20 }, (_, i) => [i + 1, 5 + (i % 4)]), dashed: true },
  ],
  marks: [{ axis: 'y', at: 6, label: 'target P95' }],
};
const HOSTILE = `<script>alert("1")</script> & 'a' ]]> {b|c}\u0000\u0007`;
const SEEN = `<script>alert("1")</script> & 'a' ]]> {b|c}`;

/** Throws where it is not well-formed XML. */
function parse(svg: string): Document {
  const onError = (level: string, message: string): never => {
    throw new Error(`${level}: ${message}`);
  };
  return new DOMParser({ onError }).parseFromString(svg, 'image/svg+xml');
}

function texts(svg: string): string[] {
  return [...parse(svg).getElementsByTagName('text')].map((node) => node.textContent ?? '');
}

/** The vertical places at which the paths of a colour begin and end. */
function pathsOf(svg: string, colour: string): string[] {
  return [...parse(svg).getElementsByTagName('path')]
    .filter((node) => node.getAttribute('stroke') === colour && node.getAttribute('fill') === 'none')
    .map((node) => node.getAttribute('d')!);
}

describe('a line chart', () => {
  test('shows its title, axes, series and marks', () => {
    const shown = texts(lineChart(LATENCY));
    for (const text of ['Latency over time', 'time, s', 'latency, ms', 'P50', 'P95', 'target P95']) {
      expect(shown).toContain(text);
    }
    expect(parse(lineChart(LATENCY)).getElementsByTagName('title')[0].textContent).toBe('Latency over time');
  });

  test('is the same text every time, whatever was drawn before', () => {
    const first = lineChart(LATENCY);
    lineChart({ ...LATENCY, title: 'another' });
    expect(lineChart(LATENCY)).toBe(first);
  });

  test('shares no id with another chart of the same page', () => {
    const ids = (svg: string): string[] => [...svg.matchAll(/ id="([^"]+)"/g)].map((match) => match[1]);
    const one = ids(lineChart(LATENCY));
    const other = ids(lineChart({ ...LATENCY, title: 'another' }));
    expect(one.length).toBeGreaterThan(1);
    expect(one.filter((id) => other.includes(id))).toEqual([]);
    for (const [, id] of lineChart(LATENCY).matchAll(/url\(#([^)]+)\)/g)) expect(one).toContain(id);
  });

  test('keeps hostile text as text', () => {
    const svg = lineChart({
      ...LATENCY,
      title: HOSTILE,
      x: { label: HOSTILE },
      series: [
        { name: HOSTILE, points: [[1, 1]] },
        { name: 'other', points: [[2, 2]] },
      ],
      marks: [{ axis: 'y', at: 1, label: HOSTILE }],
    });
    expect(svg).not.toContain('<script');
    // Title, axis, legend and mark.
    expect(texts(svg).filter((text) => text === SEEN)).toHaveLength(4);
  });

  test('draws higher values higher up, and leaves out what a log axis has no place for', () => {
    const y = (points: [number, number][]): number[] => {
      const [path] = pathsOf(
        lineChart({ ...LATENCY, marks: [], series: [{ name: 'a', points }] }),
        '#0b66d0',
      );
      return [...path.matchAll(/[ML][\d.]+ ([\d.]+)/g)].map((match) => Number(match[1]));
    };
    const [low, high] = y([
      [1, 1],
      [2, 10],
    ]);
    expect(high).toBeLessThan(low);
    expect(
      y([
        [0, 1],
        [1, 0],
        [2, Number.NaN],
        [3, 10],
      ]),
    ).toHaveLength(2);
  });

  test('can be empty, and can have a single point', () => {
    expect(texts(lineChart({ ...LATENCY, series: [], marks: [] }))).toContain('Latency over time');
    expect(texts(lineChart({ ...LATENCY, series: [{ name: 'a', points: [[5, 5]] }] }))).toContain('5');
  });

  test('has a row of the legend for as many names as fit', () => {
    const names = Array.from({ length: 9 }, (_, i) => `a rather long name of a series ${i}`);
    const svg = lineChart({ ...LATENCY, series: names.map((name) => ({ name, points: [[1, 1]] })) });
    const places = [...parse(svg).getElementsByTagName('text')]
      .filter((node) => names.includes(node.textContent ?? ''))
      .map((node) =>
        /translate\(([\d.]+) ([\d.]+)\)/.exec(node.getAttribute('transform')!)!.slice(1).map(Number),
      );
    expect(places).toHaveLength(names.length);
    expect(new Set(places.map(([, y]) => y)).size).toBeGreaterThan(2);
    expect(Math.max(...places.map(([x]) => x))).toBeLessThan(760 - 200);
  });
});

test('colours of a dark page are those of a light one, each replaced', () => {
  const svg = lineChart(LATENCY);
  const used = new Set([...svg.matchAll(/(?:fill|stroke)="(#[0-9a-f]+)"/gi)].map((match) => match[1]));
  const replaced = new Set([...svg.matchAll(/\[(?:fill|stroke)="(#[0-9a-f]+)"\]/g)].map((match) => match[1]));
  used.delete('#000');
  expect([...used].filter((colour) => !replaced.has(colour))).toEqual([]);
  expect(svg).toContain('prefers-color-scheme:dark');
});

test('a percentile chart gives every nine the same width', () => {
  const points: [number, number][] = [
    [0, 1],
    [50, 2],
    [90, 4],
    [99, 8],
    [99.9, 16],
    [100, 99],
  ];
  const svg = percentileChart({ title: 'Latency', y: { label: 'ms' }, series: [{ name: 'a', points }] });
  const shown = texts(svg);
  for (const text of ['50 %', '90 %', '99 %', '99.9 %']) expect(shown).toContain(text);
  const [path] = pathsOf(svg, '#0b66d0');
  const x = [...path.matchAll(/[ML]([\d.]+) /g)].map((match) => Number(match[1]));
  // The point of 100 % is not there.
  expect(x).toHaveLength(5);
  expect(x[4] - x[3]).toBeCloseTo(x[3] - x[2], 0);
  expect(x[3] - x[2]).toBeCloseTo(x[2] - x[0], 0);
});

test('bars are labelled with name, value and note, from top to bottom', () => {
  const svg = barChart({
    title: 'Best rate',
    x: { label: 'ops/s', log: true },
    bars: [
      { name: 'Holdfast', value: 1_234_567, note: 'P95 18 ms' },
      { name: HOSTILE, value: 950 },
      { name: 'nothing', value: 0 },
    ],
  });
  const shown = texts(svg);
  for (const text of ['Best rate', 'ops/s', 'Holdfast', '1.23 M · P95 18 ms', '950', 'nothing', '0']) {
    expect(shown).toContain(text);
  }
  expect(svg).not.toContain('<script');
  const y = (name: string): number => {
    const node = [...parse(svg).getElementsByTagName('text')].find((one) => one.textContent === name)!;
    return Number(/translate\([\d.]+ ([\d.]+)\)/.exec(node.getAttribute('transform')!)![1]);
  };
  expect(y('Holdfast')).toBeLessThan(y('nothing'));
});

test('stacked bars show every part and its mark', () => {
  const shown = texts(
    stackedBarChart({
      title: 'Processor time',
      x: { label: 'cores' },
      parts: ['front', 'lane', 'etcd'],
      rows: [
        { name: 'steady', values: [0.1, 0.4, 0.6] },
        { name: 'peak', values: [0.1, 0.5] },
      ],
      marks: [{ at: 2, label: '2 cores' }],
    }),
  );
  for (const text of ['front', 'lane', 'etcd', 'steady', 'peak', '2 cores', '2'])
    expect(shown).toContain(text);
});
