/**
 * A client's connection to a model store: the ShardStore that a lane gets. Its
 * network is drawn from the seed, call by call:
 *
 *   sent ─delay─► applied ─pause─► reply ─delay─► the call ends
 *     │ refused       │ lost, or late: after the time-out, after newer calls
 *     ▼               ▼
 *   never happens     reply lost: the call times out and was applied
 *                     duplicated: applied once more, much later; nobody hears of it
 *
 * A call that runs into its time-out (on the client's own clock) ends as
 * `unknown`, whatever becomes of it.
 */
import type { Clock } from '../../src/clock.ts';
import { LIMITS } from '../../src/limits.ts';
import {
  COMMIT_HEADROOM,
  ShardError,
  type Commit,
  type CommitResult,
  type KeyValue,
  type Page,
  type RangeOptions,
  type ShardStatus,
  type ShardStore,
  type Txn,
  type TxnResult,
  type Watch,
  type WatchEvent,
} from '../../src/shard/store.ts';
import type { ModelStore } from './model-store.ts';
import type { Random } from './random.ts';
import type { Domain, Scheduler } from './scheduler.ts';

/** Probabilities are per call; times in ms. */
export interface NetworkFaults {
  /** Typical time from the client to the store, and back. */
  readonly delayMs: number;
  readonly refuse: number;
  readonly loseRequest: number;
  readonly loseReply: number;
  /** The request is held up for 0–lateMsMax before it is applied. */
  readonly late: number;
  readonly lateMsMax: number;
  /** The reply is held up for 0–lateMsMax. */
  readonly stall: number;
  /** A second copy is applied 0–lateMsMax after the first. */
  readonly duplicate: number;
  /** Per batch of events: the watch breaks. */
  readonly resetWatch: number;
}

export const CALM: NetworkFaults = {
  delayMs: 0.5,
  refuse: 0,
  loseRequest: 0,
  loseReply: 0,
  late: 0,
  lateMsMax: 0,
  stall: 0,
  duplicate: 0,
  resetWatch: 0,
};

/** Where the client runs: its replies and time-outs happen there, its death ends them. */
export interface Host {
  readonly domain: Domain;
  readonly clock: Clock;
}

export class ModelConnection implements ShardStore {
  readonly name: string;
  readonly engine = 'etcd';
  faults: NetworkFaults;
  /** Cut off from the store: nothing arrives, in either direction. */
  partitioned = false;
  /** While it is deaf: the share of replies that are not lost, but wait until it hears again. */
  keepsReplies = 0;
  /** Told of a commit that was applied, before it is replied to. */
  committed: ((termKey: string) => void) | undefined;
  /** What the client did wrong (wrote to bytes of a commit under way): defects. */
  readonly misuses: string[] = [];

  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #store: ModelStore;
  readonly #client: string;
  readonly #host: Host;
  /** Requests that wait in kernels and switches for a partition to end. */
  #held: (() => void)[] = [];
  /** Replies that wait for it to hear again; undefined: it does. */
  #unheard: (() => void)[] | undefined;
  #closed = false;

  constructor(
    scheduler: Scheduler,
    random: Random,
    store: ModelStore,
    client: string,
    host: Host,
    faults: NetworkFaults,
  ) {
    this.name = store.name;
    this.#scheduler = scheduler;
    this.#random = random;
    this.#store = store;
    this.#client = client;
    this.#host = host;
    this.faults = faults;
  }

  /** The partition ends; what was not given up meanwhile arrives now. */
  heal(): void {
    this.partitioned = false;
    this.deaf = false;
    const held = this.#held;
    this.#held = [];
    for (const arrive of held) arrive();
  }

  /** Requests arrive, replies do not: they are lost, or wait until it hears again. */
  set deaf(deaf: boolean) {
    const unheard = this.#unheard ?? [];
    this.#unheard = deaf ? unheard : undefined;
    if (!deaf) for (const reply of unheard) reply();
  }

  get deaf(): boolean {
    return this.#unheard !== undefined;
  }

  get(key: string): Promise<KeyValue | undefined> {
    return this.#call(`get ${key}`, LIMITS.callTimeoutMs, () => this.#store.get(key));
  }

  range(from: string, to: string, options: RangeOptions): Promise<Page> {
    const { limit, keysOnly = false, revision = 0 } = options;
    return this.#call(`range ${from}`, LIMITS.callTimeoutMs, () =>
      this.#store.range(from, to, limit, keysOnly, revision),
    );
  }

  changedAfter(from: string, to: string, revision: number, limit: number): Promise<Page> {
    return this.#call(`range ${from}`, LIMITS.commitTimeoutMs, () =>
      this.#store.changedAfter(from, to, revision, limit),
    );
  }

  txn(txn: Txn): Promise<TxnResult> {
    const sent: Txn = {
      compares: [...txn.compares],
      changes: txn.changes.map((change) =>
        'put' in change ? { ...change, value: new Uint8Array(change.value) } : change,
      ),
      orElseGet: [...(txn.orElseGet ?? [])],
    };
    return this.#call('txn', LIMITS.callTimeoutMs, () => this.#store.txn(sent, this.#client));
  }

  commit(commit: Commit): Promise<CommitResult> {
    const { termKey, expectedRevision, journalKey, buffer, entryAt, entryEnd } = commit;
    if (entryAt < COMMIT_HEADROOM) this.misuses.push(`commit of ${journalKey} without headroom`);
    buffer.fill(0xee, entryAt - Math.min(entryAt, COMMIT_HEADROOM), entryAt);
    const entry = new Uint8Array(buffer.subarray(entryAt, entryEnd));
    const sent: Txn = {
      compares: [{ key: termKey, modRevision: expectedRevision }],
      changes: [
        { put: termKey, value: new Uint8Array(commit.termValue), keepLease: true },
        { put: journalKey, value: entry },
        ...commit.changes,
      ] as Txn['changes'],
    };
    const reply = this.#call(`commit ${journalKey}`, LIMITS.commitTimeoutMs, () => {
      const result = this.#store.txn(sent, this.#client);
      if (result.succeeded) this.committed?.(termKey);
      return result;
    });
    // Until the call has ended the bytes belong to the engine.
    const check = () => {
      const same = entry.every((byte, i) => byte === buffer[entryAt + i]);
      if (!same) this.misuses.push(`the bytes of ${journalKey} changed while its commit was under way`);
    };
    reply.then(check, check);
    return reply;
  }

  confirm(termKey: string): Promise<number> {
    return this.#call('confirm', LIMITS.commitTimeoutMs, () => this.#store.modRevision(termKey));
  }

  grantLease(ttlMs: number): Promise<string> {
    return this.#call('grantLease', LIMITS.callTimeoutMs, () => this.#store.grant(ttlMs));
  }

  revokeLease(lease: string): Promise<void> {
    return this.#call('revokeLease', LIMITS.callTimeoutMs, () => this.#store.endLease(lease, this.#client));
  }

  /** For keepers: false when the lease is gone. */
  keepAlive(lease: string): Promise<boolean> {
    return this.#call('keepAlive', LIMITS.leaseTtlMs / 4, () => this.#store.keepAlive(lease));
  }

  compact(revision: number): Promise<void> {
    return this.#call('compact', LIMITS.callTimeoutMs, () => this.#store.compact(revision));
  }

  status(): Promise<ShardStatus> {
    return this.#call('status', LIMITS.callTimeoutMs, () => this.#store.status());
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  watch(
    from: string,
    to: string,
    afterRevision: number,
    onEvents: (events: readonly WatchEvent[]) => void,
    onReset: (reason: Error) => void,
  ): Watch {
    const store = this.#store;
    const label = `${this.#client} watch ${from}`;
    let open = true;
    let deliveredAt = 0;
    let sentUpTo = afterRevision;
    const deliver = (run: () => void) => {
      // One stream: in order, whatever each piece's delay.
      deliveredAt = Math.max(
        deliveredAt + 1e-3,
        this.#scheduler.now + this.#random.delay(this.faults.delayMs),
      );
      const wait = deliveredAt - this.#scheduler.now;
      this.#scheduler.after(wait, label, () => void (open && run()), this.#host.domain);
    };
    const end = (reason: string) => {
      store.watchers.delete(follow);
      deliver(() => {
        open = false;
        onReset(new Error(reason));
      });
    };
    const follow = () => {
      if (this.#cut()) return void end('the watch broke: connection lost');
      if (this.#random.chance(this.faults.resetWatch)) return void end('the watch broke');
      const events = store.eventsAfter(from, to, sentUpTo);
      sentUpTo = store.revision;
      if (events === undefined) return void end('the watch is behind a compaction');
      if (events.length > 0) deliver(() => onEvents(events));
    };
    this.#scheduler.after(this.#random.delay(this.faults.delayMs), `${label} begins`, () => {
      if (!open) return;
      store.watchers.add(follow);
      follow();
    });
    return {
      close: () => {
        open = false;
        store.watchers.delete(follow);
      },
    };
  }

  #cut(): boolean {
    return this.partitioned || this.#store.down;
  }

  #call<T>(what: string, timeoutMs: number, apply: () => T): Promise<T> {
    const { domain, clock } = this.#host;
    const random = this.#random;
    const { faults } = this;
    const label = `${this.#client}>${this.name} ${what}`;
    if (this.#closed) return Promise.reject(new ShardError('refused', `${label}: closed`));
    return new Promise((resolve, reject) => {
      let over = false;
      const timer = clock.after(timeoutMs, () => {
        over = true;
        reject(new ShardError('unknown', `${label}: no reply in ${timeoutMs} ms`));
      });
      const end = (settle: () => void) => {
        if (over) return;
        over = true;
        timer.cancel();
        settle();
      };
      const reply = (text: string, settle: () => void, extraMs = 0) => {
        const isLost = random.chance(this.deaf ? 1 - this.keepsReplies : faults.loseReply);
        if (this.#cut() || isLost) return this.#scheduler.note(`${label} reply lost`);
        const send = () => {
          const wait = random.delay(faults.delayMs) + extraMs;
          this.#scheduler.after(wait, `${label} ${text}`, () => end(settle), domain);
        };
        if (this.#unheard === undefined) send();
        else this.#unheard.push(send);
      };
      const run = (copy: string) => {
        // A process that died in between has still sent it; a cut network holds or loses it.
        if (this.#cut()) return void (random.chance(0.5) && this.#held.push(() => arrive(copy)));
        const stall = random.chance(faults.stall) ? random.between(0, faults.lateMsMax) : 0;
        try {
          const result = apply();
          if (copy === '') reply('ok', () => resolve(result), stall);
        } catch (error) {
          if (copy === '') reply('refused', () => reject(error), stall);
        }
      };
      const arrive = (copy: string, extraMs = 0) => {
        const wait = random.delay(faults.delayMs) + extraMs;
        this.#scheduler.after(wait, `${label}${copy} applied`, () => run(copy));
      };
      if (random.chance(faults.refuse) || (this.#store.down && random.chance(0.3))) {
        const refuse = () => end(() => reject(new ShardError('refused', `${label}: connection refused`)));
        this.#scheduler.after(random.delay(faults.delayMs), `${label} refused`, refuse, domain);
        return;
      }
      // A keeper gives up a call with its stream: it can't come back to life long after.
      const lateMsMax = what === 'keepAlive' ? Math.min(faults.lateMsMax, timeoutMs) : faults.lateMsMax;
      const late = random.chance(faults.late) ? random.between(0, lateMsMax) : 0;
      if (random.chance(faults.loseRequest)) this.#scheduler.note(`${label} request lost`);
      else arrive('', late);
      if (random.chance(faults.duplicate)) arrive(' copy', late + random.between(0, lateMsMax));
    });
  }
}
