/**
 * A shard in a folder of this machine: LMDB behind the store interface. What
 * `npm start` uses with nothing installed.
 *
 * The data folder is locked to one process (folder-lock.ts), so there are no
 * leases: whatever terms the last process left are over, and main deletes them
 * before the first lane starts.
 *
 * Where it differs from etcd, within the interface:
 * - there is no history: a range at a revision other than the current rejects
 * - a transaction that only deletes, and finds more than DELETE_KEYS keys, is
 *   done in pieces, in key order, each under all the compares
 * - a watch tells the last state of what changed, up to a second later (watch.ts)
 */
import { statSync } from 'node:fs';
import { join } from 'node:path';
import * as lmdb from 'lmdb';
import type {
  Change,
  Commit,
  CommitResult,
  KeyValue,
  Page,
  RangeOptions,
  ShardStatus,
  ShardStore,
  Txn,
  TxnResult,
  Watch,
  WatchEvent,
} from '../store.ts';
import { ShardError } from '../store.ts';
import { encodeBound, encodeKey, Environment } from './environment.ts';
import { EmbeddedWatch } from './watch.ts';

/** Keys deleted in one piece: some 5 ms of the thread, and of every writer's time. */
const DELETE_KEYS = 2_000;

/** A page ends early once it holds this much, as it must with etcd. */
const PAGE_BYTES = 3 * 1024 * 1024;

/** A page of keys ends early once it passed over values of this much: some 3 ms. */
const KEYS_PAGE_BYTES = 16 * 1024 * 1024;

/** LMDB's own version: lmdb-js exports it, its type declarations do not. */
const { versionString } = (lmdb as unknown as { version: { versionString: string } }).version;

/**
 * Opens the shard for this thread. Any number of threads of one process may
 * have it open; other processes must not (folder-lock.ts).
 *
 * @param shard.folder the shard's own folder, made when it is not there
 * @throws Error when the folder cannot be used, or holds something else
 */
export function openEmbeddedStore(shard: { readonly name: string; readonly folder: string }): ShardStore {
  return new EmbeddedStore(shard.name, Environment.open(shard.folder));
}

/** A change with its keys as LMDB wants them. */
type Step =
  | { readonly put: Buffer; readonly value: Uint8Array }
  | { readonly delete: Buffer; readonly upTo: Buffer | undefined };

class EmbeddedStore implements ShardStore {
  readonly name: string;
  readonly engine = 'embedded';
  readonly #environment: Environment;
  readonly #watches = new Set<EmbeddedWatch>();
  #closed = false;

  constructor(name: string, environment: Environment) {
    this.name = name;
    this.#environment = environment;
  }

  async get(key: string): Promise<KeyValue | undefined> {
    this.#refresh();
    return this.#read(encodeKey(key), key);
  }

  #read(bytes: Buffer, key: string): KeyValue | undefined {
    const value = this.#environment.db.getBinary(bytes);
    if (value === undefined) return undefined;
    return { key, value, modRevision: lmdb.getLastVersion() };
  }

  async range(from: string, to: string, options: RangeOptions): Promise<Page> {
    this.#refresh();
    const revision = this.#environment.revision();
    if (options.revision !== undefined && options.revision !== revision) {
      throw new ShardError(
        'refused',
        `no history: revision ${options.revision} is not the current ${revision}`,
      );
    }
    const start = encodeBound(from);
    const end = encodeBound(to);
    const keys = options.keysOnly === true;
    if (Buffer.compare(start, end) >= 0) return { entries: [], revision, more: false };
    // One more than asked for tells whether there is more.
    const { entries, more } = keys
      ? this.#readKeys(start, end, options.limit + 1)
      : this.#readEntries(start, end, options.limit + 1);
    if (entries.length <= options.limit) return { entries, revision, more };
    return { entries: entries.slice(0, options.limit), revision, more: true };
  }

  async changedAfter(from: string, to: string, revision: number, limit: number): Promise<Page> {
    this.#refresh();
    const entries: KeyValue[] = [];
    const range = { start: encodeBound(from), end: encodeBound(to), versions: true };
    let more = false;
    for (const { key, value, version } of this.#environment.db.getRange(range)) {
      if (version! <= revision) continue;
      more = entries.length === limit;
      if (more) break;
      entries.push({ key: key.toString('utf8'), value, modRevision: version! });
    }
    return { entries, revision: this.#environment.revision(), more };
  }

  #readEntries(start: Buffer, end: Buffer, limit: number): { entries: KeyValue[]; more: boolean } {
    const entries: KeyValue[] = [];
    let bytes = 0;
    for (const { key, value, version } of this.#environment.db.getRange({
      start,
      end,
      limit,
      versions: true,
    })) {
      if (bytes >= PAGE_BYTES) return { entries, more: true };
      entries.push({ key: key.toString('utf8'), value, modRevision: version! });
      bytes += value.length;
    }
    return { entries, more: false };
  }

  /** The library tells a key's version only with its value, so the values are passed over one by one. */
  #readKeys(start: Buffer, end: Buffer, limit: number): { entries: KeyValue[]; more: boolean } {
    const entries: KeyValue[] = [];
    let bytes = 0;
    for (const key of this.#environment.db.getKeys({ start, end, limit })) {
      if (bytes >= KEYS_PAGE_BYTES) return { entries, more: true };
      entries.push({
        key: key.toString('utf8'),
        value: NOTHING,
        modRevision: this.#environment.modRevision(key),
      });
      bytes += this.#environment.lastBytes();
    }
    return { entries, more: false };
  }

  async txn(txn: Txn): Promise<TxnResult> {
    this.#check();
    const compares = txn.compares.map(({ key, modRevision }) => ({ key: encodeKey(key), modRevision }));
    const gets = (txn.orElseGet ?? []).map((key) => ({ key, bytes: encodeKey(key) }));
    const steps = txn.changes.map(stepOf);
    const deletesOnly = steps.every((step) => 'delete' in step);
    const environment = this.#environment;
    for (;;) {
      let complete = true;
      const result = await environment.write((): TxnResult => {
        const revision = environment.revision();
        for (const { key, modRevision } of compares) {
          if (environment.modRevision(key) === modRevision) continue;
          const found = gets.map(({ key, bytes }) => this.#read(bytes, key));
          return { succeeded: false, revision, found: found.filter((entry) => entry !== undefined) };
        }
        const done = this.#apply(steps, revision + 1, deletesOnly ? DELETE_KEYS : Infinity);
        complete = done.complete;
        if (!done.changed) return { succeeded: true, revision, found: [] };
        environment.advance(revision + 1, true);
        return { succeeded: true, revision: revision + 1, found: [] };
      });
      if (complete) return result;
    }
  }

  /** Asynchronous so that a key that cannot be stored rejects like every other fault. */
  async commit(commit: Commit): Promise<CommitResult> {
    this.#check();
    const termKey = encodeKey(commit.termKey);
    const journalKey = encodeKey(commit.journalKey);
    const entry = commit.buffer.subarray(commit.entryAt, commit.entryEnd);
    const steps = commit.changes.map(stepOf);
    const environment = this.#environment;
    return environment.write((): CommitResult => {
      const revision = environment.revision();
      const last = environment.modRevision(termKey);
      if (last === 0 || last !== commit.expectedRevision) return { succeeded: false, revision };
      const next = revision + 1;
      void environment.db.put(termKey, commit.termValue, next);
      void environment.db.put(journalKey, entry, next);
      this.#apply(steps, next, Infinity);
      environment.advance(next, steps.length > 0);
      return { succeeded: true, revision: next };
    });
  }

  /** Within a transaction. Complete unless more than `deletesMax` keys were to be deleted. */
  #apply(
    steps: readonly Step[],
    revision: number,
    deletesMax: number,
  ): { changed: boolean; complete: boolean } {
    const { db } = this.#environment;
    let changed = false;
    let room = deletesMax;
    for (const step of steps) {
      if ('put' in step) {
        void db.put(step.put, step.value, revision);
        changed = true;
      } else if (step.upTo === undefined) {
        if (this.#environment.modRevision(step.delete) === 0) continue;
        void db.remove(step.delete);
        changed = true;
        room--;
      } else {
        const keys = this.#keys(step.delete, step.upTo, room + 1);
        const more = keys.length > room;
        if (more) keys.length = room;
        for (const key of keys) void db.remove(key);
        changed ||= keys.length > 0;
        if (more) return { changed, complete: false };
        room -= keys.length;
      }
    }
    return { changed, complete: true };
  }

  #keys(from: Buffer, to: Buffer, limit: number): Buffer[] {
    if (Buffer.compare(from, to) >= 0) return [];
    const options: lmdb.RangeOptions = { start: from, end: to };
    if (limit !== Infinity) options.limit = limit;
    return [...this.#environment.db.getKeys(options)];
  }

  async confirm(termKey: string): Promise<number> {
    this.#refresh();
    return this.#environment.modRevision(encodeKey(termKey));
  }

  watch(
    from: string,
    to: string,
    afterRevision: number,
    onEvents: (events: readonly WatchEvent[]) => void,
    onReset: (reason: Error) => void,
  ): Watch {
    this.#check();
    const watch = new EmbeddedWatch(this.#environment, from, to, afterRevision, {
      onEvents,
      onReset,
      onClose: () => this.#watches.delete(watch),
    });
    this.#watches.add(watch);
    return watch;
  }

  async grantLease(): Promise<string> {
    return '';
  }

  async revokeLease(): Promise<void> {}

  async compact(): Promise<void> {}

  async status(): Promise<ShardStatus> {
    this.#refresh();
    const stats = this.#environment.db.getStats() as TreeStats;
    const pages = stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages;
    return {
      bytes: statSync(join(this.#environment.folder, 'data.mdb')).size,
      bytesInUse: pages * stats.pageSize,
      quotaBytes: 0,
      version: versionString.split(':')[0]!,
      revision: this.#environment.revision(),
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const watch of this.#watches) watch.close();
    await this.#environment.close();
  }

  #check(): void {
    if (this.#closed) throw new ShardError('refused', `shard ${this.name} is closed`);
  }

  #refresh(): void {
    this.#check();
    this.#environment.refresh();
  }
}

const NOTHING = new Uint8Array(0);

/** What lmdb-js tells of the tree; its type declarations leave it open. */
interface TreeStats {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

function stepOf(change: Change): Step {
  if ('put' in change) return { put: encodeKey(change.put), value: change.value };
  if (change.upTo === undefined) return { delete: encodeKey(change.delete), upTo: undefined };
  return { delete: encodeBound(change.delete), upTo: encodeBound(change.upTo) };
}
