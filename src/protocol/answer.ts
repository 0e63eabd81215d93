/**
 * Answers in the public binary grammar (docs/protocol.md). Lanes write them,
 * binary sockets get them as they are, JSON is rendered from them.
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
import { copyBytes, type GrowingBytes, ProtocolError, readU64, writeU64, type ByteSource } from './bytes.ts';

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

export const ANSWER_HEAD_BYTES = 12;

/** Offsets from an answer's begin, so that times can be filled in when it leaves. */
export const CLAIM_WAITED_AT = 24;
export const CLAIM_EXPIRES_AT = 28;
/** In answers whose first section is `holder`, `state` (its first place), `verdict`. */
export const HOLDER_EXPIRES_AT = 12;
export const STATE_HOLDER_EXPIRES_AT = 30;
export const VERDICT_EXPIRES_AT = 21;

/** Every part but the texts, of all sections together. */
const FIXED_BYTES = 120;
const PLACE_BYTES = 17;

/** Answers back to back, being written or read. */
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
  /** State: holders altogether. The writer writes none or one; readPlace moves over what was read. */
  holderCount = 0;
  /** Where the first place stands in the bytes that readAnswer read. */
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
  const start = out.length;
  view.setUint32(start + 4, answer.id, true);
  view.setUint16(start + 8, answer.status, true);
  view.setUint8(start + 10, answer.code);
  view.setUint8(start + 11, sections);
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

/** The state section at `at`, for which the caller made room; returns its end. */
export function writeState({ bytes, view }: GrowingBytes, at: number, answer: Answer): number {
  const held = answer.holderCount > 0;
  view.setUint8(at, held ? 1 : 0);
  view.setUint8(at + 1, answer.mode);
  view.setUint16(at + 2, answer.limit, true);
  view.setUint32(at + 4, answer.queueLength, true);
  writeU64(view, at + 8, answer.revision);
  view.setUint16(at + 16, held ? 1 : 0, true);
  const place = at + 18;
  if (!held) return place;
  view.setUint32(place, answer.expiresInMs, true);
  writeU64(view, place + 4, answer.fencingToken);
  view.setUint8(place + 12, answer.mode);
  view.setUint16(place + 13, answer.ownerLength, true);
  view.setUint16(place + 15, answer.metadataLength, true);
  const end = copyBytes(answer.ownerBytes, answer.ownerAt, answer.ownerLength, bytes, place + PLACE_BYTES);
  return copyBytes(answer.metadataBytes, answer.metadataAt, answer.metadataLength, bytes, end);
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
    answer.fencingToken = fencingTokenAt(view, from);
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
    answer.fencingToken = fencingTokenAt(view, from + 1);
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
  answer.fencingToken = fencingTokenAt(view, from + 4);
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
  answer.placesAt = need(from, 18, end);
  const held = flagAt(view, from);
  answer.mode = modeAt(view, from + 1);
  answer.limit = view.getUint16(from + 2, true);
  answer.queueLength = view.getUint32(from + 4, true);
  answer.revision = fencingTokenAt(view, from + 8);
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
  answer.fencingToken = fencingTokenAt(view, from + 4);
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

/** The offset `length` bytes after `from`, which must not be past `end`. */
function need(from: number, length: number, end: number): number {
  if (from + length > end)
    throw new ProtocolError(`${length} bytes expected at ${from}, ${end - from} are left`);
  return from + length;
}

function fencingTokenAt(view: DataView, at: number): number {
  const token = readU64(view, at);
  if (token > Number.MAX_SAFE_INTEGER) throw new ProtocolError(`the number at ${at} is above 2^53 − 1`);
  return token;
}

function flagAt(view: DataView, at: number): boolean {
  const flag = view.getUint8(at);
  if (flag > 1) throw new ProtocolError(`${flag} at ${at} where 0 or 1 is expected`);
  return flag === 1;
}

function modeAt(view: DataView, at: number): number {
  const mode = view.getUint8(at);
  if (mode > 2) throw new ProtocolError(`${mode} at ${at} is no mode`);
  return mode;
}
