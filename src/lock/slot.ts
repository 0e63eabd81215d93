/**
 * The state of one slot: its claims, the tokens that ended a short while ago,
 * and the counter that numbers every effect. A grant's fencing token is the
 * number of its effect, so tokens rise as long as the counter is kept.
 *
 * What few rows have lies beside the table, in maps by row.
 */
import { LIMITS } from '../limits.ts';
import { ClaimTable } from './claims.ts';
import type { Crowd } from './crowd.ts';
import { EndedTokens } from './ended-tokens.ts';
import { latin1 } from './latin1.ts';
import type { SessionSlot } from './outcome.ts';
import type { Listener, Waiter } from './waiter.ts';

/** Bytes that a claim takes in a checkpoint beside its texts, about; and an ended token. */
const CLAIM_BYTES = 18;
const ENDED_BYTES = 11;
const FRAME_BYTES = 32;

export class Slot {
  readonly number: number;
  /** Number of the last effect, 0 = none yet. */
  counter = 0;
  readonly claims = new ClaimTable();
  readonly ended: EndedTokens;
  /** Those of claims with an Idempotency-Key. */
  readonly endedKeyed = new EndedTokens(LIMITS.idempotencyWindowMs);

  /** By every row of a lock that has one. */
  readonly crowds = new Map<number, Crowd>();
  /** Key (latin1) of each stub → its row; and by that the rows that hang on it. */
  readonly stubs = new Map<string, number>();
  readonly onStub = new Map<number, Set<number>>();
  /** By the row of a session: its slots. */
  readonly sessionSlots = new Map<number, Map<number, SessionSlot>>();
  /** By the row of a claim or waiter: its lock delay in ms. */
  readonly lockDelays = new Map<number, number>();

  // ---- in memory only
  /** Who waits for the answer, by the row of a waiter; one without is detached. */
  readonly attached = new Map<number, Waiter>();
  readonly listeners = new Map<number, Listener>();
  /** The lane's: by key (latin1) what is watched. The machine only looks whether there is something. */
  readonly watched = new Map<string, unknown>();
  /** Locks whose waiters are still to be granted what has come free: see `work`. */
  readonly backlog = new Set<Crowd>();

  /** @param endedKeepMs how long the token of an ended claim is refused: twice the request time-out */
  constructor(number: number, endedKeepMs: number) {
    this.number = number;
    this.ended = new EndedTokens(endedKeepMs);
  }

  /** Of the lock that `row` is of; undefined for a lock of one holder, and for row 0. */
  crowdOf(row: number): Crowd | undefined {
    return this.claims.isInCrowd(row) ? this.crowds.get(row) : undefined;
  }

  /** The row of the stub with this key, 0 = none. */
  findStub(bytes: Uint8Array, keyAt: number, keyLength: number): number {
    return this.stubs.get(latin1(bytes, keyAt, keyLength)) ?? 0;
  }

  /** `work` has something to do. */
  get hasWork(): boolean {
    return this.backlog.size > 0;
  }

  /** About what a checkpoint of it takes. */
  get bytes(): number {
    const ended = this.ended.count + this.endedKeyed.count;
    return FRAME_BYTES + this.claims.count * CLAIM_BYTES + this.claims.textBytes + ended * ENDED_BYTES;
  }
}
