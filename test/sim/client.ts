/**
 * A client of the simulated cluster: it asks in frames, hears what comes back,
 * and writes down both. What it wants of which lock is its actors' business.
 */
import type { Clock } from '../../src/clock.ts';
import { OpFlag } from '../../src/op.ts';
import { describe } from './checker.ts';
import type { Frame } from './client-connection.ts';
import {
  type Claim,
  type History,
  type OpName,
  type OpRecord,
  PLAIN,
  type SessionOpName,
  type SessionRecord,
  type Wish,
} from './history.ts';
import type { Random } from './random.ts';
import type { Reply, Request } from './request.ts';
import { Domain, type Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

/** How a frame travels: over which connection, and with how many copies beside the first. 0: it is lost. */
export interface Way {
  readonly wire: number;
  readonly copies: number;
  /** Behind the frame: the wait that is its request `index` is taken back. */
  cancel(index: number): void;
}

/** What a client sends, and hears. */
export interface SentFrame extends Frame {
  /** The final reply to request `index` was lost on its way. */
  lost(index: number): void;
}

/** The way from clients to processes and back. */
export interface Transport {
  /** Sends the requests in one frame to the process it picks. What goes over one wire arrives in order. */
  send(frame: SentFrame): Way;
  /** Closes all connections: what is asked over them is answered to nobody. */
  close(): void;
}

export interface Asked {
  readonly op: OpName;
  readonly name: string;
  readonly claim?: Claim | undefined;
  readonly fencingToken?: number;
  readonly ttlMs?: number;
  readonly wish?: Wish;
}

/** undefined: the outcome is unknown. */
export type Told = (reply: Reply | undefined, record: OpRecord, sentLocal: number) => void;

/** A request that is not answered yet. */
export interface Asking {
  /** Takes a wait back. */
  cancel(): void;
}

interface Queued {
  readonly asked: Asked;
  readonly told: Told;
  cancel: () => void;
  isCancelled: boolean;
}

/** The longest that a copy of a request may be under way, so that it comes before its token is forgotten: in request time-outs. */
export const COPY_SHARE_MAX = 0.4;

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
  /** What ends all that is not answered. */
  readonly #open = new Set<() => void>();

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

  newClaim(name: string, { mode, limit, waitMs, session }: Wish = PLAIN): Claim {
    const { random } = this;
    const token = this.newToken();
    const isMade = waitMs > 0 && session === '' && !token.startsWith('t~') && random.chance(0.3);
    const claim: Claim = {
      token,
      owner: `${this.name}:${++this.#claims}`,
      name,
      client: this.name,
      mode,
      limit,
      session,
      isMade,
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

  /** Of a claim or a session. In both spellings: a UUID, which travels as 16 bytes, and characters. */
  newToken(): string {
    const hex = this.random.hex(16);
    const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    return this.random.chance(0.5) ? uuid : `t~${hex.slice(0, 24)}`;
  }

  /** Asks in the next frame, which leaves within a few ms. */
  ask(asked: Asked, told: Told): Asking {
    const queued: Queued = {
      asked,
      told,
      isCancelled: false,
      cancel: () => void (queued.isCancelled = true),
    };
    this.#queue.push(queued);
    if (this.#queue.length === 1) {
      this.#scheduler.after(
        this.random.chance(0.5) ? 0 : this.random.between(0, 4),
        `${this.name} sends`,
        () => this.#flush(),
        this.domain,
      );
    }
    return { cancel: () => queued.cancel() };
  }

  /** Asks for something of a session, in a frame of its own. `told`: undefined: the outcome is unknown. */
  askSession(
    op: SessionOpName,
    session: string,
    ttlMs: number,
    told: (reply: Reply | undefined, sentLocal: number) => void,
  ): void {
    const sentLocal = this.clock.now();
    const patienceMs = this.requestTimeoutMs + 3_500;
    const what: SessionRecord = {
      client: this.name,
      session,
      op,
      sentAt: this.now,
      patienceMs,
      endedAt: Infinity,
      status: 0,
      code: '',
    };
    this.history.sessionOps.push(what);
    let isOpen = true;
    const end = (reply: Reply | undefined) => {
      if (!isOpen) return;
      isOpen = false;
      this.#open.delete(giveUp);
      const unknown = reply === undefined || reply.code === 'outcome_unknown';
      if (!unknown) Object.assign(what, { endedAt: this.now, status: reply.status, code: reply.code });
      this.#scheduler.note(`${this.name} ${op} of ${session}: ${JSON.stringify(reply ?? 'time-out')}`);
      told(unknown ? undefined : reply, sentLocal);
    };
    const giveUp = () => end(undefined);
    const nothing = { name: '', token: '', owner: '', fencingToken: 0, flags: 0, metadata: '' };
    this.#transport.send({
      requests: [{ op, ...nothing, ...PLAIN, session, ttlMs }],
      reply: (_, reply) => void this.#scheduler.after(0, `${this.name} hears`, () => end(reply), this.domain),
      lost: () => undefined,
    });
    this.#open.add(giveUp);
    this.after(patienceMs, giveUp);
  }

  /** Its connections are cut: nobody knows what becomes of what it asked. */
  hangUp(): void {
    this.#scheduler.note(`${this.name} hangs up`);
    this.#transport.close();
    for (const end of [...this.#open]) end();
  }

  #flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    const sentLocal = this.clock.now();
    const requests = queue.map(({ asked }) => this.#request(asked));
    const waitMs = Math.max(...requests.map((request) => request.waitMs));
    const patient = this.random.chance(0.8) || waitMs > 0;
    const patience = patient ? waitMs + this.requestTimeoutMs + 3_500 : this.random.between(50, 3_000);
    const records: OpRecord[] = [];
    const open = new Set<number>();
    const unheard = (index: number) => {
      records[index].unheardAt = Math.min(records[index].unheardAt, this.now);
    };
    const told = (index: number, reply: Reply | undefined) => {
      const record = records[index];
      if (reply?.status === 100) {
        if (open.has(index)) record.queuedAt = Math.min(record.queuedAt, this.now);
        return;
      }
      if (!open.delete(index)) return unheard(index);
      if (open.size === 0) this.#open.delete(giveUp);
      const unknown = reply === undefined || reply.code === 'outcome_unknown';
      if (!unknown) this.#record(record, reply);
      else if (reply !== undefined) unheard(index);
      this.#scheduler.note(`${describe(record)} ${JSON.stringify(reply ?? 'time-out')}`);
      queue[index].told(unknown ? undefined : reply, record, sentLocal);
    };
    const giveUp = () => {
      for (const index of requests.keys()) told(index, undefined);
    };
    const way = this.#transport.send({
      requests,
      reply: (index, reply) =>
        void this.#scheduler.after(0, `${this.name} hears`, () => told(index, reply), this.domain),
      lost: unheard,
    });
    for (const [index, request] of requests.entries()) {
      const record = this.#newRecord(queue[index].asked.op, request, patience, way);
      records.push(record);
      open.add(index);
      queue[index].cancel = () => {
        if (!open.has(index)) return;
        record.cancelledAt = Math.min(record.cancelledAt, this.now);
        way.cancel(index);
      };
      if (queue[index].isCancelled) queue[index].cancel();
    }
    this.#open.add(giveUp);
    this.after(patience, giveUp);
  }

  #request({ op, name, claim, fencingToken = 0, ttlMs = 0, wish = PLAIN }: Asked): Request {
    const token = claim === undefined || (op === 'verify' && fencingToken > 0) ? '' : claim.token;
    return {
      op,
      name,
      token,
      owner: claim?.owner ?? '',
      fencingToken,
      ttlMs,
      flags: this.#flags(wish, claim),
      metadata: this.#metadata(op),
      ...wish,
    };
  }

  #flags({ waitMs, session }: Wish, claim: Claim | undefined): number {
    const flags = this.random.below(4);
    if (waitMs === 0 && session === '') return flags;
    return claim?.isMade ? flags | OpFlag.madeToken : flags & ~OpFlag.madeToken;
  }

  #newRecord(op: OpName, request: Request, patienceMs: number, { wire, copies }: Way): OpRecord {
    const { name, token, fencingToken, mode, limit, waitMs, lockDelayMs, session } = request;
    const id = this.history.ops.length + 1;
    const place = `${wire} ${name}`;
    // A copy may take effect before or after anything else, and so may what is more than one op.
    const inOrder = wire !== 0 && copies === 0 && waitMs === 0 && session === '';
    const after = inOrder ? (this.#lastOn.get(place) ?? 0) : 0;
    if (inOrder) this.#lastOn.set(place, id);
    const record: OpRecord = {
      id,
      client: this.name,
      name,
      op,
      token,
      fencingToken,
      wish: { mode, limit, waitMs, lockDelayMs, session },
      sentAt: this.now,
      patienceMs,
      endedAt: Infinity,
      seen: undefined,
      after,
      wire,
      copies,
      unheardAt: Infinity,
      queuedAt: Infinity,
      cancelledAt: Infinity,
    };
    this.history.ops.push(record);
    return record;
  }

  /** Small, large or none: what a state and its journal weigh differs from run to run. */
  #metadata(op: OpName): string {
    if ((op !== 'acquire' && op !== 'renew') || this.random.chance(0.6)) return '';
    return JSON.stringify({ note: 'x'.repeat(this.random.chance(0.2) ? 900 : this.random.below(40)) });
  }

  #record(record: OpRecord, { status, code, fencingToken, yes, holders, queueLength }: Reply): void {
    const released = record.op === 'force' && status === 200 ? queueLength : 0;
    record.endedAt = this.now;
    record.seen = { status, code, fencingToken, yes, holders, released };
  }
}
