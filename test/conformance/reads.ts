/** Reads and transactions, as every store must do them. */
import { expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { getMany } from '../../src/shard/store.ts';
import type { Change } from '../../src/shard/store.ts';
import { failureOf, string, text } from './scene.ts';
import type { Scene, StoreFacts } from './scene.ts';

export function describeReads(scene: () => Scene): void {
  it('gets a key with the revision that wrote it, and undefined for an absent one', async () => {
    const s = scene();
    const revision = await s.put('a');
    const found = await s.store.get(s.key('a'));
    expect(found?.key).toBe(s.key('a'));
    expect(string(found?.value)).toBe('a');
    expect(found?.modRevision).toBe(revision);
    expect(await s.store.get(s.key('b'))).toBeUndefined();
  });

  it('pages through a range in key order, without what is outside of it', async () => {
    const s = scene();
    const names = Array.from({ length: 25 }, (_, i) => `k${String(i).padStart(3, '0')}`);
    await s.put(...names.slice().reverse());
    for (const limit of [1, 7, 25, 100]) {
      expect((await s.all(limit)).map((entry) => string(entry.value))).toEqual(names);
    }
    const part = await s.store.range(s.key('k003'), s.key('k005'), { limit: 100 });
    expect(part.entries.map((entry) => string(entry.value))).toEqual(['k003', 'k004']);
    expect(part.more).toBe(false);
  });

  it('reads what was written after a revision, in key order and in pages', async () => {
    const s = scene();
    const before = await s.put('a', 'b', 'c');
    const first = await s.put('d');
    const last = await s.put('b', 'e', 'a');
    const read = async (revision: number, limit: number, from = s.folder) => {
      const page = await s.store.changedAfter(from, s.end, revision, limit);
      expect(page.revision).toBeGreaterThanOrEqual(last);
      return {
        found: page.entries.map(({ key, value, modRevision }) => [key, string(value), modRevision]),
        more: page.more,
      };
    };
    const entry = (name: string, revision: number) => [s.key(name), name, revision];
    const newer = [entry('a', last), entry('b', last), entry('d', first), entry('e', last)];
    expect(await read(before, 10)).toEqual({ found: newer, more: false });
    expect(await read(before, 4)).toEqual({ found: newer, more: false });
    expect(await read(before, 2)).toEqual({ found: newer.slice(0, 2), more: true });
    expect(await read(before, 2, `${s.key('b')}\0`)).toEqual({ found: newer.slice(2), more: false });
    expect((await read(0, 10)).found).toEqual([...newer.slice(0, 2), entry('c', before), ...newer.slice(2)]);
    expect(await read(last, 10)).toEqual({ found: [], more: false });
    await s.store.txn({ compares: [], changes: [{ delete: s.key('a') }] });
    expect((await read(first, 10)).found).toEqual([entry('b', last), entry('e', last)]);
  });

  it('reads only keys where asked to', async () => {
    const s = scene();
    const revision = await s.put('a', 'b');
    const page = await s.store.range(s.folder, s.end, { limit: 10, keysOnly: true });
    expect(page.entries.map((entry) => [entry.key, entry.value.length, entry.modRevision])).toEqual([
      [s.key('a'), 0, revision],
      [s.key('b'), 0, revision],
    ]);
    expect(page.revision).toBeGreaterThanOrEqual(revision);
  });

  it('pages of large values stay within what a reply can carry', async () => {
    const s = scene();
    for (let i = 0; i < 12; i++) {
      const change: Change = {
        put: s.key(`big${String(i).padStart(2, '0')}`),
        value: new Uint8Array(900_000).fill(i),
      };
      await s.store.txn({ compares: [], changes: [change] });
    }
    const all = await s.all(1000);
    expect(all.map((entry) => entry.value.length)).toEqual(Array(12).fill(900_000));
    expect(all.map((entry) => entry.value[5])).toEqual(Array.from({ length: 12 }, (_, i) => i));
  }, 30_000);
}

export function describeTxns(scene: () => Scene): void {
  it('applies all of a transaction or nothing', async () => {
    const s = scene();
    const revision = await s.put('a');
    const failed = await s.store.txn({
      compares: [
        { key: s.key('a'), modRevision: revision },
        { key: s.key('b'), modRevision: 1 },
      ],
      changes: [{ put: s.key('c'), value: text('c') }],
      orElseGet: [s.key('a'), s.key('b')],
    });
    expect(failed.succeeded).toBe(false);
    expect(failed.found.map((entry) => [entry.key, string(entry.value), entry.modRevision])).toEqual([
      [s.key('a'), 'a', revision],
    ]);
    expect(await s.names()).toEqual(['a']);

    const done = await s.store.txn({
      compares: [
        { key: s.key('a'), modRevision: revision },
        { key: s.key('b'), modRevision: 0 },
      ],
      changes: [
        { put: s.key('b'), value: text('b') },
        { put: s.key('c'), value: new Uint8Array(0) },
        { delete: s.key('a') },
      ],
      orElseGet: [s.key('a')],
    });
    expect(done.succeeded).toBe(true);
    expect(done.found).toEqual([]);
    expect(done.revision).toBeGreaterThan(revision);
    expect((await s.all(10)).map((entry) => [entry.key, string(entry.value), entry.modRevision])).toEqual([
      [s.key('b'), 'b', done.revision],
      [s.key('c'), '', done.revision],
    ]);
  });
}

export function describeMoreTxns(scene: () => Scene, facts: StoreFacts): void {
  it('deletes a range, its end excluded', async () => {
    const s = scene();
    await s.put('a', 'b1', 'b2', 'c');
    await s.store.txn({ compares: [], changes: [{ delete: s.key('b'), upTo: s.key('c') }] });
    expect(await s.names()).toEqual(['a', 'c']);
  });

  it('lets one of many writers win on one revision', async () => {
    const s = scene();
    const revision = await s.put('a');
    const tries = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        s.store.txn({
          compares: [{ key: s.key('a'), modRevision: revision }],
          changes: [{ put: s.key('a'), value: text(String(i)) }],
        }),
      ),
    );
    const winners = tries.flatMap((one, i) => (one.succeeded ? [i] : []));
    expect(winners).toHaveLength(1);
    expect(string((await s.store.get(s.key('a')))?.value)).toBe(String(winners[0]));
  });

  if (facts.limitsOps)
    it('refuses more operations than a transaction may have', async () => {
      const s = scene();
      const many = (count: number): Change[] =>
        Array.from({ length: count }, (_, i) => ({ put: s.key(`k${i}`), value: text('x') }));
      await s.store.txn({ compares: [], changes: many(LIMITS.txnOpsMax) });
      const failure = await failureOf(s.store.txn({ compares: [], changes: many(LIMITS.txnOpsMax + 1) }));
      expect(failure.outcome).toBe('refused');
    });
}

export function describeManyReads(scene: () => Scene): void {
  it('reads many keys at once: those that exist, in the order asked for', async () => {
    const s = scene();
    const first = await s.put('a', 'c');
    const second = await s.put('b', 'empty');
    await s.store.txn({ compares: [], changes: [{ put: s.key('empty'), value: new Uint8Array(0) }] });
    await s.put('gone');
    await s.store.txn({ compares: [], changes: [{ delete: s.key('gone') }] });
    const names = ['missing1', 'c', 'b', 'gone', 'a', 'missing2', 'empty'];
    const found = await getMany(
      s.store,
      names.map((name) => s.key(name)),
    );
    expect(found.map(({ key }) => key)).toEqual(['c', 'b', 'a', 'empty'].map((name) => s.key(name)));
    expect(found.map(({ value }) => string(value))).toEqual(['c', 'b', 'a', '']);
    expect(found.slice(0, 3).map(({ modRevision }) => modRevision)).toEqual([first, second, first]);
    expect(await getMany(s.store, [s.key('missing1'), s.key('gone')])).toEqual([]);
    expect(await getMany(s.store, [])).toEqual([]);
  });

  it('reads as many keys at once as a transaction may have operations, and changes nothing', async () => {
    const s = scene();
    const names = Array.from({ length: LIMITS.txnOpsMax }, (_, i) => `k${(i * 37) % LIMITS.txnOpsMax}`);
    expect(new Set(names).size).toBe(LIMITS.txnOpsMax);
    const half = names.slice(0, LIMITS.txnOpsMax / 2);
    await s.put(...half);
    const { revision } = await s.store.status();
    const keys = names.map((name) => s.key(name));
    const some = await getMany(s.store, keys);
    expect(some.map(({ value }) => string(value))).toEqual(half);
    expect((await s.store.status()).revision).toBe(revision);
    await s.put(...names.slice(LIMITS.txnOpsMax / 2));
    const all = await getMany(s.store, keys);
    expect(all.map(({ value }) => string(value))).toEqual(names);
  });

  it('reads many large values at once', async () => {
    const s = scene();
    const names = Array.from({ length: 4 }, (_, i) => `big${i}`);
    for (const [i, name] of names.entries()) {
      const value = new Uint8Array(LIMITS.pageBytesMax / 4).fill(i + 1);
      await s.store.txn({ compares: [], changes: [{ put: s.key(name), value }] });
    }
    const found = await getMany(
      s.store,
      names.map((name) => s.key(name)),
    );
    expect(found.map(({ value }) => [value.length, value[9], value[value.length - 1]])).toEqual(
      [1, 2, 3, 4].map((i) => [LIMITS.pageBytesMax / 4, i, i]),
    );
  });
}
