/** Who owns a name, read from the records in etcd and not from any process: for tests and benchmarks that choose names by owner. */
import { hashBytes, parseHashKey, slotHash, slotOf, type HashKey } from '../../src/slots/hash.ts';
import {
  CLUSTER_KEY,
  decodeClusterRecord,
  decodeSlotRecord,
  decodeTermRecord,
  SLOT_PREFIX,
  TERM_PREFIX,
} from '../../src/slots/records.ts';
import { openEtcdStore } from '../../src/shard/etcd/store.ts';
import { eachEntry, type ShardStore } from '../../src/shard/store.ts';

export class Owners {
  readonly #hashKey: HashKey;
  /** HOST:PORT of the owner, by slot; '' = nobody owns it just now. */
  readonly #addresses: readonly string[];

  private constructor(hashKey: HashKey, addresses: readonly string[]) {
    this.#hashKey = hashKey;
    this.#addresses = addresses;
  }

  /** @param shards endpoints of each */
  static async read(shards: readonly (readonly string[])[]): Promise<Owners> {
    const stores = shards.map((endpoints, i) =>
      openEtcdStore({ name: `s${i}`, engine: 'etcd', endpoints, weight: 1 }),
    );
    try {
      const record = await stores[0].get(CLUSTER_KEY);
      if (record === undefined) throw new Error('there is no cluster yet');
      const { slots, hashKey } = decodeClusterRecord(record.value);
      const addresses = Array.from({ length: slots }, () => '');
      for (const store of stores) await readStore(store, addresses);
      return new Owners(parseHashKey(hashKey), addresses);
    } finally {
      for (const store of stores) await store.close();
    }
  }

  slotOf(name: string): number {
    const bytes = Buffer.from(name);
    const hash = hashBytes(bytes, 0, bytes.length, this.#hashKey);
    return slotOf(slotHash(bytes, 0, bytes.length, 0, hash, this.#hashKey), this.#addresses.length);
  }

  addressOf(name: string): string {
    return this.#addresses[this.slotOf(name)];
  }

  /** Slots by the address of their owner. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const address of this.#addresses) counts.set(address, (counts.get(address) ?? 0) + 1);
    return counts;
  }

  /** Slots that have another owner there. */
  moved(later: Owners): number {
    return this.#addresses.filter((address, slot) => later.#addresses[slot] !== address).length;
  }
}

async function readStore(store: ShardStore, addresses: string[]): Promise<void> {
  const terms = new Map<string, string>();
  await eachEntry(store, TERM_PREFIX, {}, ({ key, value }) => {
    terms.set(key.slice(TERM_PREFIX.length), decodeTermRecord(value).address);
  });
  await eachEntry(store, SLOT_PREFIX, {}, ({ key, value }) => {
    const { owner } = decodeSlotRecord(value);
    addresses[Number(key.slice(SLOT_PREFIX.length))] = (owner === null ? undefined : terms.get(owner)) ?? '';
  });
}
