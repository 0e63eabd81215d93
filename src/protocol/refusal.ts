/** An answer that a front gives by itself, without asking anybody who decides. */
import { CODES, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Answer, Section, writeAnswer } from './answer.ts';
import type { GrowingBytes } from './bytes.ts';

const answer = new Answer();
const encoder = new TextEncoder();
const NO_BYTES = new Uint8Array(0);

/**
 * Appends an answer that says `code`.
 *
 * @param token the lock token that the server made, if it must be told: a client needs it for a repeat
 * @param detail where the code alone does not say it all
 */
export function writeRefusal(
  out: GrowingBytes,
  id: number,
  code: ErrorCode,
  token: Uint8Array = NO_BYTES,
  detail = '',
): void {
  const facts = CODES[code];
  answer.id = id;
  answer.status = facts.status;
  answer.code = facts.wire;
  answer.sections = 0;
  if (token.length > 0) {
    answer.sections |= Section.token;
    answer.tokenBytes = token;
    answer.tokenAt = 0;
    answer.tokenLength = token.length;
  }
  if (facts.retryable && code !== 'outcome_unknown') {
    answer.sections |= Section.queue;
    answer.queueLength = 0;
    answer.retryAfterMs = LIMITS.retryAfterMs;
  }
  if (detail !== '') {
    answer.sections |= Section.detail;
    answer.detailBytes = encoder.encode(detail);
    answer.detailAt = 0;
    answer.detailLength = answer.detailBytes.length;
  }
  writeAnswer(out, answer);
}
