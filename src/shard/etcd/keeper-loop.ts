/**
 * Keeps leases alive, in the keeper's thread. Leases only decide how soon
 * another process takes over; the safety of no answer rests on them.
 *
 *   kept ─ drop, port closed, TTL 0 ─► forgotten
 *    └─ its lane or the main thread stands still for > TTL/2 ─► left alone
 *                                            └─ both move ─► kept
 *
 * A lane that is busy for a long time must not lose its lease, one that is
 * wedged must: so its progress counter, in shared memory, is looked at. The
 * same for the main thread, without which nobody reaches the lanes.
 *
 * Every shard has a connection of its own, and every keep-alive a deadline of
 * TTL/4: a dead shard doesn't delay the others, and after a frozen member
 * another one is asked long before the lease ends. Each keep-alive is a stream
 * with one request: etcd3's `keepaliveOnce` knows no deadline and can hang.
 */
import type { ShardSettings } from '../../config/shards.ts';
import type { KeeperMessage } from '../../lane/messages.ts';
import { LIMITS } from '../../limits.ts';
import { Channel } from './channel.ts';
import { readAccess } from './credentials.ts';
import { decodeKeepAlive, encodeKeepAlive } from './messages.ts';

const KEEP_ALIVE = '/etcdserverpb.Lease/LeaseKeepAlive';

/** Between two keep-alives of a lease, start to start. */
const EVERY_MS = LIMITS.leaseTtlMs / 5;
const DEADLINE_MS = LIMITS.leaseTtlMs / 4;
const STILL_MS_MAX = LIMITS.leaseTtlMs / 2;
const RETRY_MS = 100;
const TICK_MS = 200;

export type KeeperLog = (
  level: 'info' | 'warn',
  message: string,
  fields: Readonly<Record<string, unknown>>,
) => void;

interface KeptLease {
  readonly lane: number;
  readonly shard: string;
  readonly lease: string;
  readonly request: readonly Uint8Array[];
  dueAt: number;
  inFlight: boolean;
  /** The last keep-alive failed: said once, not at every repeat. */
  failing: boolean;
}

export class KeeperLoop {
  readonly #channels = new Map<string, Channel>();
  readonly #progress: Int32Array;
  readonly #log: KeeperLog;
  readonly #kept = new Map<string, KeptLease>();
  /** By lane, the main thread last: what its counter was when it last moved, and when that was seen. */
  readonly #seen: number[] = [];
  readonly #movedAt: number[] = [];
  readonly #timer: NodeJS.Timeout;

  /** `progress` has an element for each lane and a last one for the main thread, raised by them while they work. */
  constructor(shards: readonly ShardSettings[], progress: Int32Array, log: KeeperLog) {
    for (const shard of shards) {
      if (shard.engine === 'etcd')
        this.#channels.set(shard.name, new Channel(readAccess(shard), DEADLINE_MS));
    }
    this.#progress = progress;
    this.#log = log;
    this.#timer = setInterval(() => this.#tick(performance.now()), TICK_MS);
  }

  handle(message: KeeperMessage): void {
    const id = `${message.shard} ${message.lease}`;
    if (message.kind === 'drop') {
      this.#kept.delete(id);
      return;
    }
    if (this.#kept.has(id) || !this.#channels.has(message.shard)) return;
    const { lane, shard, lease } = message;
    const now = performance.now();
    if (this.#movedAt[lane] === undefined) this.#look(lane, now);
    this.#kept.set(id, {
      lane,
      shard,
      lease,
      request: [encodeKeepAlive(lease)],
      dueAt: now + EVERY_MS,
      inFlight: false,
      failing: false,
    });
  }

  /** A lane's thread is gone: nobody will drop its leases. */
  dropLane(lane: number): void {
    for (const [id, kept] of this.#kept) if (kept.lane === lane) this.#kept.delete(id);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#kept.clear();
    for (const channel of this.#channels.values()) channel.close();
  }

  #tick(now: number): void {
    const main = this.#progress.length - 1;
    for (let thread = 0; thread <= main; thread++) this.#look(thread, now);
    if (now - this.#movedAt[main] > STILL_MS_MAX) return;
    for (const [id, kept] of this.#kept) {
      if (kept.inFlight || now < kept.dueAt || now - this.#movedAt[kept.lane] > STILL_MS_MAX) continue;
      void this.#keep(id, kept, now);
    }
  }

  #look(thread: number, now: number): void {
    const count = Atomics.load(this.#progress, thread);
    if (this.#movedAt[thread] !== undefined && this.#seen[thread] === count) return;
    this.#seen[thread] = count;
    this.#movedAt[thread] = now;
  }

  async #keep(id: string, kept: KeptLease, now: number): Promise<void> {
    const channel = this.#channels.get(kept.shard);
    if (channel === undefined) return;
    kept.inFlight = true;
    try {
      const seconds = decodeKeepAlive(await channel.call(KEEP_ALIVE, kept.request));
      kept.dueAt = now + EVERY_MS;
      kept.failing = false;
      if (seconds === 0 && this.#kept.get(id) === kept) {
        this.#kept.delete(id);
        this.#log('info', 'a lease has ended', { shard: kept.shard, lane: kept.lane, lease: kept.lease });
      }
    } catch (error) {
      kept.dueAt = performance.now() + RETRY_MS;
      const fields = { shard: kept.shard, lane: kept.lane, error: String(error) };
      if (!kept.failing) this.#log('warn', 'a lease could not be kept alive; trying again', fields);
      kept.failing = true;
    } finally {
      kept.inFlight = false;
    }
  }
}
