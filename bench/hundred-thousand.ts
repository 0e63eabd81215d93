/**
 * `npm run bench:100k`: 100,000 different locks taken and released through
 * holdfast.v1.bin over two real etcd shards, and how evenly the shards are
 * used. Ends with 1 when anything failed or a shard got less than 40 %.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { failuresOf } from '../loadtest/result.ts';
import { startEtcd, type EtcdCluster } from '../src/cli/etcd-server.ts';
import { startHoldfast } from '../test/servers/holdfast.ts';
import { runLoadDriver } from './children.ts';
import { scrape } from './scrape.ts';

const LOCKS = 100_000;
const OPS_PER_FRAME = 50;
const RATE = 100_000;
const SHARE_MIN = 0.4;

/** Each shard's part of a metric, between two scrapes. */
function shares(after: Map<string, number>, before = new Map<string, number>()): Map<string, number> {
  const grown = [...after].map(([labels, value]): [string, number] => [
    labels,
    value - (before.get(labels) ?? 0),
  ]);
  const total = grown.reduce((sum, [, value]) => sum + value, 0);
  return new Map(
    grown.map(([labels, value]) => [/shard="([^"]*)"/.exec(labels)?.[1] ?? labels, value / total]),
  );
}

function shown(parts: ReadonlyMap<string, number>): string {
  return [...parts].map(([shard, share]) => `${shard} ${(share * 100).toFixed(1)} %`).join(', ');
}

async function run(folder: string, etcd: EtcdCluster[]): Promise<boolean> {
  for (let i = 0; i < 2; i++) etcd.push(await startEtcd({ dataFolder: join(folder, `s${i}`) }));
  const server = await startHoldfast({ folder, etcd: etcd.map((cluster) => cluster.endpoints) });
  try {
    const before = await scrape(server.url, 'holdfast_commit_ops_sum');
    // One arrival a block of names, in turn: every lock exactly once.
    const seconds = (2 * LOCKS) / RATE;
    const settings = {
      url: server.wsUrl,
      workload: 'acquire-release',
      rate: RATE,
      seconds,
      warmupSeconds: 0,
    } as const;
    const { result } = await runLoadDriver(
      { ...settings, names: LOCKS, opsPerFrame: OPS_PER_FRAME, holdMs: 500 },
      new Map(),
    );
    const slots = shares(await scrape(server.url, 'holdfast_slots_owned'));
    const ops = shares(await scrape(server.url, 'holdfast_commit_ops_sum'), before);
    const { errors, byOp, latency } = result;
    const taken = byOp['acquire'].count;
    const failed = failuresOf(result);
    const lines = [
      `${taken} different locks taken, all released, ${failed} failures ${JSON.stringify(errors)}`,
      `p50 ${latency.p50Ms.toFixed(2)} ms, p95 ${latency.p95Ms.toFixed(2)} ms`,
      `slots: ${shown(slots)}`,
      `ops: ${shown(ops)}`,
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
    return taken === LOCKS && failed === 0 && Math.min(...slots.values(), ...ops.values()) >= SHARE_MIN;
  } finally {
    await server.stop();
  }
}

const folder = await mkdtemp(join(tmpdir(), 'holdfast-100k-'));
const etcd: EtcdCluster[] = [];
try {
  process.exitCode = (await run(folder, etcd)) ? 0 : 1;
} finally {
  for (const cluster of etcd) await cluster.stop();
  await rm(folder, { recursive: true, force: true });
}
