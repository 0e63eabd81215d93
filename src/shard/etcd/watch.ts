/**
 * A watch over a range of keys that survives the loss of its connection.
 *
 *   opening ─ created ─► open ─ error, end, silence ─► waiting ─ pause ─► opening (next member)
 *      └──────── history compacted, cancelled by etcd ────────► reset (onReset, over)
 *
 * It uses etcd3's raw watch stream: its `Watcher` throws inside the stream's
 * handlers, and dies as a whole when one `error` has no listener. After a
 * reconnect it goes on behind the last revision it delivered, so nothing is
 * missed or said twice; where etcd has compacted that away, the caller must
 * list again: `onReset`.
 *
 * Each watch has an etcd3 client of its own: an error elsewhere doesn't close it.
 */
import type { Etcd3, IWatchResponse } from 'etcd3';
import { LIMITS } from '../../limits.ts';
import { ShardError } from '../store.ts';
import type { Watch, WatchEvent } from '../store.ts';
import { openClient } from './clients.ts';
import type { Access } from './credentials.ts';
import { safeNumber } from './numbers.ts';

const PAUSE_MS_MIN = 50;
const PAUSE_MS_MAX = 1_000;

type Stream = Awaited<ReturnType<Etcd3['watchClient']['watch']>>;

export class EtcdWatch implements Watch {
  readonly #access: Access;
  readonly #from: string;
  readonly #to: string;
  readonly #onEvents: (events: readonly WatchEvent[]) => void;
  readonly #onReset: (reason: Error) => void;
  #afterRevision: number;
  #member: number;
  #client: Etcd3 | undefined;
  #stream: Stream | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = 0;
  #closed = false;

  constructor(
    access: Access,
    member: number,
    range: { from: string; to: string; afterRevision: number },
    onEvents: (events: readonly WatchEvent[]) => void,
    onReset: (reason: Error) => void,
  ) {
    this.#access = access;
    this.#member = member;
    this.#from = range.from;
    this.#to = range.to;
    this.#afterRevision = range.afterRevision;
    this.#onEvents = onEvents;
    this.#onReset = onReset;
    this.#open();
  }

  /** A member turned out to be dead or frozen; HTTP/2 alone takes 8 s to notice. */
  endpointLost(url: string): void {
    if (this.#stream !== undefined && this.#url() === url && this.#access.endpoints.length > 1) {
      this.#again(this.#stream);
    }
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  #url(): string {
    return this.#access.endpoints[this.#member % this.#access.endpoints.length].url;
  }

  #open(): void {
    const { endpoints } = this.#access;
    let client: Etcd3;
    try {
      client = openClient(this.#access, endpoints[this.#member % endpoints.length]);
    } catch {
      // The password file can't be read just now.
      this.#again(undefined);
      return;
    }
    this.#client = client;
    this.#timer = setTimeout(() => this.#again(this.#stream), LIMITS.callTimeoutMs);
    client.watchClient.watch().then(
      (stream) => this.#start(client, stream),
      () => this.#client === client && this.#again(undefined),
    );
  }

  #start(client: Etcd3, stream: Stream): void {
    stream.on('error', () => this.#again(stream));
    stream.on('end', () => this.#again(stream));
    if (this.#closed || this.#client !== client) {
      stream.cancel();
      return;
    }
    this.#stream = stream;
    stream.on('data', (answer) => this.#answer(stream, answer));
    stream.write({
      create_request: {
        key: Buffer.from(this.#from),
        range_end: Buffer.from(this.#to),
        start_revision: String(this.#afterRevision + 1),
      },
    });
  }

  #answer(stream: Stream, answer: IWatchResponse): void {
    if (this.#stream !== stream) return;
    if (answer.canceled) {
      const compacted = safeNumber(answer.compact_revision);
      const reason = compacted > 0 ? `history is compacted up to ${compacted}` : answer.cancel_reason;
      this.#reset(new ShardError('refused', `${this.#access.shard}: watch ended: ${reason}`));
      return;
    }
    if (answer.created) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#pauseMs = 0;
    }
    if (answer.events.length === 0) return;
    const events = answer.events.map(({ type, kv }) => ({
      key: kv.key.toString(),
      value: String(type).toUpperCase() === 'DELETE' ? undefined : (kv.value as Uint8Array),
      modRevision: safeNumber(kv.mod_revision),
    }));
    this.#afterRevision = Math.max(this.#afterRevision, events[events.length - 1].modRevision);
    this.#onEvents(events);
  }

  /** Goes on at the next member, unless `stream` is not the one in use any more. */
  #again(stream: Stream | undefined): void {
    if (this.#closed || (stream !== undefined && stream !== this.#stream)) return;
    this.#drop();
    this.#member++;
    this.#pauseMs = Math.min(PAUSE_MS_MAX, Math.max(PAUSE_MS_MIN, this.#pauseMs * 2));
    this.#timer = setTimeout(() => this.#open(), this.#pauseMs);
  }

  #reset(reason: Error): void {
    if (this.#closed) return;
    this.close();
    this.#onReset(reason);
  }

  #drop(): void {
    clearTimeout(this.#timer);
    const stream = this.#stream;
    const client = this.#client;
    this.#stream = undefined;
    this.#client = undefined;
    stream?.cancel();
    client?.close();
  }
}
