/** The clients by name, each loaded only by the process that uses it: none pays for the libraries of the others. */
import type { ClientName, Connect } from './peer.ts';

export const CLIENTS = {
  'holdfast-binary': async () => (await import('./adapters/holdfast-binary.ts')).connect,
  'holdfast-http': async () => (await import('./adapters/holdfast-http.ts')).connect,
  journal: async () => (await import('./adapters/journal.ts')).connect,
  'nested-txn': async () => (await import('./adapters/nested-txn.ts')).connect,
  'etcd-lock': async () => (await import('./adapters/etcd-lock.ts')).connect,
  etcd3: async () => (await import('./adapters/etcd3.ts')).connect,
  redlock: async () => (await import('./adapters/redlock.ts')).connect,
  'redis-pipeline': async () => (await import('./adapters/redis-pipeline.ts')).connect,
  zookeeper: async () => (await import('./adapters/zookeeper.ts')).connect,
  nats: async () => (await import('./adapters/nats.ts')).connect,
  'postgres-advisory': async () => (await import('./adapters/postgres.ts')).connectAdvisory,
  'postgres-rows': async () => (await import('./adapters/postgres.ts')).connectRows,
} as const satisfies Record<ClientName, () => Promise<Connect>>;
