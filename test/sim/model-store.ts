/**
 * One shard as a model: what etcd promises about keys, revisions, transactions,
 * leases, watches and history, and nothing of how. Each call here happens at
 * one instant; what a network does to it is in model-connection.ts.
 *
 * Everything ever applied is kept in `log`, for the checker.
 */
import {
  ShardError,
  type Change,
  type KeyValue,
  type Page,
  type ShardStatus,
  type Txn,
  type TxnResult,
  type WatchEvent,
} from '../../src/shard/store.ts';
import { LIMITS } from '../../src/limits.ts';
import type { Random } from './random.ts';
import type { Scheduler, SimEvent } from './scheduler.ts';

/** One write as it was applied: by whom, when (true time), and what it left. */
export interface Applied {
  readonly at: number;
  readonly revision: number;
  readonly by: string;
  readonly changes: readonly AppliedChange[];
}

export interface AppliedChange {
  readonly key: string;
  /** undefined: deleted. */
  readonly value: Uint8Array | undefined;
}

interface Version {
  readonly revision: number;
  readonly value: Uint8Array | undefined;
  readonly lease: string;
}

interface Lease {
  readonly id: string;
  readonly ttlMs: number;
  readonly keys: Set<string>;
  expiry: SimEvent;
}

/** A change to write; `keepLease` is etcd's ignore_lease. */
export type ModelChange = Change & { readonly keepLease?: boolean };

/** What etcd refuses requests over. */
const REQUEST_BYTES_MAX = 1.5 * 1024 * 1024;
/** etcd looks for expired leases twice a second. */
const EXPIRY_CHECK_MS = 500;

export class ModelStore {
  readonly name: string;
  readonly log: Applied[] = [];
  revision = 1;
  compacted = 0;
  /** Nothing but deletions is accepted. */
  full = false;
  /** Nobody reaches it; leases stand still, as in an etcd without a leader. */
  down = false;
  /** Told of every applied write, after it. */
  readonly watchers = new Set<(events: readonly WatchEvent[], revision: number) => void>();

  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #keys: string[] = [];
  readonly #versions = new Map<string, Version[]>();
  /** Keys of which a compaction may take something: those with a past, or deleted. */
  readonly #compactable = new Set<string>();
  #keyBytes = 0;
  readonly #leases = new Map<string, Lease>();

  constructor(scheduler: Scheduler, random: Random, name: string) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.name = name;
  }

  get(key: string): KeyValue | undefined {
    return this.#read(key, Infinity);
  }

  /** The mod revision of a key, 0 when it is absent. */
  modRevision(key: string): number {
    return this.#read(key, Infinity)?.modRevision ?? 0;
  }

  range(from: string, to: string, limit: number, keysOnly: boolean, revision = 0): Page {
    if (revision > this.revision) throw refused(`revision ${revision} is in the future`);
    if (revision > 0 && revision < this.compacted) throw refused(`revision ${revision} has been compacted`);
    const at = revision === 0 ? Infinity : revision;
    const entries: KeyValue[] = [];
    let bytes = 0;
    for (let i = lowerBound(this.#keys, from); i < this.#keys.length && this.#keys[i] < to; i++) {
      const found = this.#read(this.#keys[i], at);
      if (found === undefined) continue;
      // As the etcd store does: a page may be shorter than its limit.
      if (entries.length === limit || bytes >= LIMITS.pageBytesMax)
        return { entries, revision: this.revision, more: true };
      entries.push(keysOnly ? { ...found, value: new Uint8Array(0) } : found);
      bytes += found.key.length + (keysOnly ? 0 : found.value.length);
    }
    return { entries, revision: this.revision, more: false };
  }

  changedAfter(from: string, to: string, revision: number, limit: number): Page {
    const found: KeyValue[] = [];
    for (let i = lowerBound(this.#keys, from); i < this.#keys.length && this.#keys[i] < to; i++) {
      const entry = this.#read(this.#keys[i], Infinity);
      if (entry !== undefined && entry.modRevision > revision) found.push(entry);
    }
    return { entries: found.slice(0, limit), revision: this.revision, more: found.length > limit };
  }

  txn(txn: Txn, by: string): TxnResult {
    const changes: readonly ModelChange[] = txn.changes;
    this.#check(txn.compares.length, changes);
    if (!txn.compares.every(({ key, modRevision }) => this.modRevision(key) === modRevision)) {
      const found = (txn.orElseGet ?? []).map((key) => this.get(key)).filter((entry) => entry !== undefined);
      return { succeeded: false, revision: this.revision, found };
    }
    // Only now: etcd checks leases on the path that it takes.
    for (const change of changes) if ('put' in change) this.#checkLease(change);
    this.#apply(changes, by);
    return { succeeded: true, revision: this.revision, found: [] };
  }

  grant(ttlMs: number): string {
    if (this.full) throw new ShardError('refused', `${this.name}: no space`, { noSpace: true });
    const id = this.#random.hex(8);
    // etcd's leases are in whole seconds.
    const ttl = Math.ceil(ttlMs / 1000) * 1000;
    this.#leases.set(id, { id, ttlMs: ttl, keys: new Set(), expiry: this.#expireLater(id, ttl) });
    return id;
  }

  /** False: the lease is gone. */
  keepAlive(id: string): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    lease.expiry.cancelled = true;
    lease.expiry = this.#expireLater(id, lease.ttlMs);
    return true;
  }

  /** Ends a lease with its keys, as its time-out or a revoke does. */
  endLease(id: string, by: string): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.expiry.cancelled = true;
    this.#leases.delete(id);
    const keys = [...lease.keys].sort();
    this.#apply(
      keys.map((key) => ({ delete: key })),
      by,
    );
  }

  get leases(): readonly string[] {
    return [...this.#leases.keys()];
  }

  /** The lease that a key hangs on, '' for none. */
  leaseOf(key: string): string {
    return this.#leaseOf(key) ?? '';
  }

  /** The events in [from, to) after `revision`, or undefined when some are compacted away. */
  eventsAfter(from: string, to: string, revision: number): WatchEvent[] | undefined {
    if (revision < this.compacted) return undefined;
    const events: WatchEvent[] = [];
    for (let i = lowerBound(this.#keys, from); i < this.#keys.length && this.#keys[i] < to; i++) {
      const versions = this.#versions.get(this.#keys[i])!;
      if (versions[versions.length - 1].revision <= revision) continue;
      for (const version of versions) {
        if (version.revision <= revision) continue;
        events.push({ key: this.#keys[i], value: version.value, modRevision: version.revision });
      }
    }
    return events.sort((a, b) => a.modRevision - b.modRevision);
  }

  compact(revision: number): void {
    if (revision > this.revision) throw refused(`revision ${revision} is in the future`);
    if (revision <= this.compacted) return;
    this.compacted = revision;
    for (const key of this.#compactable) {
      const versions = this.#versions.get(key)!;
      let keep = versions.findLastIndex((version) => version.revision <= revision);
      if (keep >= 0 && versions[keep].value === undefined) keep++;
      if (keep > 0) versions.splice(0, keep);
      if (versions.length === 0) this.#forget(key);
      if (versions.length === 0 || isLive(versions)) this.#compactable.delete(key);
    }
  }

  status(): ShardStatus {
    let bytes = this.#keyBytes;
    for (const versions of this.#versions.values()) bytes += versions[versions.length - 1].value?.length ?? 0;
    return { bytes, bytesInUse: bytes, quotaBytes: 0, version: '3.6.16', revision: this.revision };
  }

  #read(key: string, revision: number): KeyValue | undefined {
    const versions = this.#versions.get(key);
    if (versions === undefined) return undefined;
    let at = versions.length - 1;
    while (at >= 0 && versions[at].revision > revision) at--;
    const version = versions[at];
    if (version?.value === undefined) return undefined;
    return { key, value: version.value, modRevision: version.revision };
  }

  /** What etcd refuses whatever the compares say. */
  #check(compares: number, changes: readonly ModelChange[]): void {
    if (compares > LIMITS.txnOpsMax || changes.length > LIMITS.txnOpsMax)
      throw refused('too many operations in txn');
    let bytes = 0;
    const puts = new Set<string>();
    for (const change of changes) {
      if (!('put' in change)) continue;
      bytes += change.put.length + change.value.length;
      if (puts.has(change.put)) throw refused(`duplicate key ${change.put} in txn`);
      puts.add(change.put);
      if (this.full) throw new ShardError('refused', `${this.name}: no space`, { noSpace: true });
    }
    if (bytes > REQUEST_BYTES_MAX) throw refused('the request is too large');
    for (const change of changes) {
      if ('put' in change) continue;
      const { delete: from, upTo } = change;
      for (const key of puts) {
        if (key === from || (upTo !== undefined && key >= from && key < upTo))
          throw refused(`duplicate key ${key} in txn`);
      }
    }
  }

  #checkLease(change: Extract<ModelChange, { readonly put: string }>): void {
    if (change.keepLease && this.get(change.put) === undefined)
      throw refused(`key ${change.put} is not found`);
    const { lease } = change;
    if (lease && !this.#leases.has(lease)) throw refused('the lease is not found');
  }

  #apply(changes: readonly ModelChange[], by: string): void {
    const revision = this.revision + 1;
    const applied: AppliedChange[] = [];
    for (const change of changes) {
      if ('put' in change) {
        const lease = change.keepLease ? (this.#leaseOf(change.put) ?? '') : (change.lease ?? '');
        this.#write(change.put, { revision, value: new Uint8Array(change.value), lease }, applied);
        continue;
      }
      const upTo = change.upTo ?? `${change.delete}\0`;
      for (
        let i = lowerBound(this.#keys, change.delete);
        i < this.#keys.length && this.#keys[i] < upTo;
        i++
      ) {
        if (this.get(this.#keys[i]) === undefined) continue;
        this.#write(this.#keys[i], { revision, value: undefined, lease: '' }, applied);
      }
    }
    if (applied.length === 0) return;
    this.revision = revision;
    this.log.push({ at: this.#scheduler.now, revision, by, changes: applied });
    const events = applied.map(({ key, value }) => ({ key, value, modRevision: revision }));
    for (const watcher of this.watchers) watcher(events, revision);
  }

  #write(key: string, version: Version, applied: AppliedChange[]): void {
    let versions = this.#versions.get(key);
    if (versions === undefined) {
      versions = [];
      this.#versions.set(key, versions);
      this.#keys.splice(lowerBound(this.#keys, key), 0, key);
      this.#keyBytes += key.length;
    }
    const before = this.#leaseOf(key);
    if (before !== undefined) this.#leases.get(before)?.keys.delete(key);
    if (version.lease !== '') this.#leases.get(version.lease)?.keys.add(key);
    versions.push(version);
    if (!isLive(versions)) this.#compactable.add(key);
    applied.push({ key, value: version.value });
  }

  #leaseOf(key: string): string | undefined {
    const lease = this.#versions.get(key)?.at(-1)?.lease;
    return lease === undefined || lease === '' ? undefined : lease;
  }

  #forget(key: string): void {
    this.#versions.delete(key);
    this.#keys.splice(lowerBound(this.#keys, key), 1);
    this.#keyBytes -= key.length;
  }

  #expireLater(id: string, ttlMs: number): SimEvent {
    const wait = ttlMs + this.#random.between(0, EXPIRY_CHECK_MS);
    return this.#scheduler.after(wait, `${this.name} lease ends`, () => this.#expire(id));
  }

  #expire(id: string): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    // Without a leader nothing expires; a new leader extends every lease in full.
    if (this.down) lease.expiry = this.#expireLater(id, lease.ttlMs);
    else this.endLease(id, 'lease');
  }
}

function refused(detail: string): ShardError {
  return new ShardError('refused', detail);
}

/** One value and no past. */
function isLive(versions: readonly Version[]): boolean {
  return versions.length === 1 && versions[0].value !== undefined;
}

function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
