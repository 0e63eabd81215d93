/** The engine behind a shard's settings. */
import { join } from 'node:path';
import type { ShardSettings } from '../config/shards.ts';
import { openEmbeddedStore } from './embedded/store.ts';
import { openEtcdStore } from './etcd/store.ts';
import type { ShardStore } from './store.ts';

/** Opens a shard; an etcd that is down makes later calls fail, not this. */
export function openStore(shard: ShardSettings, dataFolder: string): ShardStore {
  if (shard.engine === 'etcd') return openEtcdStore(shard);
  return openEmbeddedStore({ name: shard.name, folder: join(dataFolder, shard.name) });
}
