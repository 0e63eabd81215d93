/**
 * A client of the simulated cluster. For each lock it has an actor: one claim
 * after another, with a token of its own each, kept by the rules of API.md:
 *
 *   idle ─► acquiring ─201/200─► holding ─► releasing ─► idle
 *              │ 409: later, 503/unknown: the same token again   │
 *              └────────── gives up, or releases ◄───────────────┘
 *
 * It believes to hold a lock until send time + waitedMs + expiresInMs on its
 * own clock, not a moment longer and without a margin: the checker wants the
 * worst client that keeps the contract.
 */
import type { Clock } from '../../src/clock.ts';
import { describe } from './checker.ts';
import type { Claim, History, OpName, OpRecord } from './history.ts';
import type { Random } from './random.ts';
import type { Reply, Request } from './request.ts';
import { Domain, type Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

/** How a frame travels: over which connection, and with how many copies beside the first. 0: it is lost. */
export interface Way {
  readonly wire: number;
  readonly copies: number;
}

/** The way from clients to processes and back. */
export interface Transport {
  /** Sends the requests in one frame to the process it picks. What goes over one wire arrives in order. */
  send(requests: readonly Request[], reply: (index: number, reply: Reply) => void): Way;
}

interface Asked {
  readonly op: OpName;
  readonly name: string;
  readonly claim?: Claim | undefined;
  readonly fencingToken?: number;
  readonly ttlMs?: number;
}

interface Queued {
  readonly asked: Asked;
  /** undefined: the outcome is unknown. */
  readonly told: (reply: Reply | undefined, record: OpRecord, sentLocal: number) => void;
}

const TTLS_MS = [1_000, 1_000, 1_000, 1_500, 1_500, 2_500, 2_500, 6_000, 15_000];

export class Client {
  readonly name: string;
  readonly random: Random;
  readonly clock: SimClock;
  readonly history: History;
  readonly domain: Domain;
  readonly requestTimeoutMs: number;
  /** Set when the run ends: no new claims. */
  stopped = false;
  /** Mean time between two things an actor does, in ms. */
  paceMs = 120;

  readonly #scheduler: Scheduler;
  readonly #transport: Transport;
  readonly #timers: Clock;
  #queue: Queued[] = [];
  #claims = 0;
  /** By wire and lock: the last op that went there. */
  readonly #lastOn = new Map<string, number>();

  constructor(
    scheduler: Scheduler,
    random: Random,
    name: string,
    history: History,
    transport: Transport,
    requestTimeoutMs: number,
  ) {
    this.#scheduler = scheduler;
    this.random = random;
    this.name = name;
    this.history = history;
    this.#transport = transport;
    this.requestTimeoutMs = requestTimeoutMs;
    this.domain = new Domain(name);
    this.clock = new SimClock(scheduler, random.fork('clock'), 1 + random.between(-250e-6, 250e-6));
    this.#timers = this.clock.for(this.domain);
  }

  get now(): number {
    return this.#scheduler.now;
  }

  after(delayMs: number, run: () => void): void {
    this.#timers.after(delayMs, run);
  }

  newClaim(name: string): Claim {
    const { random } = this;
    // Both spellings of a token: a UUID, which travels as 16 bytes, and characters.
    const hex = random.hex(16);
    const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    const claim: Claim = {
      token: random.chance(0.5) ? uuid : `t~${hex.slice(0, 24)}`,
      owner: `${this.name}:${++this.#claims}`,
      name,
      client: this.name,
      firstSentAt: this.now,
      fencingToken: 0,
      promisedUntil: 0,
      ownedUntilAtLeast: this.now,
      releaseSentAt: Infinity,
      beliefs: [],
    };
    this.history.addClaim(claim);
    return claim;
  }

  /** Asks in the next frame, which leaves within a few ms. */
  ask(asked: Asked, told: Queued['told']): void {
    this.#queue.push({ asked, told });
    if (this.#queue.length > 1) return;
    this.#scheduler.after(
      this.random.chance(0.5) ? 0 : this.random.between(0, 4),
      `${this.name} sends`,
      () => this.#flush(),
      this.domain,
    );
  }

  #flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    const sentLocal = this.clock.now();
    const requests = queue.map(({ asked }): Request => {
      const { op, name, claim, fencingToken = 0, ttlMs = 0 } = asked;
      const token = claim === undefined || (op === 'verify' && fencingToken > 0) ? '' : claim.token;
      return {
        op,
        name,
        token,
        owner: claim?.owner ?? '',
        fencingToken,
        ttlMs,
        flags: this.random.below(4),
        metadata: this.#metadata(op),
      };
    });
    const patience = this.random.chance(0.8) ? this.requestTimeoutMs + 1_500 : this.random.between(50, 3_000);
    const records: OpRecord[] = [];
    const open = new Set<number>();
    const told = (index: number, reply: Reply | undefined) => {
      if (!open.delete(index)) return;
      const unknown = reply === undefined || reply.code === 'outcome_unknown';
      if (!unknown) this.#record(records[index], reply);
      this.#scheduler.note(`${describe(records[index])} ${JSON.stringify(reply ?? 'time-out')}`);
      queue[index].told(unknown ? undefined : reply, records[index], sentLocal);
    };
    const { wire, copies } = this.#transport.send(requests, (index, reply) => {
      this.#scheduler.after(0, `${this.name} hears`, () => told(index, reply), this.domain);
    });
    for (const [index, { op, name, token, fencingToken }] of requests.entries()) {
      const id = this.history.ops.length + 1;
      const place = `${wire} ${name}`;
      // A copy may take effect before or after anything else.
      const inOrder = wire !== 0 && copies === 0;
      const after = inOrder ? (this.#lastOn.get(place) ?? 0) : 0;
      if (inOrder) this.#lastOn.set(place, id);
      const record: OpRecord = {
        id,
        client: this.name,
        name,
        op,
        token,
        fencingToken,
        sentAt: this.now,
        patienceMs: patience,
        endedAt: Infinity,
        seen: undefined,
        after,
        copies,
      };
      this.history.ops.push(record);
      records.push(record);
      open.add(index);
    }
    this.after(patience, () => {
      for (const index of requests.keys()) told(index, undefined);
    });
  }

  /** Small, large or none: what a state and its journal weigh differs from run to run. */
  #metadata(op: OpName): string {
    if ((op !== 'acquire' && op !== 'renew') || this.random.chance(0.6)) return '';
    return JSON.stringify({ note: 'x'.repeat(this.random.chance(0.2) ? 900 : this.random.below(40)) });
  }

  #record(record: OpRecord, { status, code, fencingToken, yes, holder }: Reply): void {
    record.endedAt = this.now;
    record.seen = { status, code, fencingToken, yes, holder };
  }
}

/** One client's dealings with one lock. */
export class Actor {
  readonly #client: Client;
  readonly #name: string;
  #claim: Claim | undefined;
  /** Until when the claim is promised, on the client's clock. */
  #deadline = -Infinity;
  #ttlMs = 0;
  /** The shortest TTL ever asked for: what a renewal that is still on its way may set. */
  #ttlMsMin = Infinity;
  /** Some request for this claim had no answer, or copies of it: it may take effect any time. */
  #strays = false;
  #lastFencingToken = 0;

  constructor(client: Client, name: string) {
    this.#client = client;
    this.#name = name;
    this.#idle();
  }

  /** A pause of about `factor` paces. */
  #pause(factor: number, then: () => void): void {
    this.#client.after(this.#client.random.delay(this.#client.paceMs * factor), then);
  }

  #idle(): void {
    if (this.#client.stopped) return;
    this.#pause(1.5, () => {
      if (this.#client.stopped) return;
      if (this.#client.random.chance(0.3)) this.#look();
      this.#begin();
    });
  }

  /** A question beside everything else. */
  #look(): void {
    const { random } = this.#client;
    const name = this.#name;
    const note = (reply: Reply | undefined) => {
      if (reply?.holder !== undefined) this.#lastFencingToken = reply.holder.fencingToken;
    };
    if (random.chance(0.5) || this.#lastFencingToken === 0) this.#client.ask({ op: 'get', name }, note);
    else this.#client.ask({ op: 'verify', name, fencingToken: this.#lastFencingToken }, note);
  }

  #begin(): void {
    const { random } = this.#client;
    this.#claim = this.#client.newClaim(this.#name);
    this.#deadline = -Infinity;
    this.#ttlMs = random.pick(TTLS_MS);
    this.#ttlMsMin = this.#ttlMs;
    this.#strays = false;
    this.#acquire();
  }

  #acquire(): void {
    const claim = this.#claim!;
    const { random } = this.#client;
    claim.ownedUntilAtLeast = Math.max(claim.ownedUntilAtLeast, claim.firstSentAt + this.#ttlMsMin * 0.999);
    this.#client.ask(
      { op: 'acquire', name: this.#name, claim, ttlMs: this.#ttlMs },
      (reply, record, sentLocal) => {
        if (record.copies > 0 || reply === undefined) this.#strays = true;
        if (reply === undefined) return this.#doubt();
        if (reply.status < 300) {
          this.#promised(reply, sentLocal);
          return this.#hold(0);
        }
        if (reply.status >= 500) return this.#pause(1, () => this.#acquireAgain());
        if (reply.status === 409 && random.chance(0.4)) return this.#pause(1, () => this.#acquireAgain());
        this.#idle();
      },
    );
  }

  /** A token's requests must not be younger than its tombstones are kept: API.md, «lock token». */
  #acquireAgain(): void {
    if (this.#client.now - this.#claim!.firstSentAt < this.#client.requestTimeoutMs * 0.8) this.#acquire();
    else this.#idle();
  }

  /** The acquire may have taken effect, now or later. */
  #doubt(): void {
    const { random } = this.#client;
    if (random.chance(0.7)) return this.#pause(0.5, () => this.#acquireAgain());
    if (random.chance(0.6)) return this.#release(2);
    this.#idle();
  }

  #hold(renewals: number): void {
    const { random, clock } = this.#client;
    const left = this.#deadline - clock.now();
    if (this.#client.stopped) return this.#release(3);
    const what = random.next();
    if (what < 0.15) this.#look();
    if (what < 0.4 && renewals < 4) {
      const wait = random.chance(0.3) ? left * random.between(0.05, 0.95) : random.delay(this.#client.paceMs);
      this.#client.after(Math.max(0, Math.min(wait, left)), () => this.#renew(renewals));
    } else if (what < 0.9 || left > 3_000) {
      this.#client.after(Math.max(0, Math.min(left, random.delay(this.#client.paceMs))), () =>
        this.#release(3),
      );
    } else {
      // It lets the time run out, and what it does then comes too late, or nearly so.
      this.#client.after(Math.max(0, left + random.between(-20, 400)), () => this.#tooLate());
    }
  }

  #renew(renewals: number): void {
    const { random, clock } = this.#client;
    const claim = this.#claim!;
    const ttlMs = random.chance(0.3) ? random.pick(TTLS_MS) : 0;
    if (ttlMs !== 0) this.#ttlMsMin = Math.min(this.#ttlMsMin, ttlMs);
    // A renewal may shorten the time, and may have done so when its answer is lost.
    this.#setDeadline(Math.min(this.#deadline, clock.now() + this.#ttlMsMin));
    this.#client.ask({ op: 'renew', name: this.#name, claim, ttlMs }, (reply, record, sentLocal) => {
      if (record.copies > 0 || reply === undefined) this.#strays = true;
      if (reply?.status === 200) this.#promised(reply, sentLocal);
      if (reply?.status === 410) {
        this.#end(this.#client.now);
        return this.#idle();
      }
      this.#hold(renewals + 1);
    });
  }

  #release(triesLeft: number): void {
    const claim = this.#claim!;
    this.#end(this.#client.now);
    this.#askRelease(claim, triesLeft);
    // In the same frame, so that order within a batch counts.
    if (!this.#client.stopped && this.#client.random.chance(0.3)) this.#begin();
    else this.#idle();
  }

  #askRelease(claim: Claim, triesLeft: number): void {
    claim.releaseSentAt = Math.min(claim.releaseSentAt, this.#client.now);
    this.#client.ask({ op: 'release', name: this.#name, claim }, (reply) => {
      const failed = reply === undefined || reply.status >= 500;
      if (failed && triesLeft > 1) this.#pause(1, () => this.#askRelease(claim, triesLeft - 1));
      else if (this.#client.random.chance(0.15)) this.#pause(6, () => this.#useStale(claim));
    });
  }

  #tooLate(): void {
    const claim = this.#claim!;
    this.#pause(1, () => this.#useStale(claim));
    this.#idle();
  }

  /** With the token of a claim that is over, or should be. */
  #useStale(claim: Claim): void {
    const { random } = this.#client;
    const op = random.pick(['renew', 'release', 'verify'] as const);
    if (op === 'release') claim.releaseSentAt = Math.min(claim.releaseSentAt, this.#client.now);
    this.#client.ask({ op, name: this.#name, claim }, () => undefined);
  }

  #promised(reply: Reply, sentLocal: number): void {
    const claim = this.#claim!;
    claim.fencingToken ||= reply.fencingToken;
    this.#lastFencingToken = reply.fencingToken;
    const told = sentLocal + reply.waitedMs + reply.expiresInMs;
    this.#setDeadline(this.#strays ? Math.min(told, sentLocal + this.#ttlMsMin) : told);
  }

  #setDeadline(local: number): void {
    const claim = this.#claim!;
    const { now, clock } = this.#client;
    this.#deadline = local;
    const until = clock.trueTimeOf(local);
    claim.promisedUntil = until;
    claim.ownedUntilAtLeast = until;
    if (claim.releaseSentAt < Infinity) return;
    const current = claim.beliefs.at(-1);
    if (current !== undefined && current.until >= now) current.until = Math.max(now, until);
    else if (until > now) claim.beliefs.push({ from: now, until });
  }

  /** The client stops believing. */
  #end(at: number): void {
    const current = this.#claim!.beliefs.at(-1);
    if (current !== undefined && current.until > at) current.until = at;
  }
}

/** The longest that a copy of a request may be under way, so that it comes before its token is forgotten: in request time-outs. */
export const COPY_SHARE_MAX = 0.4;
