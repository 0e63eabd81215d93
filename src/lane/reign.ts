/**
 * The slow side of a lane on a shard: begins a term, looks which terms live,
 * claims slots and reads them back, plans which go to other terms, keeps the
 * shard tidy; begins again when the term is over. Nothing here is on the way of
 * a request.
 *
 *   begin ──► look ──► claim ──► recover ──► adopt ─┐
 *     ▲        ▲────── every termPoll(Alone)Ms      │
 *     │                 ▲── or woken: a slot was ───┘
 *     │                     handed to this term
 *     └── own term key gone, or a commit was told so
 */
import type { Clock } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import type { LeaseKeeper, ShardStore } from '../shard/store.ts';
import { candidates, Placement, servingElsewhere } from '../slots/placement.ts';
import type { TermRecord, TermState } from '../slots/records.ts';
import type { HandOvers } from './hand-overs.ts';
import type { Hold } from './hold.ts';
import { Janitor } from './janitor.ts';
import type { MapTeller } from './map-teller.ts';
import type { ProcessIdentity } from './messages.ts';
import { recover } from './recovery.ts';
import type { ShardReport } from './shard-report.ts';
import { type Claimed, claimSlots, livingTerms } from './takeover.ts';
import { Term, type TermObserver } from './term.ts';
import { SlotView } from './view.ts';

/** What a reign needs of its lane. */
export interface ReignLane {
  readonly lane: number;
  readonly lanes: number;
  readonly process: ProcessIdentity;
  readonly clock: Clock;
  readonly keeper: LeaseKeeper;
  readonly requestTimeoutMs: number;
  /** Slots that requests wait for. */
  readonly wanted: ReadonlySet<number>;
  randomHex(bytes: number): string;
  /** Rises while the main thread gets on. */
  mainBeats(): number;
}

/** The lane's work on the shard, which goes by what the reign finds. */
export interface Subject {
  readonly store: ShardStore;
  readonly holds: ReadonlyMap<number, Hold>;
  readonly handOvers: HandOvers;
  readonly report: ShardReport;
  /** Told the map of owners; undefined: another lane of the process tells it. */
  readonly teller: MapTeller | undefined;
  readonly currentTerm: Term | undefined;
  /** Slots whose records still name dead terms. */
  readonly inheritedLeft: number;
  readonly observer: TermObserver;
  /** The seq that the next effect will be journaled with, at the earliest. */
  nextSeq(): number;
  begin(term: Term): void;
  adopt(holds: readonly Hold[]): void;
  loseTerm(): void;
  /** The term's record changed: a commit is to be made for it. */
  announce(): void;
  kick(): void;
  /** Counts what is held, for the metrics. */
  count(): void;
}

/** How long the other lanes of the process are waited for, so that all share from the start. */
const LANES_MS = 1_000;
const LANES_POLL_MS = 20;

export class Reign {
  private readonly shard: Subject;
  private readonly host: ReignLane;
  private readonly store: ShardStore;
  private readonly clock: Clock;
  private readonly janitor: Janitor;
  private readonly view: SlotView;
  /** Who may claim what nobody serves, and to whom this lane's slots should go. */
  private readonly heirs = new Placement();
  private readonly planned = new Placement();
  private living: ReadonlyMap<string, TermRecord> = new Map();
  private state: TermState = 'serving';
  private stopped = false;
  private wakeUp: (() => void) | undefined;
  /** Something happened that the next pause must not wait for. */
  private woken = false;
  /** There may be something to claim, or to plan, that there was not before. */
  private claimDue = true;
  private plannedFor = '';
  /** Times that slots were taken in. */
  private adoptions = 0;
  private begunAt = 0;
  /** The main thread's beats when the last term was found to be over; undefined while there is none that was. */
  private beatsAtEnd: number | undefined;
  private terms = 0;
  private lookedAt = -Infinity;
  private tidying = false;
  private ended: Promise<void> | undefined;

  constructor(shard: Subject, host: ReignLane) {
    this.shard = shard;
    this.host = host;
    this.store = shard.store;
    this.clock = host.clock;
    this.janitor = new Janitor(shard.store, host.clock);
    this.view = new SlotView(shard.store, host.clock, (slots) => this.changed(slots));
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
    this.lookedAt = -Infinity;
    this.goOn();
  }

  kill(): void {
    this.stopped = true;
    this.view.close();
    this.wake();
  }

  /** Others should own this lane's slots while it is not `serving`. */
  become(state: TermState): void {
    if (this.state === state || this.state === 'leaving') return;
    this.state = state;
    this.shard.currentTerm?.setState(state);
    this.shard.announce();
    this.wake();
  }

  /** True when nothing is left that another process could take. */
  get handedOver(): boolean {
    const { holds, handOvers, currentTerm } = this.shard;
    if (currentTerm === undefined) return true;
    if (servingElsewhere(this.living, this.host.process.id).length === 0) return true;
    return holds.size === 0 && handOvers.openCount === 0;
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

  /** These records now stand in the shard, written by this lane's own commit. */
  wrote(holds: readonly Hold[], revision: number): void {
    this.view.wrote(
      holds.map(({ slot, record }) => [slot.number, record] as const),
      revision,
    );
  }

  private async loop(): Promise<void> {
    while (!this.stopped) {
      this.woken = false;
      try {
        if (this.shard.currentTerm === undefined && this.isReachable()) await this.begin();
        const term = this.shard.currentTerm;
        if (term !== undefined && this.untilLookMs() <= 0) await this.look(term);
        if (term !== undefined && this.claimDue && this.shard.currentTerm === term && !this.stopped)
          await this.claim(term);
      } catch (error) {
        this.claimDue = true;
        this.lookedAt = this.clock.now();
        this.view.distrust();
        this.shard.report.markDown(error instanceof Error ? error.message : String(error));
        this.shard.report.log('debug', 'the shard could not be read', error);
      }
      if (!this.stopped) await this.pause();
    }
  }

  /**
   * A term ends early when the main thread stands still. Another one before that
   * thread gets on would take the slots away from those who can serve them.
   */
  private isReachable(): boolean {
    const beats = this.host.mainBeats();
    if (this.terms > 0) this.beatsAtEnd ??= beats;
    return beats !== this.beatsAtEnd;
  }

  private async begin(): Promise<void> {
    const identity = { process: this.host.process, lane: this.host.lane, id: this.host.randomHex(8) };
    const term = await Term.begin(this.store, this.clock, this.shard.observer, this.host.keeper, identity);
    this.begunAt = this.clock.now();
    this.terms++;
    this.beatsAtEnd = undefined;
    this.lookedAt = -Infinity;
    this.claimDue = true;
    this.plannedFor = '';
    this.view.distrust();
    this.shard.begin(term);
    if (this.state !== 'serving') {
      term.setState(this.state);
      this.shard.announce();
    }
    this.shard.report.log('info', 'term begun', undefined, { term: term.id });
  }

  private async look(term: Term): Promise<void> {
    const now = this.clock.now();
    this.living = await livingTerms(this.store);
    this.lookedAt = now;
    this.shard.report.markUp();
    this.shard.count();
    if (this.shard.currentTerm !== term || this.stopped) return;
    if (!this.living.has(term.id)) {
      this.shard.loseTerm();
      return;
    }
    this.shard.teller?.terms(this.living);
    if (this.view.stale) await this.view.read();
    this.plan(term, now);
    void this.tidy(term);
  }

  /** Which slots should go where. */
  private plan(term: Term, now: number): void {
    const { holds, handOvers } = this.shard;
    const all = candidates(this.living);
    const goes = this.state !== 'serving';
    this.heirs.update(all, now);
    this.planned.update(goes ? servingElsewhere(this.living, this.host.process.id) : all, now);
    const moves = goes || this.planned.settled(now);
    const plannedFor = `${[...this.living.keys()].join()} ${all.join()} ${this.state} ${moves} ${holds.size} ${this.adoptions}`;
    if (plannedFor === this.plannedFor) return;
    this.plannedFor = plannedFor;
    this.claimDue = true;
    handOvers.forgetDead((slot, next) => {
      return this.living.has(next) || this.view.records.get(slot)?.record.owner === term.id;
    });
    const plan = new Map<number, string>();
    for (const slot of moves ? holds.keys() : []) {
      const to = this.planned.ownerOf(slot);
      if (to !== undefined && to !== term.id) plan.set(slot, to);
    }
    handOvers.plan(plan);
    this.shard.kick();
  }

  /** Heard of other owners: the front is told, a slot handed to this term is claimed at once. */
  private changed(slots: readonly number[]): void {
    const { teller, handOvers, currentTerm } = this.shard;
    if (this.stopped) return;
    teller?.owners(slots, this.view);
    let freed = false;
    let given = false;
    this.claimDue = true;
    for (const slot of slots) {
      const { record } = this.view.records.get(slot)!;
      if (currentTerm === undefined) continue;
      if (handOvers.heard(slot, record, currentTerm.id)) freed = true;
      if (record.owner === null && record.next === currentTerm.id) given = true;
    }
    if (given) this.goOn();
    if (freed) this.shard.kick();
  }

  /** Serves all that falls to this lane. */
  private async claim(term: Term): Promise<void> {
    const started = this.clock.now();
    const { shard } = this;
    const early = this.isEarly();
    this.claimDue = early;
    const { claimed, complete } = await claimSlots(
      this.store,
      {
        term: term.id,
        living: this.living,
        placement: this.heirs,
        early,
        nextSeq: () => shard.nextSeq(),
        serves: (slot) => shard.holds.has(slot),
        hands: (slot) => shard.handOvers.isOpen(slot),
      },
      this.view,
    );
    if (!complete) {
      this.claimDue = true;
      this.view.distrust();
    }
    for (const group of inOrder(claimed, this.host.wanted)) {
      if (!(await this.adopt(term, group, started))) return;
    }
  }

  /** The process's other lanes are about to begin their terms, and should have their part. */
  private isEarly(): boolean {
    if (this.clock.now() - this.begunAt > LANES_MS) return false;
    const lanes = new Set<number>();
    for (const { process, lane } of this.living.values())
      if (process === this.host.process.id) lanes.add(lane);
    return lanes.size < this.host.lanes;
  }

  /** False when the term is over. */
  private async adopt(term: Term, claimed: readonly Claimed[], started: number): Promise<boolean> {
    const { shard } = this;
    const now = (): number => this.clock.now();
    const recovered = await recover(this.store, claimed, {
      term: term.id,
      endedKeepMs: 2 * this.host.requestTimeoutMs,
      now,
    });
    if (shard.currentTerm !== term || this.stopped) return false;
    const holds = recovered.map(({ claimed: { record }, slot, checkpointCounter, checkpointBytes }): Hold => {
      const fresh = { shard: undefined, announcement: 0, dirtySince: 0, dirtyAtBytes: 0, inherited: false };
      return { slot, record, ...fresh, checkpointCounter, checkpointBytes };
    });
    this.adoptions++;
    shard.adopt(holds);
    const direct = claimed.every((claim) => claim.direct);
    shard.report.log(direct ? 'debug' : 'info', 'slots taken over', undefined, {
      slots: holds.length,
      claims: holds.reduce((sum, hold) => sum + hold.slot.claims.held, 0),
      ms: Math.round(now() - started),
    });
    return true;
  }

  /** One lane of all does what needs to be done once: that of the oldest term. */
  private async tidy(term: Term): Promise<void> {
    if (this.tidying) return;
    this.tidying = true;
    try {
      const isOldest = oldestOf(this.living) === term.id;
      await this.janitor.tidy(isOldest, this.shard.inheritedLeft === 0);
    } catch (error) {
      this.shard.report.log('debug', 'the shard could not be tidied', error);
    }
    this.tidying = false;
  }

  private async giveBack(term: Term): Promise<void> {
    try {
      if (term.lease !== '') await this.store.revokeLease(term.lease);
      else await this.store.txn({ compares: [], changes: [{ delete: term.key }] });
    } catch (error) {
      this.shard.report.log('info', 'the lease could not be given back and will run out', error);
    }
  }

  private untilLookMs(): number {
    const isAlone = [...this.living.values()].every(({ process }) => process === this.host.process.id);
    // A claim that did not succeed is tried again by what is read then.
    const everyMs = isAlone && !this.claimDue ? LIMITS.termPollAloneMs : LIMITS.termPollMs;
    return this.lookedAt + (this.isEarly() ? LANES_POLL_MS : everyMs) - this.clock.now();
  }

  private goOn(): void {
    this.woken = true;
    this.wakeUp?.();
  }

  private async pause(): Promise<void> {
    if (this.woken) return;
    await new Promise<void>((resolve) => {
      const waitMs = Math.max(1, Math.ceil(this.untilLookMs()));
      const timer = this.clock.after(waitMs, () => this.wakeUp?.());
      this.wakeUp = () => {
        timer.cancel();
        this.wakeUp = undefined;
        resolve();
      };
    });
  }
}

/** What can be served soonest first: slots that were handed over, those that requests wait for, the others. */
function inOrder(claimed: readonly Claimed[], wanted: ReadonlySet<number>): Claimed[][] {
  const direct = claimed.filter((claim) => claim.direct);
  const others = claimed.filter((claim) => !claim.direct);
  const waitedFor = others.filter(({ slot }) => wanted.has(slot));
  const rest = others.filter(({ slot }) => !wanted.has(slot));
  return [direct, waitedFor, rest].filter((group) => group.length > 0);
}

function oldestOf(living: ReadonlyMap<string, TermRecord>): string | undefined {
  const ages = [...living].sort(([a, x], [b, y]) => x.born - y.born || (a < b ? -1 : 1));
  return ages[0]?.[0];
}
