/**
 * Sessions and atomic batches of several clients over two processes, with ops
 * that are delayed, refused, lost, repeated by their callers or carried out
 * late, slots that are away for a while, and processes that die. What is told
 * is held against the model at that moment, and what is left at the end.
 */
import { LIMITS } from '../../src/limits.ts';
import { Kind, type Op } from '../../src/op.ts';
import { Random } from '../sim/random.ts';
import {
  acquireOp,
  type Asked,
  type AskedBatch,
  type BatchTold,
  freshToken,
  homeKey,
  lockKey,
  ModelProcess,
  stubKey,
  type Told,
} from './coordinator-rig.ts';
import { type Fate, ModelSlots, SLOTS, until } from './model-slots.ts';
import { SteppedClock } from './stepped-clock.ts';

const NAMES = Array.from({ length: 14 }, (_, i) => `lock-${i}`);
const TTL_MS = 4_000;
const BATCH_TTL_MS = 6_000;
const RUN_MS = 30_000;
/** The most that an op is carried out late. */
const LATE_MS = 2_000;

export interface Weather {
  /** Shares of ops, of 1. */
  readonly refused: number;
  readonly unknown: number;
  readonly silent: number;
  readonly dropped: number;
  readonly late: number;
  /** Longest delay of an op. */
  readonly delayMs: number;
  readonly outages: number;
  readonly deaths: number;
}

interface BatchAsked {
  readonly names: readonly string[];
  readonly tokens: readonly string[];
  /** '' = none. */
  readonly session: string;
}

export class World {
  readonly clock = new SteppedClock();
  readonly model = new ModelSlots(this.clock);
  readonly random: Random;
  readonly problems: string[] = [];
  /** Requests to processes that lived on. */
  readonly asked: { process: ModelProcess; what: string; asked: Asked | AskedBatch }[] = [];
  readonly outcomes = new Map<string, number>();
  private processes: ModelProcess[];
  private readonly weather: Weather;
  /** Tokens of batches of which the client was told that nothing is kept, and which it gave up. */
  private readonly failed = new Set<string>();
  /** Sessions that a client has opened last. */
  private readonly sessions: string[] = [];
  /** A calm world for the end of a run. */
  private isCalm = false;

  constructor(seed: number, weather: Weather) {
    this.random = new Random(seed);
    this.weather = weather;
    this.model.fate = () => this.fate();
    this.model.onReal = ({ token, key }) => {
      if (this.failed.has(token)) this.problems.push(`${key} is held by a batch that failed`);
    };
    this.processes = [new ModelProcess(this.model), new ModelProcess(this.model)];
    for (let i = 0; i < weather.outages; i++) this.later(RUN_MS, () => this.takeAway());
    for (let i = 0; i < weather.deaths; i++) this.later(RUN_MS, () => this.kill());
  }

  run(clients: number): void {
    for (let i = 0; i < clients; i++) {
      this.later(500, () => void this.client(`session-${i}-0123456789abc`));
      this.later(500, () => this.batches());
    }
    this.clock.advance(RUN_MS);
    this.isCalm = true;
    // Sessions end by themselves now, and so does all that hangs on them.
    this.clock.advance(
      this.model.requestTimeoutMs * 2 + LATE_MS + LIMITS.pendingMs + BATCH_TTL_MS + TTL_MS + 1_000,
    );
    this.model.expire();
    this.finish();
  }

  private finish(): void {
    const { model, problems } = this;
    for (const { key } of model.claims.values()) problems.push(`${key} is left`);
    for (const key of model.stubs.keys()) problems.push(`the stub ${key} is left`);
    for (const { process, what, asked } of this.asked) {
      const right = process.isAlive ? asked.told.length === 1 : asked.told.length <= 1;
      if (!right) problems.push(`${what}: ${asked.told.length} answers`);
    }
    for (const { connections, calls, isAlive } of this.processes) {
      if (isAlive && connections.open + calls.size > 0)
        problems.push(`${connections.open} requests are open`);
    }
  }

  // ---- what goes wrong

  private fate(): Fate {
    const { random, weather } = this;
    const delayMs = 0.5 + random.next() ** 4 * weather.delayMs;
    if (this.isCalm) return { delayMs };
    let draw = random.next();
    const is = (share: number): boolean => (draw -= share) < 0;
    if (is(weather.refused)) {
      return { delayMs, refuse: random.pick(['moving', 'shard_unavailable', 'overloaded'] as const) };
    }
    if (is(weather.unknown)) return { delayMs, loseAnswer: 'unknown' };
    if (is(weather.silent)) return { delayMs, loseAnswer: 'silent' };
    if (is(weather.dropped)) return { delayMs, drop: true };
    if (is(weather.late)) return { delayMs, lateMs: random.next() * LATE_MS };
    return { delayMs };
  }

  private takeAway(): void {
    const slot = Math.floor(this.random.next() * SLOTS);
    this.model.downUntil[slot] = this.clock.now() + this.random.next() * 6_000;
  }

  private kill(): void {
    const i = Math.floor(this.random.next() * this.processes.length);
    this.processes[i].die();
    this.processes[i] = new ModelProcess(this.model);
  }

  // ---- clients

  /** Opens a session, takes locks in it, keeps it alive, and ends it at some time. */
  private client(id: string): void {
    let isOver = false;
    const step = (): void => {
      if (isOver || this.isCalm) return;
      this.later(400, step);
      const draw = this.random.next();
      if (draw < 0.1) this.later(TTL_MS * 3, end);
      if (draw < 0.5) this.acquire(id, this.random.pick(NAMES), freshToken(), 2);
      else this.keepAlive(id);
    };
    const end = (): void => {
      if (isOver || this.isCalm) return;
      isOver = true;
      this.ask('end', id, (process) => process.session(Kind.sessionEnd, id, 0, this.count('end')));
      // The id is not used again; another client comes.
      this.later(1_000, () => this.client(`${id.slice(0, 10)}${freshToken()}`.slice(0, 40)));
    };
    this.ask('open', id, (process) =>
      process.session(Kind.sessionOpen, id, TTL_MS, (told) => {
        this.count('open')(told);
        if (told.status === 200 || told.status === 201) this.checkPromise(id, told, 'open');
        this.sessions.unshift(id);
        this.sessions.splice(4);
        step();
      }),
    );
  }

  private acquire(id: string, name: string, token: string, repeats: number): void {
    const sentAt = this.clock.now();
    this.ask('acquire', id, (process) =>
      process.acquire(name, token, id, 0, (told) => {
        this.count('acquire')(told);
        if (told.code === 'outcome_unknown' && repeats > 0) {
          this.later(300, () => this.acquire(id, name, token, repeats - 1));
        }
        if (told.code === 'session_ended') this.checkEnded(id, this.slotOf(name));
        if (told.code === undefined)
          this.checkClaim(id, name, token, sentAt + told.waitedMs + told.expiresInMs);
        if (told.code === undefined && this.random.next() < 0.5)
          this.later(2_000, () => this.release(name, token));
      }),
    );
  }

  private keepAlive(id: string): void {
    this.ask('keep-alive', id, (process) =>
      process.session(Kind.sessionRenew, id, 0, (told) => {
        this.count('keep-alive')(told);
        if (told.code === undefined || told.code === 'shard_unavailable')
          this.checkPromise(id, told, 'keep-alive');
      }),
    );
  }

  private release(name: string, token: string): void {
    const op = acquireOp(name, token);
    op.kind = Kind.release;
    op.receivedAt = this.clock.now();
    this.model.submit(op, this.slotOf(name), { answers() {}, refuse() {} });
  }

  private batches(): void {
    if (this.isCalm) return;
    this.later(1_500, () => this.batches());
    const names = NAMES.filter(() => this.random.next() < 0.25);
    const session = this.random.next() < 0.4 ? (this.sessions[0] ?? '') : '';
    if (names.length > 0) this.batch({ names, tokens: names.map(freshToken), session }, 2);
  }

  private batch(batch: BatchAsked, repeats: number): void {
    const { names, tokens, session } = batch;
    const isFirst = repeats === 2;
    const ttlMs = session === '' ? BATCH_TTL_MS : 0;
    const ops = names.map((name, i): Op => acquireOp(name, tokens[i], session, ttlMs));
    this.ask('batch', names.join(' '), (process) =>
      process.batch(ops, (told) => {
        this.count(session === '' ? 'batch' : 'batch in a session')({ code: told.code });
        if (told.held !== undefined) return this.checkHeld(batch, told);
        if (told.code === 'outcome_unknown') {
          if (repeats > 0) this.later(300, () => this.batch(batch, repeats - 1));
        } else if (isFirst) this.checkFailed(batch);
      }),
    );
  }

  // ---- what they are told

  /** `end`: until when its client believes it. */
  private checkClaim(id: string, name: string, token: string, end: number): void {
    const { model } = this;
    const claim = model.claims.get(lockKey(name));
    if (claim?.token === token) {
      if (until(claim) < end) this.wrong(`${name} ends before its promise`);
      const home = model.sessions.get(homeKey(id));
      if (home !== undefined && home.slots.get(claim.slot) !== true)
        this.wrong(`${name} in a slot that is not active`);
      return;
    }
    // Whoever ended it meanwhile may: its own release, or the end of the session.
    const reason = model.ended.get(token);
    if (reason !== 'stubEnd' && reason !== 'released')
      this.wrong(`${name} was told, and is ${reason ?? 'not held'}`);
  }

  /** A session that ended, or that has lost claims it counted on, for which its next keep-alive ends it. */
  private checkEnded(id: string, slot: number): void {
    const home = this.model.sessions.get(homeKey(id));
    if (home === undefined) return;
    const isBroken = home.slots.get(slot) === true && !this.model.stubs.has(stubKey(slot, id));
    if (!isBroken) this.wrong(`${id} lives, but an acquire was told otherwise`);
  }

  /** All that a living session counts on lasts as long as was told. */
  private checkPromise(id: string, told: Told, what: string): void {
    const { model, clock } = this;
    const home = model.sessions.get(homeKey(id));
    const end = clock.now() + told.expiresInMs;
    if (home === undefined || told.expiresInMs === 0) return;
    if (home.promisedUntil < end) this.wrong(`${what} of ${id}: home ends before`);
    for (const [slot, isActive] of home.slots) {
      const stub = model.stubs.get(stubKey(slot, id));
      if (!isActive) continue;
      if (stub === undefined) this.wrong(`${what} of ${id}: ${slot} has no stub`);
      else if (stub.promisedUntil < end) this.wrong(`${what} of ${id}: ${slot} ends before`);
    }
  }

  private checkHeld({ names, tokens, session }: BatchAsked, { held }: BatchTold): void {
    for (const [i, name] of names.entries()) {
      const claim = this.model.claims.get(lockKey(name));
      const isEnded = session !== '' && this.model.ended.get(tokens[i]) === 'stubEnd';
      if (isEnded) continue;
      if (claim?.token !== tokens[i] || claim.pending !== undefined)
        this.wrong(`${name} of a batch is not held`);
      else if (until(claim) < this.clock.now() + held![i].expiresInMs)
        this.wrong(`${name} of a batch ends before`);
      else if (this.model.sessions.get(homeKey(session))?.slots.get(claim.slot) === false) {
        this.wrong(`${name} of a batch in a slot that is not active`);
      }
    }
  }

  private checkFailed({ names, tokens }: BatchAsked): void {
    for (const [i, name] of names.entries()) {
      const claim = this.model.claims.get(lockKey(name));
      this.failed.add(tokens[i]);
      if (claim?.token === tokens[i] && claim.pending === undefined)
        this.wrong(`${name} of a failed batch is held`);
    }
  }

  private wrong(problem: string): void {
    this.problems.push(`at ${this.clock.now()}: ${problem}`);
  }

  // ---- the rest

  private ask(kind: string, about: string, send: (process: ModelProcess) => Asked | AskedBatch): void {
    const process = this.random.pick(this.processes);
    const what = `${kind} ${about} at ${this.clock.now()}`;
    this.asked.push({ process, what, asked: send(process) });
  }

  private count(kind: string): (told: { code: string | undefined }) => void {
    return ({ code }) => {
      const outcome = `${kind} ${code ?? 'done'}`;
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    };
  }

  private later(withinMs: number, run: () => void): void {
    this.clock.after(this.random.next() * withinMs, run);
  }

  private slotOf(name: string): number {
    const key = Buffer.from(lockKey(name));
    return this.model.slotOfKey(key, 0, key.length);
  }
}
