/** The lease keeper on real etcd: what it keeps, what it lets go. */
import { MessageChannel } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/limits.ts';
import { KeeperLoop } from '../../../src/shard/etcd/keeper-loop.ts';
import { PortKeeper } from '../../../src/shard/etcd/keeper.ts';
import type * as Keeper from '../../../src/shard/etcd/keeper.ts';
import { openEtcdStore } from '../../../src/shard/etcd/store.ts';
import type { EtcdStore } from '../../../src/shard/etcd/store.ts';
import { PROVISION_MS, shardOn, startTestEtcd } from '../../servers/etcd.ts';
import type { EtcdCluster } from '../../servers/etcd.ts';
import { etcdMissing } from '../../servers/etcd-missing.ts';

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
/** A lease that nobody keeps is gone after this: etcd looks every 500 ms, and revoking takes a commit. */
const GONE_MS = LIMITS.leaseTtlMs + 2_000;

let clusters: EtcdCluster[] = [];
let stores: EtcdStore[] = [];
let keys = 0;

beforeAll(async () => {
  clusters = [await startTestEtcd(), await startTestEtcd()];
  stores = clusters.map((cluster, i) => openEtcdStore(shardOn(cluster, `s${i}`)));
}, PROVISION_MS);
afterAll(async () => {
  for (const store of stores) await store.close();
  for (const cluster of clusters) await cluster.stop();
});

/** A key on a lease of its own. */
async function leased(store: EtcdStore): Promise<{ lease: string; key: string }> {
  const lease = await store.grantLease(LIMITS.leaseTtlMs);
  const key = `holdfast/term/${++keys}`;
  await store.txn({ compares: [], changes: [{ put: key, value: new Uint8Array(1), lease }] });
  return { lease, key };
}

const lives = async (store: EtcdStore, key: string) => (await store.confirm(key)) > 0;

describe.skipIf(etcdMissing)('the loop', () => {
  const shards = () => clusters.map((cluster, i) => shardOn(cluster, `s${i}`));

  /** `moving` is asked for each lane, and for the main thread as lane `lanes`. */
  function start(lanes: number, moving: (lane: number) => boolean) {
    const progress = new Int32Array(new SharedArrayBuffer(4 * (lanes + 1)));
    const logs: string[] = [];
    const loop = new KeeperLoop(shards(), progress, (_level, message, fields) =>
      logs.push(`${message} ${fields['shard']}`),
    );
    const timer = setInterval(() => {
      for (let lane = 0; lane <= lanes; lane++) if (moving(lane)) Atomics.add(progress, lane, 1);
    }, 50);
    const stop = () => {
      clearInterval(timer);
      loop.close();
    };
    return { loop, logs, stop };
  }

  it('keeps the leases of lanes that move, not of one that stands still, and lets go of dropped ones', async () => {
    const { loop, logs, stop } = start(3, (lane) => lane !== 1);
    const [kept, still, dropped, gone] = await Promise.all([0, 1, 2, 3].map(() => leased(stores[0])));
    const other = await leased(stores[1]);
    loop.handle({ kind: 'keep', lane: 0, shard: 's0', lease: kept.lease });
    loop.handle({ kind: 'keep', lane: 0, shard: 's1', lease: other.lease });
    loop.handle({ kind: 'keep', lane: 1, shard: 's0', lease: still.lease });
    loop.handle({ kind: 'keep', lane: 0, shard: 's0', lease: dropped.lease });
    loop.handle({ kind: 'keep', lane: 2, shard: 's0', lease: gone.lease });
    loop.handle({ kind: 'drop', lane: 0, shard: 's0', lease: dropped.lease });
    loop.dropLane(2);
    await sleep(GONE_MS + LIMITS.leaseTtlMs / 2);
    expect(await lives(stores[0], kept.key)).toBe(true);
    expect(await lives(stores[1], other.key)).toBe(true);
    expect(await lives(stores[0], still.key)).toBe(false);
    expect(await lives(stores[0], dropped.key)).toBe(false);
    expect(await lives(stores[0], gone.key)).toBe(false);
    await stores[0].revokeLease(kept.lease);
    await expect.poll(() => logs, { timeout: 5_000 }).toContain('a lease has ended s0');
    stop();
    await expect.poll(() => lives(stores[1], other.key), { timeout: GONE_MS }).toBe(false);
  }, 40_000);

  it('keeps no lease while the main thread stands still', async () => {
    const { loop, stop } = start(1, (lane) => lane === 0);
    const { lease, key } = await leased(stores[0]);
    loop.handle({ kind: 'keep', lane: 0, shard: 's0', lease });
    await sleep(LIMITS.leaseTtlMs / 2);
    expect(await lives(stores[0], key)).toBe(true);
    await expect.poll(() => lives(stores[0], key), { timeout: GONE_MS + LIMITS.leaseTtlMs }).toBe(false);
    stop();
  }, 40_000);

  it('a lane that moves again before its lease ends keeps it', async () => {
    let paused = false;
    const { loop, stop } = start(1, () => !paused);
    const { lease, key } = await leased(stores[0]);
    loop.handle({ kind: 'keep', lane: 0, shard: 's0', lease });
    for (let i = 0; i < 2; i++) {
      await sleep(1_000);
      paused = true;
      await sleep(LIMITS.leaseTtlMs * 0.6);
      paused = false;
    }
    await sleep(1_000);
    expect(await lives(stores[0], key)).toBe(true);
    stop();
  }, 40_000);

  it('a frozen shard does not disturb another, and is kept again when it is back', async () => {
    const { loop, logs, stop } = start(1, () => true);
    const [one, two] = [await leased(stores[0]), await leased(stores[1])];
    loop.handle({ kind: 'keep', lane: 0, shard: 's0', lease: one.lease });
    loop.handle({ kind: 'keep', lane: 0, shard: 's1', lease: two.lease });
    await sleep(1_000);
    clusters[0].members[0].pause();
    await sleep(GONE_MS);
    expect(await lives(stores[1], two.key)).toBe(true);
    expect(logs).toContain('a lease could not be kept alive; trying again s0');
    expect(logs.filter((line) => line.endsWith('s1'))).toEqual([]);
    clusters[0].members[0].resume();
    await expect
      .poll(async () => stores[0].confirm('holdfast/x').catch(() => -1), { timeout: 10_000 })
      .toBe(0);
    const again = await leased(stores[0]);
    loop.handle({ kind: 'keep', lane: 0, shard: 's0', lease: again.lease });
    await sleep(GONE_MS);
    expect(await lives(stores[0], again.key)).toBe(true);
    stop();
  }, 60_000);
});

/** The compiled thread: a worker can't be started from TypeScript. */
const built = new URL('../../../dist/shard/etcd/keeper.js', import.meta.url);

describe.skipIf(etcdMissing)('the thread', () => {
  it('keeps what lanes tell it to keep, and stops', async () => {
    const { startKeeperThread } = (await import(built.href)) as typeof Keeper;
    const progress = new SharedArrayBuffer(8);
    const failures: Error[] = [];
    const thread = startKeeperThread({
      shards: [shardOn(clusters[0])],
      progress,
      onLog: () => undefined,
      onFailure: (error) => failures.push(error),
    });
    const { port1, port2 } = new MessageChannel();
    thread.addLane(0, port1);
    const keeper = new PortKeeper(port2, 0);
    const { lease, key } = await leased(stores[0]);
    keeper.keep('s0', lease);
    await sleep(100);
    for (const until = performance.now() + GONE_MS; performance.now() < until;) {
      Atomics.add(new Int32Array(progress), 0, 1);
      await sleep(50);
    }
    expect(await lives(stores[0], key)).toBe(true);
    port2.close();
    await expect.poll(() => lives(stores[0], key), { timeout: GONE_MS }).toBe(false);
    await thread.stop();
    expect(failures).toEqual([]);
  }, 40_000);
});
