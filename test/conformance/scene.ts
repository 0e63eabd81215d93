/** What the conformance tests share: a store with a folder of its own, and what a watch has shown. */
import { expect } from 'vitest';
import { COMMIT_HEADROOM, prefixEnd, ShardError } from '../../src/shard/store.ts';
import type {
  Change,
  Commit,
  CommitResult,
  KeyValue,
  ShardStore,
  WatchEvent,
} from '../../src/shard/store.ts';

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

export interface StoreUnderTest {
  readonly store: ShardStore;
  /** Another one on the same data. */
  readonly another: () => Promise<ShardStore>;
  readonly close: () => Promise<void>;
}

export const text = (value: string): Uint8Array => new TextEncoder().encode(value);
export const string = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);

/** A store and a folder of keys that no other test uses. */
export class Scene {
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
      const page = await this.store.range(from, this.end, {
        limit,
        ...(revision !== undefined && { revision }),
      });
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

  commit(
    seq: number,
    expected: number,
    bytes = text('entry'),
    changes: readonly Change[] = [],
  ): Promise<CommitResult> {
    return this.store.commit(this.entry(seq, expected, bytes, changes));
  }
}

export class Seen {
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
    await expect
      .poll(() => this.events.length, { timeout: 10_000, interval: 5 })
      .toBeGreaterThanOrEqual(count);
  }
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
