/**
 * What the clients of a run did and saw: all that the checker gets to know,
 * beside what the stores applied. Times are true times in ms.
 */
import type { ErrorCode } from '../../src/errors.ts';

export type OpName = 'acquire' | 'renew' | 'release' | 'get' | 'verify' | 'force';
/** What a session itself is asked for. */
export type SessionOpName = 'open' | 'keepalive' | 'end';
export type ModeName = 'exclusive' | 'shared' | 'semaphore';

/** A claim as others' answers show it: its owner label and fencing token. */
export interface Shown {
  readonly owner: string;
  readonly fencingToken: number;
}

/** What an answer said, as far as checks need it. */
export interface Seen {
  readonly status: number;
  readonly code: ErrorCode | '';
  /** Acquire, renew: the claim's. Verify: the current one's, 0 = none told. */
  readonly fencingToken: number;
  /** Verify: whether it is current. Get: whether it is held. */
  readonly yes: boolean;
  /** The claims that hold the lock, as far as the answer told: a get all, a refusal the oldest. */
  readonly holders: readonly Shown[];
  /** Force: how many claims it ended. */
  readonly released: number;
}

/** How a claim is asked for. */
export interface Wish {
  readonly mode: ModeName;
  /** Of a semaphore, else 0. */
  readonly limit: number;
  /** 0: a try. */
  readonly waitMs: number;
  readonly lockDelayMs: number;
  /** Id of the session that it is to hang on, '' = none. */
  readonly session: string;
}

export const PLAIN: Wish = { mode: 'exclusive', limit: 0, waitMs: 0, lockDelayMs: 0, session: '' };

export interface OpRecord {
  readonly id: number;
  readonly client: string;
  readonly name: string;
  readonly op: OpName;
  /** The lock token; '' where none is shown (get, verify by fencing token). */
  readonly token: string;
  /** Verify by fencing token, force of one claim, else 0. */
  readonly fencingToken: number;
  /** Of an acquire, else PLAIN. */
  readonly wish: Wish;
  readonly sentAt: number;
  /** How long the client waits for the answer. */
  readonly patienceMs: number;
  /** Infinity: no answer, or one that says that the outcome is unknown. */
  endedAt: number;
  seen: Seen | undefined;
  /** The op on the same lock that its client sent before it over the same connection, 0 = none: it takes effect first. */
  readonly after: number;
  /** The connection that it went over, 0 = it was lost. */
  readonly wire: number;
  /** Copies of the request that the network may deliver beside the first. */
  copies: number;
  /** When an answer to it was lost, came too late, or said that nobody knows; Infinity: never. */
  unheardAt: number;
  /** A wait: when its client was first told that it is queued, and when it took the wait back. Infinity: never. */
  queuedAt: number;
  cancelledAt: number;
}

/** A request about a session; they are no requests about locks. */
export interface SessionRecord {
  readonly client: string;
  readonly session: string;
  readonly op: SessionOpName;
  readonly sentAt: number;
  readonly patienceMs: number;
  endedAt: number;
  status: number;
  code: ErrorCode | '';
}

/** All that is known about one token: a claim that its client tried to get. */
export interface Claim {
  readonly token: string;
  /** The owner label it was acquired with: unique, so that others' answers name the claim. */
  readonly owner: string;
  readonly name: string;
  readonly client: string;
  readonly mode: ModeName;
  readonly limit: number;
  readonly session: string;
  /** The server made the token of a wait: its client knows it from the answer only. */
  readonly isMade: boolean;
  readonly firstSentAt: number;
  /** Fencing token, once an answer told it. */
  fencingToken: number;
  /** Until when the server must keep it if nobody releases it; 0 while no answer promised anything. */
  promisedUntil: number;
  /** As `promisedUntil`, if a request without an answer did take effect. */
  ownedUntilAtLeast: number;
  /** When its first release was sent, or one by force that may have been of it; Infinity: never. */
  releaseSentAt: number;
  /** When its client believed to hold it. */
  beliefs: { from: number; until: number }[];
}

export class History {
  readonly ops: OpRecord[] = [];
  readonly sessionOps: SessionRecord[] = [];
  readonly claims = new Map<string, Claim>();
  /** Connections of clients that are over, and since when: closed by the client, or with their process. */
  readonly closedAt: ReadonlyMap<number, number>;
  /** Of these, those whose process is dead. */
  readonly killedAt: ReadonlyMap<number, number>;
  readonly #owners = new Map<string, Claim>();

  constructor(
    closedAt: ReadonlyMap<number, number> = new Map(),
    killedAt: ReadonlyMap<number, number> = new Map(),
  ) {
    this.closedAt = closedAt;
    this.killedAt = killedAt;
  }

  claimOfOwner(owner: string): Claim | undefined {
    return this.#owners.get(owner);
  }

  addClaim(claim: Claim): void {
    this.claims.set(claim.token, claim);
    this.#owners.set(claim.owner, claim);
  }
}

export type Rule =
  | 'exclusion'
  | 'fencing'
  | 'linearizability'
  | 'stale token'
  | 'repeat'
  | 'refused'
  | 'queue'
  | 'delay'
  | 'live client'
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
