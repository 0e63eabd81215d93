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
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { NOT_COMPARED, PEERS, REFERENCE } from './list.ts';
import type { Peer } from './peer.ts';
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
    .option('--sweep-seconds <s>', 'measured time of each concurrency that is tried, once', Number, 2)
    .option('--rate <ops/s>', 'rate that all are compared at', Number, 500)
    .option('--rate-seconds <s>', 'measured time at that rate', Number, 5)
    .option('--warmup-seconds <s>', 'time before each measurement', Number, 1.5)
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

function report(options: Options, peers: readonly Peer[], rows: readonly Figures[]): string {
  const machine = `${cpus().length} cores of ${cpus()[0].model.trim()}, Node ${process.version}`;
  const figures = figureCells(rows, options.rate);
  const promises = promiseCells(peers);
  const missing = rows.filter((row) => row.missing !== undefined);
  const lines = [
    `An op is one acquire or one release of a name that nobody else wants. Saturation: closed loop, as many in flight as`,
    `served each best in a sweep, ${options.seconds} s, median of ${options.runs} runs in turns. At ${options.rate} ops/s: open model, one name a request.`,
    `Everything incl. the load on ${machine}.`,
    '',
    aligned(figures),
    '',
    aligned(promises),
    '',
    ...verdicts(rows),
    ...missing.map((row) => `!! NOT MEASURED: ${row.name}: ${row.missing}`),
    ...rows
      .filter((row) => row.failed > 0)
      .map((row) => `!! FAILED: ${row.name}: ${JSON.stringify(row.failures)}`),
    ...NOT_COMPARED.map(({ name, why }) => `!! NOT COMPARED: ${name}: ${why}`),
    ...(options.markdown ? ['', markdown(figures), '', markdown(promises)] : []),
  ];
  return lines.join('\n');
}

async function main(): Promise<void> {
  const options = readOptions();
  const peers = PEERS.filter(({ key }) => options.only.includes(key));
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-peers-'));
  // PostgreSQL runs as another user and has its data below.
  chmodSync(folder, 0o755);
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
    process.stdout.write(`${report(options, peers, rows)}\n`);
    await mkdir(options.out, { recursive: true });
    await writeFile(join(options.out, 'peers.json'), JSON.stringify({ options, rows, runs: all }, null, 2));
    process.exitCode = exitCodeOf(rows, process.env['CI'] === 'true');
  } finally {
    await session.end();
    await clear();
  }
}

await main();
