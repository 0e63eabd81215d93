/**
 * What all charts share: ECharts without a browser, colours for light and dark
 * pages, legend and marks, and SVG whose bytes depend on nothing but the chart.
 */
import { createHash } from 'node:crypto';
import { BarChart, LineChart } from 'echarts/charts';
import { GridComponent, LegendComponent, MarkLineComponent, TitleComponent } from 'echarts/components';
import { init, setPlatformAPI, use } from 'echarts/core';
import type { EChartsCoreOption } from 'echarts/core';
import { SVGRenderer } from 'echarts/renderers';
import { clean, escapeXml } from './escape.ts';
import { placeOn, shortNumber, type Axis, type Range } from './axes.ts';

use([BarChart, LineChart, GridComponent, LegendComponent, MarkLineComponent, TitleComponent, SVGRenderer]);

export const FONT = 'system-ui, sans-serif';
const TITLE_HEIGHT = 38;
const LEGEND_ROW_HEIGHT = 20;
const LINE_HEIGHT = 15;
/** Of a line of a name at an axis. */
const NAME_CHARACTERS = 34;
const LEGEND_ICON = 20;
const LEGEND_GAP = 14;
/** Of a character, in parts of the font's size: that of wide fonts, as nobody knows the reader's. */
const CHARACTER_WIDTH = 0.6;
/** Marks closer than this part of the axis have their labels at opposite ends. */
const MARKS_APART = 0.07;

/** [on a light page, on a dark page]; each is used for one thing, as the dark one is found by the light one. */
const INK = {
  paper: ['#ffffff', '#11161d'],
  text: ['#24292f', '#e6edf3'],
  quiet: ['#57606a', '#9da7b3'],
  axis: ['#afb8c1', '#4b545f'],
  grid: ['#e4e8ec', '#262d36'],
  mark: ['#cf222e', '#ff8182'],
} as const;
const COLOURS = [
  ['#0b66d0', '#58a6ff'],
  ['#d4660a', '#ffa657'],
  ['#1a8754', '#4bd08b'],
  ['#9a3fb5', '#d69bff'],
  ['#0d8b96', '#4fd3dc'],
  ['#b38300', '#e8c545'],
  ['#c8326e', '#ff8fb8'],
  ['#6a737d', '#a0a9b3'],
  ['#5b50c8', '#a8a2ff'],
  ['#7a4a21', '#d3a17b'],
] as const;

setPlatformAPI({
  measureText: (text, font = '') => ({
    width: widthOf(text, Number.parseFloat(/[\d.]+(?=px)/.exec(font)?.[0] ?? '12')),
  }),
});

/** In pixels, and rather too much. ECharts takes the height of a line from the width of a wide character. */
export function widthOf(text: string, fontSize: number): number {
  let width = 0;
  for (const character of text) width += fontSize * (character < '\u2e80' ? CHARACTER_WIDTH : 1);
  return width;
}

export const PAPER = INK.paper[0];
export const TEXT = INK.text[0];

/** The n-th series' colour; the eleventh has the first one's again. */
export function colourOf(i: number): string {
  return COLOURS[i % COLOURS.length][0];
}

/** In a field of 20 × 8. */
const ICONS = {
  box: 'path://M0,0 L20,0 L20,8 L0,8 Z',
  line: 'path://M0,0 M20,8 M0,3 L20,3 L20,5 L0,5 Z',
  dashes: 'path://M0,0 M20,8 M0,3 L5,3 L5,5 L0,5 Z M7.5,3 L12.5,3 L12.5,5 L7.5,5 Z M15,3 L20,3 L20,5 L15,5 Z',
} as const;
const ICON_HEIGHT = 8;

export interface Named {
  readonly name: string;
  /** In the legend; a box where nothing is said. */
  readonly icon?: keyof typeof ICONS;
}

/** A string that ECharts draws as it stands: its braces are no template. */
export function literal(text: string): () => string {
  const drawn = clean(text);
  return () => drawn;
}

/** Title and legend, and how far down they reach. */
export function heading(title: string, series: readonly Named[], width: number): [EChartsCoreOption, number] {
  const titleOption = {
    text: clean(title),
    left: 16,
    top: 14,
    padding: 0,
    textStyle: {
      color: TEXT,
      fontFamily: FONT,
      fontSize: 15,
      fontWeight: 600,
      width: width - 32,
      overflow: 'truncate',
    },
  };
  if (series.length < 2) return [{ title: titleOption }, TITLE_HEIGHT + 8];
  const rows = legendRows(series, width);
  // A legend a row: ECharts would break them by widths of a font that is not the reader's.
  const legend = rows.map((data, row) => ({
    data: data.map(({ name, icon }) => ({ name, icon: ICONS[icon ?? 'box'] })),
    left: 16,
    top: TITLE_HEIGHT + row * LEGEND_ROW_HEIGHT,
    padding: 0,
    itemGap: LEGEND_GAP,
    itemWidth: LEGEND_ICON,
    itemHeight: ICON_HEIGHT,
    selectedMode: false,
    textStyle: { color: TEXT, fontFamily: FONT, fontSize: 12 },
  }));
  return [{ title: titleOption, legend }, TITLE_HEIGHT + rows.length * LEGEND_ROW_HEIGHT + 10];
}

/** Breaks before a row is full. */
function legendRows(series: readonly Named[], width: number): Named[][] {
  const rows: Named[][] = [[]];
  let used = 0;
  for (const one of series) {
    const needed = LEGEND_ICON + 5 + widthOf(one.name, 12) + LEGEND_GAP;
    if (used > 0 && used + needed > width - 28) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1)!.push(one);
    used += needed;
  }
  return rows;
}

export function valueAxis(axis: Axis, range: Range, direction: 'x' | 'y'): EChartsCoreOption {
  const format = axis.format ?? shortNumber;
  const isX = direction === 'x';
  const ticks = [...range.ticks];
  return {
    type: axis.log ? 'log' : 'value',
    min: range.min,
    max: range.max,
    name: clean(axis.label),
    nameLocation: isX ? 'middle' : 'end',
    nameGap: isX ? 30 : 12,
    nameTextStyle: { color: INK.quiet[0], fontFamily: FONT, fontSize: 12, align: isX ? 'center' : 'left' },
    axisLine: { show: isX, lineStyle: { color: INK.axis[0] } },
    axisTick: { show: isX, lineStyle: { color: INK.axis[0] }, customValues: ticks },
    axisLabel: {
      color: INK.quiet[0],
      fontFamily: FONT,
      fontSize: 12,
      customValues: ticks,
      hideOverlap: true,
      formatter: (value: number) => clean(format(value)),
    },
    splitLine: { lineStyle: { color: INK.grid[0] } },
    minorTick: { show: false },
  };
}

/** How high a row of `nameAxis` must be. */
export function rowHeight(names: readonly string[]): number {
  return Math.max(34, ...names.map((name) => brokenName(name).length * LINE_HEIGHT + 8));
}

function brokenName(name: string): string[] {
  const lines = [''];
  for (const word of clean(name).split(' ')) {
    const longer = lines.at(-1) === '' ? word : `${lines.at(-1)} ${word}`;
    if (longer.length <= NAME_CHARACTERS || lines.at(-1) === '') lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Names from top to bottom; long ones are broken into lines. */
export function nameAxis(names: readonly string[]): EChartsCoreOption {
  return {
    type: 'category',
    inverse: true,
    data: names.map((_, i) => i),
    axisLine: { lineStyle: { color: INK.axis[0] } },
    axisTick: { show: false },
    axisLabel: {
      color: TEXT,
      fontFamily: FONT,
      fontSize: 12,
      lineHeight: LINE_HEIGHT,
      interval: 0,
      formatter: (i: string) => brokenName(names[Number(i)]).join('\n'),
    },
  };
}

export interface PlacedMark {
  readonly axis: 'x' | 'y';
  readonly at: number;
  readonly label: string;
}

/** Dashed lines with their labels, those of neighbours at opposite ends. */
export function markLines(
  marks: readonly PlacedMark[],
  axes: Readonly<Record<'x' | 'y', (value: number) => number>>,
): EChartsCoreOption {
  const last = { x: -1, y: -1 };
  const atStart = { x: false, y: false };
  const placed = marks.toSorted((a, b) => a.at - b.at);
  return {
    silent: true,
    symbol: 'none',
    lineStyle: { color: INK.mark[0], type: [5, 4], width: 1.2 },
    data: placed.map(({ axis, at, label }) => {
      const place = axes[axis](at);
      atStart[axis] = place - last[axis] < MARKS_APART && !atStart[axis];
      last[axis] = place;
      return {
        [axis === 'x' ? 'xAxis' : 'yAxis']: at,
        label: {
          formatter: literal(label),
          position: atStart[axis] ? 'insideStartTop' : 'insideEndTop',
          color: INK.mark[0],
          fontFamily: FONT,
          fontSize: 11,
          distance: 4,
          textBorderWidth: 0,
        },
      };
    }),
  };
}

export function placeBy(axis: Axis, range: Range): (value: number) => number {
  return (value) => placeOn(axis, range, value);
}

/** The chart as one SVG element that says its title and adapts to dark pages. */
export function draw(title: string, width: number, height: number, option: EChartsCoreOption): string {
  const chart = init(null, null, { renderer: 'svg', ssr: true, width, height });
  try {
    chart.setOption({ animation: false, backgroundColor: PAPER, ...option });
    return finished(chart.renderToSVGString(), clean(title));
  } finally {
    chart.dispose();
  }
}

/** ECharts numbers its ids by the charts drawn so far, and styles for a pointer that isn't there. */
function finished(svg: string, title: string): string {
  const plain = svg
    .replace(/<style[^]*?<\/style>/g, '')
    // Boxes that nobody sees.
    .replace(/<path [^>]*fill-opacity="0"[^>]*stroke-width="0"[^>]*><\/path>\n?/g, '')
    .replace(/ (?:class|ecmeta_\w+|pointer-events)="[^"]*"/g, '')
    .replace(/\bzr\d+-(\w+)/g, '@@-$1')
    .replace(/<defs\s*>\s*<\/defs>/g, '')
    .replace(/\n\s*\n+/g, '\n');
  const id = `c${createHash('sha256').update(plain).digest('hex').slice(0, 10)}`;
  const root = /<svg [^>]*>/.exec(plain)![0];
  const named = root.replace(/^<svg /, `<svg class="chart" role="img" aria-labelledby="${id}-title" `);
  const head = `${named}\n<title id="${id}-title">${escapeXml(title)}</title>\n<style>${DARK}</style>`;
  return plain
    .replace(root, () => head)
    .replaceAll('@@-', `${id}-`)
    .trim();
}

const DARK = `@media (prefers-color-scheme:dark){${[...Object.values(INK), ...COLOURS]
  .map(([light, dark]) => `.chart [fill="${light}"]{fill:${dark}}.chart [stroke="${light}"]{stroke:${dark}}`)
  .join('')}}`;
