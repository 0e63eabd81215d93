/** The ceiling: nothing but commits of journal entries of Holdfast's bytes, from the load process straight to etcd. No sockets, no locks, no decisions. */
import { startEtcd } from '../../../src/cli/etcd-server.ts';
import { LIMITS } from '../../../src/limits.ts';
import { openEtcdStore } from '../../../src/shard/etcd/store.ts';
import { Chain, type Arrivals } from '../../chain.ts';
import type { LockClient, Peer, Shape, Standing } from '../peer.ts';

const LEASE_MS = 600_000;

interface Target {
  readonly endpoint: string;
}

/** One etcd with fsync and the settings that Holdfast's own has. `settings` are added. */
export async function startOneEtcd(
  folder: string,
  settings: readonly (readonly [string, string])[] = [],
): Promise<Standing> {
  const etcd = await startEtcd({ dataFolder: folder, ownGroup: true, settings });
  const target: Target = { endpoint: etcd.endpoints[0] };
  return { pids: new Map([['etcd', etcd.members[0].pid!]]), target, stop: () => etcd.stop() };
}

export const JOURNAL: Peer = {
  key: 'ceiling',
  name: 'bare journal (ceiling)',
  how: "Holdfast's journal bytes, one commit in flight, 64 ops a block; no lock service",
  durable: 'yes: etcd, fsync before the answer',
  fencing: 'no locks',
  nodeLoss: 'no locks',
  expiry: 'no locks',
  client: 'journal',
  locksPerBlock: 64,
  concurrencies: [8, 64, 256, 512],
  start: startOneEtcd,
};

/** What waits for a block's commit, by block. */
class JournalClient implements LockClient, Arrivals {
  readonly #chain: Chain;
  readonly #locks: number;
  readonly #waiting = new Map<number, { resolve(): void; reject(error: unknown): void }>();
  readonly #compaction: NodeJS.Timeout;

  constructor(endpoint: string, shape: Shape) {
    const store = openEtcdStore({ name: 's0', engine: 'etcd', endpoints: [endpoint], weight: 1 });
    this.#locks = shape.locksPerBlock;
    this.#chain = new Chain(store, this);
    this.#compaction = setInterval(
      () => this.#chain.compact().catch((error: unknown) => this.failed(error)),
      LIMITS.compactEveryMs,
    );
  }

  begin(): Promise<void> {
    return this.#chain.begin(LEASE_MS);
  }

  acquire(block: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.set(block, { resolve, reject });
      this.#chain.arrived(block, this.#locks);
    });
  }

  release(block: number): Promise<void> {
    return this.acquire(block);
  }

  async close(): Promise<void> {
    clearInterval(this.#compaction);
    await this.#chain.end();
  }

  committed(block: number): void {
    const waiting = this.#waiting.get(block);
    this.#waiting.delete(block);
    waiting?.resolve();
  }

  wrote(): void {}

  failed(error: unknown): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const client = new JournalClient((target as Target).endpoint, shape);
  await client.begin();
  return client;
}
