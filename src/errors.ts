/**
 * The one registry of error codes. HTTP status, whether a repeat can help, and
 * the number that stands for the code in binary answers all come from here.
 *
 * A number, once given, is never used for another code (docs/protocol.md).
 */

interface CodeFacts {
  readonly wire: number;
  readonly status: number;
  readonly retryable: boolean;
  readonly title: string;
}

export const CODES = {
  bad_request: { wire: 1, status: 400, retryable: false, title: 'The request is malformed' },
  unauthenticated: { wire: 2, status: 401, retryable: false, title: 'No valid API key was presented' },
  forbidden: { wire: 3, status: 403, retryable: false, title: 'Not allowed' },
  not_found: { wire: 4, status: 404, retryable: false, title: 'No such path' },
  method_not_allowed: { wire: 5, status: 405, retryable: false, title: 'No such method on this path' },
  lock_held: { wire: 6, status: 409, retryable: true, title: 'The lock is held' },
  wait_timeout: { wire: 7, status: 409, retryable: true, title: 'The lock did not become free in time' },
  mode_conflict: { wire: 8, status: 409, retryable: false, title: 'The lock is held in another mode' },
  session_bound: { wire: 9, status: 409, retryable: false, title: 'The claim hangs on a session' },
  cancelled: { wire: 10, status: 409, retryable: false, title: 'The wait was withdrawn' },
  not_held: { wire: 11, status: 410, retryable: false, title: 'This token does not hold the lock' },
  session_ended: { wire: 12, status: 410, retryable: false, title: 'The session has ended' },
  too_large: { wire: 13, status: 413, retryable: false, title: 'The request is too large' },
  unsupported_media_type: { wire: 14, status: 415, retryable: false, title: 'The body is not JSON' },
  idempotency_mismatch: {
    wire: 15,
    status: 422,
    retryable: false,
    title: 'The token was used for a different request',
  },
  rate_limited: { wire: 16, status: 429, retryable: true, title: 'Too many requests' },
  quota_exceeded: { wire: 17, status: 429, retryable: true, title: 'The quota is used up' },
  queue_full: { wire: 18, status: 429, retryable: true, title: 'The queue of waiters is full' },
  internal: { wire: 19, status: 500, retryable: false, title: 'A defect in Holdfast' },
  shard_unavailable: {
    wire: 20,
    status: 503,
    retryable: true,
    title: 'The shard did not answer; nothing was granted',
  },
  overloaded: {
    wire: 21,
    status: 503,
    retryable: true,
    title: 'Too much work is waiting; nothing was granted',
  },
  moving: { wire: 22, status: 503, retryable: true, title: 'The slot has no owner yet; nothing was granted' },
  draining: { wire: 23, status: 503, retryable: true, title: 'This process is shutting down' },
  outcome_unknown: {
    wire: 24,
    status: 504,
    retryable: true,
    title: 'The shard did not answer in time; it may have taken effect',
  },
  /** Between processes only: never in an answer to a client. */
  not_owner: { wire: 25, status: 503, retryable: true, title: 'Another process owns the slot' },
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof CODES;

const BY_WIRE: (ErrorCode | undefined)[] = [];
for (const code of Object.keys(CODES) as ErrorCode[]) BY_WIRE[CODES[code].wire] = code;

/** The code a binary answer's number stands for; undefined for a number never given. */
export function codeOfWire(wire: number): ErrorCode | undefined {
  return BY_WIRE[wire];
}

/** A place in a request that is wrong: a JSON pointer and what is allowed there. */
export interface Problem {
  readonly pointer: string;
  readonly detail: string;
}
