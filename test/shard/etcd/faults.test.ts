/**
 * What a store does when etcd is killed, frozen, cut off or without a quorum:
 * every call ends in time and says honestly whether it may have had an effect,
 * and afterwards the same store works again.
 */
import { createServer, connect } from 'node:net';
import type { Server, Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/limits.ts';
import { openEtcdStore } from '../../../src/shard/etcd/store.ts';
import type { EtcdStore } from '../../../src/shard/etcd/store.ts';
import { COMMIT_HEADROOM, prefixEnd } from '../../../src/shard/store.ts';
import type { Commit, WatchEvent } from '../../../src/shard/store.ts';
import { PROVISION_MS, shardOn, startTestEtcd } from '../../servers/etcd.ts';
import type { EtcdCluster } from '../../servers/etcd.ts';
import { failureOf } from '../../conformance/scene.ts';
import { etcdMissing } from '../../servers/etcd-missing.ts';

/** What a busy machine may add to a deadline. */
const SLACK_MS = 1_000;
const COMMIT_MS = LIMITS.commitTimeoutMs + SLACK_MS;
const CALL_MS = LIMITS.callTimeoutMs + SLACK_MS;

let terms = 0;

/** A term key with a chain of commits on it. */
class Chain {
  readonly store: EtcdStore;
  readonly termKey = `holdfast/term/${++terms}`;
  revision = 0;
  seq = 0;

  constructor(store: EtcdStore) {
    this.store = store;
  }

  async begin(): Promise<this> {
    const value = new Uint8Array(1);
    this.revision = (
      await this.store.txn({ compares: [], changes: [{ put: this.termKey, value }] })
    ).revision;
    return this;
  }

  next(bytes: number): Commit {
    const buffer = new Uint8Array(COMMIT_HEADROOM + bytes).fill(65);
    return {
      termKey: this.termKey,
      expectedRevision: this.revision,
      termValue: Buffer.from(`seq ${++this.seq}`),
      journalKey: `holdfast/journal/${this.termKey}/${this.seq}`,
      buffer,
      entryAt: COMMIT_HEADROOM,
      entryEnd: buffer.length,
      changes: [],
    };
  }

  async commit(bytes = 1_000): Promise<boolean> {
    const done = await this.store.commit(this.next(bytes));
    if (done.succeeded) this.revision = done.revision;
    return done.succeeded;
  }

  /** Until a commit works again: the lane settles an unknown outcome in the same way. */
  async recover(withinMs: number): Promise<void> {
    const until = performance.now() + withinMs;
    for (;;) {
      try {
        this.revision = await this.store.confirm(this.termKey);
        if (await this.commit()) return;
      } catch (error) {
        if (performance.now() > until) throw error;
      }
    }
  }
}

async function timed<T>(limitMs: number, call: Promise<T>): Promise<T> {
  const started = performance.now();
  try {
    return await call;
  } finally {
    expect(performance.now() - started).toBeLessThan(limitMs);
  }
}

describe.skipIf(etcdMissing)('one member', () => {
  let cluster: EtcdCluster;
  let store: EtcdStore;
  beforeAll(async () => {
    cluster = await startTestEtcd();
  }, PROVISION_MS);
  afterAll(() => cluster?.stop());
  afterEach(() => store.close());
  const chain = () => new Chain((store = openEtcdStore(shardOn(cluster)))).begin();

  it('killed and started again: refused meanwhile, then working', async () => {
    const c = await chain();
    expect(await c.commit()).toBe(true);
    await cluster.members[0].kill();
    await timed(COMMIT_MS, failureOf(c.commit()));
    expect((await timed(COMMIT_MS, failureOf(c.commit()))).outcome).toBe('refused');
    expect((await timed(COMMIT_MS, failureOf(store.confirm(c.termKey)))).outcome).toBe('refused');
    expect((await timed(CALL_MS, failureOf(store.get(c.termKey)))).outcome).toBe('refused');
    const txn = { compares: [], changes: [{ put: 'holdfast/x', value: new Uint8Array(1) }] };
    expect((await timed(CALL_MS, failureOf(store.txn(txn)))).outcome).toBe('refused');
    await cluster.members[0].start();
    await c.recover(5_000);
    expect(await c.commit()).toBe(true);
    expect((await store.get(c.termKey))?.modRevision).toBe(c.revision);
  }, 60_000);

  it('frozen in the middle of a commit: unknown, then refused, then working', async () => {
    const c = await chain();
    expect(await c.commit()).toBe(true);
    cluster.members[0].pause();
    expect((await timed(COMMIT_MS, failureOf(c.commit()))).outcome).toBe('unknown');
    expect((await timed(COMMIT_MS, failureOf(c.commit()))).outcome).toBe('refused');
    await timed(CALL_MS, failureOf(store.get(c.termKey)));
    await timed(CALL_MS, failureOf(store.txn({ compares: [], changes: [{ delete: 'holdfast/x' }] })));
    cluster.members[0].resume();
    await c.recover(5_000);
    expect(await c.commit(LIMITS.entryBytesMax)).toBe(true);
    expect((await store.get(c.termKey))?.modRevision).toBe(c.revision);
  }, 60_000);

  it('a watch goes on behind a restart without losing a change', async () => {
    const c = await chain();
    const seen: WatchEvent[] = [];
    const resets: Error[] = [];
    const after = c.revision;
    store.watch(
      c.termKey,
      `${c.termKey}~`,
      after,
      (events) => seen.push(...events),
      (reason) => resets.push(reason),
    );
    await c.commit();
    await expect.poll(() => seen.length, { timeout: 5_000 }).toBe(1);
    await cluster.members[0].kill();
    await cluster.members[0].start();
    await c.recover(5_000);
    await c.commit();
    await expect.poll(() => seen[seen.length - 1].modRevision, { timeout: 10_000 }).toBe(c.revision);
    const revisions = seen.map((event) => event.modRevision);
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => a - b));
    expect(resets).toEqual([]);
  }, 60_000);

  it('never there: calls are refused in time, and work once it is', async () => {
    await cluster.members[0].stop();
    store = openEtcdStore(shardOn(cluster));
    const c = new Chain(store);
    expect((await timed(COMMIT_MS, failureOf(c.commit()))).outcome).toBe('refused');
    expect((await timed(CALL_MS, failureOf(store.grantLease(4_000)))).outcome).toBe('refused');
    await timed(COMMIT_MS, failureOf(store.status()));
    await cluster.members[0].start();
    await c.begin();
    expect(await timed(COMMIT_MS, c.commit())).toBe(true);
    expect((await store.status()).version).toBe(cluster.binary.version);
  }, 60_000);
});

describe.skipIf(etcdMissing)('three members', () => {
  let cluster: EtcdCluster;
  let store: EtcdStore;
  beforeAll(async () => {
    cluster = await startTestEtcd({ members: 3 });
  }, PROVISION_MS);
  afterAll(() => cluster?.stop());
  afterEach(async () => {
    await store.close();
    for (const member of cluster.members) {
      member.resume();
      await member.launch();
    }
    await Promise.all(cluster.members.map((member) => member.ready()));
  }, 60_000);
  const chain = () => new Chain((store = openEtcdStore(shardOn(cluster)))).begin();

  it('the member in use is killed: the next call goes to another', async () => {
    const c = await chain();
    await c.commit();
    await cluster.members[0].kill();
    await c.recover(5_000);
    for (let i = 0; i < 5; i++) expect(await timed(COMMIT_MS, c.commit())).toBe(true);
    for (let i = 0; i < 6; i++) expect(await timed(CALL_MS, store.get(c.termKey))).toBeDefined();
  }, 60_000);

  it('the member in use is frozen: found out by a ping, the next call goes to another', async () => {
    const c = await chain();
    await c.commit();
    cluster.members[0].pause();
    const started = performance.now();
    expect((await timed(COMMIT_MS, failureOf(c.commit()))).outcome).toBe('unknown');
    expect(performance.now() - started).toBeLessThan(LIMITS.commitTimeoutMs - 100);
    await c.recover(6_000);
    for (let i = 0; i < 5; i++) expect(await timed(COMMIT_MS, c.commit())).toBe(true);
    for (let i = 0; i < 6; i++) expect(await timed(CALL_MS, store.get(c.termKey))).toBeDefined();
  }, 60_000);

  it('without a quorum: no call succeeds or hangs; with one again, all do', async () => {
    const c = await chain();
    await c.commit();
    await Promise.all([cluster.members[1].kill(), cluster.members[2].kill()]);
    for (let i = 0; i < 3; i++) await timed(COMMIT_MS, failureOf(c.commit()));
    await timed(COMMIT_MS, failureOf(store.confirm(c.termKey)));
    await timed(CALL_MS, failureOf(store.get(c.termKey)));
    await timed(CALL_MS, failureOf(store.txn({ compares: [], changes: [{ delete: 'holdfast/x' }] })));
    await cluster.members[1].launch();
    await c.recover(15_000);
    expect(await timed(COMMIT_MS, c.commit())).toBe(true);
  }, 60_000);

  it('a watch on a frozen member moves to another and misses nothing', async () => {
    const c = await chain();
    const seen: number[] = [];
    const note = (events: readonly WatchEvent[]) => seen.push(...events.map((event) => event.modRevision));
    for (let i = 0; i < 3; i++) store.watch(c.termKey, `${c.termKey}~`, c.revision, note, () => undefined);
    await c.commit();
    await expect.poll(() => seen.length, { timeout: 5_000 }).toBe(3);
    cluster.members[0].pause();
    await c.recover(10_000);
    await c.commit();
    const last = () => seen.filter((revision) => revision === c.revision).length;
    await expect.poll(last, { timeout: 15_000 }).toBe(3);
  }, 60_000);
});

/** A TCP relay to a member that can hold bytes back and cut connections. */
class Relay {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  holdAnswers = false;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async to(url: string): Promise<Relay> {
    const { hostname, port } = new URL(url);
    const server = createServer();
    const relay = new Relay(server);
    server.on('connection', (client) => {
      const member = connect(Number(port), hostname);
      const pair = [client, member] as const;
      relay.#pairs.add(pair);
      client.on('data', (bytes) => member.write(bytes));
      member.on('data', (bytes) => void (relay.holdAnswers || client.write(bytes)));
      for (const socket of pair) {
        socket.on('error', () => undefined);
        socket.on('close', () => {
          relay.#pairs.delete(pair);
          for (const one of pair) one.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  get url(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  cut(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }

  close(): void {
    this.#server.close();
    this.cut();
  }
}

describe.skipIf(etcdMissing)('a connection', () => {
  let cluster: EtcdCluster;
  let relay: Relay;
  let store: EtcdStore;
  beforeAll(async () => {
    cluster = await startTestEtcd();
    relay = await Relay.to(cluster.endpoints[0]);
    store = openEtcdStore({ ...shardOn(cluster), endpoints: [relay.url] });
  }, PROVISION_MS);
  afterAll(async () => {
    await store?.close();
    relay?.close();
    await cluster?.stop();
  });

  it('cut after the commit was delivered: unknown, and it did take effect', async () => {
    const c = await new Chain(store).begin();
    await c.commit();
    const before = c.revision;
    relay.holdAnswers = true;
    const failed = failureOf(c.commit());
    setTimeout(() => {
      relay.cut();
      relay.holdAnswers = false;
    }, 200);
    expect((await timed(COMMIT_MS, failed)).outcome).toBe('unknown');
    const now = await store.confirm(c.termKey);
    expect(now).toBeGreaterThan(before);
  });

  it('cut again and again under load: every call ends, nothing acknowledged is missing', async () => {
    const c = await new Chain(store).begin();
    const cutter = setInterval(() => relay.cut(), 50);
    const acknowledged: number[] = [];
    for (const until = performance.now() + 2_000; performance.now() < until;) {
      try {
        if (await timed(COMMIT_MS, c.commit(20_000))) acknowledged.push(c.seq);
        else c.revision = await store.confirm(c.termKey);
      } catch {
        c.revision = await store.confirm(c.termKey).catch(() => c.revision);
      }
    }
    clearInterval(cutter);
    expect(acknowledged.length).toBeGreaterThan(10);
    await c.recover(5_000);
    const prefix = `holdfast/journal/${c.termKey}/`;
    const page = await store.range(prefix, prefixEnd(prefix), { limit: 10_000, keysOnly: true });
    const kept = new Set(page.entries.map((entry) => entry.key.slice(prefix.length)));
    expect(acknowledged.filter((seq) => !kept.has(String(seq)))).toEqual([]);
  }, 30_000);
});
