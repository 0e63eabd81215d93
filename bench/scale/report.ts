/** Writes what was measured: JSON, SVGs and one self-contained page; and the same as text or Markdown. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { figure, page, pairs, paragraphs, table } from '../../loadtest/report/page.ts';
import { check, fit, type Checked } from './fit.ts';
import { medians } from './medians.ts';
import { modelPoints, type ModelPoint } from './observe.ts';
import { DEFAULT_LIMITS, planFor, type Plan } from './plan.ts';
import { modelPlots, plotsOf, type Plot } from './plots.ts';
import type { Dimension, Sample } from './point.ts';
import type { Failure } from './runner.ts';
import {
  coefficientTable,
  errorTable,
  markdown,
  modelTable,
  planTable,
  tableOf,
  text,
  type Table,
} from './tables.ts';

/** What docs/performance.md gives examples for. */
export const EXAMPLES = [66_667, 600_000, 1_000_000, 10_000_000];
/** Fewer can't tell the costs apart. */
const MODEL_POINTS_MIN = 4;
const SIZING = 'Sizing, by the model';

/** What is kept of a run, and what the model is fitted to again later. */
export interface Measured {
  readonly at: string;
  readonly machine: readonly (readonly [string, string])[];
  readonly cores: number;
  readonly seconds: number;
  readonly runs: number;
  /** To see that it works: the figures mean nothing. */
  readonly isQuick: boolean;
  readonly samples: readonly Sample[];
  readonly failures: readonly Failure[];
}

export interface Section {
  readonly heading: string;
  readonly about: string;
  readonly table: Table;
  readonly plots: readonly Plot[];
}

export function sectionsOf(measured: Measured, dimensions: readonly Dimension[]): Section[] {
  const samples = medians(measured.samples);
  const sections = dimensions
    .filter(({ name }) => samples.some(({ dimension }) => dimension === name))
    .map((dimension): Section => ({
      heading: dimension.title,
      about: dimension.about,
      table: tableOf(dimension, samples),
      plots: plotsOf(dimension, samples),
    }));
  const points = modelPoints(samples, measured.cores);
  if (points.length < MODEL_POINTS_MIN) return sections;
  const all = modelSections(points);
  // What a quick run would say about large systems could be taken for true.
  return [...sections, ...(measured.isQuick ? all.filter(({ heading }) => heading !== SIZING) : all)];
}

function modelSections(points: readonly ModelPoint[]): Section[] {
  const costs = fit(points);
  const checked: Checked<ModelPoint>[] = check(points);
  const plans = plansOf(points, EXAMPLES);
  return [
    {
      heading: 'The model: costs',
      about: `fitted to ${points.length} points by least squares of the relative deviations, none below 0`,
      table: coefficientTable(costs),
      plots: [],
    },
    {
      heading: 'The model: how far off',
      about: 'medians of the relative errors; «unseen»: predicted from all points but the one in question',
      table: errorTable(checked),
      plots: [],
    },
    {
      heading: 'The model against what was measured',
      about: '«unseen»: predicted from all points but this one',
      table: modelTable(checked),
      plots: modelPlots(checked),
    },
    {
      heading: SIZING,
      about: assumptions().join(' '),
      table: planTable(plans, DEFAULT_LIMITS),
      plots: [],
    },
  ];
}

export function plansOf(
  points: readonly ModelPoint[],
  rates: readonly number[],
  limits = DEFAULT_LIMITS,
): Plan[] {
  const costs = fit(points);
  return rates.map((opsPerSecond) => planFor(costs, opsPerSecond, limits));
}

/** What a plan takes for granted, one sentence each. */
export function assumptions(limits = DEFAULT_LIMITS): string[] {
  const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;
  return [
    'Extrapolated from one small machine that also ran etcd and the load; no plan of several machines was measured.',
    `Fronts and lanes are used up to ${percent(limits.threadUtilization)} of a core each.`,
    `An etcd member has ${limits.memberCores} cores, used up to ${percent(limits.memberUtilization)}; its costs grow with the work and not with the cores.`,
    `A shard has ${limits.membersPerShard} members, each of which costs what the single one that was measured costs.`,
    `A member's disk syncs up to ${limits.diskBytesPerSecond / 1e6} MB/s of journal at ${limits.bytesPerOp} bytes an op (assumed, not measured here).`,
    `Frames of ${limits.opsPerFrame} ops, names that any process may own, ${limits.distanceMs} ms of round trip to etcd on top, P50 up to ${limits.p50Ms} ms.`,
    `At least ${limits.processesMin} processes in a cell; a cell is a Holdfast cluster of its own with its part of the names.`,
  ];
}

/** For the terminal, or with Markdown tables. */
export function printed(sections: readonly Section[], isMarkdown: boolean): string {
  return sections
    .map(({ heading, about, table: of }) =>
      isMarkdown ? `### ${heading}\n\n${about}\n\n${markdown(of)}\n` : `${heading}: ${about}\n${text(of)}\n`,
    )
    .join('\n');
}

/** @returns the page's path */
export function writeReport(measured: Measured, sections: readonly Section[], folder: string): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'scale.json'), JSON.stringify(measured, null, 1));
  for (const { name, svg } of sections.flatMap(({ plots }) => plots)) {
    writeFileSync(join(folder, `${name}.svg`), svg);
  }
  const intro =
    (measured.isQuick ? 'A quick run, to see that it works: the figures mean nothing. ' : '') +
    `${measured.runs} run(s) of ${measured.seconds} s a point, medians; real etcd with fsync, ` +
    'open model: latency counts from the time at which an op was meant to be sent. Everything on one machine, the load too.';
  const html = page({
    title: 'Holdfast: the cost of scale',
    intro,
    sections: [
      ...sections.map(({ heading, about, table: of, plots }) => ({
        heading,
        html: [
          paragraphs(about),
          ...plots.map(({ svg, caption }) => figure(svg, caption)),
          table(of.head, of.rows),
        ].join('\n'),
      })),
      ...failureSection(measured.failures),
      { heading: 'The machine', html: pairs(measured.machine) },
    ],
  });
  const path = join(folder, 'scale.html');
  writeFileSync(path, html);
  return path;
}

function failureSection(failures: readonly Failure[]): { heading: string; html: string }[] {
  if (failures.length === 0) return [];
  const rows = failures.map(({ dimension, point, run, reason }) => {
    return [dimension, String(point.x), point.series, String(run + 1), reason];
  });
  return [{ heading: 'Not measured', html: table(['dimension', 'point', '', 'run', 'why'], rows) }];
}
