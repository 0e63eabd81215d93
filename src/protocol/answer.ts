/**
 * Answers in the public binary grammar (docs/protocol.md). Lanes write them,
 * binary sockets get them as they are, JSON is rendered from them.
 *
 * A request has one final answer. Those with a status below 200 come before it
 * (queued, changed), or belong to no request at all (lost, contended).
 *
 *   answer  := size:u32 id:u32 status:u16 code:u8 sections:u8 section*      little-endian
 *     1 claim   := fencingToken:u64 ttlMs:u32 waitedMs:u32 expiresInMs:u32
 *     2 token   := length:u8 bytes
 *     4 labels  := mode:u8 limit:u16 ownerLength:u16 owner sessionLength:u8 session
 *     8 holder  := expiresInMs:u32 fencingToken:u64 mode:u8 ownerLength:u16 owner
 *    16 queue   := queueLength:u32 retryAfterMs:u32
 *    32 state   := held:u8 mode:u8 limit:u16 queueLength:u32 revision:u64 holders:u16 place*
 *       place   := expiresInMs:u32 fencingToken:u64 mode:u8 ownerLength:u16 metadataLength:u16 owner metadata
 *    64 verdict := current:u8 fencingToken:u64 expiresInMs:u32
 *   128 detail  := length:u16 utf8          in an answer with a code
 *       page    := length:u32 bytes         in an answer without one: protocol/page.ts, internal
 *
 * The sections stand in this order; `sections` is the sum of those present.
 */
import { LIMITS } from '../limits.ts';
import {
  copyBytes,
  flagAt,
  type GrowingBytes,
  integerAt,
  need,
  ProtocolError,
  writeU64,
  type ByteSource,
} from './bytes.ts';

export const Section = {
  claim: 1,
  token: 2,
  labels: 4,
  holder: 8,
  queue: 16,
  state: 32,
  verdict: 64,
  detail: 128,
} as const;

/** Statuses of answers that are not final. */
export const Event = {
  /** The request waits; queueLength: its place in the queue, 1 = next. */
  queued: 100,
  /** What a get of the watched lock would show now. */
  changed: 101,
  /** The claim that `token` names is lost, of the lock that the detail names. No request's, as the next three. */
  expired: 102,
  forced: 103,
  sessionEnded: 104,
  /** Somebody began to wait for the lock that the detail names. */
  contended: 105,
} as const;
/** From here on the status is the HTTP one of the request's only final answer. */
export const FINAL_STATUS_MIN = 200;

export const ANSWER_HEAD_BYTES = 12;

/** Offsets from an answer's begin: what tells answers apart unread, and times to be filled in when it leaves. */
export const ANSWER_ID_AT = 4;
export const ANSWER_STATUS_AT = 8;
export const CLAIM_WAITED_AT = 24;
export const CLAIM_EXPIRES_AT = 28;
/** In answers whose first section is `holder`, `state` (its first place), `verdict`. */
export const HOLDER_EXPIRES_AT = 12;
export const STATE_HOLDER_EXPIRES_AT = 30;
export const VERDICT_EXPIRES_AT = 21;

/** Every part but the texts, of all sections together. */
const FIXED_BYTES = 120;
/** Of a state section: what stands before its places, and a place without its texts. */
export const STATE_HEAD_BYTES = 18;
export const PLACE_BYTES = 17;

export { GrowingBytes as AnswerBytes } from './bytes.ts';

const EMPTY = new Uint8Array(0);

/**
 * One answer, as a cursor: an object reused for all. Only the fields of the
 * sections in `sections` mean anything. Texts are places in any bytes.
 *
 * `claim`, `holder`, `verdict` and each place of `state` share the fields
 * fencingToken, expiresInMs, mode and owner: no answer has two of them.
 */
export class Answer {
  id = 0;
  /** The HTTP status. */
  status = 0;
  /** Wire number of errors.ts; 0 = none. */
  code = 0;
  sections = 0;

  fencingToken = 0;
  ttlMs = 0;
  waitedMs = 0;
  expiresInMs = 0;
  mode = 0;
  limit = 0;
  queueLength = 0;
  retryAfterMs = 0;
  revision = 0;
  current = false;
  /** State: holders altogether. writeAnswer writes none or one, addPlace more; readPlace moves over what was read. */
  holderCount = 0;
  /** Where the first place stands in the bytes that are written or were read. */
  placesAt = 0;

  tokenBytes: Uint8Array = EMPTY;
  tokenAt = 0;
  tokenLength = 0;
  ownerBytes: Uint8Array = EMPTY;
  ownerAt = 0;
  ownerLength = 0;
  sessionBytes: Uint8Array = EMPTY;
  sessionAt = 0;
  sessionLength = 0;
  metadataBytes: Uint8Array = EMPTY;
  metadataAt = 0;
  metadataLength = 0;
  /** The detail of an error, or a page of a listing. */
  detailBytes: Uint8Array = EMPTY;
  detailAt = 0;
  detailLength = 0;
}

/** Appends the answer; returns the offset where it begins. */
export function writeAnswer(out: GrowingBytes, answer: Answer): number {
  const { sections } = answer;
  let texts = 0;
  if (sections & Section.token) texts += answer.tokenLength;
  if (sections & (Section.labels | Section.holder | Section.state)) texts += answer.ownerLength;
  if (sections & Section.labels) texts += answer.sessionLength;
  if (sections & Section.state) texts += answer.metadataLength;
  if (sections & Section.detail) texts += answer.detailLength;
  out.ensure(FIXED_BYTES + texts);
  const { view } = out;
  const start = writeHead(out, answer, sections);
  let at = start + ANSWER_HEAD_BYTES;
  if (sections & Section.claim) {
    writeU64(view, at, answer.fencingToken);
    view.setUint32(at + 8, answer.ttlMs, true);
    view.setUint32(at + 12, answer.waitedMs, true);
    view.setUint32(at + 16, answer.expiresInMs, true);
    at += 20;
  }
  if (sections & Section.token) {
    view.setUint8(at, answer.tokenLength);
    at = copyBytes(answer.tokenBytes, answer.tokenAt, answer.tokenLength, out.bytes, at + 1);
  }
  if (sections & Section.labels) at = writeLabels(out, at, answer);
  if (sections & Section.holder) at = writeHolder(out, at, answer);
  if (sections & Section.queue) {
    view.setUint32(at, answer.queueLength, true);
    view.setUint32(at + 4, answer.retryAfterMs, true);
    at += 8;
  }
  if (sections & Section.state) at = writeState(out, at, answer);
  if (sections & Section.verdict) {
    view.setUint8(at, answer.current ? 1 : 0);
    writeU64(view, at + 1, answer.fencingToken);
    view.setUint32(at + 9, answer.expiresInMs, true);
    at += 13;
  }
  if (sections & Section.detail) at = writeDetail(out, at, answer);
  view.setUint32(start, at - start, true);
  out.length = at;
  return start;
}

function writeHead({ view, length }: GrowingBytes, answer: Answer, sections: number): number {
  view.setUint32(length + ANSWER_ID_AT, answer.id, true);
  view.setUint16(length + ANSWER_STATUS_AT, answer.status, true);
  view.setUint8(length + 10, answer.code);
  view.setUint8(length + 11, sections);
  return length;
}

function writeLabels({ bytes, view }: GrowingBytes, start: number, answer: Answer): number {
  view.setUint8(start, answer.mode);
  view.setUint16(start + 1, answer.limit, true);
  view.setUint16(start + 3, answer.ownerLength, true);
  const at = copyBytes(answer.ownerBytes, answer.ownerAt, answer.ownerLength, bytes, start + 5);
  view.setUint8(at, answer.sessionLength);
  return copyBytes(answer.sessionBytes, answer.sessionAt, answer.sessionLength, bytes, at + 1);
}

function writeHolder({ bytes, view }: GrowingBytes, at: number, answer: Answer): number {
  view.setUint32(at, answer.expiresInMs, true);
  writeU64(view, at + 4, answer.fencingToken);
  view.setUint8(at + 12, answer.mode);
  view.setUint16(at + 13, answer.ownerLength, true);
  return copyBytes(answer.ownerBytes, answer.ownerAt, answer.ownerLength, bytes, at + 15);
}

/**
 * Begins an answer whose only section is the state of a lock, also of many
 * holders: then addPlace for each of `answer.holderCount`, then endAnswer.
 * Returns the offset where it begins.
 */
export function beginStateAnswer(out: GrowingBytes, answer: Answer): number {
  out.ensure(ANSWER_HEAD_BYTES + STATE_HEAD_BYTES);
  const start = writeHead(out, answer, Section.state);
  out.length = writeStateHead(out, start + ANSWER_HEAD_BYTES, answer);
  answer.placesAt = out.length;
  return start;
}

/** Appends one holder; returns where its place stands. Leaves metadata out once the places are over their limit. */
export function addPlace(out: GrowingBytes, answer: Answer): number {
  out.ensure(PLACE_BYTES + answer.ownerLength + answer.metadataLength);
  const place = out.length;
  const isLong = place - answer.placesAt >= LIMITS.statePlacesBytesMax;
  out.length = writePlace(out, place, answer, isLong ? 0 : answer.metadataLength);
  return place;
}

/** Where the `expiresInMs` of the place at `place` stands, to be filled in when the answer leaves. */
export function placeExpiresAt(place: number): number {
  return place;
}

/** Ends the answer that began at `start`; returns `start`. */
export function endAnswer(out: GrowingBytes, start: number): number {
  out.view.setUint32(start, out.length - start, true);
  return start;
}

/** The state section at `at`, of no holder or one, for which the caller made room; returns its end. */
export function writeState(out: GrowingBytes, at: number, answer: Answer): number {
  const place = writeStateHead(out, at, answer);
  return answer.holderCount === 0 ? place : writePlace(out, place, answer, answer.metadataLength);
}

export function writeStateHead({ view }: GrowingBytes, at: number, answer: Answer): number {
  view.setUint8(at, answer.holderCount > 0 ? 1 : 0);
  view.setUint8(at + 1, answer.mode);
  view.setUint16(at + 2, answer.limit, true);
  view.setUint32(at + 4, answer.queueLength, true);
  writeU64(view, at + 8, answer.revision);
  view.setUint16(at + 16, answer.holderCount, true);
  return at + STATE_HEAD_BYTES;
}

function writePlace(out: GrowingBytes, at: number, answer: Answer, metadataLength: number): number {
  const { bytes, view } = out;
  view.setUint32(at, answer.expiresInMs, true);
  writeU64(view, at + 4, answer.fencingToken);
  view.setUint8(at + 12, answer.mode);
  view.setUint16(at + 13, answer.ownerLength, true);
  view.setUint16(at + 15, metadataLength, true);
  const end = copyBytes(answer.ownerBytes, answer.ownerAt, answer.ownerLength, bytes, at + PLACE_BYTES);
  return copyBytes(answer.metadataBytes, answer.metadataAt, metadataLength, bytes, end);
}

function writeDetail({ bytes, view }: GrowingBytes, at: number, answer: Answer): number {
  const { detailAt, detailLength } = answer;
  let to = at + 4;
  if (answer.code === 0) {
    view.setUint32(at, detailLength, true);
  } else {
    view.setUint16(at, detailLength, true);
    to = at + 2;
  }
  bytes.set(answer.detailBytes.subarray(detailAt, detailAt + detailLength), to);
  return to + detailLength;
}

/**
 * Moves `answer` over the answer at `at`; returns where the next one begins.
 *
 * @throws ProtocolError when the bytes are not exactly one answer of the size it names
 */
export function readAnswer(source: ByteSource, at: number, answer: Answer): number {
  const { view, bytes } = source;
  if (at + ANSWER_HEAD_BYTES > source.length) throw new ProtocolError(`answer at ${at}: its head is cut off`);
  const size = view.getUint32(at, true);
  const end = at + size;
  if (size < ANSWER_HEAD_BYTES || end > source.length) {
    throw new ProtocolError(`answer at ${at}: size ${size} with ${source.length - at} bytes left`);
  }
  answer.id = view.getUint32(at + 4, true);
  answer.status = view.getUint16(at + 8, true);
  answer.code = view.getUint8(at + 10);
  const sections = view.getUint8(at + 11);
  answer.sections = sections;
  let next = at + ANSWER_HEAD_BYTES;
  if (sections & Section.claim) {
    const from = next;
    next = need(from, 20, end);
    answer.fencingToken = integerAt(view, from);
    answer.ttlMs = view.getUint32(from + 8, true);
    answer.waitedMs = view.getUint32(from + 12, true);
    answer.expiresInMs = view.getUint32(from + 16, true);
  }
  if (sections & Section.token) {
    answer.tokenBytes = bytes;
    answer.tokenAt = need(next, 1, end);
    answer.tokenLength = view.getUint8(next);
    next = need(answer.tokenAt, answer.tokenLength, end);
  }
  if (sections & Section.labels) next = readLabels(source, next, end, answer);
  if (sections & Section.holder) next = readHolder(source, next, end, answer);
  if (sections & Section.queue) {
    const from = next;
    next = need(from, 8, end);
    answer.queueLength = view.getUint32(from, true);
    answer.retryAfterMs = view.getUint32(from + 4, true);
  }
  if (sections & Section.state) next = readState(source, next, end, answer);
  if (sections & Section.verdict) {
    const from = next;
    next = need(from, 13, end);
    answer.current = flagAt(view, from);
    answer.fencingToken = integerAt(view, from + 1);
    answer.expiresInMs = view.getUint32(from + 9, true);
  }
  if (sections & Section.detail) next = readDetail(source, next, end, answer);
  if (next !== end) throw new ProtocolError(`answer at ${at}: ${end - next} bytes behind its last section`);
  return end;
}

function readLabels({ bytes, view }: ByteSource, from: number, end: number, answer: Answer): number {
  answer.ownerBytes = bytes;
  answer.sessionBytes = bytes;
  answer.ownerAt = need(from, 5, end);
  answer.mode = modeAt(view, from);
  answer.limit = view.getUint16(from + 1, true);
  answer.ownerLength = view.getUint16(from + 3, true);
  const at = need(answer.ownerAt, answer.ownerLength, end);
  answer.sessionAt = need(at, 1, end);
  answer.sessionLength = view.getUint8(at);
  return need(answer.sessionAt, answer.sessionLength, end);
}

function readHolder({ bytes, view }: ByteSource, from: number, end: number, answer: Answer): number {
  answer.ownerBytes = bytes;
  answer.ownerAt = need(from, 15, end);
  answer.expiresInMs = view.getUint32(from, true);
  answer.fencingToken = integerAt(view, from + 4);
  answer.mode = modeAt(view, from + 12);
  answer.ownerLength = view.getUint16(from + 13, true);
  return need(answer.ownerAt, answer.ownerLength, end);
}

/**
 * The state section at `from`: `answer` gets its fields and its first place.
 * Returns its end, which is at most `end`.
 */
export function readState(source: ByteSource, from: number, end: number, answer: Answer): number {
  const { view } = source;
  answer.placesAt = need(from, STATE_HEAD_BYTES, end);
  const held = flagAt(view, from);
  answer.mode = modeAt(view, from + 1);
  answer.limit = view.getUint16(from + 2, true);
  answer.queueLength = view.getUint32(from + 4, true);
  answer.revision = integerAt(view, from + 8);
  answer.holderCount = view.getUint16(from + 16, true);
  if (held !== answer.holderCount > 0)
    throw new ProtocolError(`state at ${from}: held does not fit its holders`);
  let next = answer.placesAt;
  for (let i = 0; i < answer.holderCount; i++) next = readPlace(source, next, end, answer);
  if (answer.holderCount > 1) readPlace(source, answer.placesAt, end, answer);
  return next;
}

/** One holder of a state; returns where the next one stands. */
export function readPlace({ bytes, view }: ByteSource, from: number, end: number, answer: Answer): number {
  answer.ownerBytes = bytes;
  answer.metadataBytes = bytes;
  answer.ownerAt = need(from, PLACE_BYTES, end);
  answer.expiresInMs = view.getUint32(from, true);
  answer.fencingToken = integerAt(view, from + 4);
  answer.mode = modeAt(view, from + 12);
  answer.ownerLength = view.getUint16(from + 13, true);
  answer.metadataLength = view.getUint16(from + 15, true);
  answer.metadataAt = need(answer.ownerAt, answer.ownerLength, end);
  return need(answer.metadataAt, answer.metadataLength, end);
}

function readDetail({ bytes, view }: ByteSource, from: number, end: number, answer: Answer): number {
  const lengthBytes = answer.code === 0 ? 4 : 2;
  answer.detailBytes = bytes;
  answer.detailAt = need(from, lengthBytes, end);
  answer.detailLength = answer.code === 0 ? view.getUint32(from, true) : view.getUint16(from, true);
  return need(answer.detailAt, answer.detailLength, end);
}

function modeAt(view: DataView, at: number): number {
  const mode = view.getUint8(at);
  if (mode > 2) throw new ProtocolError(`${mode} at ${at} is no mode`);
  return mode;
}
