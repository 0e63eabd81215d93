/**
 * A client's dealings with sessions: one after another, each with locks that
 * hang on it.
 *
 *   opening ─► alive ── takes locks, gives some back, keeps the session alive ──┐
 *                ▲─────────────────────────────────────────────────────────────┘
 *                └─► ended by it, lapsed, or told so ─► opening
 *
 * It believes to hold a lock of a session until the last deadline that an answer
 * gave for it: that of its acquire, or of a keep-alive sent after that answer.
 */
import type { Client } from './client.ts';
import { type Claim, PLAIN, type Wish } from './history.ts';
import type { Reply } from './request.ts';

const TTLS_MS = [1_000, 1_500, 2_500, 6_000];
const WAITS_MS = [200, 1_000, 4_000];
/** Locks that one session takes, at most. */
const LOCKS_MAX = 5;

interface Held {
  readonly claim: Claim;
  /** On the client's clock. */
  deadline: number;
}

export class SessionActor {
  readonly #client: Client;
  readonly #names: readonly string[];
  readonly #waits: number;
  #session = '';
  #ttlMs = 0;
  /** Until when the session itself is promised, on the client's clock. */
  #deadline = -Infinity;
  #held = new Map<string, Held>();

  /** @param waits the share of claims that are waited for */
  constructor(client: Client, names: readonly string[], waits: number) {
    this.#client = client;
    this.#names = names;
    this.#waits = waits;
    this.#idle();
  }

  #idle(): void {
    this.#later(3, () => {
      if (!this.#client.stopped) this.#open();
    });
  }

  #later(factor: number, then: () => void): void {
    this.#client.after(this.#client.random.delay(this.#client.paceMs * factor), then);
  }

  #open(): void {
    const { random } = this.#client;
    this.#session = this.#client.newToken();
    this.#ttlMs = random.pick(TTLS_MS);
    this.#held = new Map();
    const session = this.#session;
    this.#client.askSession('open', session, this.#ttlMs, (reply, sentLocal) => {
      if (reply === undefined || reply.status >= 300) return this.#idle();
      this.#deadline = sentLocal + reply.waitedMs + reply.expiresInMs;
      this.#keepAlive(session);
      this.#live(session);
    });
  }

  /** It is still about the session that there is. */
  #is(session: string): boolean {
    return this.#session === session && this.#deadline > this.#client.clock.now();
  }

  #live(session: string): void {
    const { random } = this.#client;
    this.#later(1, () => {
      if (this.#session !== session) return;
      if (!this.#is(session)) return this.#lapse();
      const what = random.next();
      if (this.#client.stopped || what < 0.04) return this.#end();
      // It forgets its session, and what it does then comes too late, or nearly so.
      if (what < 0.06) return this.#lapse();
      if (what < 0.25) this.#release();
      else if (this.#held.size < LOCKS_MAX) this.#acquire(session);
      this.#live(session);
    });
  }

  #acquire(session: string): void {
    const { random, now } = this.#client;
    const name = random.pick(this.#names);
    if (this.#held.has(name)) return;
    const waitMs = random.chance(this.#waits) ? random.pick(WAITS_MS) : 0;
    const wish: Wish = { ...PLAIN, waitMs, session };
    const claim = this.#client.newClaim(name, wish);
    // What hangs on a session may end with it, whoever ends it.
    claim.ownedUntilAtLeast = now;
    const held: Held = { claim, deadline: -Infinity };
    this.#held.set(name, held);
    this.#client.ask({ op: 'acquire', name, claim, wish }, (reply, record, sentLocal) => {
      const isOurs = this.#held.get(name) === held;
      if (reply?.code === 'session_ended' && this.#session === session) return this.#lapse();
      if (reply === undefined || reply.status >= 300 || !isOurs || !this.#is(session)) {
        if (isOurs) this.#held.delete(name);
        // It may be held, or will be: nobody wants it any more.
        if (reply === undefined || reply.status < 300) this.#askRelease(held);
        return;
      }
      if (record.copies === 0) claim.fencingToken ||= reply.fencingToken;
      this.#promise(held, sentLocal, reply);
    });
  }

  #promise(held: Held, sentLocal: number, reply: Reply): void {
    const { clock, now } = this.#client;
    const { claim } = held;
    held.deadline = Math.max(held.deadline, sentLocal + reply.waitedMs + reply.expiresInMs);
    if (claim.releaseSentAt < Infinity) return;
    const until = clock.trueTimeOf(held.deadline);
    claim.promisedUntil = until;
    claim.ownedUntilAtLeast = until;
    const current = claim.beliefs.at(-1);
    if (current !== undefined && current.until >= now) current.until = Math.max(now, until);
    else if (until > now) claim.beliefs.push({ from: now, until });
  }

  #keepAlive(session: string): void {
    const { random } = this.#client;
    this.#client.after(this.#ttlMs * random.between(0.1, 0.6), () => {
      if (!this.#is(session)) return;
      const promised = [...this.#held.values()].filter(({ deadline }) => deadline > -Infinity);
      this.#client.askSession('keepalive', session, 0, (reply, sentLocal) => {
        if (this.#session !== session) return;
        if (reply?.status === 410) return this.#lapse();
        if (reply?.status === 200) {
          this.#deadline = Math.max(this.#deadline, sentLocal + reply.waitedMs + reply.expiresInMs);
          for (const held of promised) this.#promise(held, sentLocal, reply);
        }
      });
      this.#keepAlive(session);
    });
  }

  #release(): void {
    const promised = [...this.#held].filter(([, { deadline }]) => deadline > -Infinity);
    if (promised.length === 0) return;
    const [name, held] = this.#client.random.pick(promised);
    this.#held.delete(name);
    this.#askRelease(held);
  }

  #askRelease({ claim }: Held): void {
    this.#giveUp(claim);
    this.#client.ask({ op: 'release', name: claim.name, claim }, () => undefined);
  }

  #end(): void {
    const session = this.#session;
    for (const { claim } of this.#held.values()) this.#giveUp(claim);
    this.#session = '';
    this.#client.askSession('end', session, 0, () => this.#idle());
  }

  /** Nothing of it is believed any more. */
  #lapse(): void {
    for (const { claim } of this.#held.values()) this.#giveUp(claim);
    this.#session = '';
    this.#idle();
  }

  /** The client stops believing, and the claim may end from now on. */
  #giveUp(claim: Claim): void {
    const { now } = this.#client;
    claim.releaseSentAt = Math.min(claim.releaseSentAt, now);
    claim.ownedUntilAtLeast = Math.min(claim.ownedUntilAtLeast, now);
    const current = claim.beliefs.at(-1);
    if (current !== undefined && current.until > now) current.until = now;
  }
}
