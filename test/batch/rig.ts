/** A routing over three lanes and a peer, all of which only keep what they are given. */
import { Collector } from '../../src/batch/collector.ts';
import { Routing } from '../../src/batch/routing.ts';
import { Buffers } from '../../src/lane/buffers.ts';
import { NO_TERM, type TermInfo } from '../../src/lane/messages.ts';
import { BatchBytes, readRecord, writeRecord } from '../../src/lane/record.ts';
import { Kind, Op } from '../../src/op.ts';
import { ModelClock } from './model-clock.ts';

export const SLOTS = 4_096;
export const TIMEOUT_MS = 1_000;
export const ALL = Uint16Array.from({ length: SLOTS }, (_, slot) => slot);
/** A term of this process, and one of another. */
export const MINE = 'aaaaaaaaaaaaaaaa';
export const FOREIGN = 'ffffffffffffffff';

export interface Seen {
  readonly id: number;
  readonly slot: number;
}

export const ids = (seen: readonly { readonly id: number }[]): number[] => seen.map(({ id }) => id);

/** Connection 5 is a client's, 77 another process's. */
export function opOf(key: string, id: number, receivedAt = 0): Op {
  const op = new Op();
  op.bytes = Buffer.from(key);
  op.keyLength = op.bytes.length;
  op.kind = Kind.get;
  op.id = id;
  op.connection = 5;
  op.receivedAt = receivedAt;
  return op;
}

export function termOf(id: string, process: string): TermInfo {
  return { id, process, address: '', version: '', lane: 0, state: 'serving' };
}

export class Rig {
  readonly clock = new ModelClock();
  readonly sent: (Seen & { lane: number; key: string })[] = [];
  readonly refused: { connection: number; id: number; code: string }[] = [];
  readonly disowned: Seen[] = [];
  /** Ids of waits that were taken back. */
  readonly over = new Set<number>();
  readonly forwarded: (Seen & { term: string; receivedAt: number })[] = [];
  readonly abandoned: { process: string; slots: number[] }[] = [];
  /** Connections that the lanes were told of, and the ops that they had got by then. */
  readonly gone: { connection: number; behind: number[] }[] = [];
  readonly ended: { process: string; slots: number[] }[] = [];
  link: 'taken' | 'noLink' | 'full' = 'taken';
  readonly routing: Routing;
  private readonly announcements = [0, 0, 0];

  constructor() {
    const gate = {
      gone: (connection: number) => void this.gone.push({ connection, behind: ids(this.sent) }),
      send: (lane: number, buffer: ArrayBuffer, length: number, _seen: number, taken: () => void) => {
        taken();
        this.keep(lane, new BatchBytes(buffer, length));
      },
    };
    this.routing = new Routing(new Collector(3, gate, new Buffers()), {
      slots: SLOTS,
      hashKey: { k0: 7, k1: 8 },
      shards: ['s0', 's1'],
      requestTimeoutMs: TIMEOUT_MS,
      process: 'me',
      clock: this.clock,
    });
    this.routing.answerWith({
      refuse: (connection, id, code) => void this.refused.push({ connection, id, code }),
      notOwner: ({ id, slot }) => void this.disowned.push({ id, slot }),
      isOver: (_, id) => this.over.has(id),
    });
    this.routing.forwardTo({
      forward: (term, { id, slot, receivedAt }) => {
        if (this.link === 'taken') this.forwarded.push({ term: term.id, id, slot, receivedAt });
        return this.link;
      },
      abandon: (process, slots) => void this.abandoned.push({ process, slots: [...slots] }),
      endStanding: (process, slots) => void this.ended.push({ process, slots: [...slots] }),
    });
  }

  /** Returns the slot of the key. */
  submit(key: string, id: number, receivedAt = 0): number {
    const op = opOf(key, id, receivedAt);
    this.routing.submit(op);
    return op.slot;
  }

  submitForwarded(slot: number, id: number, term: string, receivedAt = 0): boolean {
    const op = Object.assign(opOf('abc', id, receivedAt), { slot, connection: 77 });
    return this.routing.submitForwarded(op, term);
  }

  own(lane: number, slots: Uint16Array, shard = 's0', term = MINE): void {
    const announcement = ++this.announcements[lane];
    this.routing.ownership(lane, { kind: 'owned', announcement, shard, term, slots });
  }

  /** Returns the announcement, which is settled at once unless it is said otherwise. */
  lose(lane: number, slots: Uint16Array, shard = 's0', settles = true, term = MINE): number {
    const announcement = ++this.announcements[lane];
    this.routing.ownership(lane, { kind: 'lost', announcement, shard, term, slots });
    if (settles) this.settle(lane, announcement);
    return announcement;
  }

  settle(lane: number, announcement: number): void {
    this.routing.settled(lane, { kind: 'settled', announcement });
  }

  bounce(...ops: Op[]): void {
    const batch = new BatchBytes(new ArrayBuffer(10_000));
    for (const op of ops) writeRecord(batch, op);
    this.routing.bounced(batch.bytes.buffer as ArrayBuffer, batch.length, this.clock.now());
  }

  terms(...living: TermInfo[]): void {
    this.routing.terms({ kind: 'terms', shard: 's0', terms: living });
  }

  /** The slot's record says that it is this term's, or nobody's. */
  give(slot: number, ...owner: string[]): void {
    const owners = Uint16Array.of(owner.length === 0 ? NO_TERM : 0);
    this.routing.owners({ kind: 'owners', shard: 's0', slots: Uint16Array.of(slot), owners, terms: owner });
  }

  private keep(lane: number, batch: BatchBytes): void {
    const op = new Op();
    for (let at = 0; at < batch.length;) {
      at = readRecord(batch, at, op);
      const key = Buffer.from(op.bytes.slice(op.keyAt, op.keyAt + op.keyLength)).toString();
      this.sent.push({ lane, id: op.id, slot: op.slot, key });
    }
  }
}
