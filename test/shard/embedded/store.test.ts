/** What is special to the embedded store; what every store must do is in test/conformance. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { open } from 'lmdb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/limits.ts';
import { openEmbeddedStore } from '../../../src/shard/embedded/store.ts';
import { ShardError, type Change, type ShardStore, type WatchEvent } from '../../../src/shard/store.ts';
import { compileScript, type Script } from './compile.ts';
import type { ThreadTask } from './thread.ts';

let folder: string;
let store: ShardStore;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-embedded-'));
  store = openEmbeddedStore({ name: 's0', folder: join(folder, 's0') });
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function put(...keys: string[]): Promise<{ revision: number }> {
  return store.txn({ compares: [], changes: keys.map((key) => ({ put: key, value: text(key) })) });
}

async function keys(from = '', to = '\uffff'): Promise<string[]> {
  const page = await store.range(from, to, { limit: 1_000_000, keysOnly: true });
  return page.entries.map((entry) => entry.key);
}

async function reopen(): Promise<void> {
  await store.close();
  store = openEmbeddedStore({ name: 's0', folder: join(folder, 's0') });
}

async function refusal(call: Promise<unknown>): Promise<ShardError> {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ShardError);
  expect((error as ShardError).outcome).toBe('refused');
  return error as ShardError;
}

describe('revisions', () => {
  it('rise by one with every transaction that changes something, and only then', async () => {
    expect((await store.status()).revision).toBe(0);
    expect((await put('a', 'b')).revision).toBe(1);
    expect((await store.txn({ compares: [], changes: [] })).revision).toBe(1);
    expect(
      (await store.txn({ compares: [], changes: [{ delete: 'none' }, { delete: 'x', upTo: 'y' }] })).revision,
    ).toBe(1);
    const failed = await store.txn({ compares: [{ key: 'a', modRevision: 7 }], changes: [{ delete: 'a' }] });
    expect(failed).toEqual({ succeeded: false, revision: 1, found: [] });
    expect((await store.txn({ compares: [], changes: [{ delete: 'b' }] })).revision).toBe(2);
    expect((await put('c')).revision).toBe(3);
    expect((await store.get('a'))?.modRevision).toBe(1);
  });

  it('survive a restart, with the data', async () => {
    await put('a');
    await put('b');
    await reopen();
    expect((await store.get('b'))?.modRevision).toBe(2);
    expect(await keys()).toEqual(['a', 'b']);
    expect((await put('a')).revision).toBe(3);
  });

  it('of the past cannot be read', async () => {
    const { revision } = await put('a');
    expect((await store.range('a', 'b', { limit: 1, revision })).entries).toHaveLength(1);
    await put('b');
    expect((await refusal(store.range('a', 'b', { limit: 1, revision }))).message).toContain('no history');
  });
});

describe('keys and values', () => {
  it('are listed in the order of their bytes, and nothing but them', async () => {
    const names = ['b', 'a', 'a/', 'a0', 'é', '\u{1f512}', '\uffee', 'Z'];
    await put(...names);
    expect(await keys('', '\u{10ffff}')).toEqual([...names].sort((a, b) => Buffer.compare(text(a), text(b))));
    expect(await keys('b', 'a')).toEqual([]);
    expect(await keys('a', 'a')).toEqual([]);
    expect(await keys('', '')).toEqual([]);
  });

  it('have their own revision in a listing of keys, however large the values passed over', async () => {
    const value = new Uint8Array(1_000_000);
    for (let i = 10; i < 30; i++) {
      await store.txn({ compares: [], changes: [{ put: `big${i}`, value }] });
    }
    const found: [string, number][] = [];
    let pages = 0;
    for (let from = 'big', more = true; more; pages++) {
      const page = await store.range(from, 'bih', { limit: 100, keysOnly: true });
      for (const { key, modRevision } of page.entries) found.push([key, modRevision]);
      from = `${found.at(-1)![0]}\0`;
      more = page.more;
    }
    expect(found).toEqual(Array.from({ length: 20 }, (_, i) => [`big${i + 10}`, i + 1]));
    expect(pages).toBe(2);
  });

  it('that cannot be stored are refused, with all of their transaction', async () => {
    for (const key of ['', 'k'.repeat(1_025)]) {
      await refusal(put('good', key));
      await refusal(store.get(key));
      await refusal(store.commit({ ...commitOf('t', 1, 1), journalKey: key }));
    }
    expect(await keys()).toEqual([]);
    await put('k'.repeat(1_024));
    expect(await keys()).toHaveLength(1);
  });

  it('are copies, both ways', async () => {
    const value = new Uint8Array(100_000).fill(1);
    await store.txn({ compares: [], changes: [{ put: 'a', value }] });
    value.fill(2);
    const small = await store.get('a');
    const page = await store.range('a', 'b', { limit: 5 });
    await store.txn({ compares: [], changes: [{ put: 'a', value }] });
    for (let i = 0; i < 50; i++) await put(`filler${i}`);
    expect(small!.value.every((byte) => byte === 1)).toBe(true);
    expect(page.entries[0].value.every((byte) => byte === 1)).toBe(true);
    small!.value.fill(9);
    expect((await store.get('a'))!.value[0]).toBe(2);
  });
});

function commitOf(name: string, seq: number, expectedRevision: number, changes: readonly Change[] = []) {
  const buffer = new Uint8Array(2_048 + 1_000).fill(seq);
  const journalKey = `journal/${name}/${String(seq).padStart(12, '0')}`;
  const termValue = text(String(seq));
  return {
    termKey: `term/${name}`,
    termValue,
    expectedRevision,
    journalKey,
    buffer,
    entryAt: 2_048,
    entryEnd: buffer.length,
    changes,
  };
}

describe('large deletions', () => {
  it('are done in pieces that let others in between', async () => {
    const count = 25_000;
    for (let at = 0; at < count; at += 5_000) {
      await put(
        ...Array.from({ length: 5_000 }, (_, i) => `journal/dead/${String(at + i).padStart(12, '0')}`),
      );
    }
    const { revision } = await put('term/t', 'journal/deaf');
    const deletion = store.txn({
      compares: [{ key: 'term/dead', modRevision: 0 }],
      changes: [{ delete: 'journal/dead/', upTo: 'journal/dead0' }, { delete: 'term/t0' }],
    });
    const order: string[] = [];
    const deleted = deletion.then(() => order.push('deleted'));
    expect((await store.commit(commitOf('t', 1, revision))).succeeded).toBe(true);
    order.push('committed');
    await deleted;
    expect(order).toEqual(['committed', 'deleted']);
    expect(await keys()).toEqual(['journal/deaf', 'journal/t/000000000001', 'term/t']);
  });

  it('stop when a compare fails', async () => {
    await put(...Array.from({ length: 5_000 }, (_, i) => `k${i}`));
    const deletion = store.txn({
      compares: [{ key: 'guard', modRevision: 0 }],
      changes: [{ delete: 'k', upTo: 'l' }],
    });
    await put('guard');
    expect((await deletion).succeeded).toBe(false);
    expect((await keys('k', 'l')).length).toBeGreaterThan(0);
  });

  it('are one step where they ride along with something else', async () => {
    await put('term/t', ...Array.from({ length: 5_000 }, (_, i) => `k${i}`));
    const done = await store.commit(commitOf('t', 1, 1, [{ delete: 'k', upTo: 'l' }]));
    expect(done).toEqual({ succeeded: true, revision: 2 });
    expect(await keys('k', 'l')).toEqual([]);
  });
});

describe('a thread that could not write in time', () => {
  it('is told that nothing happened, and nothing does', async () => {
    const late = put('late');
    // The thread itself stands still: the transaction has not run when the deadline comes.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LIMITS.commitTimeoutMs + 100);
    expect((await refusal(late)).message).toContain(`more than ${LIMITS.commitTimeoutMs} ms`);
    await put('after');
    expect(await keys()).toEqual(['after']);
    expect((await store.status()).revision).toBe(1);
  });
});

describe('what is in the folder', () => {
  it('is made where needed, and closes with its last user', async () => {
    const path = join(folder, 'a', 'b');
    const one = openEmbeddedStore({ name: 'x', folder: path });
    const two = openEmbeddedStore({ name: 'x', folder: path });
    expect(existsSync(join(path, 'data.mdb'))).toBe(true);
    await one.close();
    await one.close();
    await refusal(one.get('a'));
    await two.txn({ compares: [], changes: [{ put: 'a', value: text('a') }] });
    await two.close();
    expect(() => openEmbeddedStore({ name: 'x', folder: join(path, 'data.mdb') })).toThrow();
  });

  it('is refused when it is of another program', async () => {
    const path = join(folder, 'foreign');
    const foreign = open({ path, noSubdir: false });
    await foreign.put('key', 'value');
    await foreign.close();
    expect(() => openEmbeddedStore({ name: 'x', folder: path })).toThrow('holds data of another program');
  });
});

describe('threads', () => {
  let thread: Script;

  beforeAll(() => {
    thread = compileScript('thread');
  });
  afterAll(() => thread.remove());

  function run(name: string, rounds: number): Promise<number[]> {
    const workerData: ThreadTask = { folder: join(folder, 's0'), name, rounds };
    return new Promise((resolve, reject) => {
      const worker = new Worker(thread.path, { workerData });
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  }

  it('see each other, and their transactions have one order', async () => {
    const rounds = 150;
    const revisions = await Promise.all(['a', 'b', 'c'].map((name) => run(name, rounds)));
    for (const own of revisions) expect(own).toEqual([...own].sort((a, b) => a - b));
    const all = revisions.flat().sort((a, b) => a - b);
    expect(all).toEqual(Array.from({ length: all.length }, (_, i) => i + 1));
    expect(Buffer.from((await store.get('shared'))!.value).toString()).toBe(String(3 * rounds));
    expect(await keys('journal/', 'journal0')).toHaveLength(3 * rounds);
  }, 60_000);

  it('are watched from another one', async () => {
    const events: WatchEvent[] = [];
    const { revision } = await put('gone');
    const resets: Error[] = [];
    const watch = store.watch(
      '',
      '\uffff',
      revision,
      (some) => events.push(...some),
      (reason) => resets.push(reason),
    );
    await run('a', 5);
    await store.txn({ compares: [], changes: [{ delete: 'gone' }] });
    await expect
      .poll(() => events.some(({ key, value }) => key === 'gone' && value === undefined))
      .toBe(true);
    watch.close();
    const last = new Map(events.map((event) => [event.key, event.modRevision]));
    for (const { key, modRevision } of (await store.range('', '\uffff', { limit: 100 })).entries) {
      expect(last.get(key)).toBe(modRevision);
    }
    expect(resets).toEqual([]);
  }, 60_000);
});

describe('a watch from the past', () => {
  it('starts where only commits went by, and says so where more did', async () => {
    const { revision } = await put('term/t');
    await store.commit(commitOf('t', 1, revision));
    const events: WatchEvent[] = [];
    const resets: Error[] = [];
    const watchFrom = (at: number) =>
      store.watch(
        'journal/',
        'journal0',
        at,
        (some) => events.push(...some),
        (reason) => resets.push(reason),
      );
    const watch = watchFrom(revision);
    await expect
      .poll(() => events.map((event) => event.key), { timeout: 3_000 })
      .toEqual(['journal/t/000000000001']);
    watch.close();
    await put('other');
    watchFrom(revision);
    await expect.poll(() => resets.length).toBe(1);
  });
});
