/** What the reference model keeps. Nothing of src/lock is used here. */
import type { OpWords } from './op-words.ts';

/** A session at a slot, or a batch, or the session itself. */
export interface Stub {
  readonly key: string;
  readonly of: 'session' | 'stub' | 'batch';
  readonly number: number;
  readonly principal: string;
  ttlMs: number;
  times: Times;
  /** Of a session: slot → active. */
  readonly slots: Map<number, boolean>;
  over: boolean;
}

export interface Times {
  promisedUntil: number;
  freeAt: number;
  /** Grants and renewals that have not come back. */
  away: number;
}

export interface Attachment {
  readonly connection: number;
  readonly attempt: number;
  readonly events: boolean;
}

/** A holder or a waiter. */
export interface Member {
  readonly op: OpWords;
  readonly name: string;
  readonly token: string;
  readonly session: Stub | undefined;
  batch: Stub | undefined;
  number: number;
  ttlMs: number;
  metadata: string;
  readonly times: Times;
  listening: boolean;
  /** Of a waiter. */
  until: number;
  attached: Attachment | undefined;
}

export class Lock {
  holders: Member[] = [];
  waiters: Member[] = [];
  delay: { number: number; until: number; ttlMs: number } | undefined;

  get members(): Member[] {
    return [...this.holders, ...this.waiters];
  }
  /** In force: of the oldest. */
  get rule(): Member | undefined {
    return this.members[0];
  }
  /** What anybody may see. */
  get shown(): Member[] {
    return this.holders.filter((holder) => holder.batch === undefined);
  }
}

export const modeOf = (op: OpWords): string => op.mode ?? 'exclusive';
export const limitOf = (op: OpWords): number => op.limit ?? 0;

export function newTimes(): Times {
  return { promisedUntil: 0, freeAt: Infinity, away: 1 };
}

/** Whose time is that of a holder. */
export function clockOf(holder: Member): Times {
  return holder.batch?.times ?? holder.session?.times ?? holder.times;
}

/**
 * Whether `op` may have the lock beside all who hold it and before none who came
 * earlier: `ahead` are the waiters in front of it.
 */
export function mayHave(op: OpWords, lock: Lock, ahead: readonly Member[]): boolean {
  const mode = modeOf(op);
  if (lock.delay !== undefined) return false;
  if (mode === 'exclusive') return lock.holders.length === 0 && ahead.length === 0;
  // Who can come back may be granted before, who is there would have been.
  if (ahead.some((waiter) => waiter.attached !== undefined)) return false;
  if (mode === 'shared') {
    const others = [...lock.holders, ...ahead];
    return others.every((other) => modeOf(other.op) === 'shared');
  }
  return lock.holders.length + ahead.length < limitOf(op);
}
