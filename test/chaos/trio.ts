/** Three real processes on two etcd shards, new ones for each test. */
import { afterAll, afterEach, beforeAll, beforeEach, describe } from 'vitest';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { temporaryFolder } from '../servers/holdfast.ts';
import { Owners } from '../servers/owners.ts';
import { Processes, type Place } from '../servers/processes.ts';

export class Trio {
  processes!: Processes;
  #shards: EtcdCluster[] = [];
  #folder: Awaited<ReturnType<typeof temporaryFolder>> | undefined;

  get places(): readonly Place[] {
    return this.processes.places;
  }

  /** The first of `tag/0`, `tag/1` … whose slot the place owns. */
  async nameOf(place: Place, tag: string): Promise<string> {
    const owners = await Owners.read(this.#shards.map((shard) => shard.endpoints));
    for (let i = 0; ; i++) if (owners.addressOf(`${tag}/${i}`) === place.address) return `${tag}/${i}`;
  }

  async open(): Promise<void> {
    this.#folder = await temporaryFolder();
    this.#shards = await startTestShards([1, 1]);
  }

  async start(): Promise<void> {
    const etcd = this.#shards.map((shard) => shard.endpoints);
    this.processes = await Processes.start({ count: 3, etcd, folder: this.#folder!.path });
  }

  async close(): Promise<void> {
    await Promise.all(this.#shards.map((shard) => shard.stop()));
    await this.#folder?.remove();
  }
}

export function describeTrio(title: string, suite: (trio: Trio) => void): void {
  describe.skipIf(etcdMissing)(title, () => {
    const trio = new Trio();
    beforeAll(() => trio.open(), PROVISION_MS);
    beforeEach(() => trio.start(), 60_000);
    afterEach(() => trio.processes?.kill());
    afterAll(() => trio.close());
    suite(trio);
  });
}
