/** etcd's own lock service: Lock and Unlock calls, each worker with a lease of its own that lasts longer than the run. */
import { Etcd3 } from 'etcd3';
import { etcdLease, etcdLock, etcdUnlock } from '../../etcd-lock.ts';
import { GrpcConnection } from '../../grpc.ts';
import type { LockClient, Peer, Shape } from '../peer.ts';
import { startOneEtcd } from './journal.ts';

const LEASE_SECONDS = 600;
const CONNECTIONS_MAX = 8;

export const ETCD_LOCK: Peer = {
  key: 'etcd-lock',
  name: "etcd's lock service",
  how: 'v3lock Lock and Unlock over up to 8 HTTP/2 connections, one long lease a worker',
  durable: 'yes: etcd, fsync before the answer',
  fencing: "yes (the key's create revision)",
  nodeLoss: 'yes: etcd of three',
  expiry: 'lease of the client',
  client: 'etcd-lock',
  locksPerBlock: 1,
  concurrencies: [1, 8, 64, 256],
  target: 100,
  start: (folder) => startOneEtcd(folder),
};

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const { endpoint } = target as { endpoint: string };
  const etcd = new Etcd3({ hosts: endpoint });
  const count = Math.min(CONNECTIONS_MAX, shape.concurrency);
  const connections = Array.from({ length: count }, () => new GrpcConnection(endpoint));
  const leases: number[] = [];
  for (let i = 0; i < shape.concurrency; i++) leases.push(await etcdLease(etcd, LEASE_SECONDS));
  const keys = new Map<number, Uint8Array>();
  return {
    async acquire(block) {
      const lease = leases[block % leases.length];
      keys.set(block, await etcdLock(connections[block % count], shape.nameOf(block), lease));
    },
    async release(block) {
      await etcdUnlock(connections[block % count], keys.get(block)!);
      keys.delete(block);
    },
    async close() {
      for (const connection of connections) connection.close();
      etcd.close();
    },
  };
}
