/**
 * Answers as JSON (API.md): rendered from an answer of the binary grammar and
 * what the front kept of the request. Texts are put together by hand: the
 * shapes are few and fixed, and `JSON.stringify` of a fresh object per answer
 * costs three times as much.
 */
import { CODES, codeOfWire, type ErrorCode, type Problem } from '../errors.ts';
import { Kind, MODE_NAMES } from '../op.ts';
import { type Answer, readPlace, Section } from './answer.ts';
import type { ByteSource } from './bytes.ts';
import type { JsonRequest } from './json-request.ts';
import { decodeText, tokenText } from './words.ts';

/** What happened, and what to do. */
const DETAILS: Readonly<Record<ErrorCode, string>> = {
  bad_request: 'The request is malformed; errors says where.',
  unauthenticated: 'This service asks for an API key: Authorization: Bearer <key>.',
  forbidden: 'This key has no right to do that.',
  not_found: 'There is no such path.',
  method_not_allowed: 'This path has no such method.',
  lock_held: 'Somebody else holds the lock. Try again after retryAfterMs.',
  wait_timeout: 'The lock did not become free within waitMs. The place in the queue is given up.',
  mode_conflict: 'The lock is in use in another mode or with another limit.',
  session_bound: 'The claim lasts as long as its session: renew that.',
  cancelled: 'The wait was withdrawn.',
  not_held: 'No claim of this lock has that token now: it expired, was released, or never was.',
  session_ended: 'The session has ended, and its locks with it, or it never was.',
  too_large: 'The request is too large.',
  unsupported_media_type: 'A body is application/json in UTF-8.',
  idempotency_mismatch:
    'This token stands for a claim in another mode, limit or session, or of somebody else.',
  rate_limited: 'Too many requests. Try again after retryAfterMs.',
  quota_exceeded: 'The quota is used up. Nothing was changed.',
  queue_full: 'As many wait for this lock as may. Try again after retryAfterMs.',
  shard_unavailable: 'The shard of this lock does not answer. Nothing was changed; try again.',
  overloaded: 'Too many requests are waiting. Nothing was changed; try again later.',
  moving: 'The slot of this lock has no owner at the moment. Nothing was changed; try again.',
  draining: 'This process is shutting down. Nothing was changed; try another one.',
  outcome_unknown:
    'The shard did not answer in time; it may have taken effect. Repeat with the same lockToken.',
  internal: 'A defect in Holdfast; the log has more under this request id.',
  not_owner: 'Another process owns the slot of this lock.',
};

export function detailOf(code: ErrorCode): string {
  return DETAILS[code];
}

/** An error as it is told to a client; the answer of an op may add to it. */
export interface Fault {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly problems: readonly Problem[];
  /** 0 = none. */
  readonly retryAfterMs: number;
}

/** The members of a JSON object that tells the outcome of an op, without braces; '' for 204. */
export function renderOutcome(source: ByteSource, answer: Answer, request: JsonRequest): string {
  if (answer.code !== 0) return renderRefusal(answer, request);
  switch (request.kind) {
    case Kind.acquire:
    case Kind.renew:
      return renderClaim(answer, request);
    case Kind.get:
      return renderState(source, answer, request.quotedName);
    case Kind.verify:
      return renderVerdict(answer);
    case Kind.force:
      return `"released":${answer.queueLength}`;
    case Kind.sessionOpen:
    case Kind.sessionRenew:
    case Kind.sessionGet:
      return renderSession(answer, request);
    default:
      return '';
  }
}

function renderClaim(answer: Answer, request: JsonRequest): string {
  let text = `"name":${request.quotedName},"lockToken":"${request.lockToken}","fencingToken":${answer.fencingToken}`;
  text += `,"mode":"${MODE_NAMES[answer.mode]}"`;
  if (answer.limit !== 0) text += `,"limit":${answer.limit}`;
  if (answer.ownerLength !== 0)
    text += `,"owner":${quote(answer.ownerBytes, answer.ownerAt, answer.ownerLength)}`;
  if (answer.sessionLength !== 0) {
    text += `,"sessionId":"${tokenText(answer.sessionBytes, answer.sessionAt, answer.sessionLength)}"`;
  }
  return text + renderTimes(answer);
}

function renderSession(answer: Answer, request: JsonRequest): string {
  let text = `"sessionId":"${request.sessionId}"`;
  if (answer.sections & Section.labels && answer.ownerLength !== 0)
    text += `,"owner":${quote(answer.ownerBytes, answer.ownerAt, answer.ownerLength)}`;
  return text + renderTimes(answer);
}

function renderTimes({ ttlMs, expiresInMs, waitedMs }: Answer): string {
  return `,"ttlMs":${ttlMs},"expiresInMs":${expiresInMs},"waitedMs":${waitedMs}`;
}

/** Members of the error of an op: code, retryable, detail, and what the op adds. */
function renderRefusal(answer: Answer, request: JsonRequest): string {
  const code = codeOfWire(answer.code) ?? 'internal';
  const told = answer.sections & Section.detail;
  const detail = told ? decodeText(answer.detailBytes, answer.detailAt, answer.detailLength) : detailOf(code);
  let text = renderFault({ code, detail, problems: [], retryAfterMs: 0 });
  if (answer.sections & Section.holder) text += `,"holder":{${renderHolder(answer)}}`;
  if (answer.sections & Section.queue) {
    if (QUEUE_TOLD.has(code)) text += `,"queueLength":${answer.queueLength}`;
    if (answer.retryAfterMs !== 0) text += `,"retryAfterMs":${answer.retryAfterMs}`;
  }
  // Of a session that was not renewed everywhere: what is left of it.
  if (answer.sections & Section.claim) text += `,"expiresInMs":${answer.expiresInMs}`;
  return code === 'outcome_unknown' ? text + renderIds(request) : text;
}

/** Codes that come with the number of waiters. */
const QUEUE_TOLD: ReadonlySet<ErrorCode> = new Set(['lock_held', 'wait_timeout', 'queue_full']);

/** Members of the error of an op whose answer never came: it can be repeated with the ids in it. */
export function renderUnknown(request: JsonRequest): string {
  const code = 'outcome_unknown';
  return renderFault({ code, detail: detailOf(code), problems: [], retryAfterMs: 0 }) + renderIds(request);
}

function renderIds({ lockToken, sessionId }: JsonRequest): string {
  if (lockToken !== '') return `,"lockToken":"${lockToken}"`;
  return sessionId === '' ? '' : `,"sessionId":"${sessionId}"`;
}

/** Members code, retryable, detail and, where there are some, retryAfterMs and errors. */
export function renderFault(fault: Fault): string {
  const { code, detail, problems, retryAfterMs } = fault;
  let text = `"code":"${code}","retryable":${CODES[code].retryable},"detail":${JSON.stringify(detail)}`;
  if (retryAfterMs !== 0) text += `,"retryAfterMs":${retryAfterMs}`;
  if (problems.length > 0) text += `,"errors":${JSON.stringify(problems)}`;
  return text;
}

/** What makes an error's members a whole problem document (RFC 9457). */
export function renderProblem(members: string, code: ErrorCode, requestId: string): string {
  const { title, status } = CODES[code];
  return `{"type":"urn:holdfast:error:${code}","title":"${title}","status":${status},${members},"requestId":"${requestId}"}`;
}

/** Members of the state of one lock, as GET gives it. */
export function renderState(source: ByteSource, answer: Answer, quotedName: string): string {
  const { holderCount, queueLength, revision } = answer;
  const held = holderCount > 0;
  let text = `"name":${quotedName},"held":${held}`;
  // While nobody holds it, those who wait say how it is used.
  if (held || queueLength > 0) text += `,"mode":"${MODE_NAMES[answer.mode]}"`;
  if (answer.limit !== 0) text += `,"limit":${answer.limit}`;
  text += ',"holders":[';
  let at = answer.placesAt;
  for (let i = 0; i < holderCount; i++) {
    at = readPlace(source, at, source.length, answer);
    text += `${i > 0 ? ',' : ''}{${renderHolder(answer)}`;
    if (answer.metadataLength !== 0) {
      text += `,"metadata":${decodeText(answer.metadataBytes, answer.metadataAt, answer.metadataLength)}`;
    }
    text += '}';
  }
  return `${text}],"queueLength":${queueLength},"revision":${revision},"source":"shard","ageMs":0`;
}

function renderHolder(answer: Answer): string {
  const owner = quote(answer.ownerBytes, answer.ownerAt, answer.ownerLength);
  const mode = MODE_NAMES[answer.mode];
  return `"owner":${owner},"fencingToken":${answer.fencingToken},"mode":"${mode}","expiresInMs":${answer.expiresInMs}`;
}

function renderVerdict(answer: Answer): string {
  if (!answer.current) return '"current":false';
  return `"current":true,"fencingToken":${answer.fencingToken},"expiresInMs":${answer.expiresInMs}`;
}

function quote(bytes: Uint8Array, at: number, length: number): string {
  return length === 0 ? '""' : JSON.stringify(decodeText(bytes, at, length));
}
