/**
 * One client's dealings with one lock: one claim after another, with a token of
 * its own each, kept by the rules of API.md:
 *
 *   idle ─► acquiring ─201/200─► holding ─► releasing ─► idle
 *              │ 409: later, 503/unknown: the same token again   │
 *              └────────── gives up, or releases ◄───────────────┘
 *
 * It believes to hold a lock until send time + waitedMs + expiresInMs on its
 * own clock, not a moment longer and without a margin: the checker wants the
 * worst client that keeps the contract.
 */
import type { Asking, Client } from './client.ts';
import { type Claim, PLAIN, type Wish } from './history.ts';
import type { Random } from './random.ts';
import type { Reply } from './request.ts';

const TTLS_MS = [1_000, 1_000, 1_000, 1_500, 1_500, 2_500, 2_500, 6_000, 15_000];

export class Actor {
  readonly #client: Client;
  readonly #name: string;
  readonly #wishes: (random: Random) => Wish;
  #claim: Claim | undefined;
  #wish = PLAIN;
  /** The last acquire: what earlier ones of the claim still say is of no interest. */
  #asking: Asking | undefined;
  /** Until when the claim is promised, on the client's clock. */
  #deadline = -Infinity;
  #ttlMs = 0;
  /** The shortest TTL ever asked for: what a renewal that is still on its way may set. */
  #ttlMsMin = Infinity;
  /** Some request for this claim had no answer, or copies of it: it may take effect any time. */
  #strays = false;
  #lastFencingToken = 0;

  /** @param wishes how it asks for the lock, drawn anew for each claim */
  constructor(client: Client, name: string, wishes: (random: Random) => Wish = () => PLAIN) {
    this.#client = client;
    this.#name = name;
    this.#wishes = wishes;
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
      if (reply !== undefined && reply.holders.length > 0)
        this.#lastFencingToken = random.pick(reply.holders).fencingToken;
    };
    if (random.chance(0.5) || this.#lastFencingToken === 0) this.#client.ask({ op: 'get', name }, note);
    else this.#client.ask({ op: 'verify', name, fencingToken: this.#lastFencingToken }, note);
  }

  #begin(): void {
    const { random } = this.#client;
    this.#wish = this.#wishes(random);
    this.#claim = this.#client.newClaim(this.#name, this.#wish);
    this.#deadline = -Infinity;
    this.#ttlMs = random.pick(TTLS_MS);
    this.#ttlMsMin = this.#ttlMs;
    this.#strays = false;
    this.#acquire();
  }

  #acquire(): void {
    const claim = this.#claim!;
    const wish = this.#wish;
    const { random } = this.#client;
    claim.ownedUntilAtLeast = Math.max(claim.ownedUntilAtLeast, claim.firstSentAt + this.#ttlMsMin * 0.999);
    const asking: Asking = this.#client.ask(
      { op: 'acquire', name: this.#name, claim, ttlMs: this.#ttlMs, wish },
      (reply, record, sentLocal) => {
        if (this.#asking !== asking) return;
        this.#asking = undefined;
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
    this.#asking = asking;
    if (wish.waitMs > 0) this.#fidget(asking);
  }

  /** While it waits: it takes the wait back, or asks once more with the same token, perhaps in its place. */
  #fidget(asking: Asking): void {
    const { random } = this.#client;
    const what = random.next();
    if (what > 0.3) return;
    this.#client.after(random.between(0, this.#wish.waitMs), () => {
      if (this.#asking !== asking) return;
      if (what < 0.12) return asking.cancel();
      if (!this.#isFresh || this.#claim!.isMade) return;
      this.#acquire();
      if (what < 0.22) this.#client.after(random.between(0, 8), () => asking.cancel());
    });
  }

  /** A token's requests must not be younger than its tombstones are kept: API.md, «lock token». */
  get #isFresh(): boolean {
    return this.#client.now - this.#claim!.firstSentAt < this.#client.requestTimeoutMs * 0.8;
  }

  #acquireAgain(): void {
    if (this.#isFresh && !this.#claim!.isMade) this.#acquire();
    else this.#idle();
  }

  /** The acquire may have taken effect, now or later. */
  #doubt(): void {
    const { random } = this.#client;
    if (this.#claim!.isMade) return this.#lose();
    if (random.chance(0.7)) return this.#pause(0.5, () => this.#acquireAgain());
    if (random.chance(0.6)) return this.#release(2);
    this.#idle();
  }

  /** It does not know the token: its process gives back what it gets for nobody. */
  #lose(): void {
    const claim = this.#claim!;
    claim.ownedUntilAtLeast = claim.firstSentAt;
    claim.releaseSentAt = Math.min(claim.releaseSentAt, this.#client.now);
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
