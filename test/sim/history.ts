/**
 * What the clients of a run did and saw: all that the checker gets to know,
 * beside what the stores applied. Times are true times in ms.
 */
import type { ErrorCode } from '../../src/errors.ts';

export type OpName = 'acquire' | 'renew' | 'release' | 'get' | 'verify';

/** What an answer said, as far as checks need it. */
export interface Seen {
  readonly status: number;
  readonly code: ErrorCode | '';
  /** Acquire, renew: the claim's. Verify: the current one's, 0 = none told. */
  readonly fencingToken: number;
  /** Verify: whether it is current. Get: whether it is held. */
  readonly yes: boolean;
  /** The claim that holds the lock, when the answer told it: its owner label and fencing token. */
  readonly holder: { readonly owner: string; readonly fencingToken: number } | undefined;
}

export interface OpRecord {
  readonly id: number;
  readonly client: string;
  readonly name: string;
  readonly op: OpName;
  /** The lock token; '' where none is shown (get, verify by fencing token). */
  readonly token: string;
  /** Verify by fencing token, else 0. */
  readonly fencingToken: number;
  readonly sentAt: number;
  /** How long the client waits for the answer. */
  readonly patienceMs: number;
  /** Infinity: no answer, or one that says that the outcome is unknown. */
  endedAt: number;
  seen: Seen | undefined;
  /** The op on the same lock that its client sent before it over the same connection, 0 = none: it takes effect first. */
  readonly after: number;
  /** Copies of the request that the network may deliver beside the first. */
  copies: number;
}

/** All that is known about one token: a claim that its client tried to get. */
export interface Claim {
  readonly token: string;
  /** The owner label it was acquired with: unique, so that others' answers name the claim. */
  readonly owner: string;
  readonly name: string;
  readonly client: string;
  readonly firstSentAt: number;
  /** Fencing token, once an answer told it. */
  fencingToken: number;
  /** Until when the server must keep it if nobody releases it; 0 while no answer promised anything. */
  promisedUntil: number;
  /** As `promisedUntil`, if a request without an answer did take effect. */
  ownedUntilAtLeast: number;
  /** When its first release was sent; Infinity: never. */
  releaseSentAt: number;
  /** When its client believed to hold it. */
  readonly beliefs: { from: number; until: number }[];
}

export class History {
  readonly ops: OpRecord[] = [];
  readonly claims = new Map<string, Claim>();

  claimOfOwner(owner: string): Claim | undefined {
    return this.#owners.get(owner);
  }

  addClaim(claim: Claim): void {
    this.claims.set(claim.token, claim);
    this.#owners.set(claim.owner, claim);
  }

  readonly #owners = new Map<string, Claim>();
}

export type Rule =
  | 'exclusion'
  | 'fencing'
  | 'linearizability'
  | 'stale token'
  | 'repeat'
  | 'refused'
  | 'freed early'
  | 'freed late'
  | 'one owner'
  | 'durability'
  | 'answered'
  | 'liveness'
  | 'defect';

export interface Violation {
  readonly rule: Rule;
  readonly text: string;
}
