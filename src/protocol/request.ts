/**
 * Requests in the public binary grammar (docs/protocol.md).
 *
 *   frame   := request*                               little-endian
 *   request := size:u16 op:u8 flags:u8 id:u32 body    size counts the whole request
 *     acquire (1) := ttlMs:u32 nameLength:u16 tokenLength:u8 ownerLength:u16 metadataLength:u16
 *                    name token owner metadata
 *     renew   (2) := ttlMs:u32 nameLength:u16 tokenLength:u8 metadataLength:u16 name token metadata
 *     release (3) := nameLength:u16 tokenLength:u8 name token
 *     get     (4) := nameLength:u16 name
 *     verify  (5) := fencingToken:u64 nameLength:u16 tokenLength:u8 name token
 *     ping    (7) := (empty)
 *   and, between processes only (peers/frame.ts),
 *     list    (6) := ttlMs:u32 fencingToken:u64 nameLength:u16 tokenLength:u8 ownerLength:u16
 *                    metadataLength:u16 name token owner metadata
 *
 * A frame whose sizes do not add up is refused as a whole, before any request
 * of it is looked at; a wrong request in a sound frame spoils only itself.
 */
import { LIMITS } from '../limits.ts';
import { Kind, OpFlag, PING, type Op } from '../op.ts';
import { copyBytes, type GrowingBytes, readU64, writeU64 } from './bytes.ts';
import { makeToken } from './token.ts';
import {
  checkMetadata,
  checkNameFast,
  checkOwner,
  checkToken,
  checkTtl,
  packToken,
  UUID_BYTES,
} from './words.ts';

export const REQUEST_HEAD_BYTES = 8;
/** Head and fixed fields, by op; 0 = no such op. */
const FIXED_BYTES = [0, 19, 17, 11, 10, 19, 27, REQUEST_HEAD_BYTES] as const;
const OPS_MAX = FIXED_BYTES.length - 1;

/** Fields that not every op has, in the order of the grammar. */
const Field = { ttl: 1, fencing: 2, token: 4, owner: 8, metadata: 16 } as const;
/** By op; a name has every op but ping. */
const FIELDS = [
  0,
  Field.ttl | Field.token | Field.owner | Field.metadata,
  Field.ttl | Field.token | Field.metadata,
  Field.token,
  0,
  Field.fencing | Field.token,
  Field.ttl | Field.fencing | Field.token | Field.owner | Field.metadata,
] as const;

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
 * receivedAt, connection, slot and hash are the caller's. Returns '' or what is
 * wrong with it (id and kind are set all the same). Changes the frame's bytes
 * where a token is brought into its stored form.
 */
export function parseRequest(bytes: Uint8Array, view: DataView, at: number, op: Op): string {
  const size = view.getUint16(at, true);
  const kind = view.getUint8(at + 2);
  const flags = view.getUint8(at + 3);
  op.bytes = bytes;
  op.kind = kind;
  op.flags = flags;
  op.id = view.getUint32(at + 4, true);
  op.ttlMs = 0;
  op.fencingToken = 0;
  op.tokenLength = 0;
  op.ownerLength = 0;
  op.metadataLength = 0;
  const fixed = kind > OPS_MAX || kind === Kind.list ? 0 : FIXED_BYTES[kind];
  if (fixed === 0) return 'no such op';
  if (size < fixed) return 'the request is shorter than the fixed fields of its op';
  if (flags > OpFlag.full || (flags !== 0 && kind !== Kind.acquire && kind !== Kind.renew)) {
    return 'flags that this op does not have';
  }
  op.keyAt = at + fixed;
  switch (kind) {
    case Kind.acquire:
      return parseAcquire(view, at, size, op);
    case Kind.renew:
      return parseRenew(view, at, size, op);
    case Kind.release:
      op.keyLength = view.getUint16(at + 8, true);
      op.tokenLength = view.getUint8(at + 10);
      return checkTexts(view, op, at + size) || checkShownToken(op);
    case Kind.get:
      op.keyLength = view.getUint16(at + 8, true);
      return checkTexts(view, op, at + size);
    case Kind.verify:
      return parseVerify(view, at, size, op);
    default:
      return size === fixed ? '' : LENGTHS;
  }
}

const LENGTHS = 'the lengths of its fields do not add up to the size of the request';
const TOKEN_MISSING = 'this op needs a lock token';

function parseAcquire(view: DataView, at: number, size: number, op: Op): string {
  op.ttlMs = view.getUint32(at + 8, true);
  op.keyLength = view.getUint16(at + 12, true);
  op.tokenLength = view.getUint8(at + 14);
  op.ownerLength = view.getUint16(at + 15, true);
  op.metadataLength = view.getUint16(at + 17, true);
  const wrong = checkTexts(view, op, at + size);
  if (wrong !== '') return wrong;
  if (op.ttlMs !== 0) {
    const wrongTtl = checkTtl(op.ttlMs);
    if (wrongTtl !== '') return wrongTtl;
  }
  if (op.tokenLength !== 0) return checkShownToken(op);
  giveToken(op);
  return '';
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
  if (op.fencingToken > Number.MAX_SAFE_INTEGER) return 'a fencing token is at most 2^53 - 1';
  if (op.fencingToken !== 0 && op.tokenLength !== 0)
    return 'verify takes a fencing token or a lock token, not both';
  return op.fencingToken !== 0 ? '' : checkShownToken(op);
}

/** Places the texts behind each other and checks all but the token. */
function checkTexts(view: DataView, op: Op, end: number): string {
  op.tokenAt = op.keyAt + op.keyLength;
  op.ownerAt = op.tokenAt + op.tokenLength;
  op.metadataAt = op.ownerAt + op.ownerLength;
  if (op.metadataAt + op.metadataLength !== end) return LENGTHS;
  const wrongName = checkNameFast(op.bytes, view, op.keyAt, op.keyLength);
  if (wrongName !== '') return wrongName;
  if (op.ownerLength !== 0) {
    const wrongOwner = checkOwner(op.bytes, op.ownerAt, op.ownerLength);
    if (wrongOwner !== '') return wrongOwner;
  }
  return op.metadataLength === 0 ? '' : checkMetadata(op.bytes, op.metadataAt, op.metadataLength);
}

function checkShownToken(op: Op): string {
  if (op.tokenLength === 0) return TOKEN_MISSING;
  op.tokenLength = packToken(op.bytes, op.tokenAt, op.tokenLength);
  return checkToken(op.bytes, op.tokenAt, op.tokenLength);
}

const scratch = new Uint8Array(4_096);

/** A token of the server's: a frame has no room for it, so the op moves to bytes that do. */
function giveToken(op: Op): void {
  const texts = op.keyLength + op.ownerLength + op.metadataLength;
  copyBytes(op.bytes, op.keyAt, texts, scratch, 0);
  makeToken(scratch, texts);
  op.bytes = scratch;
  op.keyAt = 0;
  op.ownerAt = op.keyLength;
  op.metadataAt = op.ownerAt + op.ownerLength;
  op.tokenAt = texts;
  op.tokenLength = UUID_BYTES;
  op.flags |= OpFlag.madeToken;
}

/** Appends the request that `op` stands for, as a client does; its fields may be anything that fits their width. */
export function writeRequest(out: GrowingBytes, op: Op): void {
  const { kind } = op;
  const fixed = FIXED_BYTES[kind];
  if (kind === PING) {
    writeHead(out, op, fixed);
    return;
  }
  const fields = FIELDS[kind];
  const size =
    fixed +
    op.keyLength +
    (fields & Field.token ? op.tokenLength : 0) +
    (fields & Field.owner ? op.ownerLength : 0) +
    (fields & Field.metadata ? op.metadataLength : 0);
  const at = writeHead(out, op, size);
  const { view, bytes } = out;
  let field = at + REQUEST_HEAD_BYTES;
  if (fields & Field.ttl) {
    view.setUint32(field, op.ttlMs, true);
    field += 4;
  }
  if (fields & Field.fencing) {
    writeU64(view, field, op.fencingToken);
    field += 8;
  }
  view.setUint16(field, op.keyLength, true);
  field += 2;
  if (fields & Field.token) view.setUint8(field++, op.tokenLength);
  if (fields & Field.owner) {
    view.setUint16(field, op.ownerLength, true);
    field += 2;
  }
  if (fields & Field.metadata) view.setUint16(field, op.metadataLength, true);
  let to = copyBytes(op.bytes, op.keyAt, op.keyLength, bytes, at + fixed);
  if (fields & Field.token) to = copyBytes(op.bytes, op.tokenAt, op.tokenLength, bytes, to);
  if (fields & Field.owner) to = copyBytes(op.bytes, op.ownerAt, op.ownerLength, bytes, to);
  if (fields & Field.metadata) copyBytes(op.bytes, op.metadataAt, op.metadataLength, bytes, to);
}

/** Makes room for the whole request; returns where it begins. */
function writeHead(out: GrowingBytes, op: Op, size: number): number {
  out.ensure(size);
  const at = out.length;
  out.view.setUint16(at, size, true);
  out.view.setUint8(at + 2, op.kind);
  out.view.setUint8(at + 3, op.flags & OpFlag.full);
  out.view.setUint32(at + 4, op.id, true);
  out.length = at + size;
  return at;
}

/**
 * Moves `op` over a request that a peer's front has checked: its texts are
 * taken as they are and its token is in the stored form already, also one that
 * the front made. Only what memory safety needs is looked at. Flags, slot,
 * hash, receivedAt and connection are the caller's.
 *
 * Returns where the request ends, at most `end`; -1: its lengths do not fit.
 */
export function readCheckedRequest(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  end: number,
  op: Op,
): number {
  if (at + REQUEST_HEAD_BYTES > end) return -1;
  const next = at + view.getUint16(at, true);
  const kind = view.getUint8(at + 2);
  if (next > end || kind === 0 || kind >= PING) return -1;
  const texts = at + FIXED_BYTES[kind];
  if (texts > next) return -1;
  const fields = FIELDS[kind];
  op.bytes = bytes;
  op.kind = kind;
  op.id = view.getUint32(at + 4, true);
  let field = at + REQUEST_HEAD_BYTES;
  op.ttlMs = fields & Field.ttl ? view.getUint32(field, true) : 0;
  if (fields & Field.ttl) field += 4;
  op.fencingToken = fields & Field.fencing ? readU64(view, field) : 0;
  if (fields & Field.fencing) field += 8;
  op.keyLength = view.getUint16(field, true);
  field += 2;
  op.tokenLength = fields & Field.token ? view.getUint8(field++) : 0;
  op.ownerLength = fields & Field.owner ? view.getUint16(field, true) : 0;
  if (fields & Field.owner) field += 2;
  op.metadataLength = fields & Field.metadata ? view.getUint16(field, true) : 0;
  op.keyAt = texts;
  op.tokenAt = texts + op.keyLength;
  op.ownerAt = op.tokenAt + op.tokenLength;
  op.metadataAt = op.ownerAt + op.ownerLength;
  return op.metadataAt + op.metadataLength === next && isPlausible(op) ? next : -1;
}

/** Within the bounds that tables and buffers are made for. */
function isPlausible(op: Op): boolean {
  if (op.keyLength > LIMITS.nameBytesMax || op.ownerLength > LIMITS.ownerBytesMax) return false;
  if (op.metadataLength > LIMITS.metadataBytesMax || op.fencingToken > Number.MAX_SAFE_INTEGER) return false;
  if (op.kind === Kind.list) return op.tokenLength <= LIMITS.tokenBytesMax;
  if (op.keyLength === 0 || (op.ttlMs !== 0 && checkTtl(op.ttlMs) !== '')) return false;
  if (op.tokenLength === 0) return op.kind === Kind.get || (op.kind === Kind.verify && op.fencingToken !== 0);
  if (op.fencingToken !== 0) return false;
  const packed = op.tokenLength === UUID_BYTES;
  return packed || (op.tokenLength >= LIMITS.tokenBytesMin && op.tokenLength <= LIMITS.tokenBytesMax);
}
