/** One op of a client on its way: what is asked, and what was answered. */
import { makeToken } from '../../src/protocol/token.ts';
import { tokenText as textOf, UUID_BYTES } from '../../src/protocol/words.ts';
import type { Call as CallKind } from '../workload.ts';

/** A UUID in 16 bytes: a lock token or the id of a session. */
export function newToken(): Buffer {
  const token = Buffer.allocUnsafe(UUID_BYTES);
  makeToken(token, 0);
  return token;
}

/** The same token as text. */
export function tokenText(token: Buffer): string {
  return textOf(token, 0, token.length);
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
