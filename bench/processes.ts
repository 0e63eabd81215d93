/**
 * `npm run bench:processes`: 1, 2 and 3 processes on the same etcd shards in
 * one run, with names whose slot the contacted process owns (local) and names
 * that another one owns (forwarded) apart: what more processes bring, and what
 * the hop between them costs. Everything on this machine, the load too.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { failuresOf, mergeResults, type LoadResult } from '../loadtest/result.ts';
import { startEtcd, type EtcdCluster } from '../src/cli/etcd-server.ts';
import { Owners } from '../test/servers/owners.ts';
import { Processes } from '../test/servers/processes.ts';
import { runLoadDriver } from './children.ts';
import { CpuSampler } from './cpu.ts';
import { aligned } from '../loadtest/report/text.ts';

interface Options {
  readonly processes: readonly number[];
  readonly shards: number;
  readonly rate: number;
  readonly ladder: readonly number[];
  readonly seconds: number;
  readonly ladderSeconds: number;
  readonly warmup: number;
  readonly names: number;
  readonly opsPerFrame: number;
  readonly json: string | undefined;
}

type Kind = 'local' | 'forwarded';

interface Row {
  readonly processes: number;
  readonly kind: Kind;
  readonly offered: number;
  readonly achieved: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** Processor time of an op, in µs: main threads, and all other threads, of all processes; etcd; the load itself. */
  readonly frontUs: number;
  readonly restUs: number;
  readonly etcdUs: number;
  readonly loadUs: number;
  readonly bad: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Slots whose owner changed meanwhile: the kinds are then mixed. */
  readonly moved: number;
}

/** A rate is held when this part of it is achieved, and nothing failed. */
const HELD = 0.97;
const SOCKETS = 8;

function readOptions(): Options {
  const numbers = (text: string): number[] => (text === '' ? [] : text.split(',').map(Number));
  return new Command('processes')
    .option('--processes <n,…>', 'how many', numbers, [1, 2, 3])
    .option('--shards <n>', 'etcd shards, one member each', Number, 2)
    .option('--rate <ops/s>', 'the rate that all are compared at', Number, 66_667)
    .option(
      '--ladder <ops/s,…>',
      'rates to find the highest that is held',
      numbers,
      [100_000, 150_000, 200_000, 300_000, 400_000, 600_000],
    )
    .option('--seconds <s>', 'measured time at the rate', Number, 20)
    .option('--ladder-seconds <s>', 'measured time at each rate of the ladder', Number, 6)
    .option('--warmup <s>', 'time before each', Number, 3)
    .option('--names <n>', 'different locks', Number, 131_072)
    .option('--ops-per-frame <n>', 'ops in one WebSocket frame', Number, 64)
    .option('--json <file>', 'write the figures there')
    .parse()
    .opts<Options>();
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

class Bench {
  readonly rows: Row[] = [];
  readonly #options: Options;
  readonly #folder: string;
  readonly #etcd: EtcdCluster[] = [];

  constructor(options: Options, folder: string) {
    this.#options = options;
    this.#folder = folder;
  }

  async run(): Promise<void> {
    for (let i = 0; i < this.#options.shards; i++) {
      this.#etcd.push(await startEtcd({ dataFolder: join(this.#folder, `s${i}`) }));
    }
    for (const count of this.#options.processes) {
      const etcd = this.#endpoints;
      const processes = await Processes.start({ count, etcd, folder: this.#folder });
      try {
        await this.#rates(processes, 'local');
        if (count > 1) await this.#rates(processes, 'forwarded');
      } finally {
        await processes.stop();
      }
    }
  }

  async stop(): Promise<void> {
    for (const cluster of this.#etcd) await cluster.stop();
  }

  get #endpoints(): (readonly string[])[] {
    return this.#etcd.map((cluster) => cluster.endpoints);
  }

  async #rates(processes: Processes, kind: Kind): Promise<void> {
    const { rate, ladder, seconds, ladderSeconds } = this.#options;
    const files = await this.#writeNames(processes, kind);
    await this.#measure(processes, kind, files, rate, seconds);
    for (const step of ladder) {
      const { achieved, offered, bad } = await this.#measure(processes, kind, files, step, ladderSeconds);
      if (bad > 0 || achieved < HELD * offered) return;
    }
  }

  /** A file of names for each process that is contacted. */
  async #writeNames(processes: Processes, kind: Kind): Promise<string[]> {
    const { places } = processes;
    const wanted = this.#namesEach(places.length);
    const owners = await Owners.read(this.#endpoints);
    const lists = places.map((): string[] => []);
    const run = Math.random().toString(36).slice(2, 8).padEnd(6, '0');
    for (let i = 0; lists.some((list) => list.length < wanted); i++) {
      const name = `processes-${run}-${String(i).padStart(8, '0')}`;
      const owner = places.findIndex((place) => place.address === owners.addressOf(name));
      if (owner < 0) throw new Error('a slot has no owner among the processes that were started');
      // A name of one process is forwarded by each of the others in turn.
      const contacted = kind === 'local' ? owner : (owner + 1 + (i % (places.length - 1))) % places.length;
      if (lists[contacted].length < wanted) lists[contacted].push(name);
    }
    const files = lists.map((_, i) => join(this.#folder, `${kind}-${i}.txt`));
    for (const [i, list] of lists.entries()) await writeFile(files[i], `${list.join('\n')}\n`);
    return files;
  }

  /** Whole frames. */
  #namesEach(processes: number): number {
    const { names, opsPerFrame } = this.#options;
    return Math.ceil(names / processes / opsPerFrame) * opsPerFrame;
  }

  async #measure(
    processes: Processes,
    kind: Kind,
    files: readonly string[],
    rate: number,
    seconds: number,
  ): Promise<Row> {
    const { warmup, opsPerFrame } = this.#options;
    const { places } = processes;
    say(`${places.length} processes, ${kind}, ${rate} ops/s for ${seconds} s`);
    const before = await Owners.read(this.#endpoints);
    const servers = new Map(places.map((place) => [place.name, place.server.pid]));
    const etcd = this.#etcd.map((cluster, i): [string, number] => [`etcd s${i}`, cluster.members[0].pid!]);
    const sampler = new CpuSampler(new Map([...servers, ...etcd]));
    const runs = places.map((place, i) => {
      const where = { url: place.wsUrl, namesFile: files[i], names: this.#namesEach(places.length) };
      const what = { workload: 'acquire-release', rate: rate / places.length, seconds } as const;
      const how = { warmupSeconds: warmup, opsPerFrame, sockets: Math.ceil(SOCKETS / places.length) };
      return runLoadDriver({ ...where, ...what, ...how }, new Map());
    });
    const result = mergeResults((await Promise.all(runs)).map((run) => run.result));
    sampler.stop();
    const cpu = sampler.between(result.fromWallMs, result.toWallMs);
    const moved = before.moved(await Owners.read(this.#endpoints));
    const coresOf = (labels: Iterable<string>, of: 'main' | 'total'): number =>
      [...labels].reduce((sum, label) => sum + (cpu.get(label)?.[of] ?? 0), 0);
    const front = coresOf(servers.keys(), 'main');
    const total = coresOf(servers.keys(), 'total');
    const etcdCores = coresOf(new Map(etcd).keys(), 'total');
    return this.#add(places.length, kind, result, moved, { front, rest: total - front, etcd: etcdCores });
  }

  #add(
    processes: number,
    kind: Kind,
    result: LoadResult,
    moved: number,
    cores: { front: number; rest: number; etcd: number },
  ): Row {
    const { offered, achieved, latency, errors } = result;
    const perOp = (used: number): number => (used * 1e6) / Math.max(1, achieved);
    const row: Row = {
      processes,
      kind,
      offered,
      achieved,
      p50Ms: latency.p50Ms,
      p95Ms: latency.p95Ms,
      p99Ms: latency.p99Ms,
      frontUs: perOp(cores.front),
      restUs: perOp(cores.rest),
      etcdUs: perOp(cores.etcd),
      loadUs: perOp(result.cpuSeconds / result.seconds),
      bad: failuresOf(result),
      errors,
      moved,
    };
    this.rows.push(row);
    say(
      `  ${achieved.toFixed(0)} ops/s, P50 ${row.p50Ms.toFixed(2)} P95 ${row.p95Ms.toFixed(2)} ms, bad ${row.bad}`,
    );
    return row;
  }
}

function table(rows: readonly Row[]): string {
  const head = [
    ...['processes', 'names', 'offered/s', 'achieved/s', 'P50 ms', 'P95 ms', 'P99 ms'],
    ...['µs/op: fronts', 'their other threads', 'etcd', 'load', 'failed', 'slots moved'],
  ];
  const lines = rows.map((row) => [
    ...[String(row.processes), row.kind, row.offered.toFixed(0), row.achieved.toFixed(0)],
    ...[row.p50Ms, row.p95Ms, row.p99Ms, row.frontUs, row.restUs, row.etcdUs, row.loadUs].map((n) =>
      n.toFixed(2),
    ),
    ...[String(row.bad), String(row.moved)],
  ]);
  return aligned([head, ...lines]);
}

/** What the rows say: the highest rate that was held, and the cost of the hop at the common rate. */
function conclusions(rows: readonly Row[]): string[] {
  const lines: string[] = [];
  for (const processes of new Set(rows.map((row) => row.processes))) {
    for (const kind of ['local', 'forwarded'] as const) {
      const held = rows.filter(
        (row) =>
          row.processes === processes &&
          row.kind === kind &&
          row.bad === 0 &&
          row.achieved >= HELD * row.offered,
      );
      const best = held.toSorted((a, b) => b.offered - a.offered)[0];
      if (best !== undefined)
        lines.push(
          `${processes} processes, ${kind}: held ${best.offered.toFixed(0)} ops/s (P50 ${best.p50Ms.toFixed(2)}, P95 ${best.p95Ms.toFixed(2)} ms)`,
        );
    }
    const [local] = rows.filter((row) => row.processes === processes && row.kind === 'local');
    const [forwarded] = rows.filter((row) => row.processes === processes && row.kind === 'forwarded');
    if (forwarded === undefined) continue;
    const more = (of: 'p50Ms' | 'p95Ms' | 'frontUs'): string => {
      const difference = forwarded[of] - local[of];
      return `${difference < 0 ? '' : '+'}${difference.toFixed(2)}`;
    };
    lines.push(
      `the hop at ${local.offered.toFixed(0)} ops/s over ${processes} processes: P50 ${more('p50Ms')} ms, ` +
        `P95 ${more('p95Ms')} ms, fronts ${more('frontUs')} µs an op`,
    );
  }
  return lines;
}

const options = readOptions();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-processes-'));
const bench = new Bench(options, folder);
try {
  await bench.run();
  const machine = `${cpus().length} cores of ${cpus()[0].model.trim()}`;
  const lines = [
    `acquire and release of ${options.names} names, frames of ${options.opsPerFrame} ops, ${SOCKETS} sockets in all, ` +
      `${options.shards} etcd shards of one member, ${machine}, Node ${process.version}`,
    table(bench.rows),
    ...conclusions(bench.rows),
  ];
  process.stdout.write(`\n${lines.join('\n')}\n`);
  if (options.json !== undefined)
    await writeFile(options.json, JSON.stringify({ options, rows: bench.rows }, null, 2));
} finally {
  await bench.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
