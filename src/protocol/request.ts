/**
 * Requests in the public binary grammar (docs/protocol.md).
 *
 *   frame   := request*                               little-endian
 *   request := size:u16 op:u8 flags:u8 id:u32 body    size counts the whole request
 *     acquire (1) := ttlMs:u32 nameLength:u16 tokenLength:u8 ownerLength:u16 metadataLength:u16 more?
 *                    name token owner metadata (session idempotencyKey)?
 *       more      := mode:u8 limit:u16 waitMs:u32 lockDelayMs:u32 sessionLength:u8 idempotencyKeyLength:u8
 *     renew   (2) := ttlMs:u32 nameLength:u16 tokenLength:u8 metadataLength:u16 name token metadata
 *     release (3) := nameLength:u16 tokenLength:u8 name token
 *     get     (4) := nameLength:u16 name
 *     verify  (5) := fencingToken:u64 nameLength:u16 tokenLength:u8 name token
 *     ping    (7) := (empty)
 *     cancel  (8) := (empty)                          its id is that of the request to cancel
 *     watch   (9) := nameLength:u16 name
 *     force  (10) := fencingToken:u64 nameLength:u16 reasonLength:u16 name reason
 *     session.open                 (11) := ttlMs:u32 idLength:u8 ownerLength:u16 id owner
 *     session.keepalive, end, get (12–14) := idLength:u8 id
 *
 * A frame whose sizes do not add up is refused as a whole, before any request
 * of it is looked at; a wrong request in a sound frame spoils only itself.
 */
import { LIMITS } from '../limits.ts';
import { Kind, type Op, OpFlag, PING } from '../op.ts';
import { copyBytes, type GrowingBytes, readU64 } from './bytes.ts';
import type { CallerBytes } from './caller.ts';
import { REQUEST_HEAD_BYTES, writeCheckedRequest, writeRequestHead } from './checked-request.ts';
import type { KeyedTokens } from './keyed-token.ts';
import {
  checkShownToken,
  checkTexts,
  giveToken,
  LENGTHS,
  moveSession,
  moveTexts,
  takeMade,
} from './request-texts.ts';
import {
  checkIdempotencyKey,
  checkMode,
  checkOwner,
  checkReason,
  checkSessionId,
  checkTtl,
  isSessionKind,
  packToken,
} from './words.ts';

/** Flags of a request on the wire; OpFlag has other values. */
const Flag = { labels: 1, more: 2, events: 4 } as const;
const ACQUIRE_BYTES = 19;
const MORE_BYTES = 13;
const OPEN_BYTES = 15;
/** Head and fixed fields, by op; 0 = no such op. */
const FIXED_BYTES = [0, ACQUIRE_BYTES, 17, 11, 10, 19, 0, 8, 8, 10, 20, OPEN_BYTES, 9, 9, 9] as const;
const OPS_MAX = FIXED_BYTES.length - 1;

/** How many requests the frame holds; -1: its sizes do not add up to its length, or it is empty. */
export function countRequests(view: DataView, length: number): number {
  let count = 0;
  let at = 0;
  while (at + REQUEST_HEAD_BYTES <= length) {
    const size = view.getUint16(at, true);
    if (size < REQUEST_HEAD_BYTES) return -1;
    at += size;
    count++;
  }
  return at === length && count > 0 ? count : -1;
}

/** Op, flags and id alone: also of a request that is refused unread. */
export function readRequestId(view: DataView, at: number): number {
  return view.getUint32(at + 4, true);
}

/**
 * Moves `op` over the request at `at` of a frame that countRequests accepted;
 * receivedAt, connection, origin, attempt, slot and hash are the caller's.
 * Returns '' or what is wrong with it (id and kind are set all the same).
 * Changes the frame's bytes where a token is brought into its stored form; the
 * op's texts lie in them, or in bytes that the next call uses again.
 *
 * Of cancel only id and kind are set: what it cancels knows the rest.
 *
 * @param keyedTokens what makes tokens of Idempotency-Keys; without it they are refused
 */
export function parseRequest(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  op: Op,
  caller: CallerBytes,
  keyedTokens?: KeyedTokens,
): string {
  const size = view.getUint16(at, true);
  const kind = view.getUint8(at + 2);
  const flags = view.getUint8(at + 3);
  op.clear();
  op.bytes = bytes;
  op.kind = kind;
  op.flags = flags & Flag.labels;
  op.id = view.getUint32(at + 4, true);
  const fixed = kind > OPS_MAX ? 0 : FIXED_BYTES[kind];
  if (fixed === 0) return 'no such op';
  if (size < fixed) return SHORT;
  if (flags !== 0) {
    if ((flags & ~flagsOf(kind)) !== 0) return 'flags that this op does not have';
    if (flags & Flag.events) op.flags |= OpFlag.events;
  }
  op.keyAt = at + fixed;
  const wrong = parseBody(view, at, size, flags, op, caller, keyedTokens);
  if (wrong === '' && !caller.isAnybody && op.bytes === bytes && op.keyLength !== 0) moveTexts(op, caller);
  return wrong;
}

const SHORT = 'the request is shorter than the fixed fields of its op';

function flagsOf(kind: number): number {
  if (kind === Kind.acquire) return Flag.labels | Flag.more | Flag.events;
  return kind === Kind.renew ? Flag.labels | Flag.events : 0;
}

function parseBody(
  view: DataView,
  at: number,
  size: number,
  flags: number,
  op: Op,
  caller: CallerBytes,
  keyedTokens: KeyedTokens | undefined,
): string {
  switch (op.kind) {
    case Kind.acquire:
      readAcquire(view, at, op);
      return flags & Flag.more
        ? parseMore(view, at, size, op, caller, keyedTokens)
        : checkTexts(view, op, at + size) || checkAcquire(op, caller);
    case Kind.renew:
      return parseRenew(view, at, size, op);
    case Kind.release:
      op.keyLength = view.getUint16(at + 8, true);
      op.tokenLength = view.getUint8(at + 10);
      return checkTexts(view, op, at + size) || checkShownToken(op);
    case Kind.get:
    case Kind.watch:
      op.keyLength = view.getUint16(at + 8, true);
      return checkTexts(view, op, at + size);
    case Kind.verify:
      return parseVerify(view, at, size, op);
    case Kind.force:
      return parseForce(view, at, size, op);
    case PING:
    case Kind.cancel:
      return size === REQUEST_HEAD_BYTES ? '' : LENGTHS;
    default:
      return parseSession(view, at, size, op, caller);
  }
}

function readAcquire(view: DataView, at: number, op: Op): void {
  op.ttlMs = view.getUint32(at + 8, true);
  op.keyLength = view.getUint16(at + 12, true);
  op.tokenLength = view.getUint8(at + 14);
  op.ownerLength = view.getUint16(at + 15, true);
  op.metadataLength = view.getUint16(at + 17, true);
}

function checkAcquire(op: Op, caller: CallerBytes): string {
  if (op.ttlMs !== 0) {
    const wrongTtl = checkTtl(op.ttlMs);
    if (wrongTtl !== '') return wrongTtl;
  }
  if (op.tokenLength !== 0) return checkShownToken(op);
  moveTexts(op, caller);
  giveToken(op);
  return '';
}

function parseMore(
  view: DataView,
  at: number,
  size: number,
  op: Op,
  caller: CallerBytes,
  keyedTokens: KeyedTokens | undefined,
): string {
  const more = at + ACQUIRE_BYTES;
  op.keyAt = more + MORE_BYTES;
  if (op.keyAt > at + size) return SHORT;
  op.mode = view.getUint8(more);
  op.limit = view.getUint16(more + 1, true);
  op.waitMs = view.getUint32(more + 3, true);
  op.lockDelayMs = view.getUint32(more + 7, true);
  op.sessionLength = view.getUint8(more + 11);
  const keyLength = view.getUint8(more + 12);
  const wrong =
    checkTexts(view, op, at + size - op.sessionLength - keyLength) ||
    checkMode(op.mode, op.limit) ||
    checkTimes(op);
  if (wrong !== '') return wrong;
  op.sessionAt = op.metadataAt + op.metadataLength;
  const keyAt = op.sessionAt + op.sessionLength;
  if (op.sessionLength !== 0) {
    if (op.ttlMs !== 0)
      return 'a claim of a session lasts as long as the session: it has no ttlMs of its own';
    op.sessionLength = packToken(op.bytes, op.sessionAt, op.sessionLength);
    const wrongSession = checkSessionId(op.bytes, op.sessionAt, op.sessionLength);
    if (wrongSession !== '') return wrongSession;
  }
  if (keyLength === 0) return checkAcquire(op, caller);
  if (op.tokenLength !== 0) return 'acquire takes a lock token or an Idempotency-Key, not both';
  if (keyedTokens === undefined) return 'this process takes no Idempotency-Keys';
  return (
    checkIdempotencyKey(op.bytes, keyAt, keyLength) || checkKeyed(op, caller, keyedTokens, keyAt, keyLength)
  );
}

/** An acquire whose token is that of its Idempotency-Key, which the answer has to tell. */
function checkKeyed(
  op: Op,
  caller: CallerBytes,
  keyedTokens: KeyedTokens,
  keyAt: number,
  keyLength: number,
): string {
  if (op.ttlMs !== 0) {
    const wrongTtl = checkTtl(op.ttlMs);
    if (wrongTtl !== '') return wrongTtl;
  }
  const idempotencyKey = op.bytes.subarray(keyAt, keyAt + keyLength);
  moveTexts(op, caller);
  const lockKey = op.bytes.subarray(op.keyAt, op.keyAt + op.keyLength);
  takeMade(op, keyedTokens.token(caller.principal, lockKey, idempotencyKey));
  op.flags |= OpFlag.keyed;
  return '';
}

function checkTimes(op: Op): string {
  if (op.waitMs > LIMITS.waitMsMax) return `waitMs is at most ${LIMITS.waitMsMax}`;
  return op.lockDelayMs > LIMITS.lockDelayMsMax ? `lockDelayMs is at most ${LIMITS.lockDelayMsMax}` : '';
}

function parseRenew(view: DataView, at: number, size: number, op: Op): string {
  op.ttlMs = view.getUint32(at + 8, true);
  op.keyLength = view.getUint16(at + 12, true);
  op.tokenLength = view.getUint8(at + 14);
  op.metadataLength = view.getUint16(at + 15, true);
  const wrong = checkTexts(view, op, at + size);
  if (wrong !== '') return wrong;
  if (op.ttlMs !== 0) {
    const wrongTtl = checkTtl(op.ttlMs);
    if (wrongTtl !== '') return wrongTtl;
  }
  return checkShownToken(op);
}

function parseVerify(view: DataView, at: number, size: number, op: Op): string {
  op.fencingToken = readU64(view, at + 8);
  op.keyLength = view.getUint16(at + 16, true);
  op.tokenLength = view.getUint8(at + 18);
  const wrong = checkTexts(view, op, at + size);
  if (wrong !== '') return wrong;
  if (op.fencingToken > Number.MAX_SAFE_INTEGER) return FENCING;
  if (op.fencingToken !== 0 && op.tokenLength !== 0)
    return 'verify takes a fencing token or a lock token, not both';
  return op.fencingToken !== 0 ? '' : checkShownToken(op);
}

const FENCING = 'a fencing token is at most 2^53 - 1';

function parseForce(view: DataView, at: number, size: number, op: Op): string {
  op.fencingToken = readU64(view, at + 8);
  op.keyLength = view.getUint16(at + 16, true);
  const reasonLength = view.getUint16(at + 18, true);
  const reasonAt = op.keyAt + op.keyLength;
  const wrong = checkTexts(view, op, at + size - reasonLength);
  if (wrong !== '') return wrong;
  if (op.fencingToken > Number.MAX_SAFE_INTEGER) return FENCING;
  op.metadataAt = reasonAt;
  op.metadataLength = reasonLength;
  return checkReason(op.bytes, reasonAt, reasonLength);
}

function parseSession(view: DataView, at: number, size: number, op: Op, caller: CallerBytes): string {
  const isOpen = op.kind === Kind.sessionOpen;
  let lengths = at + REQUEST_HEAD_BYTES;
  if (isOpen) {
    op.ttlMs = view.getUint32(lengths, true);
    lengths += 4;
    op.ownerLength = view.getUint16(lengths + 1, true);
  }
  const given = view.getUint8(lengths);
  const idAt = op.keyAt;
  op.ownerAt = idAt + given;
  if (op.ownerAt + op.ownerLength !== at + size) return LENGTHS;
  if (given === 0 && !isOpen) return 'this op needs the id of a session';
  const idLength = packToken(op.bytes, idAt, given);
  const wrong =
    (given === 0 ? '' : checkSessionId(op.bytes, idAt, idLength)) ||
    checkOwner(op.bytes, op.ownerAt, op.ownerLength) ||
    (op.ttlMs === 0 ? '' : checkTtl(op.ttlMs));
  if (wrong !== '') return wrong;
  moveSession(op, caller, idAt, idLength);
  return '';
}

const NONE = new Uint8Array(0);

/** Appends the request that `op` stands for, as a client sends it; its fields may be anything that fits their width. */
export function writeRequest(out: GrowingBytes, op: Op, idempotencyKey = NONE): void {
  const { kind } = op;
  if (kind === PING || kind === Kind.cancel) {
    writeRequestHead(out, op, REQUEST_HEAD_BYTES);
  } else if (isSessionKind(kind)) {
    writeSession(out, op);
  } else {
    const hasMore =
      kind === Kind.acquire &&
      (op.mode | op.limit | op.waitMs | op.lockDelayMs | op.sessionLength | idempotencyKey.length) !== 0;
    const at = hasMore ? writeFullAcquire(out, op, idempotencyKey) : writeCheckedRequest(out, op);
    let flags = op.flags & OpFlag.full ? Flag.labels : 0;
    if (op.flags & OpFlag.events) flags |= Flag.events;
    out.view.setUint8(at + 3, hasMore ? flags | Flag.more : flags);
  }
}

function writeFullAcquire(out: GrowingBytes, op: Op, idempotencyKey: Uint8Array): number {
  const texts = op.keyLength + op.tokenLength + op.ownerLength + op.metadataLength + op.sessionLength;
  const fixed = ACQUIRE_BYTES + MORE_BYTES;
  const at = writeRequestHead(out, op, fixed + texts + idempotencyKey.length);
  const { view, bytes } = out;
  view.setUint32(at + 8, op.ttlMs, true);
  view.setUint16(at + 12, op.keyLength, true);
  view.setUint8(at + 14, op.tokenLength);
  view.setUint16(at + 15, op.ownerLength, true);
  view.setUint16(at + 17, op.metadataLength, true);
  const more = at + ACQUIRE_BYTES;
  view.setUint8(more, op.mode);
  view.setUint16(more + 1, op.limit, true);
  view.setUint32(more + 3, op.waitMs, true);
  view.setUint32(more + 7, op.lockDelayMs, true);
  view.setUint8(more + 11, op.sessionLength);
  view.setUint8(more + 12, idempotencyKey.length);
  let to = copyBytes(op.bytes, op.keyAt, op.keyLength, bytes, at + fixed);
  to = copyBytes(op.bytes, op.tokenAt, op.tokenLength, bytes, to);
  to = copyBytes(op.bytes, op.ownerAt, op.ownerLength, bytes, to);
  to = copyBytes(op.bytes, op.metadataAt, op.metadataLength, bytes, to);
  to = copyBytes(op.bytes, op.sessionAt, op.sessionLength, bytes, to);
  copyBytes(idempotencyKey, 0, idempotencyKey.length, bytes, to);
  return at;
}

/** The id is the key without its first byte. */
function writeSession(out: GrowingBytes, op: Op): void {
  const idLength = Math.max(0, op.keyLength - 1);
  const isOpen = op.kind === Kind.sessionOpen;
  const fixed = FIXED_BYTES[op.kind];
  const at = writeRequestHead(out, op, fixed + idLength + (isOpen ? op.ownerLength : 0));
  const { view, bytes } = out;
  if (isOpen) {
    view.setUint32(at + 8, op.ttlMs, true);
    view.setUint16(at + 13, op.ownerLength, true);
  }
  view.setUint8(isOpen ? at + 12 : at + 8, idLength);
  const to = copyBytes(op.bytes, op.keyAt + 1, idLength, bytes, at + fixed);
  if (isOpen) copyBytes(op.bytes, op.ownerAt, op.ownerLength, bytes, to);
}
