/**
 * Watches who believes to hold what. A client believes it from the grant's
 * answer until it sends the release, at most until the deadline: send time +
 * waitedMs + expiresInMs, all on one clock. Two beliefs that must not be at one
 * time, or a fencing token that is not above that of an exclusive grant known
 * before this one was asked for, is a violation.
 *
 * It is told of events in the order of their times, and keeps what is believed
 * now and one number per name: it can run along for hours.
 *
 *   asked ─► granted ─ renewed … ─► ended
 *     └─ refused, unanswered ─► ended
 */
import type { Safety } from './result.ts';

/** As in src/op.ts. */
export const SafetyMode = { exclusive: 0, shared: 1, semaphore: 2 } as const;

/** Times are ms of one monotonic clock; a claim's number is its own among all processes. */
export interface ClaimObserver {
  asked(at: number, claim: number, name: number, mode: number, limit: number): void;
  granted(at: number, claim: number, until: number, fencingToken: number): void;
  /** It is believed until then, from now on; `fencingToken` is 0 where the answer does not tell it. */
  renewed(at: number, claim: number, until: number, fencingToken: number): void;
  /** Nobody believes in it any more, or ever did. */
  ended(at: number, claim: number): void;
}

interface Claim {
  readonly number: number;
  readonly name: number;
  readonly mode: number;
  readonly limit: number;
  /** The highest exclusive token known when it was asked for. */
  readonly floor: number;
  fencingToken: number;
  until: number;
}

const EXAMPLES_MAX = 10;

export class SafetyChecker implements ClaimObserver {
  readonly #claims = new Map<number, Claim>();
  readonly #holders = new Map<number, Claim[]>();
  /** By name: the highest fencing token of an exclusive grant. */
  readonly #highest = new Map<number, number>();
  readonly #examples: string[] = [];
  readonly #nameOf: (name: number) => string;
  #twoHolders = 0;
  #fallingFences = 0;

  constructor(nameOf: (name: number) => string = String) {
    this.#nameOf = nameOf;
  }

  get safety(): Safety {
    return {
      twoHolders: this.#twoHolders,
      fallingFences: this.#fallingFences,
      examples: [...this.#examples],
    };
  }

  /** Claims that are believed or asked for. */
  get size(): number {
    return this.#claims.size;
  }

  asked(_at: number, claim: number, name: number, mode: number, limit: number): void {
    const floor = this.#highest.get(name) ?? 0;
    this.#claims.set(claim, { number: claim, name, mode, limit, floor, fencingToken: 0, until: 0 });
  }

  granted(at: number, number: number, until: number, fencingToken: number): void {
    const claim = this.#claims.get(number);
    if (claim === undefined) return;
    claim.fencingToken = fencingToken;
    claim.until = until;
    this.#checkFence(claim);
    if (claim.mode === SafetyMode.exclusive) {
      this.#highest.set(claim.name, Math.max(fencingToken, this.#highest.get(claim.name) ?? 0));
    }
    // An answer that came too late is not believed.
    if (until > at) this.#addHolder(at, claim);
    else this.#claims.delete(number);
  }

  renewed(at: number, number: number, until: number, fencingToken: number): void {
    const claim = this.#claims.get(number);
    if (claim === undefined) return;
    if (fencingToken !== 0 && fencingToken !== claim.fencingToken) {
      this.#fallingFences++;
      this.#tell(`a renewal of ${this.#shown(claim)} answered the fencing token ${fencingToken}`);
    }
    // What had run out may be another's by now: the renewal says that it is not.
    const wasOver = claim.until <= at;
    claim.until = Math.max(claim.until, until);
    if (wasOver && until > at) {
      this.#removeHolder(claim);
      this.#addHolder(at, claim);
    }
  }

  ended(_at: number, number: number): void {
    const claim = this.#claims.get(number);
    if (claim === undefined) return;
    this.#claims.delete(number);
    this.#removeHolder(claim);
  }

  #checkFence(claim: Claim): void {
    const highest = this.#highest.get(claim.name) ?? 0;
    const isTwice = claim.mode === SafetyMode.exclusive && claim.fencingToken === highest;
    if (claim.fencingToken > claim.floor && !isTwice) return;
    this.#fallingFences++;
    this.#tell(`${this.#shown(claim)} was asked for after the fencing token ${claim.floor} was known`);
  }

  #addHolder(at: number, claim: Claim): void {
    const holders = (this.#holders.get(claim.name) ?? []).filter((holder) => holder.until > at);
    const inConflict = holders.filter((other) => isConflict(claim, other));
    const places = claim.mode === SafetyMode.semaphore ? holders.length + 1 : 0;
    if (inConflict.length > 0) {
      this.#twoHolders++;
      this.#tell(
        `two holders at ${at.toFixed(1)} ms: ${this.#shown(inConflict[0])} and ${this.#shown(claim)}`,
      );
    } else if (places > claim.limit) {
      this.#twoHolders++;
      this.#tell(`${places} holders of a semaphore of ${claim.limit}: the last is ${this.#shown(claim)}`);
    }
    holders.push(claim);
    this.#holders.set(claim.name, holders);
  }

  #removeHolder(claim: Claim): void {
    const holders = this.#holders.get(claim.name);
    const at = holders?.indexOf(claim) ?? -1;
    if (at < 0) return;
    if (holders!.length === 1) this.#holders.delete(claim.name);
    else holders!.splice(at, 1);
  }

  #shown(claim: Claim): string {
    return `claim ${claim.number} of ${this.#nameOf(claim.name)} (token ${claim.fencingToken}, until ${claim.until.toFixed(1)} ms)`;
  }

  #tell(example: string): void {
    if (this.#examples.length < EXAMPLES_MAX) this.#examples.push(example);
  }
}

/** The two may not hold the lock together, whatever the number of holders. */
function isConflict(one: Claim, other: Claim): boolean {
  if (one.mode !== other.mode) return true;
  return one.mode === SafetyMode.exclusive;
}
