/**
 * `npm run bench`: Holdfast over etcd against the bare ceiling on the same etcd
 * in the same run, and the embedded store. Real etcd, fsync on, binary
 * WebSockets, open model; everything on this machine, the load too.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { failuresOf, type Latency } from '../loadtest/result.ts';
import { startEtcd, type EtcdCluster } from '../src/cli/etcd-server.ts';
import { startHoldfast, type HoldfastServer } from '../test/servers/holdfast.ts';
import { folderBytes, runCeilingProgram, runLoadDriver } from './children.ts';
import { residentBytes, type ProcessCpu } from './cpu.ts';
import { scrapeSum } from './scrape.ts';
import { aligned } from '../loadtest/report/text.ts';

interface Options {
  readonly rates: readonly number[];
  readonly seconds: number;
  readonly warmup: number;
  readonly shards: number;
  readonly workload: string;
  readonly opsPerFrame: number;
  readonly names: number;
  readonly only: string;
  readonly json: string | undefined;
  readonly nodeArgs: readonly string[];
  readonly workers: string | undefined;
}

interface Row {
  readonly what: string;
  readonly offered: number;
  readonly achieved: number;
  readonly latency: Omit<Latency, 'histogram'>;
  readonly sendLagP50Ms: number;
  readonly commitsPerSecond: number;
  readonly bad: number;
  readonly cpu: Readonly<Record<string, ProcessCpu>>;
}

function readOptions(): Options {
  const numbers = (text: string): number[] => text.split(',').map(Number);
  const o = new Command('bench')
    .option('--rates <ops/s,…>', 'offered rates', numbers, [66_667, 600_000])
    .option('--seconds <s>', 'measured time of each run', Number, 30)
    .option('--warmup <s>', 'time before it', Number, 3)
    .option('--shards <n>', 'etcd shards, one member each', Number, 1)
    .option('--workload <name>', 'acquire-release, renew or get', 'acquire-release')
    .option('--ops-per-frame <n>', 'ops in one WebSocket frame', Number, 64)
    .option('--names <n>', 'different locks', Number, 131_072)
    .option('--only <what,…>', 'ceiling, etcd, embedded', 'ceiling,etcd,embedded')
    .option('--json <file>', 'write the figures there')
    .option('--workers <n>', "lanes of Holdfast instead of the default's")
    .option(
      '--node-args <flags>',
      "flags for the server's Node, such as --cpu-prof",
      (text) => text.split(' '),
      [],
    )
    .parse()
    .opts();
  return o as Options;
}

class Bench {
  readonly #options: Options;
  readonly #folder: string;
  readonly rows: Row[] = [];
  readonly disk: string[] = [];
  #etcd: EtcdCluster[] = [];

  constructor(options: Options, folder: string) {
    this.#options = options;
    this.#folder = folder;
  }

  async run(): Promise<void> {
    const wanted = this.#options.only.split(',');
    if (wanted.includes('ceiling') || wanted.includes('etcd')) {
      await this.#startEtcd();
      for (const rate of this.#options.rates) {
        if (wanted.includes('ceiling')) await this.#ceiling(rate);
        if (wanted.includes('etcd')) await this.#holdfast('etcd', rate);
      }
      for (const [i, cluster] of this.#etcd.entries()) await this.#tellDisk(i, cluster);
    }
    if (wanted.includes('embedded')) {
      for (const rate of this.#options.rates) await this.#holdfast('embedded', rate);
      this.disk.push(`embedded: data folder ${mebibytes(folderBytes(join(this.#folder, 'data')))}`);
    }
  }

  async stop(): Promise<void> {
    for (const cluster of this.#etcd) await cluster.stop();
  }

  async #startEtcd(): Promise<void> {
    for (let i = 0; i < this.#options.shards; i++) {
      this.#etcd.push(await startEtcd({ dataFolder: join(this.#folder, `etcd-s${i}`) }));
    }
    say(`${this.#options.shards} etcd ${this.#etcd[0].binary.version}, fsync on, data in ${this.#folder}`);
  }

  get #etcdPids(): [string, number][] {
    return this.#etcd.map((cluster, i) => [`etcd s${i}`, cluster.members[0].pid!]);
  }

  async #ceiling(rate: number): Promise<void> {
    say(`ceiling at ${rate} ops/s for ${this.#options.seconds} s`);
    const { seconds, warmup, opsPerFrame } = this.#options;
    const shards = this.#etcd.map((cluster) => cluster.endpoints);
    const settings = { shards, rate, opsPerFrame, warmupSeconds: warmup, seconds };
    const { result, cpu } = await runCeilingProgram(settings, new Map(this.#etcdPids));
    const { latency, sendLag } = result;
    this.#add({
      ...result,
      what: 'ceiling',
      latency,
      sendLagP50Ms: sendLag.p50Ms,
      bad: 0,
      cpu: Object.fromEntries(cpu),
    });
  }

  async #holdfast(store: 'etcd' | 'embedded', rate: number): Promise<void> {
    say(`Holdfast on ${store} at ${rate} ops/s for ${this.#options.seconds} s`);
    const etcd = store === 'etcd' ? this.#etcd.map((cluster) => cluster.endpoints) : undefined;
    const { nodeArgs, workers } = this.#options;
    const server = await startHoldfast({
      folder: this.#folder,
      nodeArgs,
      ...(workers === undefined ? {} : { env: { HOLDFAST_WORKERS: workers } }),
      ...(etcd === undefined ? {} : { etcd }),
    });
    try {
      await this.#load(store, rate, server);
    } finally {
      await server.stop();
    }
  }

  async #load(store: 'etcd' | 'embedded', rate: number, server: HoldfastServer): Promise<void> {
    const { seconds, warmup, workload, names, opsPerFrame } = this.#options;
    const pids = new Map([['holdfast', server.pid], ...(store === 'etcd' ? this.#etcdPids : [])] as [
      string,
      number,
    ][]);
    const commits = () => scrapeSum(server.url, 'holdfast_commit_duration_seconds_count');
    const before = await commits();
    const run = { url: server.wsUrl, workload, rate, seconds, warmupSeconds: warmup, names, opsPerFrame };
    const { result, cpu } = await runLoadDriver(run, pids);
    const { latency, sendLag, errors } = result;
    if (Object.keys(errors).length > 0) say(`errors: ${JSON.stringify(errors)}`);
    const { fallingFences } = result.safety;
    if (fallingFences > 0) say(`FALLING FENCING TOKENS: ${fallingFences}`);
    this.#add({
      what: `Holdfast, ${store}`,
      offered: result.offered,
      achieved: result.achieved,
      latency,
      sendLagP50Ms: sendLag.p50Ms,
      commitsPerSecond: ((await commits()) - before) / (seconds + warmup),
      bad: failuresOf(result),
      cpu: Object.fromEntries(cpu),
    });
  }

  async #tellDisk(shard: number, cluster: EtcdCluster): Promise<void> {
    const member = join(this.#folder, `etcd-s${shard}`, 'm0', 'data', 'member');
    const database = mebibytes(folderBytes(join(member, 'snap')));
    const log = mebibytes(folderBytes(join(member, 'wal')));
    const memory = mebibytes(residentBytes(cluster.members[0].pid!));
    this.disk.push(
      `etcd s${shard}: database and snapshots ${database}, write-ahead log ${log}, memory ${memory}`,
    );
  }

  #add(row: Row): void {
    const { p50Ms, p95Ms, p99Ms, p999Ms, maxMs, count } = row.latency;
    this.rows.push({ ...row, latency: { count, p50Ms, p95Ms, p99Ms, p999Ms, maxMs } });
    say(`  p50 ${p50Ms.toFixed(2)}  p95 ${p95Ms.toFixed(2)}  p99 ${p99Ms.toFixed(2)} ms`);
  }
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

/** One line a run; the ratio is to the ceiling's run at the same rate. */
function table(rows: readonly Row[], rates: readonly number[]): string {
  const head = [
    '',
    'offered/s',
    'achieved/s',
    'P50 ms',
    'P95 ms',
    'P99 ms',
    '× ceiling P50/P95/P99',
    'commits/s',
    'failed',
    'cores',
  ];
  const lines = rows.map((row, i) => {
    const rate = rates.toSorted((a, b) => Math.abs(a - row.offered) - Math.abs(b - row.offered))[0];
    const near = (other: Row): boolean => Math.abs(other.offered - rate) <= 0.02 * rate;
    const ceiling = rows.slice(0, i).findLast((other) => other.what === 'ceiling' && near(other));
    const { latency } = row;
    const ratio = (of: 'p50Ms' | 'p95Ms' | 'p99Ms'): string =>
      (latency[of] / ceiling!.latency[of]).toFixed(2);
    const ratios = ceiling === undefined ? '' : `${ratio('p50Ms')} / ${ratio('p95Ms')} / ${ratio('p99Ms')}`;
    const times = [latency.p50Ms, latency.p95Ms, latency.p99Ms].map((ms) => ms.toFixed(2));
    const counts = [row.offered.toFixed(0), row.achieved.toFixed(0)];
    return [
      row.what,
      ...counts,
      ...times,
      ratios,
      row.commitsPerSecond.toFixed(0),
      String(row.bad),
      cores(row),
    ];
  });
  return aligned([head, ...lines]);
}

/** «holdfast .12 + .37 + .02, etcd s0 .57, load .18»: main thread and the busiest others of a server. */
function cores(row: Row): string {
  const short = (value: number): string => value.toFixed(2).replace(/^0/, '');
  const parts = Object.entries(row.cpu).map(([label, { total, main, others }]) => {
    if (label !== 'holdfast') return `${label} ${short(total)}`;
    const busy = others.filter((value) => value >= 0.005).slice(0, 4);
    const rest = total - main - busy.reduce((sum, value) => sum + value, 0);
    return `front ${short(main)}, its other threads ${[...busy, rest].map(short).join(' + ')}`;
  });
  return parts.join(', ');
}

const options = readOptions();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-bench-'));
const bench = new Bench(options, folder);
try {
  await bench.run();
  const { workload, opsPerFrame, seconds } = options;
  const machine = `${cpus().length} cores of ${cpus()[0].model.trim()}`;
  const lines = [
    `${workload}, frames of ${opsPerFrame} ops, 8 sockets, ${seconds} s a run, ${machine}, Node ${process.version}`,
    'Latency from the intended send time; of it the load driver itself: P50 ' +
      `${Math.max(0, ...bench.rows.map((row) => row.sendLagP50Ms)).toFixed(2)} ms at most (its timer counts whole milliseconds).`,
    table(bench.rows, options.rates),
    ...bench.disk,
  ];
  process.stdout.write(`\n${lines.join('\n')}\n`);
  if (options.json !== undefined) {
    await writeFile(options.json, JSON.stringify({ options, rows: bench.rows, disk: bench.disk }, null, 2));
  }
} finally {
  await bench.stop();
  await rm(folder, { recursive: true, force: true });
}
