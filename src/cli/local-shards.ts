/**
 * Real etcd shards on this machine, with fsync on, each an etcd of one member,
 * and what is remembered of them.
 *
 *   data/up/            --data
 *     up.json           ports of the shards and processes, so that a restart finds its data again
 *     shards.yaml       for the server, and for a second one (`holdfast serve --shards …`)
 *     s0/ s1/ …         each etcd's data and log
 *     p0/ p1/ …         with --processes: each one's data
 *     haproxy.cfg       with --processes
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { ConfigError } from '../config/error.ts';
import { LIMITS } from '../limits.ts';
import { freePorts, startEtcd, type EtcdCluster, type EtcdOptions } from './etcd-server.ts';
import { provideEtcd } from './etcd-binary.ts';
import { CommandError, Exit } from './exit.ts';
import type { Say } from './provide.ts';

const SHARDS_MAX = 9;
/** The ports of the shards.yaml at the root of the tree: s0 2379 and 2380, s1 12379 and 12380, … */
const FIRST_PORT = 2_379;
const PORT_STEP = 10_000;
const PORTS_END = 65_000;

const planSchema = z.strictObject({
  shards: z.array(z.strictObject({ name: z.string(), client: z.int(), peer: z.int() })).min(1),
  processes: z.array(z.strictObject({ name: z.string(), port: z.int() })).default([]),
});
type Plan = z.infer<typeof planSchema>;

export interface LocalShards {
  /** The shards file to serve with. */
  readonly shardsFile: string;
  stop(): Promise<void>;
}

/**
 * Starts the shards in `folder`, making `count` of them the first time.
 *
 * @param count undefined: as many as the folder has, 2 in a new one
 * @throws ConfigError, CommandError
 */
export async function startLocalShards(
  folder: string,
  count: number | undefined,
  say: Say,
): Promise<LocalShards> {
  if (count !== undefined && (count < 1 || count > SHARDS_MAX)) {
    throw new ConfigError(`--shards is ${count}; allowed: an integer 1–${SHARDS_MAX}`);
  }
  const root = resolve(folder);
  process.on('SIGINT', abort);
  process.on('SIGTERM', abort);
  mkdirSync(root, { recursive: true });
  const plan = await planOf(root, count);
  const binary = await provideEtcd(say).catch((error: Error) => {
    throw new CommandError(Exit.unavailable, error.message, { cause: error });
  });
  say(`etcd ${binary.version} (${binary.path}), data in ${root}`);
  const clusters: EtcdCluster[] = [];
  const stop = async (): Promise<void> => {
    await Promise.all(clusters.map((cluster) => cluster.stop()));
  };
  try {
    for (const shard of plan.shards) {
      const options: EtcdOptions = {
        binary,
        dataFolder: join(root, shard.name),
        ports: [shard.client, shard.peer],
        ownGroup: true,
        say,
      };
      clusters.push(await startEtcd(options));
      say(`shard ${shard.name}: etcd on http://127.0.0.1:${shard.client}`);
    }
  } catch (error) {
    await stop();
    throw new CommandError(Exit.unavailable, `the shards could not be started: ${(error as Error).message}`, {
      cause: error,
    });
  }
  process.off('SIGINT', abort);
  process.off('SIGTERM', abort);
  return { shardsFile: writeShardsFile(root, plan), stop };
}

/** While the shards are being started: `exit` takes them along, which a signal's own end would not. */
function abort(): void {
  process.exit(130);
}

async function planOf(root: string, count: number | undefined): Promise<Plan> {
  if (existsSync(planPath(root))) {
    const plan = readPlan(root);
    if (count !== undefined && count !== plan.shards.length) {
      throw new ConfigError(
        `--shards is ${count}; allowed: ${plan.shards.length}, as ${root} has that many already (or another --data)`,
      );
    }
    return plan;
  }
  const shards: Plan['shards'] = [];
  for (let i = 0; i < (count ?? 2); i++) {
    const [client, peer] = await portsOf(i);
    shards.push({ name: `s${i}`, client, peer });
  }
  return writePlan(root, { shards, processes: [] });
}

function writePlan(root: string, plan: Plan): Plan {
  writeFileSync(planPath(root), `${JSON.stringify(plan, null, 2)}\n`);
  return plan;
}

function planPath(root: string): string {
  return join(root, 'up.json');
}

function readPlan(root: string): Plan {
  const path = planPath(root);
  try {
    return planSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    throw new ConfigError(`${path} is not what holdfast up wrote; allowed: that, or no such file`);
  }
}

/** etcd's usual ports where they are free, so that its own tools find it; else any. */
async function portsOf(shard: number): Promise<number[]> {
  const client = FIRST_PORT + shard * PORT_STEP;
  const usual = client < PORTS_END ? [client, client + 1] : [];
  const free = await Promise.all(usual.map(isFree));
  return usual.length > 0 && free.every(Boolean) ? usual : freePorts(2);
}

/**
 * Name and port of each process in front of which a balancer listens on
 * `frontPort`: those of the last time, and as many new ones as there are more.
 */
export async function processPlaces(
  folder: string,
  count: number,
  frontPort: number,
): Promise<Plan['processes']> {
  const root = resolve(folder);
  const plan = readPlan(root);
  const processes = [...plan.processes];
  const isTaken = (port: number): boolean => processes.some((one) => one.port === port);
  for (let i = processes.length; i < count; i++) {
    const usual = frontPort + 1 + i;
    const isUsable = usual < PORTS_END && !isTaken(usual) && (await isFree(usual));
    processes.push({ name: `p${i}`, port: isUsable ? usual : (await freePorts(1))[0] });
  }
  if (processes.length > plan.processes.length) writePlan(root, { ...plan, processes });
  return processes.slice(0, count);
}

export function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((done) => {
    server.once('error', () => done(false));
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)));
  });
}

function writeShardsFile(root: string, plan: Plan): string {
  const path = join(root, 'shards.yaml');
  const shards = plan.shards.map(({ name, client }) => {
    return { name, engine: 'etcd', endpoints: [`http://127.0.0.1:${client}`], weight: 1 };
  });
  writeFileSync(path, `# Written by holdfast up.\n${stringify({ slots: LIMITS.slots, shards })}`);
  return path;
}
