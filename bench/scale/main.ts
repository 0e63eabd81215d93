/**
 * `npm run bench:scale`: what grows how. Rate, latency, processor time and
 * memory over the number of shards, lanes, processes, clients, held names, ops
 * in a frame, waiters, and the distance to etcd; and the model that is fitted
 * to them.
 *
 *   npm run bench:scale -- --quick                  everything, tiny: to see that it works
 *   npm run bench:scale -- --only batch,distance    some of it
 *   npm run bench:scale -- --plan 10000000          how much so many ops a second need, from the last run
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { machine } from '../../loadtest/report/machine.ts';
import { ROOT } from '../../test/servers/holdfast.ts';
import { DIMENSIONS } from './dimensions.ts';
import { fit } from './fit.ts';
import { medians } from './medians.ts';
import { modelPoints } from './observe.ts';
import { DEFAULT_LIMITS, planOneCell, type Plan } from './plan.ts';
import type { Dimension, Settings } from './point.ts';
import { assumptions, plansOf, printed, sectionsOf, writeReport, type Measured } from './report.ts';
import { Runner } from './runner.ts';
import { coefficientTable, markdown, planTable, text, type Table } from './tables.ts';

interface Options {
  readonly only: readonly string[];
  readonly seconds: number | undefined;
  readonly warmup: number | undefined;
  readonly runs: number;
  readonly quick?: boolean;
  readonly held: number;
  readonly out: string;
  readonly markdown?: boolean;
  readonly plan?: readonly number[];
  readonly shards?: number;
  readonly p50: number;
  readonly from?: string;
  readonly keepReference?: boolean;
}

/** Points that plans are made from where nothing has been measured yet. */
const REFERENCE = join(ROOT, 'bench', 'scale', 'reference.json');
const SECONDS = 20;
const QUICK_SECONDS = 1;
/** Until compilers are done with a fresh process. */
const WARMUP_SECONDS = 5;

function readOptions(): Options {
  const list = (text: string): string[] => text.split(',');
  const names = DIMENSIONS.map(({ name }) => name);
  const program = new Command('bench:scale')
    .option('--only <dimension,…>', names.join(', '), list, names)
    .option('--seconds <s>', `measured time of a point (default ${SECONDS}, quick ${QUICK_SECONDS})`, Number)
    .option('--warmup <s>', `time before it at the same rate (default ${WARMUP_SECONDS}, quick 0.5)`, Number)
    .option('--runs <n>', 'how often everything is measured, in turns; medians are told', Number, 1)
    .option('--quick', 'few points, low rates, short: to see that it works')
    .option('--held <names>', 'the most that are held; 10,000,000 takes minutes and 6 GB', Number, 1_000_000)
    .option('--out <folder>', 'for the report', join('reports', 'scale'))
    .option('--markdown', 'print tables as Markdown')
    .option('--plan <ops/s,…>', 'measure nothing; say what so many need', (t) => list(t).map(Number))
    .option('--shards <n>', 'with --plan: also all of it in one cluster of so many shards', Number)
    .option('--p50 <ms>', 'with --plan: the most that is wanted', Number, DEFAULT_LIMITS.p50Ms)
    .option('--from <file>', 'measure nothing; report, or plan from, what the scale.json of a run says')
    .option('--keep-reference', `keep the points in ${REFERENCE}`)
    .parse();
  const options = program.opts<Options>();
  const unknown = options.only.filter((name) => !names.includes(name));
  if (unknown.length > 0) program.error(`there is no dimension ${unknown.join(', ')}: ${names.join(', ')}`);
  return options;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function measure(options: Options, dimensions: readonly Dimension[]): Promise<Measured> {
  const isQuick = options.quick ?? false;
  const settings: Settings = {
    isQuick,
    seconds: options.seconds ?? (isQuick ? QUICK_SECONDS : SECONDS),
    warmupSeconds: options.warmup ?? (isQuick ? 0.5 : WARMUP_SECONDS),
    heldMax: options.held,
  };
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-scale-'));
  // Servers are killed when this process exits; their data goes last.
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const runner = new Runner({ settings, runs: options.runs, folder, say });
  try {
    await runner.run(dimensions);
  } finally {
    await runner.stop();
  }
  return {
    at: new Date().toISOString(),
    machine: machine(folder),
    ...{ cores: cpus().length, seconds: settings.seconds, runs: options.runs, isQuick },
    ...{ samples: runner.samples, failures: runner.failures },
  };
}

function readRun(path: string): Measured {
  return JSON.parse(readFileSync(path, 'utf8')) as Measured;
}

/** What a run measured: the named one, else the last one, else the one that is kept. */
function measuredBefore({ from, out }: Options): { measured: Measured; path: string } {
  if (from !== undefined) return { measured: readRun(from), path: from };
  const last = join(out, 'scale.json');
  const measured = existsSync(last) ? readRun(last) : undefined;
  if (measured?.isQuick === false) return { measured, path: last };
  return { measured: readRun(REFERENCE), path: REFERENCE };
}

function plan(options: Options, rates: readonly number[]): void {
  const { measured, path } = measuredBefore(options);
  const points = modelPoints(medians(measured.samples), measured.cores);
  const costs = fit(points);
  const limits = { ...DEFAULT_LIMITS, p50Ms: options.p50 };
  const { shards } = options;
  const single = shards === undefined ? [] : rates.map((rate) => planOneCell(costs, rate, shards, limits));
  const plans = [
    ...plansOf(points, rates, limits),
    ...single.filter((one): one is Plan => one !== undefined),
  ];
  const shown = (table: Table): string => (options.markdown ? markdown(table) : text(table));
  const lines = [
    shown(planTable(plans, limits)),
    ...(single.includes(undefined) ? [`One cluster of ${shards} shards can't do it within the limits.`] : []),
    `\nFrom ${points.length} points of ${measured.at} (${path}). What is taken for granted:`,
    ...assumptions(limits).map((line) => `- ${line}`),
    `\n${shown(coefficientTable(costs))}`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

async function main(): Promise<void> {
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => process.exit(code));
  }
  const options = readOptions();
  if (options.plan !== undefined) {
    plan(options, options.plan);
    return;
  }
  const dimensions = DIMENSIONS.filter(({ name }) => options.only.includes(name));
  const measured = options.from === undefined ? await measure(options, dimensions) : readRun(options.from);
  const sections = sectionsOf(measured, dimensions);
  process.stdout.write(`\n${printed(sections, options.markdown ?? false)}\n`);
  say(`report: ${writeReport(measured, sections, options.out)}`);
  if (options.keepReference === true) writeFileSync(REFERENCE, JSON.stringify(measured));
  const failed = measured.samples.some((sample) => 'failed' in sample && sample.failed > 0);
  if (measured.failures.length > 0 || failed) process.exitCode = 1;
}

await main();
