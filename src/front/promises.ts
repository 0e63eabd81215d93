/**
 * How long a claim that took several steps may be believed. An answer's two
 * times are read as one moment of this process's clock before which the claim
 * does not end, and told again from there when the last step is done:
 *
 *   until = receivedAt + waitedMs + expiresInMs
 *
 * That is never too late: who wrote the answer did so at receivedAt + waitedMs
 * or later (on the way from another process time may be missing in it, never
 * too much).
 */
import { type Answer, type AnswerBytes, CLAIM_EXPIRES_AT, CLAIM_WAITED_AT } from '../protocol/answer.ts';

/** @param receivedAt of the op that was answered; for a wait, of the request */
export function promisedUntil({ waitedMs, expiresInMs }: Answer, receivedAt: number): number {
  return receivedAt + waitedMs + expiresInMs;
}

/** Writes the times into the claim of the answer at `at`. False: the promise is over, it is not to be told. */
export function tellTimes(
  { view }: AnswerBytes,
  at: number,
  until: number,
  receivedAt: number,
  now: number,
): boolean {
  const expiresInMs = Math.floor(until - now);
  if (expiresInMs <= 0) return false;
  view.setUint32(at + CLAIM_WAITED_AT, Math.max(0, Math.floor(now - receivedAt)), true);
  view.setUint32(at + CLAIM_EXPIRES_AT, expiresInMs, true);
  return true;
}
