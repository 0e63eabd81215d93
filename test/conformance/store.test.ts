/** The stores that lanes run on, all under one suite. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEmbeddedStore } from '../../src/shard/embedded/store.ts';
import { openEtcdStore } from '../../src/shard/etcd/store.ts';
import { PROVISION_MS, shardOn, startTestEtcd } from '../servers/etcd.ts';
import { describe } from 'vitest';
import { describeStore } from './describe-store.ts';
import type { StoreFacts } from './scene.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';

const ETCD: StoreFacts = {
  leases: true,
  history: true,
  everyChange: true,
  limitsOps: true,
  openMs: PROVISION_MS,
};
const EMBEDDED: StoreFacts = {
  leases: false,
  history: false,
  everyChange: false,
  limitsOps: false,
  openMs: 10_000,
};

describe.skipIf(etcdMissing)('over a real etcd', () => {
  describeStore('etcd', ETCD, async () => {
    const cluster = await startTestEtcd();
    const store = openEtcdStore(shardOn(cluster));
    return {
      store,
      another: async () => openEtcdStore(shardOn(cluster)),
      async close() {
        await store.close();
        await cluster.stop();
      },
    };
  });
});

describeStore('embedded', EMBEDDED, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-test-embedded-'));
  const store = openEmbeddedStore({ name: 's0', folder });
  return {
    store,
    another: async () => openEmbeddedStore({ name: 's0', folder }),
    async close() {
      await store.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});
