import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ShardsFile } from '../../src/config/shards.ts';
import { openEmbeddedStore } from '../../src/shard/embedded/store.ts';
import { eachEntry, type ShardStore } from '../../src/shard/store.ts';
import { ClusterMismatch, ClusterUnreachable, openCluster } from '../../src/slots/birth.ts';
import {
  CLUSTER_KEY,
  decodeClusterRecord,
  encodeRecord,
  SLOT_PREFIX,
  slotKey,
} from '../../src/slots/records.ts';

const randomHex = (bytes: number): string => randomBytes(bytes).toString('hex');

function wishFor(...names: string[]): ShardsFile {
  return {
    slots: 4096,
    shards: names.map((name) => ({ name, engine: 'embedded', endpoints: [], weight: 1 })),
  };
}

async function slotsIn(store: ShardStore): Promise<Set<number>> {
  const slots = new Set<number>();
  await eachEntry(store, SLOT_PREFIX, { keysOnly: true }, ({ key }) =>
    slots.add(Number(key.slice(SLOT_PREFIX.length))),
  );
  return slots;
}

describe('openCluster', () => {
  let folder: string;
  let a: ShardStore;
  let b: ShardStore;
  const opened: ShardStore[] = [];

  function open(name: string, place = name): ShardStore {
    const store = openEmbeddedStore({ name, folder: join(folder, place) });
    opened.push(store);
    return store;
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-birth-'));
    a = open('a');
    b = open('b');
  });

  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
    rmSync(folder, { recursive: true, force: true });
  });

  it('gives every slot one home, once', async () => {
    const cluster = await openCluster([a, b], wishFor('a', 'b'), randomHex);
    const inA = await slotsIn(a);
    const inB = await slotsIn(b);
    expect(inA.size + inB.size).toBe(4096);
    for (const slot of inA) expect(inB.has(slot)).toBe(false);
    expect(inA.size / 4096).toBeGreaterThan(0.4);
    expect(inA.size / 4096).toBeLessThan(0.6);
    const again = await openCluster([b, a], wishFor('b', 'a'), randomHex);
    expect(again.id).toBe(cluster.id);
    expect(await slotsIn(a)).toEqual(inA);
  });

  it('gives two processes that are born at once the same cluster', async () => {
    const other = [open('a', 'a'), open('b', 'b')];
    const [one, two] = await Promise.all([
      openCluster([a, b], wishFor('a', 'b'), randomHex),
      openCluster(other, wishFor('a', 'b'), randomHex),
    ]);
    expect(one.id).toBe(two.id);
    expect((await slotsIn(a)).size + (await slotsIn(b)).size).toBe(4096);
  });

  it('finishes a birth that was interrupted, by the plan of the one who began it', async () => {
    const cluster = await openCluster([a, b], wishFor('a', 'b'), randomHex);
    const inA = await slotsIn(a);
    const missing = [...inA].slice(0, 300);
    for (const store of [a, b]) {
      const record = decodeClusterRecord((await store.get(CLUSTER_KEY))!.value);
      await store.txn({
        compares: [],
        changes: [{ put: CLUSTER_KEY, value: encodeRecord({ ...record, born: false }) }],
      });
    }
    for (const slot of missing) await a.txn({ compares: [], changes: [{ delete: slotKey(slot) }] });
    const heavier: ShardsFile = {
      slots: 4096,
      shards: wishFor('a', 'b').shards.map((shard) => ({ ...shard, weight: shard.name === 'a' ? 9 : 1 })),
    };
    const again = await openCluster([a, b], heavier, randomHex);
    expect(again.id).toBe(cluster.id);
    expect(await slotsIn(a)).toEqual(inA);
  });

  it('refuses a shard that has lost its data', async () => {
    await openCluster([a, b], wishFor('a', 'b'), randomHex);
    const empty = open('b', 'empty');
    await expect(openCluster([a, empty], wishFor('a', 'b'), randomHex)).rejects.toThrow(ClusterMismatch);
    expect((await slotsIn(empty)).size).toBe(0);
  });

  it('refuses shards of two clusters, and shards in the wrong place', async () => {
    await openCluster([a], wishFor('a'), randomHex);
    await openCluster([b], wishFor('b'), randomHex);
    await expect(openCluster([a, b], wishFor('a', 'b'), randomHex)).rejects.toThrow(/different clusters/);
    const disguised = open('c', 'a');
    await expect(openCluster([disguised], wishFor('c'), randomHex)).rejects.toThrow(/says that it is a/);
  });

  it('gives a shard that is added later a record and no slots', async () => {
    const cluster = await openCluster([a], wishFor('a'), randomHex);
    const again = await openCluster([a, b], wishFor('a', 'b'), randomHex);
    expect(again.id).toBe(cluster.id);
    expect((await slotsIn(b)).size).toBe(0);
    expect(decodeClusterRecord((await b.get(CLUSTER_KEY))!.value)).toMatchObject({
      id: cluster.id,
      shard: 'b',
      born: true,
    });
  });

  it('is born only when every shard answers, and starts later when one does', async () => {
    await b.close();
    await expect(openCluster([a, b], wishFor('a', 'b'), randomHex)).rejects.toThrow(ClusterUnreachable);
    expect(await a.get(CLUSTER_KEY)).toBeUndefined();
    const back = open('b');
    const cluster = await openCluster([a, back], wishFor('a', 'b'), randomHex);
    await back.close();
    expect((await openCluster([a, back], wishFor('a', 'b'), randomHex)).id).toBe(cluster.id);
  });

  it('refuses another number of slots', async () => {
    await openCluster([a], wishFor('a'), randomHex);
    await expect(openCluster([a], { ...wishFor('a'), slots: 1024 }, randomHex)).rejects.toThrow(/4096 slots/);
  });
});
