/** The same suite on the embedded store and on two real etcd shards, each test file with servers of its own. */
import { afterAll, beforeAll, describe } from 'vitest';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { startHoldfast, spawnHoldfast, temporaryFolder, type HoldfastServer } from '../servers/holdfast.ts';
import { HttpClient } from './http.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';

export type StoreName = 'embedded' | 'etcd';
export const STORES: readonly StoreName[] = ['embedded', 'etcd'];
/** Members of each etcd shard. */
const SHARDS: readonly (1 | 3)[] = [1, 1];

export interface StartOptions {
  readonly port?: number;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly apiKey?: string;
}

/** Everything a suite needs of its store: it can start servers on it, one after the other or side by side. */
export class Stage {
  readonly store: StoreName;
  server!: HoldfastServer;
  readonly #servers: HoldfastServer[] = [];
  #folder: Awaited<ReturnType<typeof temporaryFolder>> | undefined;
  #etcd: EtcdCluster[] = [];

  readonly #shards: readonly (1 | 3)[];

  constructor(store: StoreName, shards: readonly (1 | 3)[] = SHARDS) {
    this.store = store;
    this.#shards = shards;
  }

  get http(): HttpClient {
    return new HttpClient(this.server.url);
  }

  get etcd(): readonly EtcdCluster[] {
    return this.#etcd;
  }

  get folder(): string {
    return this.#folder!.path;
  }

  async open(): Promise<void> {
    this.#folder = await temporaryFolder();
    if (this.store === 'etcd') this.#etcd = await startTestShards(this.#shards);
  }

  /** Starts the server that `server` and `http` then mean, and waits until it serves. */
  async start(options: StartOptions = {}): Promise<HoldfastServer> {
    this.server = await startHoldfast({ ...this.#where(), ...options });
    this.#servers.push(this.server);
    return this.server;
  }

  /** Starts one more without waiting for anything. */
  async spawn(options: StartOptions = {}): Promise<HoldfastServer> {
    const server = await spawnHoldfast({ ...this.#where(), ...options });
    this.#servers.push(server);
    return server;
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.kill()));
    await Promise.all(this.#etcd.map((cluster) => cluster.stop()));
    await this.#folder?.remove();
  }

  #where() {
    const etcd = this.#etcd.map((cluster) => cluster.endpoints);
    return { folder: this.folder, ...(this.store === 'etcd' ? { etcd } : {}) };
  }
}

/** Runs `suite` with a stage on each store; `start` false: the suite starts servers itself. */
export function onEachStore(
  title: string,
  suite: (stage: Stage) => void,
  options: { start?: boolean } = {},
): void {
  for (const store of STORES) onStore(title, store, suite, options.start !== false);
}

function onStore(title: string, store: StoreName, suite: (stage: Stage) => void, start: boolean): void {
  describe.skipIf(store === 'etcd' && etcdMissing)(`${title} on ${store}`, () => {
    const stage = new Stage(store);
    beforeAll(async () => {
      await stage.open();
      if (start) await stage.start();
    }, PROVISION_MS);
    afterAll(() => stage.close(), 60_000);
    suite(stage);
  });
}
