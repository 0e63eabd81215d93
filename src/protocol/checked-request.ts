/**
 * Requests as they go between processes (peers/frame.ts): a front has checked
 * them, tokens are in their stored form, keys have their namespace. Every kind
 * of op has this form, also those that no client can ask for.
 *
 *   request := size:u16 kind:u8 0:u8 id:u32 field* key text*      little-endian
 *     field := ttlMs:u32? fencingToken:u64? keyLength:u16 tokenLength:u8? ownerLength:u16? metadataLength:u16?
 *     text  := token? owner? metadata?
 *
 * Which of them a kind has is in FIELDS; of most kinds it is what the public
 * grammar (request.ts) has, too.
 */
import { LIMITS } from '../limits.ts';
import { Kind, KIND_MAX, type Op, PING } from '../op.ts';
import { copyBytes, type GrowingBytes, readU64, writeU64 } from './bytes.ts';
import { checkTtl, UUID_BYTES } from './words.ts';

export const REQUEST_HEAD_BYTES = 8;
const KEY_BYTES_MAX = LIMITS.namespaceBytesMax + 1 + LIMITS.nameBytesMax;

const Field = { ttl: 1, fencing: 2, token: 4, owner: 8, metadata: 16 } as const;
const ALL = Field.ttl | Field.fencing | Field.token | Field.owner | Field.metadata;

/** By kind; a key has every one. What is rare carries all, so that no kind has to be remembered here. */
const FIELDS = Array.from({ length: KIND_MAX + 1 }, () => ALL as number);
FIELDS[Kind.acquire] = Field.ttl | Field.token | Field.owner | Field.metadata;
FIELDS[Kind.renew] = Field.ttl | Field.token | Field.metadata;
FIELDS[Kind.release] = Field.token;
FIELDS[Kind.get] = 0;
FIELDS[Kind.verify] = Field.fencing | Field.token;
FIELDS[Kind.watch] = 0;
FIELDS[Kind.force] = Field.fencing | Field.metadata;

/** Head and fixed fields, by kind. */
const FIXED_BYTES = FIELDS.map(
  (fields) =>
    REQUEST_HEAD_BYTES +
    2 +
    (fields & Field.ttl ? 4 : 0) +
    (fields & Field.fencing ? 8 : 0) +
    (fields & Field.token ? 1 : 0) +
    (fields & Field.owner ? 2 : 0) +
    (fields & Field.metadata ? 2 : 0),
);

/** Appends the request that `op` stands for; its fields may be anything that fits their width. Returns where it begins. */
export function writeCheckedRequest(out: GrowingBytes, op: Op): number {
  const { kind } = op;
  const fixed = FIXED_BYTES[kind];
  const fields = FIELDS[kind];
  const size =
    fixed +
    op.keyLength +
    (fields & Field.token ? op.tokenLength : 0) +
    (fields & Field.owner ? op.ownerLength : 0) +
    (fields & Field.metadata ? op.metadataLength : 0);
  const at = writeRequestHead(out, op, size);
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
  return at;
}

/** Makes room for a request of `size` bytes and writes its head, without flags; returns where it begins. */
export function writeRequestHead(out: GrowingBytes, op: Op, size: number): number {
  out.ensure(size);
  const at = out.length;
  out.view.setUint16(at, size, true);
  out.view.setUint8(at + 2, op.kind);
  out.view.setUint8(at + 3, 0);
  out.view.setUint32(at + 4, op.id, true);
  out.length = at + size;
  return at;
}

/**
 * Moves `op` over the request at `at`. Its texts are taken as they are: only
 * what memory safety needs is looked at. Flags, slot, hash, receivedAt,
 * connection and what most ops do not have are the caller's.
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
  if (next > end || kind === 0 || kind === PING || kind > KIND_MAX) return -1;
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
  if (op.keyLength > KEY_BYTES_MAX || op.ownerLength > LIMITS.ownerBytesMax) return false;
  if (op.metadataLength > LIMITS.metadataBytesMax || op.fencingToken > Number.MAX_SAFE_INTEGER) return false;
  if (op.kind === Kind.list) return op.tokenLength <= LIMITS.tokenBytesMax;
  if (op.keyLength === 0 || (op.ttlMs !== 0 && checkTtl(op.ttlMs) !== '')) return false;
  if (!isTokenLength(op.tokenLength)) return false;
  if (op.kind > Kind.list) return true;
  if (op.tokenLength === 0) return op.kind === Kind.get || (op.kind === Kind.verify && op.fencingToken !== 0);
  return op.fencingToken === 0;
}

/** Of a token or session id in its stored form, or of none. */
export function isTokenLength(length: number): boolean {
  return (
    length === UUID_BYTES ||
    length === 0 ||
    (length >= LIMITS.tokenBytesMin && length <= LIMITS.tokenBytesMax)
  );
}
