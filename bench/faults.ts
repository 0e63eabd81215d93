/**
 * `npm run bench:faults`: three processes on two etcd clusters of three
 * members, under load, while processes and etcd members are killed, frozen and
 * restarted one after the other. For each event: the longest pauses, what was
 * refused or left unknown, and violations. Ends with 1 when there was one.
 *
 * test/chaos/processes.test.ts runs the short form.
 */
import { rm, mkdtemp, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { startEtcd, type EtcdCluster } from '../src/cli/etcd-server.ts';
import { LIMITS } from '../src/limits.ts';
import { Faults, faultTable } from '../test/chaos/faults.ts';
import { Processes } from '../test/servers/processes.ts';

interface Options {
  readonly processes: number;
  readonly shards: number;
  readonly rate: number;
  readonly groups: number;
  readonly contenders: number;
  readonly down: number;
  readonly away: number;
  readonly calm: number;
  readonly short: boolean;
  readonly json: string | undefined;
}

function readOptions(): Options {
  return new Command('faults')
    .option('--processes <n>', 'processes', Number, 3)
    .option('--shards <n>', 'etcd clusters, each of three members', Number, 2)
    .option('--rate <n>', 'locks a second that are taken and released in the background', Number, 500)
    .option('--groups <n>', 'slots whose pauses are told apart', Number, 96)
    .option('--contenders <n>', 'clients that fight for 60 locks', Number, 180)
    .option('--down <s>', 'how long what was killed stays down', Number, 8)
    .option('--away <s>', 'how long the etcd member is away', Number, 15)
    .option('--calm <s>', 'before and after each event', Number, 3)
    .option('--short', 'kill one process, not each in turn', false)
    .option('--json <file>', 'write the figures there')
    .parse()
    .opts<Options>();
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function run(options: Options, folder: string, etcd: EtcdCluster[]): Promise<boolean> {
  for (let i = 0; i < options.shards; i++) {
    etcd.push(await startEtcd({ dataFolder: join(folder, `s${i}`), members: 3 }));
  }
  const endpoints = etcd.map((cluster) => cluster.endpoints);
  const processes = await Processes.start({ count: options.processes, etcd: endpoints, folder });
  const faults = new Faults({
    processes,
    shards: etcd,
    requestTimeoutMs: LIMITS.requestTimeoutMsDefault,
    rate: options.rate,
    groups: options.groups,
    contenders: options.contenders,
    downMs: options.down * 1_000,
    memberAwayMs: options.away * 1_000,
    calmMs: options.calm * 1_000,
    short: options.short,
    say,
  });
  try {
    await faults.run();
  } finally {
    await processes.kill();
  }
  const { reports, claims } = faults;
  const names = processes.places.map((place) => place.name);
  const machine = `${cpus().length} cores of ${cpus()[0].model.trim()}`;
  const lines = [
    `${options.processes} processes on ${options.shards} etcd ${etcd[0].binary.version} clusters of 3 members, ${machine}`,
    `${2 * options.rate} ops/s in the background, a pause of ${Math.round((1_000 * options.groups) / options.rate)} ms a slot ` +
      `between two of them; ${claims} contended claims`,
    faultTable(reports, names),
    ...reports.flatMap(({ event, violations }) => violations.map((one) => `VIOLATION (${event}): ${one}`)),
  ];
  process.stdout.write(`\n${lines.join('\n')}\n`);
  if (options.json !== undefined) {
    await writeFile(options.json, JSON.stringify({ options, claims, reports }, null, 2));
  }
  return reports.every(({ violations }) => violations.length === 0);
}

const options = readOptions();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-faults-'));
const etcd: EtcdCluster[] = [];
try {
  process.exitCode = (await run(options, folder, etcd)) ? 0 : 1;
} finally {
  for (const cluster of etcd) await cluster.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
