/** The Lock of the npm package etcd3: a lease granted for every acquire, and revoked by its release. */
import { Etcd3, type Lock } from 'etcd3';
import type { LockClient, Peer, Shape } from '../peer.ts';
import { startOneEtcd } from './journal.ts';

const TTL_SECONDS = 30;

export const ETCD3: Peer = {
  key: 'etcd3',
  name: 'etcd3 Lock (npm)',
  how: 'lock(name).acquire and release of etcd3 1.1 over its connection',
  durable: 'yes: etcd, fsync before the answer',
  fencing: 'not told by the library',
  nodeLoss: 'yes: etcd of three',
  expiry: 'lease of each lock',
  client: 'etcd3',
  locksPerBlock: 1,
  concurrencies: [1, 8, 64, 256],
  start: (folder) => startOneEtcd(folder),
};

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const etcd = new Etcd3({ hosts: (target as { endpoint: string }).endpoint });
  const held = new Map<number, Lock>();
  return {
    async acquire(block) {
      held.set(block, await etcd.lock(shape.nameOf(block)).ttl(TTL_SECONDS).acquire());
    },
    async release(block) {
      await held.get(block)!.release();
      held.delete(block);
    },
    async close() {
      etcd.close();
    },
  };
}
