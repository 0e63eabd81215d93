/**
 * `npm run bench:peers`: Holdfast and other ways to take a lock, in one run on
 * this machine, with one method: saturation in a closed loop with as many
 * requests open as suit each best, and the latency at a rate that all can hold.
 * Real servers, one peer at a time, in turns; the load on the same cores.
 *
 * Ends with 1 when requests failed, and in CI when a peer could not be had.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { chmodSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { machine } from '../../loadtest/report/machine.ts';
import { NOT_COMPARED, PEERS, REFERENCE } from './list.ts';
import type { Peer } from './peer.ts';
import { reportPage, throughputChart } from './report.ts';
import { Session, type PeerRuns, type Times } from './session.ts';
import {
  aligned,
  exitCodeOf,
  figureCells,
  figuresOf,
  markdown,
  promiseCells,
  verdicts,
  type Figures,
} from './table.ts';

interface Options extends Times {
  readonly runs: number;
  readonly only: readonly string[];
  readonly out: string;
  readonly markdown: boolean;
}

function readOptions(): Options {
  const keys = PEERS.map(({ key }) => key);
  const command = new Command('peers')
    .description(`Holdfast beside other lock services.\n\nPeers:\n  ${keys.join(', ')}`)
    .option('--runs <n>', 'times that each peer is measured, in turns', Number, 3)
    .option('--seconds <s>', 'measured time at saturation', Number, 10)
    .option(
      '--sweep-seconds <s>',
      'measured time of each concurrency that is tried, once; 0: none is',
      Number,
      2,
    )
    .option('--rate <ops/s>', 'rate that all are compared at', Number, 500)
    .option('--rate-seconds <s>', 'measured time at that rate', Number, 5)
    .option('--warmup-seconds <s>', 'time before each measurement', Number, 3)
    .option('--only <peer,…>', 'which peers', (text) => text.split(','), keys)
    .option('--out <folder>', 'for peers.json and the report', 'reports/peers')
    .option('--markdown', 'print the tables as Markdown, too', false)
    .parse();
  const options = command.opts<Options>();
  for (const key of options.only) if (!keys.includes(key)) command.error(`no peer is called ${key}`);
  return options;
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function measure(
  options: Options,
  peers: readonly Peer[],
  session: Session,
  folder: string,
): Promise<PeerRuns[]> {
  const all = peers.map((peer): PeerRuns => ({
    peer,
    sweep: [],
    saturated: [],
    paced: [],
    missing: undefined,
  }));
  for (let run = 0; run < options.runs; run++) {
    for (const [i, runs] of all.entries()) {
      say(`run ${run + 1} of ${options.runs}, ${i + 1} of ${all.length}: ${runs.peer.name}`);
      await session.run(runs, join(folder, `${runs.peer.key}-${run}`));
    }
  }
  return all;
}

function methodOf({ seconds, runs, rate }: Options): string {
  return [
    'An op is one acquire or one release of a name that nobody else wants.',
    'Saturation: a closed loop, with as many ops in flight as served each best in a sweep; ' +
      `${seconds} s a run, median of ${runs} runs in turns.`,
    `At ${rate} ops/s: an open model, one name a request, latency from the intended time.`,
    'Servers and load share this machine; one peer runs at a time.',
  ].join('\n');
}

function textOf(options: Options, peers: readonly Peer[], rows: readonly Figures[], host: string): string {
  const figures = figureCells(rows, options.rate);
  const promises = promiseCells(peers);
  const missing = rows.filter((row) => row.missing !== undefined);
  const failed = rows.filter((row) => row.failed > 0);
  const lines = [
    ...[methodOf(options), host, '', aligned(figures), '', aligned(promises), ''],
    ...verdicts(rows),
    ...missing.map((row) => `!! NOT MEASURED: ${row.name}: ${row.missing}`),
    ...failed.map((row) => `!! FAILED: ${row.name}: ${JSON.stringify(row.failures)}`),
    ...NOT_COMPARED.map(({ name, why }) => `!! NOT COMPARED: ${name}: ${why}`),
    ...(options.markdown ? ['', markdown(figures), '', markdown(promises)] : []),
  ];
  return lines.join('\n');
}

/** peers.json, peers.svg and peers.html. */
async function writeReports(
  options: Options,
  peers: readonly Peer[],
  all: readonly PeerRuns[],
  rows: readonly Figures[],
  host: readonly (readonly [string, string])[],
): Promise<void> {
  const { out, rate } = options;
  const method = methodOf(options).replaceAll('\n', '\n\n');
  const settings = Object.fromEntries(Object.entries(options));
  const json = { settings, machine: Object.fromEntries(host), rows, runs: all };
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'peers.json'), JSON.stringify(json, null, 2));
  await writeFile(join(out, 'peers.svg'), throughputChart(rows, peers));
  await writeFile(join(out, 'peers.html'), reportPage(rows, peers, method, rate, host));
  say(`written to ${out}: peers.json, peers.svg, peers.html`);
}

async function main(): Promise<void> {
  const options = readOptions();
  const peers = PEERS.filter(({ key }) => options.only.includes(key));
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-peers-'));
  // PostgreSQL runs as another user and has its data below.
  chmodSync(folder, 0o755);
  const host = machine(folder);
  const session = new Session(options, say);
  const clear = (): Promise<void> => rm(folder, { recursive: true, force: true, maxRetries: 3 });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      say(`${signal}: ending what was started`);
      void session
        .end()
        .then(clear)
        .finally(() => process.exit(130));
    });
  }
  try {
    const all = await measure(options, peers, session, folder);
    if (session.isEnded) return;
    const rows = figuresOf(all, REFERENCE);
    const line = host.map(([name, value]) => `${name}: ${value}`).join('; ');
    process.stdout.write(`${textOf(options, peers, rows, line)}\n`);
    await writeReports(options, peers, all, rows, host);
    process.exitCode = exitCodeOf(rows, process.env['CI'] === 'true');
  } finally {
    await session.end();
    await clear();
  }
}

await main();
