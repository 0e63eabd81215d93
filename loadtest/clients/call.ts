/** One op of a client on its way: what is asked, and what was answered. */
import { randomFillSync } from 'node:crypto';
import type { Call as CallKind } from '../workload.ts';

/** As in src/op.ts. */
export const MODES = ['exclusive', 'shared', 'semaphore'] as const;

const TOKEN_BYTES = 16;
const POOL_BYTES = 64 * 1024;
let pool = Buffer.alloc(0);
let taken = POOL_BYTES;

/** 16 random bytes: a lock token or the id of a session. */
export function newToken(): Buffer {
  if (taken + TOKEN_BYTES > pool.length) {
    pool = randomFillSync(Buffer.allocUnsafeSlow(POOL_BYTES));
    taken = 0;
  }
  taken += TOKEN_BYTES;
  return pool.subarray(taken - TOKEN_BYTES, taken);
}

/** The same token as the text of a UUID. */
export function tokenText(token: Buffer): string {
  const hex = token.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export interface Call {
  readonly kind: CallKind;
  readonly socket: number;
  /** Of the lock; '' in calls about a session. */
  readonly name: string;
  /** Of the claim: acquire, renew, release. */
  readonly token: Buffer | undefined;
  readonly session: Buffer | undefined;
  readonly ttlMs: number;
  readonly mode: number;
  readonly limit: number;
  readonly waitMs: number;
  readonly dueAt: number;

  // ---- the answer; a status of 0: the connection was cut before it came
  status: number;
  /** '' is none. */
  code: string;
  fencingToken: number;
  waitedMs: number;
  expiresInMs: number;
  /** It took a place in the lock's queue. */
  wasQueued: boolean;
}

export interface Transport {
  open(): Promise<void>;
  /** Leaves with the next flush at the latest. */
  send(call: Call): void;
  flush(): void;
  end(): void;
}

/** Hears of each call's end once. */
export type OnAnswer = (call: Call) => void;
