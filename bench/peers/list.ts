/** Who is compared, in the order of the table. */
import { ETCD3 } from './adapters/etcd3.ts';
import { ETCD_LOCK } from './adapters/etcd-lock.ts';
import { HOLDFAST } from './adapters/holdfast.ts';
import { JOURNAL } from './adapters/journal.ts';
import { NATS } from './adapters/nats.ts';
import { NESTED_TXN } from './adapters/nested-txn.ts';
import { POSTGRES } from './adapters/postgres.ts';
import { REDIS_PIPELINE } from './adapters/redis-pipeline.ts';
import { REDLOCK } from './adapters/redlock.ts';
import { ZOOKEEPER } from './adapters/zookeeper.ts';
import type { Peer } from './peer.ts';

export const PEERS: readonly Peer[] = [
  ...HOLDFAST,
  JOURNAL,
  NESTED_TXN,
  ETCD_LOCK,
  ETCD3,
  ...REDIS_PIPELINE,
  ...REDLOCK,
  ZOOKEEPER,
  ...NATS,
  ...POSTGRES,
];

/** The row that all others are compared with. */
export const REFERENCE = 'holdfast';

/** Those that would belong here and are never there. */
export const NOT_COMPARED: readonly { readonly name: string; readonly why: string }[] = [
  {
    name: 'Consul',
    why: 'no server of it is in the package registries: none in Debian 12, and none on the Go module proxy',
  },
];
