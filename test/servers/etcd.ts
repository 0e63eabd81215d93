/**
 * Real etcd for tests: data in a temporary folder, free ports, ended when the
 * test file is over.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ShardSettings } from '../../src/config/shards.ts';
import { startEtcd } from '../../src/cli/etcd-server.ts';
import type { EtcdCluster, EtcdMember, EtcdOptions } from '../../src/cli/etcd-server.ts';

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

/** One cluster a shard, each of so many members, side by side. Nothing is left when one of them does not start. */
export async function startTestShards(members: readonly (1 | 3)[]): Promise<EtcdCluster[]> {
  const started = await Promise.allSettled(members.map((count) => startTestEtcd({ members: count })));
  const clusters = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const failed = started.find((one) => one.status === 'rejected');
  if (failed === undefined) return clusters;
  await Promise.all(clusters.map((cluster) => cluster.stop()));
  throw failed.reason;
}

/** The member that leads its cluster just now, as any member that answers says. */
export async function leaderOf(cluster: EtcdCluster): Promise<EtcdMember> {
  for (let tries = 0; tries < 100; tries++) {
    for (const member of cluster.members) {
      const status = await statusOf(member);
      if (status !== undefined && status.leader === status.header.member_id) return member;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`no leader: ${cluster.endpoints.join(', ')}`);
}

interface MemberStatus {
  readonly header: { readonly member_id: string };
  readonly leader: string;
}

async function statusOf(member: EtcdMember): Promise<MemberStatus | undefined> {
  try {
    const url = `${member.url}/v3/maintenance/status`;
    const answer = await fetch(url, { method: 'POST', body: '{}', signal: AbortSignal.timeout(1_000) });
    return (await answer.json()) as MemberStatus;
  } catch {
    return undefined;
  }
}
