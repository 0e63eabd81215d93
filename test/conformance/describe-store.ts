/**
 * What every `ShardStore` must do, written once. A store is added by calling
 * `describeStore` with how to open one on empty data.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { COMMIT_HEADROOM, prefixEnd, ShardError } from '../../src/shard/store.ts';
import type { Change, Commit, CommitResult, KeyValue, ShardStore, WatchEvent } from '../../src/shard/store.ts';

export interface StoreUnderTest {
  readonly store: ShardStore;
  /** Another one on the same data. */
  readonly another: () => Promise<ShardStore>;
  readonly close: () => Promise<void>;
}

export interface StoreFacts {
  /** A lease is real: revoking it deletes its keys. */
  readonly leases: boolean;
  /** Reads at an old revision fail once history is compacted. */
  readonly history: boolean;
  /** A watch shows each change, not only the last state of what changed. */
  readonly everyChange: boolean;
  /** The store refuses a transaction of more than LIMITS.txnOpsMax operations. */
  readonly limitsOps: boolean;
  /** How long one hook may take: a server may have to be built first. */
  readonly openMs: number;
}

const text = (value: string) => new TextEncoder().encode(value);
const string = (value: Uint8Array | undefined) => (value === undefined ? undefined : new TextDecoder().decode(value));

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
    describeTxns(scene, facts);
    describeCommits(scene);
    describeWatches(scene, facts);
    describeLeases(scene, facts);
    describeRest(scene, () => made, facts);
  });
}

/** A store and a folder of keys that no other test uses. */
class Scene {
  readonly store: ShardStore;
  readonly folder: string;

  constructor(store: ShardStore, folder: string) {
    this.store = store;
    this.folder = folder;
  }

  key(name: string): string {
    return this.folder + name;
  }

  get end(): string {
    return prefixEnd(this.folder);
  }

  /** Puts each key to its own name and returns the revision. */
  async put(...names: string[]): Promise<number> {
    const changes: Change[] = names.map((name) => ({ put: this.key(name), value: text(name) }));
    const { revision } = await this.store.txn({ compares: [], changes });
    return revision;
  }

  async names(): Promise<string[]> {
    const page = await this.store.range(this.folder, this.end, { limit: 1000, keysOnly: true });
    return page.entries.map((entry) => entry.key.slice(this.folder.length));
  }

  async all(limit: number, revision?: number): Promise<KeyValue[]> {
    const found: KeyValue[] = [];
    for (let from = this.folder; ; from = `${found[found.length - 1].key}\0`) {
      const page = await this.store.range(from, this.end, { limit, ...(revision !== undefined && { revision }) });
      found.push(...page.entries);
      if (!page.more) return found;
      expect(page.entries.length).toBeGreaterThan(0);
      expect(page.entries.length).toBeLessThanOrEqual(limit);
    }
  }

  /** A term key to commit on: its revision. */
  async term(): Promise<number> {
    return this.put('term/t1');
  }

  entry(seq: number, expectedRevision: number, bytes: Uint8Array, changes: readonly Change[] = []): Commit {
    const buffer = new Uint8Array(COMMIT_HEADROOM + bytes.length + 16).fill(0xee);
    buffer.set(bytes, COMMIT_HEADROOM);
    return {
      termKey: this.key('term/t1'),
      expectedRevision,
      termValue: text(`seq ${seq}`),
      journalKey: this.key(`journal/t1/${String(seq).padStart(12, '0')}`),
      buffer,
      entryAt: COMMIT_HEADROOM,
      entryEnd: COMMIT_HEADROOM + bytes.length,
      changes,
    };
  }

  commit(seq: number, expected: number, bytes = text('entry'), changes: readonly Change[] = []): Promise<CommitResult> {
    return this.store.commit(this.entry(seq, expected, bytes, changes));
  }
}

function describeReads(scene: () => Scene): void {
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
      const change: Change = { put: s.key(`big${String(i).padStart(2, '0')}`), value: new Uint8Array(900_000).fill(i) };
      await s.store.txn({ compares: [], changes: [change] });
    }
    const all = await s.all(1000);
    expect(all.map((entry) => entry.value.length)).toEqual(Array(12).fill(900_000));
    expect(all.map((entry) => entry.value[5])).toEqual(Array.from({ length: 12 }, (_, i) => i));
  }, 30_000);
}

function describeTxns(scene: () => Scene, facts: StoreFacts): void {
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

  it.runIf(facts.limitsOps)('refuses more operations than a transaction may have', async () => {
    const s = scene();
    const many = (count: number): Change[] =>
      Array.from({ length: count }, (_, i) => ({ put: s.key(`k${i}`), value: text('x') }));
    await s.store.txn({ compares: [], changes: many(LIMITS.txnOpsMax) });
    const failure = await failureOf(s.store.txn({ compares: [], changes: many(LIMITS.txnOpsMax + 1) }));
    expect(failure.outcome).toBe('refused');
  });
}

function describeCommits(scene: () => Scene): void {
  it('commits a chain: each on the revision of the one before', async () => {
    const s = scene();
    let last = await s.term();
    for (let seq = 1; seq <= 5; seq++) {
      const done = await s.commit(seq, last, text(`entry ${seq}`));
      expect(done.succeeded).toBe(true);
      expect(done.revision).toBeGreaterThan(last);
      last = done.revision;
    }
    const found = await s.all(100);
    expect(found.map((entry) => string(entry.value))).toEqual([1, 2, 3, 4, 5].map((i) => `entry ${i}`).concat('seq 5'));
    expect(found[found.length - 1].modRevision).toBe(last);
    expect(await s.store.confirm(s.key('term/t1'))).toBe(last);
  });

  it('refuses a commit on another revision, and a late duplicate of one', async () => {
    const s = scene();
    const first = await s.term();
    const done = await s.commit(1, first, text('one'));
    const duplicate = await s.commit(1, first, text('late'));
    expect(duplicate.succeeded).toBe(false);
    expect((await s.commit(2, done.revision + 1)).succeeded).toBe(false);
    expect(string((await s.store.get(s.key('journal/t1/000000000001')))?.value)).toBe('one');
    expect(string((await s.store.get(s.key('term/t1')))?.value)).toBe('seq 1');
    expect(await s.store.confirm(s.key('term/t1'))).toBe(done.revision);
  });

  it('refuses a commit of a term that is gone', async () => {
    const s = scene();
    const first = await s.term();
    await s.store.txn({ compares: [], changes: [{ delete: s.key('term/t1') }] });
    expect((await s.commit(1, first)).succeeded).toBe(false);
    expect(await s.names()).toEqual([]);
    expect(await s.store.confirm(s.key('term/t1'))).toBe(0);
  });

  it('lets puts and deletions ride along, or none of them', async () => {
    const s = scene();
    await s.put('old1', 'old2', 'gone');
    const first = await s.term();
    const changes: Change[] = [
      { put: s.key('slot'), value: text('record') },
      { put: s.key('chunk'), value: new Uint8Array(200_000).fill(7) },
      { put: s.key('empty'), value: new Uint8Array(0) },
      { delete: s.key('gone') },
      { delete: s.key('old'), upTo: prefixEnd(s.key('old')) },
    ];
    expect((await s.commit(1, first - 1, text('x'), changes)).succeeded).toBe(false);
    expect(await s.names()).toEqual(['gone', 'old1', 'old2', 'term/t1']);
    const done = await s.commit(1, first, text('x'), changes);
    expect(done.succeeded).toBe(true);
    expect(await s.names()).toEqual(['chunk', 'empty', 'journal/t1/000000000001', 'slot', 'term/t1']);
    const chunk = await s.store.get(s.key('chunk'));
    expect(chunk?.value.length).toBe(200_000);
    expect(chunk?.value.every((byte) => byte === 7)).toBe(true);
    expect(chunk?.modRevision).toBe(done.revision);
  });

  it('commits empty entries and entries of the greatest size, byte for byte', async () => {
    const s = scene();
    let last = await s.term();
    for (const [i, size] of [0, 1, 65_535, LIMITS.commitBytesMax].entries()) {
      const bytes = new Uint8Array(size);
      for (let at = 0; at < size; at++) bytes[at] = (at * 31 + i) & 255;
      const commit = s.entry(i, last, bytes);
      const done = await s.store.commit(commit);
      expect(done.succeeded).toBe(true);
      last = done.revision;
      expect(Buffer.compare(commit.buffer.subarray(commit.entryAt, commit.entryEnd), bytes)).toBe(0);
      const found = await s.store.get(commit.journalKey);
      expect(Buffer.compare(found?.value ?? text('absent'), bytes)).toBe(0);
    }
  }, 20_000);

  it('commits and confirms side by side', async () => {
    const s = scene();
    let last = await s.term();
    for (let seq = 1; seq <= 20; seq++) {
      const before = last;
      const [done, seen] = await Promise.all([s.commit(seq, last), s.store.confirm(s.key('term/t1'))]);
      expect(done.succeeded).toBe(true);
      expect([before, done.revision]).toContain(seen);
      last = done.revision;
    }
  });
}

function describeWatches(scene: () => Scene, facts: StoreFacts): void {
  it.runIf(facts.everyChange)('shows every change of a range in order, from a revision on', async () => {
    const s = scene();
    const before = await s.put('a');
    await s.put('b');
    const seen = new Seen(s);
    const watch = s.store.watch(s.folder, s.end, before, seen.onEvents, seen.onReset);
    await seen.count(1);
    await s.put('c', 'd');
    await s.store.txn({ compares: [], changes: [{ delete: s.key('a') }] });
    await s.store.txn({ compares: [], changes: [{ put: `${s.end}outside`, value: text('x') }] });
    const last = await s.put('c');
    await seen.count(5);
    watch.close();
    await s.put('after close');
    expect(seen.lines.slice(0, 1)).toEqual(['b=b']);
    expect(seen.lines.slice(1, 3).sort()).toEqual(['c=c', 'd=d']);
    expect(seen.lines.slice(3)).toEqual(['a gone', 'c=c']);
    expect(seen.events[4].modRevision).toBe(last);
    expect(seen.resets).toEqual([]);
  });

  it('a watch ends up at the state of the store, in the order of revisions', async () => {
    const s = scene();
    const before = await s.put('a');
    const seen = new Seen(s);
    const watch = s.store.watch(s.folder, s.end, before, seen.onEvents, seen.onReset);
    for (let i = 0; i < 20; i++) await s.put(`k${i % 3}`);
    await s.store.txn({ compares: [], changes: [{ delete: s.key('a') }, { delete: s.key('k1') }] });
    await s.put('last');
    const told = () => ['last=last', 'a gone'].every((line) => seen.lines.includes(line));
    await expect.poll(told, { timeout: 10_000 }).toBe(true);
    watch.close();
    const state = new Map<string, string | undefined>();
    for (const [i, event] of seen.events.entries()) {
      expect(event.modRevision).toBeGreaterThanOrEqual(seen.events[Math.max(0, i - 1)].modRevision);
      if (event.value === undefined) state.delete(event.key);
      else state.set(event.key, string(event.value));
    }
    const page = await s.store.range(s.folder, s.end, { limit: 100 });
    expect([...state].sort()).toEqual(page.entries.map((entry) => [entry.key, string(entry.value)]));
  });

  it('two watches do not disturb each other', async () => {
    const s = scene();
    const at = await s.put('x');
    const one = new Seen(s);
    const two = new Seen(s);
    const first = s.store.watch(s.key('a'), s.key('b'), at, one.onEvents, one.onReset);
    const second = s.store.watch(s.key('b'), s.key('c'), at, two.onEvents, two.onReset);
    await s.put('a1', 'b1');
    await Promise.all([one.count(1), two.count(1)]);
    first.close();
    await s.put('a2', 'b2');
    await expect.poll(() => two.lines.includes('b2=b2'), { timeout: 10_000, interval: 5 }).toBe(true);
    second.close();
    // A store that does not show every change may say one twice.
    const told = (lines: string[]) => (facts.everyChange ? lines : [...new Set(lines)]);
    expect(told(one.lines)).toEqual(['a1=a1']);
    expect(told(two.lines)).toEqual(['b1=b1', 'b2=b2']);
  });

  it.runIf(facts.history)('says so when what it should show is compacted away', async () => {
    const s = scene();
    const old = await s.put('a');
    await s.put('b');
    const now = await s.put('c');
    await s.store.compact(now);
    const seen = new Seen(s);
    s.store.watch(s.folder, s.end, old, seen.onEvents, seen.onReset);
    await expect.poll(() => seen.resets.length, { timeout: 5_000 }).toBe(1);
    expect(seen.events).toEqual([]);
    const again = new Seen(s);
    const watch = s.store.watch(s.folder, s.end, now, again.onEvents, again.onReset);
    await s.put('d');
    await again.count(1);
    watch.close();
  });
}

class Seen {
  readonly events: WatchEvent[] = [];
  readonly resets: Error[] = [];
  readonly #scene: Scene;

  constructor(s: Scene) {
    this.#scene = s;
  }

  readonly onEvents = (events: readonly WatchEvent[]) => void this.events.push(...events);
  readonly onReset = (reason: Error) => void this.resets.push(reason);

  get lines(): string[] {
    return this.events.map((event) => {
      const name = event.key.slice(this.#scene.folder.length);
      return event.value === undefined ? `${name} gone` : `${name}=${string(event.value)}`;
    });
  }

  async count(count: number): Promise<void> {
    await expect.poll(() => this.events.length, { timeout: 10_000, interval: 5 }).toBeGreaterThanOrEqual(count);
  }
}

function describeLeases(scene: () => Scene, facts: StoreFacts): void {
  it('a commit keeps the lease of the term key; revoking the lease deletes it', async () => {
    const s = scene();
    const lease = await s.store.grantLease(LIMITS.leaseTtlMs);
    const { revision } = await s.store.txn({
      compares: [{ key: s.key('term/t1'), modRevision: 0 }],
      changes: [{ put: s.key('term/t1'), value: text('seq 0'), lease }],
    });
    const done = await s.commit(1, revision);
    expect(done.succeeded).toBe(true);
    await s.store.revokeLease(lease);
    if (!facts.leases) return;
    expect(await s.names()).toEqual(['journal/t1/000000000001']);
    expect(await s.store.confirm(s.key('term/t1'))).toBe(0);
    expect((await s.commit(2, done.revision)).succeeded).toBe(false);
  });

  it('revoking a lease twice is not an error', async () => {
    const s = scene();
    const lease = await s.store.grantLease(LIMITS.leaseTtlMs);
    await s.store.revokeLease(lease);
    await s.store.revokeLease(lease);
  });

  it.runIf(facts.leases)('a lease that nobody keeps ends, and its keys with it', async () => {
    const s = scene();
    const at = await s.put('x');
    const seen = new Seen(s);
    const watch = s.store.watch(s.folder, s.end, at, seen.onEvents, seen.onReset);
    const lease = await s.store.grantLease(1_000);
    await s.store.txn({ compares: [], changes: [{ put: s.key('term/t1'), value: text('v'), lease }] });
    await seen.count(2);
    watch.close();
    expect(seen.lines).toEqual(['term/t1=v', 'term/t1 gone']);
  }, 15_000);

  it.runIf(facts.leases)('refuses a put on a lease that does not exist', async () => {
    const s = scene();
    const changes: Change[] = [{ put: s.key('a'), value: text('v'), lease: '4711' }];
    expect((await failureOf(s.store.txn({ compares: [], changes }))).outcome).toBe('refused');
    const first = await s.term();
    expect((await failureOf(s.commit(1, first, text('x'), changes))).outcome).toBe('refused');
    expect(await s.names()).toEqual(['term/t1']);
  });
}

function describeRest(scene: () => Scene, made: () => StoreUnderTest, facts: StoreFacts): void {
  it.runIf(facts.history)('reads at an old revision until it is compacted', async () => {
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

/** The ShardError a call fails with; fails the test when it succeeds or throws another. */
export async function failureOf(call: Promise<unknown>): Promise<ShardError> {
  const error: unknown = await call.then(
    () => undefined,
    (failure: unknown) => failure,
  );
  expect(error).toBeInstanceOf(ShardError);
  return error as ShardError;
}
