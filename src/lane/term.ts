/**
 * A term: one lane's right to write to one shard, from the creation of its key
 * until that key is gone. Its commits are a chain: each is conditional on the
 * revision that the last one left on the term key.
 *
 * A commit ends as
 *   committed  it is in the journal; its answers may leave
 *   lost       the term is over, and the entry is certainly not in the journal
 *   lostUnknown  the term is over; whether the entry took effect can't be told
 *
 * While a reply is missing the chain is *settled* (DESIGN §3): one Txn puts the
 * term key again if its revision is still the last one. That kills a straggler,
 * so the entry can be sent anew; if instead the revision moved, the seq in the
 * term key tells whether the straggler landed. Reading without that Txn proves
 * nothing, since the straggler may land after the read.
 */
import type { Clock } from '../clock.ts';
import { sleep } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import type { Change, LeaseKeeper, ShardStore } from '../shard/store.ts';
import { ShardError } from '../shard/store.ts';
import {
  decodeTermRecord,
  encodeTermRecord,
  journalKey,
  patchTermSeq,
  patchTermState,
  termKey,
  type TermRecord,
  type TermState,
} from '../slots/records.ts';
import type { ProcessIdentity } from './messages.ts';

export type CommitEnd = 'committed' | 'lost' | 'lostUnknown';

type Settled = 'committed' | 'gone' | 'resend';

/** The entry of a commit: `buffer[at, end)`, with COMMIT_HEADROOM before `at`. */
export interface EntryBytes {
  readonly buffer: Uint8Array;
  readonly at: number;
  readonly end: number;
  readonly changes: readonly Change[];
}

/** Told while a term waits for its shard, so that the lane stops deciding. */
export interface TermObserver {
  doubt(cause: ShardError): void;
  settled(): void;
}

/** Thrown by a term's calls after `abandon`. */
export class TermAbandoned extends Error {
  override readonly name = 'TermAbandoned';
}

export class Term {
  readonly id: string;
  readonly key: string;
  readonly lease: string;
  /** Seq of the last entry known to be committed. */
  seq = 0;
  /** The monotonic time at which the round trip that just succeeded was sent. */
  sentAt = 0;

  private readonly store: ShardStore;
  private readonly clock: Clock;
  private readonly value: Uint8Array;
  private readonly observer: TermObserver;
  private revision: number;
  private abandoned = false;
  /** The key is known to be gone. */
  private over = false;

  private constructor(
    store: ShardStore,
    clock: Clock,
    observer: TermObserver,
    id: string,
    lease: string,
    value: Uint8Array,
    revision: number,
  ) {
    this.store = store;
    this.clock = clock;
    this.observer = observer;
    this.id = id;
    this.key = termKey(id);
    this.lease = lease;
    this.value = value;
    this.revision = revision;
  }

  /** Begins a new term. Rejects with the store's ShardError; what a lost reply left behind ends with its lease. */
  static async begin(
    store: ShardStore,
    clock: Clock,
    observer: TermObserver,
    keeper: LeaseKeeper,
    identity: { process: ProcessIdentity; lane: number; id: string },
  ): Promise<Term> {
    const { process, lane, id } = identity;
    const { revision: born } = await store.range(termKey(''), termKey('0'), { limit: 1, keysOnly: true });
    const record: TermRecord = {
      process: process.id,
      address: process.address,
      version: process.version,
      lane,
      born,
      state: 'serving',
      seq: 0,
    };
    const value = encodeTermRecord(record);
    const lease = await store.grantLease(LIMITS.leaseTtlMs);
    const key = termKey(id);
    const result = await store.txn({
      compares: [{ key, modRevision: 0 }],
      changes: [lease === '' ? { put: key, value } : { put: key, value, lease }],
    });
    if (!result.succeeded) throw new ShardError('refused', `term ${id} exists already`);
    if (lease !== '') keeper.keep(store.name, lease);
    return new Term(store, clock, observer, id, lease, value, result.revision);
  }

  /** Of the term key, as its last round trip left it; 0 when the key is gone. */
  get keyRevision(): number {
    return this.revision;
  }

  /** Goes with the next commit. */
  setState(state: TermState): void {
    patchTermState(this.value, state);
  }

  /** Stops all waiting for the shard: pending and later calls reject with TermAbandoned. */
  abandon(): void {
    this.abandoned = true;
  }

  /** Writes one entry, as often as it takes to know what became of it. */
  async commit(entry: EntryBytes): Promise<CommitEnd> {
    let maybeThere = false;
    for (let attempt = 0; ; attempt++) {
      this.check();
      if (this.over) return 'lost';
      patchTermSeq(this.value, this.seq + 1);
      const sentAt = this.clock.now();
      try {
        const result = await this.store.commit({
          termKey: this.key,
          expectedRevision: this.revision,
          termValue: this.value,
          journalKey: journalKey(this.id, this.seq + 1),
          buffer: entry.buffer,
          entryAt: entry.at,
          entryEnd: entry.end,
          changes: entry.changes,
        });
        if (result.succeeded) {
          this.advance(result.revision, sentAt, attempt > 0);
          return 'committed';
        }
      } catch (error) {
        const fault = asShardError(error);
        this.doubt(fault);
        if (fault.outcome === 'refused') {
          await this.pause(attempt);
          continue;
        }
        maybeThere = true;
      }
      const end = await this.settle(sentAt);
      if (end === 'gone') return maybeThere ? 'lostUnknown' : 'lost';
      if (end === 'committed') return end;
      maybeThere = false;
    }
  }

  /**
   * One linearizable read of the term key: true when the term still stood.
   * Repeats until the shard answers; `sentAt` is that of the read that did.
   */
  async confirm(): Promise<boolean> {
    for (let attempt = 0; ; attempt++) {
      this.check();
      if (this.over) return false;
      const sentAt = this.clock.now();
      try {
        const revision = await this.store.confirm(this.key);
        this.sentAt = sentAt;
        if (attempt > 0) this.settled();
        return revision !== 0 && revision === this.revision;
      } catch (error) {
        this.doubt(asShardError(error));
        await this.pause(attempt);
      }
    }
  }

  private advance(revision: number, sentAt: number, wasInDoubt: boolean): void {
    this.revision = revision;
    this.seq++;
    this.sentAt = sentAt;
    if (wasInDoubt) this.settled();
  }

  /**
   * What became of the commit of seq + 1. resend: it is not in the journal and
   * never will be; gone: nor is the term key.
   */
  private async settle(sentAt: number): Promise<Settled> {
    for (let attempt = 0; ; attempt++) {
      this.check();
      try {
        return await this.settleOnce(sentAt);
      } catch (error) {
        this.doubt(asShardError(error));
        await this.pause(attempt);
      }
    }
  }

  private async settleOnce(sentAt: number): Promise<Settled> {
    patchTermSeq(this.value, this.seq);
    const put: Change =
      this.lease === ''
        ? { put: this.key, value: this.value }
        : { put: this.key, value: this.value, lease: this.lease };
    const result = await this.store.txn({
      compares: [{ key: this.key, modRevision: this.revision }],
      changes: [put],
      orElseGet: [this.key],
    });
    if (result.succeeded) {
      this.revision = result.revision;
      this.settled();
      return 'resend';
    }
    const current = result.found[0];
    if (current === undefined) {
      const entry = await this.store.get(journalKey(this.id, this.seq + 1));
      if (entry === undefined) return 'gone';
      // It got in before the term ended; nothing that is sent from now on will.
      this.advance(0, sentAt, true);
      this.over = true;
      return 'committed';
    }
    if (decodeTermRecord(current.value).seq === this.seq + 1) {
      this.advance(current.modRevision, sentAt, true);
      return 'committed';
    }
    this.revision = current.modRevision;
    this.settled();
    return 'resend';
  }

  /** A call of a term that was given up may fail long after: that says nothing about the next term. */
  private doubt(fault: ShardError): void {
    this.check();
    this.observer.doubt(fault);
  }

  private settled(): void {
    if (!this.abandoned) this.observer.settled();
  }

  private check(): void {
    if (this.abandoned) throw new TermAbandoned(`term ${this.id} was given up`);
  }

  private async pause(attempt: number): Promise<void> {
    await sleep(this.clock, Math.min(20 * 2 ** attempt, 500));
    this.check();
  }
}

function asShardError(error: unknown): ShardError {
  if (error instanceof ShardError) return error;
  if (error instanceof TermAbandoned) throw error;
  return new ShardError('unknown', error instanceof Error ? error.message : String(error), { cause: error });
}
