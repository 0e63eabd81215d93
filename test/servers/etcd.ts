/**
 * Real etcd for tests: data in a temporary folder, free ports, ended when the
 * test file is over.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ShardSettings } from '../../src/config/shards.ts';
import { startEtcd } from '../../src/cli/etcd-server.ts';
import type { EtcdCluster, EtcdOptions } from '../../src/cli/etcd-server.ts';

export type { EtcdCluster, EtcdMember } from '../../src/cli/etcd-server.ts';

/** Long enough to build etcd once on a fresh machine. */
export const PROVISION_MS = 15 * 60_000;

// A test runner ends its workers with SIGTERM, which alone would leave the servers behind.
process.once('SIGTERM', () => process.exit(143));

/** `stop` also removes the data. */
export async function startTestEtcd(options: Omit<EtcdOptions, 'dataFolder'> = {}): Promise<EtcdCluster> {
  const dataFolder = await mkdtemp(join(tmpdir(), 'holdfast-test-etcd-'));
  const remove = () => rm(dataFolder, { recursive: true, force: true, maxRetries: 3 });
  try {
    const cluster = await startEtcd({ ...options, dataFolder });
    return {
      ...cluster,
      async stop() {
        await cluster.stop();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The settings of a shard on that cluster. */
export function shardOn(cluster: EtcdCluster, name = 's0'): ShardSettings {
  return { name, engine: 'etcd', endpoints: cluster.endpoints, weight: 1 };
}
