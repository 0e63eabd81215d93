/**
 * What every `ShardStore` must do, written once. A store is added by calling
 * `describeStore` with how to open one on empty data.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeChain, describeEntries } from './commits.ts';
import { describeManyReads, describeMoreTxns, describeReads, describeTxns } from './reads.ts';
import { failureOf, Scene, string, text } from './scene.ts';
import type { StoreFacts, StoreUnderTest } from './scene.ts';
import { describeLeases, describeMoreWatches, describeWatches } from './watches.ts';

export function describeStore(name: string, facts: StoreFacts, open: () => Promise<StoreUnderTest>): void {
  describe(`${name} store`, () => {
    let made: StoreUnderTest;
    let folders = 0;

    beforeAll(async () => {
      made = await open();
    }, facts.openMs);
    afterAll(async () => made?.close(), 30_000);

    const scene = () => new Scene(made.store, `holdfast/test${++folders}/`);

    describeReads(scene);
    describeTxns(scene);
    describeMoreTxns(scene, facts);
    describeManyReads(scene);
    describeChain(scene);
    describeEntries(scene);
    describeWatches(scene, facts);
    describeMoreWatches(scene, facts);
    describeLeases(scene, facts);
    describeRest(scene, () => made, facts);
  });
}

function describeRest(scene: () => Scene, made: () => StoreUnderTest, facts: StoreFacts): void {
  if (facts.history)
    it('reads at an old revision until it is compacted', async () => {
      const s = scene();
      const old = await s.put('a', 'b', 'c');
      await s.store.txn({ compares: [], changes: [{ delete: s.key('b') }] });
      const now = await s.put('d');
      expect((await s.all(2, old)).map((entry) => string(entry.value))).toEqual(['a', 'b', 'c']);
      await s.store.compact(now);
      const failure = await failureOf(s.store.range(s.folder, s.end, { limit: 2, revision: old }));
      expect(failure.outcome).toBe('refused');
      expect((await s.all(2, now)).map((entry) => string(entry.value))).toEqual(['a', 'c', 'd']);
    });

  it('compacting what is compacted is not an error', async () => {
    const s = scene();
    const now = await s.put('a');
    await s.store.compact(now);
    await s.store.compact(now);
    await s.store.compact(now - 1);
    expect(await s.names()).toEqual(['a']);
  });

  it('tells its size, version and revision', async () => {
    const s = scene();
    const revision = await s.put('a');
    const status = await s.store.status();
    expect(status.bytes).toBeGreaterThan(0);
    expect(status.bytesInUse).toBeGreaterThan(0);
    expect(status.bytesInUse).toBeLessThanOrEqual(status.bytes);
    expect(status.quotaBytes).toBeGreaterThanOrEqual(0);
    expect(status.version).not.toBe('');
    expect(status.revision).toBeGreaterThanOrEqual(revision);
  });

  it('another store on the same data sees what was committed', async () => {
    const s = scene();
    const first = await s.term();
    const done = await s.commit(1, first, text('seen'));
    const other = await made().another();
    expect(await other.confirm(s.key('term/t1'))).toBe(done.revision);
    expect(string((await other.get(s.key('journal/t1/000000000001')))?.value)).toBe('seen');
    await other.close();
    expect((await s.commit(2, done.revision)).succeeded).toBe(true);
  });

  it('a closed store fails every call without effect', async () => {
    const s = scene();
    const first = await s.term();
    const other = await made().another();
    await other.close();
    const closed = new Scene(other, s.folder);
    for (const call of [
      () => other.get(s.key('a')),
      () => closed.commit(1, first),
      () => other.confirm(s.key('term/t1')),
      () => other.txn({ compares: [], changes: [{ put: s.key('a'), value: text('a') }] }),
    ]) {
      expect((await failureOf(call())).outcome).toBe('refused');
    }
    expect(await s.names()).toEqual(['term/t1']);
  });
}
