/**
 * The slow side of a lane on a shard: begins a term, looks which terms live,
 * claims slots and reads them back, keeps the shard tidy; begins again when the
 * term is over. Nothing here is on the way of a request.
 *
 *   begin ──► look ──► claim ──► recover ──► adopt ─┐
 *     ▲        ▲────── every termPollMs, or woken ──┘
 *     └── own term key gone, or a commit was told so
 */
import type { Clock } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import type { LeaseKeeper, ShardStore } from '../shard/store.ts';
import type { TermRecord } from '../slots/records.ts';
import type { Hold } from './hold.ts';
import type { ProcessIdentity } from './messages.ts';
import { Janitor } from './janitor.ts';
import { recover } from './recovery.ts';
import { claimSlots, livingTerms } from './takeover.ts';
import { Term, type TermObserver } from './term.ts';

/** What a reign needs of its lane. */
export interface ReignLane {
  readonly lane: number;
  readonly lanes: number;
  readonly process: ProcessIdentity;
  readonly clock: Clock;
  readonly keeper: LeaseKeeper;
  readonly requestTimeoutMs: number;
  randomHex(bytes: number): string;
  nextTable(): number;
}

/** The lane's work on the shard, which goes by what the reign finds. */
export interface Subject {
  readonly store: ShardStore;
  readonly holds: ReadonlyMap<number, Hold>;
  readonly currentTerm: Term | undefined;
  /** Slots whose records still name dead terms. */
  readonly inheritedLeft: number;
  readonly observer: TermObserver;
  /** The seq that the next effect will be journaled with, at the earliest. */
  nextSeq(): number;
  begin(term: Term): void;
  adopt(holds: readonly Hold[]): void;
  loseTerm(): void;
  markUp(): void;
  markDown(detail: string): void;
  /** Counts what is held, for the metrics. */
  count(): void;
  log(
    level: 'debug' | 'info' | 'warn',
    message: string,
    error?: unknown,
    fields?: Record<string, unknown>,
  ): void;
}

export class Reign {
  private readonly shard: Subject;
  private readonly host: ReignLane;
  private readonly store: ShardStore;
  private readonly clock: Clock;
  private readonly janitor: Janitor;
  private stopped = false;
  private wakeUp: (() => void) | undefined;
  /** The living terms at the last claim, and when the records were read. */
  private seen = '';
  private recordsReadAt = 0;
  private ended: Promise<void> | undefined;

  constructor(shard: Subject, host: ReignLane) {
    this.shard = shard;
    this.host = host;
    this.store = shard.store;
    this.clock = host.clock;
    this.janitor = new Janitor(shard.store, host.clock);
  }

  get shedding(): boolean {
    return this.janitor.shedding;
  }

  noSpace(): void {
    this.janitor.noSpace();
  }

  run(): Promise<void> {
    this.ended = this.loop();
    return this.ended;
  }

  /** Looks again at once. */
  wake(): void {
    this.wakeUp?.();
  }

  kill(): void {
    this.stopped = true;
    this.wake();
  }

  /** Gives the term up, so that another process can take over at once. */
  async stop(): Promise<void> {
    this.kill();
    await this.ended;
    const term = this.shard.currentTerm;
    if (term === undefined) return;
    this.shard.loseTerm();
    await this.giveBack(term);
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      try {
        const term = this.shard.currentTerm ?? (await this.begin());
        await this.look(term);
      } catch (error) {
        this.shard.markDown(error instanceof Error ? error.message : String(error));
        this.shard.log('debug', 'the shard could not be read', error);
      }
      if (!this.stopped) await this.pause();
    }
  }

  private async begin(): Promise<Term> {
    const identity = { process: this.host.process, lane: this.host.lane, id: this.host.randomHex(8) };
    const term = await Term.begin(this.store, this.clock, this.shard.observer, this.host.keeper, identity);
    this.seen = '';
    this.shard.begin(term);
    this.shard.log('info', 'term begun', undefined, { term: term.id });
    return term;
  }

  private async look(term: Term): Promise<void> {
    const living = await livingTerms(this.store);
    this.shard.markUp();
    this.shard.count();
    if (this.shard.currentTerm !== term || this.stopped) return;
    if (!living.has(term.id)) {
      this.shard.loseTerm();
      this.wakeSoon();
      return;
    }
    const now = this.clock.now();
    const terms = [...living.keys()].sort().join();
    if (terms !== this.seen || now - this.recordsReadAt > LIMITS.recordPollMs) {
      if (await this.claim(term, living)) this.seen = terms;
      this.recordsReadAt = now;
    }
    if (this.shard.holds.size > 0) await this.janitor.tidy(this.shard.inheritedLeft === 0);
  }

  /** True when all that falls to this lane is served; false: look again soon. */
  private async claim(term: Term, living: ReadonlyMap<string, TermRecord>): Promise<boolean> {
    const started = this.clock.now();
    const me = { term: term.id, process: this.host.process.id, lane: this.host.lane, lanes: this.host.lanes };
    const { shard } = this;
    const { claimed, complete } = await claimSlots(
      this.store,
      me,
      living,
      () => shard.nextSeq(),
      (slot) => shard.holds.has(slot),
    );
    if (claimed.length === 0) return complete;
    const now = (): number => this.clock.now();
    const recovered = await recover(this.store, claimed, {
      term: term.id,
      endedKeepMs: 2 * this.host.requestTimeoutMs,
      now,
    });
    if (shard.currentTerm !== term || this.stopped) return false;
    const holds = recovered.map(({ claimed: { record }, slot, checkpointCounter, checkpointBytes }): Hold => {
      const table = this.host.nextTable();
      const fresh = { dirtySince: 0, dirtyAtBytes: 0, inherited: false };
      return { slot, table, record, ...fresh, checkpointCounter, checkpointBytes };
    });
    shard.adopt(holds);
    const claims = holds.reduce((sum, hold) => sum + hold.slot.claims.count, 0);
    shard.log('info', 'slots taken over', undefined, {
      slots: holds.length,
      claims,
      ms: Math.round(now() - started),
    });
    return false;
  }

  private async giveBack(term: Term): Promise<void> {
    try {
      if (term.lease !== '') await this.store.revokeLease(term.lease);
      else await this.store.txn({ compares: [], changes: [{ delete: term.key }] });
    } catch (error) {
      this.shard.log('info', 'the lease could not be given back and will run out', error);
    }
  }

  private pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.clock.after(LIMITS.termPollMs, () => this.wakeUp?.());
      this.wakeUp = () => {
        timer.cancel();
        this.wakeUp = undefined;
        resolve();
      };
    });
  }

  /** The next pause ends in a moment. */
  private wakeSoon(): void {
    this.clock.after(1, () => this.wakeUp?.());
  }
}
