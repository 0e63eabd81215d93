/**
 * The birth of a cluster: which shards it has and where each slot lives.
 *
 *   nothing anywhere ──► first shard's `cluster` record (a Txn decides who wins)
 *     ──► the other shards' `cluster` records and all slot records, by the plan
 *         in that first record, not by this process's own file
 *     ──► every record says born: true
 *
 * A process that dies in between leaves a cluster that isn't born; the next one
 * goes on. Once any shard says born, a shard of the plan without its record has
 * lost its data: going on would hand out locks that are held, so it is refused.
 */
import type { ShardsFile } from '../config/shards.ts';
import { LIMITS } from '../limits.ts';
import type { Change, Compare, ShardStore } from '../shard/store.ts';
import {
  CLUSTER_KEY,
  decodeClusterRecord,
  encodeRecord,
  NEW_SLOT,
  slotKey,
  type ClusterRecord,
} from './records.ts';
import { shardOf } from './rendezvous.ts';

/** The shards contradict each other or this process's settings: the start is refused. */
export class ClusterMismatch extends Error {
  override readonly name = 'ClusterMismatch';
}

/** Not enough shards answer to go on; worth another try. */
export class ClusterUnreachable extends Error {
  override readonly name = 'ClusterUnreachable';
}

interface Found {
  readonly store: ShardStore;
  readonly record: ClusterRecord | undefined;
}

/**
 * Makes sure that the cluster exists and that these shards are it.
 * @returns the record, the same from every shard but for `shard`
 * @throws ClusterMismatch, ClusterUnreachable
 */
export async function openCluster(
  stores: readonly ShardStore[],
  wish: ShardsFile,
  randomHex: (bytes: number) => string,
): Promise<ClusterRecord> {
  const { found, missing } = await readAll(stores);
  let known = found.filter((f) => f.record !== undefined).map((f) => f.record!);
  if (known.length === 0) {
    if (missing.length > 0) throw new ClusterUnreachable(`no answer from shard ${missing.join(', ')}`);
    known = [await conceive(stores, wish, randomHex)];
  }
  for (const record of known) checkSame(known[0], record);
  const cluster = known[0];
  if (cluster.slots !== wish.slots) {
    throw new ClusterMismatch(`the cluster has ${cluster.slots} slots, the shards file says ${wish.slots}`);
  }
  const born = known.some((record) => record.born);
  for (const { store, record } of found) {
    if (record !== undefined && record.shard !== store.name) {
      throw new ClusterMismatch(`the shard at the place of ${store.name} says that it is ${record.shard}`);
    }
    if (record === undefined) await join(store, cluster, born);
  }
  if (born) return cluster;
  if (missing.length > 0) throw new ClusterUnreachable(`no answer from shard ${missing.join(', ')}`);
  for (const store of stores) await fill(store, cluster);
  for (const store of stores) await markBorn(store);
  return { ...cluster, born: true };
}

async function readAll(stores: readonly ShardStore[]): Promise<{ found: Found[]; missing: string[] }> {
  const found: Found[] = [];
  const missing: string[] = [];
  await Promise.all(
    stores.map(async (store) => {
      try {
        const entry = await store.get(CLUSTER_KEY);
        found.push({ store, record: entry && decodeClusterRecord(entry.value) });
      } catch {
        missing.push(store.name);
      }
    }),
  );
  found.sort((a, b) => stores.indexOf(a.store) - stores.indexOf(b.store));
  return { found, missing };
}

function checkSame(a: ClusterRecord, b: ClusterRecord): void {
  if (b.format !== 1)
    throw new ClusterMismatch(`shard ${b.shard} has format ${String(b.format)}, this version knows 1`);
  if (a.id !== b.id) {
    throw new ClusterMismatch(
      `shards ${a.shard} and ${b.shard} belong to different clusters (${a.id}, ${b.id})`,
    );
  }
  if (a.slots !== b.slots || a.hash !== b.hash || a.hashKey !== b.hashKey) {
    throw new ClusterMismatch(`shards ${a.shard} and ${b.shard} disagree on slots or hash`);
  }
}

/** Writes the first record, or finds that another process was first. */
async function conceive(
  stores: readonly ShardStore[],
  wish: ShardsFile,
  randomHex: (bytes: number) => string,
): Promise<ClusterRecord> {
  const first = [...stores].sort((a, b) => (a.name < b.name ? -1 : 1))[0];
  const record: ClusterRecord = {
    format: 1,
    id: randomHex(8),
    slots: wish.slots,
    hash: 'halfsiphash-1-3',
    hashKey: randomHex(8),
    secret: randomHex(32),
    shard: first.name,
    birth: wish.shards.map(({ name, weight }) => ({ name, weight })),
    born: false,
  };
  return create(first, record);
}

async function create(store: ShardStore, record: ClusterRecord): Promise<ClusterRecord> {
  const result = await store.txn({
    compares: [{ key: CLUSTER_KEY, modRevision: 0 }],
    changes: [{ put: CLUSTER_KEY, value: encodeRecord(record) }],
    orElseGet: [CLUSTER_KEY],
  });
  return result.succeeded ? record : decodeClusterRecord(result.found[0].value);
}

/** Gives a shard without a record its own, unless that would forget locks. */
async function join(store: ShardStore, cluster: ClusterRecord, born: boolean): Promise<void> {
  if (born && cluster.birth.some((shard) => shard.name === store.name)) {
    throw new ClusterMismatch(
      `shard ${store.name} belongs to cluster ${cluster.id} but is empty: it lost its data, or the endpoints are wrong`,
    );
  }
  checkSame(cluster, await create(store, { ...cluster, shard: store.name, born }));
}

/** Puts the slot records that the plan gives this shard and that it lacks. */
async function fill(store: ShardStore, cluster: ClusterRecord): Promise<void> {
  const slots: number[] = [];
  for (let slot = 0; slot < cluster.slots; slot++) {
    if (shardOf(slot, cluster.birth) === store.name) slots.push(slot);
  }
  const step = LIMITS.txnOpsMax - 1;
  for (let at = 0; at < slots.length; at += step) await fillSome(store, slots.slice(at, at + step));
}

/** Those that another process has put meanwhile are left as they are. */
async function fillSome(store: ShardStore, slots: readonly number[]): Promise<void> {
  const value = encodeRecord(NEW_SLOT);
  for (let missing = slots.map(slotKey); missing.length > 0;) {
    const compares: Compare[] = missing.map((key) => ({ key, modRevision: 0 }));
    const changes: Change[] = missing.map((key) => ({ put: key, value }));
    const { succeeded, found } = await store.txn({ compares, changes, orElseGet: missing });
    if (succeeded) return;
    const there = new Set(found.map(({ key }) => key));
    missing = missing.filter((key) => !there.has(key));
  }
}

async function markBorn(store: ShardStore): Promise<void> {
  const entry = await store.get(CLUSTER_KEY);
  if (entry === undefined) throw new ClusterMismatch(`shard ${store.name} lost its cluster record`);
  const record = decodeClusterRecord(entry.value);
  if (record.born) return;
  await store.txn({
    compares: [{ key: CLUSTER_KEY, modRevision: entry.modRevision }],
    changes: [{ put: CLUSTER_KEY, value: encodeRecord({ ...record, born: true }) }],
  });
}
