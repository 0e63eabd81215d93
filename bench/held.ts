/**
 * `npm run bench:held`: what a million held locks cost. Memory of Holdfast and
 * of each etcd, and how long another process needs to take them over after a
 * kill -9.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { startEtcd, type EtcdCluster } from '../src/cli/etcd-server.ts';
import { spawnHoldfast, startHoldfast, type HoldfastServer } from '../test/servers/holdfast.ts';
import { folderBytes, runLoadDriver } from './children.ts';
import { residentBytes } from './cpu.ts';
import { scrapeSum } from './scrape.ts';

interface Options {
  readonly locks: number;
  readonly shards: number;
  readonly readSeconds: number;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function run(
  options: Options,
  folder: string,
  etcd: EtcdCluster[],
  servers: HoldfastServer[],
): Promise<void> {
  const { locks, shards, readSeconds } = options;
  for (let i = 0; i < shards; i++) etcd.push(await startEtcd({ dataFolder: join(folder, `s${i}`) }));
  const where = { folder, etcd: etcd.map((cluster) => cluster.endpoints) };
  const first = await startHoldfast(where);
  servers.push(first);
  say(`empty: Holdfast ${mebibytes(residentBytes(first.pid))}, etcd ${etcdMemory(etcd)}`);
  const startedAt = performance.now();
  const settings = {
    url: first.wsUrl,
    workload: 'hold',
    rate: 100_000,
    seconds: readSeconds,
    warmupSeconds: 0,
  } as const;
  const { result } = await runLoadDriver({ ...settings, names: locks }, new Map());
  const seconds = (performance.now() - startedAt) / 1000 - readSeconds;
  say(`${locks} locks taken in about ${seconds.toFixed(1)} s, errors ${JSON.stringify(result.errors)}`);
  const heldNow = await scrapeSum(first.url, 'holdfast_held');
  say(
    `held: ${heldNow} by holdfast_held; Holdfast ${mebibytes(residentBytes(first.pid))}, etcd ${etcdMemory(etcd)}`,
  );
  for (const [i] of etcd.entries())
    say(`etcd s${i} on disk: ${mebibytes(folderBytes(join(folder, `s${i}`)))}`);
  const standby = await spawnHoldfast(where);
  servers.push(standby);
  await standby.listening();
  const killedAt = performance.now();
  first.signal('SIGKILL');
  await standby.serving();
  const tookMs = performance.now() - killedAt;
  const kept = await scrapeSum(standby.url, 'holdfast_held');
  say(
    `after kill -9 the standby served after ${tookMs.toFixed(0)} ms, ${kept} locks held, ${mebibytes(residentBytes(standby.pid))}`,
  );
  say(takeovers(standby));
  await standby.kill();
  const againAt = performance.now();
  const again = await startHoldfast(where);
  servers.push(again);
  say(`killed again, and a new process started: served after ${(performance.now() - againAt).toFixed(0)} ms`);
  say(takeovers(again));
}

/** What the server itself says about it. */
function takeovers(server: HoldfastServer): string {
  const lines = server.output.split('\n').filter((line) => line.includes('taken over'));
  return lines.map((line) => `  ${line}`).join('\n');
}

function etcdMemory(etcd: readonly EtcdCluster[]): string {
  return etcd.map((cluster) => mebibytes(residentBytes(cluster.members[0].pid!))).join(' + ');
}

const options = new Command('held')
  .option('--locks <n>', 'held locks', Number, 1_000_000)
  .option('--shards <n>', 'etcd shards', Number, 2)
  .option('--read-seconds <s>', 'reads of them before the kill', Number, 3)
  .parse()
  .opts<Options>();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-held-'));
const etcd: EtcdCluster[] = [];
const servers: HoldfastServer[] = [];
try {
  await run(options, folder, etcd, servers);
} finally {
  for (const server of servers) await server.kill();
  for (const cluster of etcd) await cluster.stop();
  await rm(folder, { recursive: true, force: true });
}
