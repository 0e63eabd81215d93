/**
 * `holdfast up` (`npm run up`): real etcd shards on this machine, with fsync
 * on, and Holdfast on them, in one command. For trying it out and for work on
 * Holdfast: each shard is an etcd of one member.
 *
 *   data/up/            --data
 *     up.json           ports of the shards, so that a restart finds its data again
 *     shards.yaml       for the server, and for a second one (`holdfast serve --shards …`)
 *     s0/ s1/ …         each etcd's data and log
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { z } from 'zod';
import { ConfigError } from '../config/error.ts';
import { LIMITS } from '../limits.ts';
import { freePorts, startEtcd, type EtcdCluster, type EtcdOptions } from './etcd-server.ts';
import { provideEtcd, type Say } from './etcd-binary.ts';
import { CommandError, Exit } from './exit.ts';

const SHARDS_MAX = 9;
/** The ports of the shards.yaml at the root of the tree: s0 2379 and 2380, s1 12379 and 12380, … */
const FIRST_PORT = 2_379;
const PORT_STEP = 10_000;
const PORTS_END = 65_000;

const planSchema = z.strictObject({
  shards: z.array(z.strictObject({ name: z.string(), client: z.int(), peer: z.int() })).min(1),
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
  const path = join(root, 'up.json');
  if (existsSync(path)) {
    const plan = readPlan(path);
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
  writeFileSync(path, `${JSON.stringify({ shards }, null, 2)}\n`);
  return { shards };
}

function readPlan(path: string): Plan {
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

function isFree(port: number): Promise<boolean> {
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
