/**
 * `ShardStore` over an etcd cluster (3.4 – 3.6).
 *
 * Two ways lead there. `commit`, `confirm` and `status` go over a connection
 * of our own (channel.ts) with requests written by hand (messages.ts), because
 * nearly all of a lane's time in the store is spent there; so does
 * `changedAfter`, nearly all that an idle lane does. Everything else is rare and
 * goes through etcd3 (clients.ts, watch.ts).
 */
import type { Etcd3, IRequestOp } from 'etcd3';
import type { ShardSettings } from '../../config/shards.ts';
import { LIMITS } from '../../limits.ts';
import { ShardError } from '../store.ts';
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
import { Channel } from './channel.ts';
import { EtcdClients } from './clients.ts';
import { readAccess } from './credentials.ts';
import type { Access } from './credentials.ts';
import { EtcdError, neverSent } from './failure.ts';
import {
  decodeCommit,
  decodeConfirm,
  decodePage,
  decodeStatus,
  encodeChangedAfter,
  encodeCommit,
  encodeConfirm,
  encodeEmpty,
} from './messages.ts';
import { safeNumber } from './numbers.ts';
import { PageSizer } from './page-sizer.ts';
import { EtcdWatch } from './watch.ts';

const TXN = '/etcdserverpb.KV/Txn';
const RANGE = '/etcdserverpb.KV/Range';
const STATUS = '/etcdserverpb.Maintenance/Status';

type EtcdKeyValue = Awaited<ReturnType<Etcd3['kv']['range']>>['kvs'][number];

/**
 * Connects when it is first used: an etcd that is down makes calls fail, not
 * this. Throws a ConfigError when a file of `tls` can't be read.
 */
export function openEtcdStore(settings: ShardSettings): EtcdStore {
  return new EtcdStore(readAccess(settings));
}

export class EtcdStore implements ShardStore {
  readonly name: string;
  readonly engine = 'etcd';
  readonly #access: Access;
  readonly #channel: Channel;
  readonly #clients: EtcdClients;
  readonly #watches = new Set<EtcdWatch>();
  readonly #pages = new PageSizer();
  #closed = false;

  constructor(access: Access) {
    this.name = access.shard;
    this.#access = access;
    this.#clients = new EtcdClients(access);
    this.#channel = new Channel(access, LIMITS.commitTimeoutMs, (url) => {
      for (const watch of this.#watches) watch.endpointLost(url);
    });
  }

  async commit(commit: Commit): Promise<CommitResult> {
    try {
      return this.#decode(decodeCommit, await this.#channel.call(TXN, encodeCommit(commit)));
    } catch (error) {
      if (error instanceof EtcdError && error.noSpace) return this.#settleFull(commit, error);
      throw error;
    }
  }

  /**
   * The commit that crosses etcd's quota is applied and answered with «no
   * space»; those after it are not applied and answered alike. Either way it
   * has been answered, so nothing of it is still under way and a read tells.
   */
  async #settleFull(commit: Commit, error: EtcdError): Promise<CommitResult> {
    const term = await this.get(commit.termKey).catch(() => {
      throw error;
    });
    // Gone: it may have been applied before the lease ended.
    if (term === undefined) throw error;
    if (term.modRevision !== commit.expectedRevision) {
      const mine = Buffer.compare(term.value, commit.termValue) === 0;
      return { succeeded: mine, revision: term.modRevision };
    }
    throw new ShardError('refused', error.message, { noSpace: true, cause: error });
  }

  async confirm(termKey: string): Promise<number> {
    return this.#decode(decodeConfirm, await this.#channel.call(RANGE, [encodeConfirm(termKey)]));
  }

  async status(): Promise<ShardStatus> {
    return this.#decode(decodeStatus, await this.#channel.call(STATUS, [encodeEmpty()]));
  }

  #decode<T>(decode: (message: Uint8Array) => T, message: Uint8Array): T {
    try {
      return decode(message);
    } catch (error) {
      throw new EtcdError(
        -1,
        `${this.name}: an answer that is not understood: ${(error as Error).message}`,
        error,
      );
    }
  }

  async get(key: string): Promise<KeyValue | undefined> {
    const request = { key: Buffer.from(key), limit: 1 };
    const answer = await this.#clients.run('repeatable', (client, options) =>
      client.kv.range(request, options),
    );
    return answer.kvs.length === 0 ? undefined : keyValue(answer.kvs[0]);
  }

  /** A page is also cut where it would grow far beyond LIMITS.pageBytesMax: `more` tells. */
  async range(from: string, to: string, options: RangeOptions): Promise<Page> {
    const keysOnly = options.keysOnly ?? false;
    const request = {
      key: Buffer.from(from),
      range_end: Buffer.from(to),
      limit: keysOnly ? options.limit : this.#pages.limit(from, options.limit),
      keys_only: keysOnly,
      revision: String(options.revision ?? 0),
    };
    const answer = await this.#clients.run('repeatable', (client, call) => client.kv.range(request, call));
    const entries = answer.kvs.map(keyValue);
    if (!keysOnly) this.#pages.learn(from, entries);
    return { entries, revision: safeNumber(answer.header.revision), more: answer.more };
  }

  async changedAfter(from: string, to: string, revision: number, limit: number): Promise<Page> {
    const request = [encodeChangedAfter(from, to, revision, limit)];
    const answer = await this.#channel.call(RANGE, request).catch((error: unknown) => {
      if (this.#access.endpoints.length === 1) throw error;
      // A read: the next member may answer.
      return this.#channel.call(RANGE, request);
    });
    return this.#decode(decodePage, answer);
  }

  async txn(txn: Txn): Promise<TxnResult> {
    const request = {
      compare: txn.compares.map(({ key, modRevision }) => ({
        result: 'Equal' as const,
        target: 'Mod' as const,
        key: Buffer.from(key),
        mod_revision: String(modRevision),
      })),
      success: txn.changes.map(requestOp),
      failure: (txn.orElseGet ?? []).map((key) => ({ request_range: { key: Buffer.from(key), limit: 1 } })),
    };
    const answer = await this.#clients.run('once', (client, options) => client.kv.txn(request, options));
    const found = answer.succeeded
      ? []
      : answer.responses.flatMap((one) => one.response_range.kvs.map(keyValue));
    return { succeeded: answer.succeeded, revision: safeNumber(answer.header.revision), found };
  }

  watch(
    from: string,
    to: string,
    afterRevision: number,
    onEvents: (events: readonly WatchEvent[]) => void,
    onReset: (reason: Error) => void,
  ): Watch {
    if (this.#closed) throw neverSent(`${this.name}: closed`);
    const member = Math.floor(Math.random() * this.#access.endpoints.length);
    const watch = new EtcdWatch(this.#access, member, { from, to, afterRevision }, onEvents, (reason) => {
      this.#watches.delete(watch);
      onReset(reason);
    });
    this.#watches.add(watch);
    return {
      close: () => {
        this.#watches.delete(watch);
        watch.close();
      },
    };
  }

  /** etcd counts in seconds and rounds short ones up to about two election time-outs. */
  async grantLease(ttlMs: number): Promise<string> {
    const request = { TTL: Math.ceil(ttlMs / 1000) };
    const answer = await this.#clients.run('once', (client, options) =>
      client.leaseClient.leaseGrant(request, options),
    );
    if (answer.error) throw neverSent(`${this.name}: ${answer.error}`);
    return answer.ID;
  }

  async revokeLease(lease: string): Promise<void> {
    await this.#unless('requested lease not found', (client, options) =>
      client.leaseClient.leaseRevoke({ ID: lease }, options),
    );
  }

  async compact(revision: number): Promise<void> {
    await this.#unless('required revision has been compacted', (client, options) =>
      client.kv.compact({ revision: String(revision), physical: false }, options),
    );
  }

  /** Runs a call whose failure with `already` in its text means that there was nothing left to do. */
  async #unless(already: string, call: Parameters<EtcdClients['run']>[1]): Promise<void> {
    try {
      await this.#clients.run('repeatable', call);
    } catch (error) {
      if (!(error instanceof ShardError) || !error.message.includes(already)) throw error;
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watch of this.#watches) watch.close();
    this.#watches.clear();
    this.#channel.close();
    this.#clients.close();
  }
}

function keyValue(entry: EtcdKeyValue): KeyValue {
  return { key: entry.key.toString(), value: entry.value, modRevision: safeNumber(entry.mod_revision) };
}

function requestOp(change: Change): IRequestOp {
  if ('put' in change) {
    const value = Buffer.from(change.value.buffer, change.value.byteOffset, change.value.length);
    return {
      request_put: { key: Buffer.from(change.put), value, ...(change.lease && { lease: change.lease }) },
    };
  }
  const key = Buffer.from(change.delete);
  if (change.upTo === undefined) return { request_delete_range: { key } };
  return { request_delete_range: { key, range_end: Buffer.from(change.upTo) } };
}
