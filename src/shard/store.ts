/**
 * The one interface to a shard: an ordered key-value store with revisions,
 * conditional transactions, leases and watches. etcd and LMDB implement it;
 * the simulation's model store does too, so lanes cannot tell them apart.
 *
 * Revisions: every transaction that changes something raises the store's
 * revision by one; a key's `modRevision` is the revision that last wrote it,
 * 0 for a key that is absent.
 *
 * Every call ends within its time-out. A call that fails rejects with a
 * `ShardError`, whose `outcome` says whether it may still take effect.
 */

export interface KeyValue {
  readonly key: string;
  readonly value: Uint8Array;
  readonly modRevision: number;
}

/** True of the store when the transaction is applied, or nothing of it is. */
export interface Compare {
  readonly key: string;
  /** 0 = the key is absent. */
  readonly modRevision: number;
}

export type Change =
  | { readonly put: string; readonly value: Uint8Array; readonly lease?: string }
  /** Deletes [delete, upTo), or the one key without `upTo`. */
  | { readonly delete: string; readonly upTo?: string };

export interface Txn {
  readonly compares: readonly Compare[];
  readonly changes: readonly Change[];
  /** Keys to read when a compare fails, in the same step. */
  readonly orElseGet?: readonly string[];
}

export interface TxnResult {
  readonly succeeded: boolean;
  readonly revision: number;
  /** The values of `orElseGet` that exist, when it did not succeed. */
  readonly found: readonly KeyValue[];
}

export interface Page {
  readonly entries: readonly KeyValue[];
  readonly revision: number;
  /** More keys follow the last one. */
  readonly more: boolean;
}

export interface RangeOptions {
  readonly limit: number;
  readonly keysOnly?: boolean;
  /** Reads the store as it was then; rejects where its history has been compacted away. */
  readonly revision?: number;
}

/**
 * One commit of a term's chain. `entry` is the journal entry's bytes; they
 * begin at `entryAt` so that an engine may write its header in front of them.
 */
export interface Commit {
  readonly termKey: string;
  /** The mod revision of the term key that the last commit left. */
  readonly expectedRevision: number;
  /** The new value of the term key; keeps the key's lease. */
  readonly termValue: Uint8Array;
  readonly journalKey: string;
  readonly buffer: Uint8Array;
  /** ≥ COMMIT_HEADROOM. */
  readonly entryAt: number;
  readonly entryEnd: number;
  /** Checkpoint chunks, slot records, deletions that ride along. */
  readonly changes: readonly Change[];
}

/** Bytes an engine may overwrite in front of an entry. */
export const COMMIT_HEADROOM = 2_048;

export interface CommitResult {
  /** False: the term key had another revision or was gone, nothing was written. */
  readonly succeeded: boolean;
  readonly revision: number;
}

export interface WatchEvent {
  readonly key: string;
  /** undefined: deleted. */
  readonly value: Uint8Array | undefined;
  readonly modRevision: number;
}

export interface Watch {
  close(): void;
}

export interface ShardStatus {
  /** Bytes of the store on disk, and of it in use. */
  readonly bytes: number;
  readonly bytesInUse: number;
  /** Bytes at which the store refuses writes; 0 = unknown or none. */
  readonly quotaBytes: number;
  readonly version: string;
  readonly revision: number;
}

export interface ShardStore {
  readonly name: string;
  readonly engine: 'etcd' | 'embedded';

  /** Linearizable. */
  get(key: string): Promise<KeyValue | undefined>;
  /** Linearizable page of the keys in [from, to), in key order. */
  range(from: string, to: string, options: RangeOptions): Promise<Page>;
  /** The same of those written after `revision` only, for what is asked often: `limit` entries have to fit in 8 MiB. */
  changedAfter(from: string, to: string, revision: number, limit: number): Promise<Page>;
  txn(txn: Txn): Promise<TxnResult>;

  /**
   * The hot path: exactly the Txn «mod revision of termKey == expectedRevision
   * → put termKey (ignore_lease), put journalKey, changes».
   */
  commit(commit: Commit): Promise<CommitResult>;
  /** Linearizable read of the term key's mod revision; 0 = it is gone. */
  confirm(termKey: string): Promise<number>;

  /**
   * Calls `onEvents` with every change of keys in [from, to) after
   * `afterRevision`, in order, and `onReset` when it may have missed some: the
   * caller lists again and watches anew. A hint only, never proof.
   */
  watch(
    from: string,
    to: string,
    afterRevision: number,
    onEvents: (events: readonly WatchEvent[]) => void,
    onReset: (reason: Error) => void,
  ): Watch;

  /** A lease of its own for a term key; '' where the store needs none. Kept alive by the caller's keeper. */
  grantLease(ttlMs: number): Promise<string>;
  revokeLease(lease: string): Promise<void>;

  /** Forgets history up to `revision`. */
  compact(revision: number): Promise<void>;
  status(): Promise<ShardStatus>;
  close(): Promise<void>;
}

/**
 * - refused: it has not taken effect and never will
 * - unknown: it may take effect now or later
 */
export type ShardOutcome = 'refused' | 'unknown';

export class ShardError extends Error {
  readonly outcome: ShardOutcome;
  /** The store is full: only deletions are accepted. */
  readonly noSpace: boolean;

  constructor(outcome: ShardOutcome, detail: string, options: { noSpace?: boolean; cause?: unknown } = {}) {
    super(detail, { cause: options.cause });
    this.name = 'ShardError';
    this.outcome = outcome;
    this.noSpace = options.noSpace ?? false;
  }
}

/** The end of the range of all keys that begin with `prefix`. */
export function prefixEnd(prefix: string): string {
  const last = prefix.charCodeAt(prefix.length - 1);
  return prefix.slice(0, -1) + String.fromCharCode(last + 1);
}

const KEYS_A_PAGE = 1_000;

/** Visits every entry under `prefix` in key order, in pages: not one snapshot. For small values. */
export async function eachEntry(
  store: ShardStore,
  prefix: string,
  options: { keysOnly?: boolean },
  visit: (entry: KeyValue) => void,
): Promise<void> {
  await eachPage(prefix, (from, to) => store.range(from, to, { ...options, limit: KEYS_A_PAGE }), visit);
}

/** So many slot records, the largest of what is read so, are some hundred KB. */
const CHANGED_A_PAGE = 500;

/**
 * As eachEntry, those written after `revision` only. Returns the revision of the
 * first page: what is written later may be missing.
 */
export function eachChangedAfter(
  store: ShardStore,
  prefix: string,
  revision: number,
  visit: (entry: KeyValue) => void,
): Promise<number> {
  return eachPage(prefix, (from, to) => store.changedAfter(from, to, revision, CHANGED_A_PAGE), visit);
}

async function eachPage(
  prefix: string,
  read: (from: string, to: string) => Promise<Page>,
  visit: (entry: KeyValue) => void,
): Promise<number> {
  const to = prefixEnd(prefix);
  let from = prefix;
  let revision: number | undefined;
  for (;;) {
    const page = await read(from, to);
    revision ??= page.revision;
    for (const entry of page.entries) visit(entry);
    if (!page.more || page.entries.length === 0) return revision;
    from = `${page.entries[page.entries.length - 1].key}\0`;
  }
}

/** No revision gets there, so a compare with it never holds. */
const NEVER = Number.MAX_SAFE_INTEGER;

/** Reads at most LIMITS.txnOpsMax keys at one revision, in one round trip; those that exist, in the order of `keys`. */
export async function getMany(store: ShardStore, keys: readonly string[]): Promise<readonly KeyValue[]> {
  if (keys.length === 0) return [];
  const compares = [{ key: keys[0], modRevision: NEVER }];
  const { found } = await store.txn({ compares, changes: [], orElseGet: keys });
  return found;
}

/** Keeps leases alive from a thread of its own, only while the lane's progress moves. */
export interface LeaseKeeper {
  keep(shard: string, lease: string): void;
  drop(shard: string, lease: string): void;
}
