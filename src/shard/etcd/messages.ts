/**
 * The few etcd messages that Holdfast writes and reads by hand: those of the
 * hot path, of lease keep-alives, of authentication and of a member's status.
 * Everything else goes through etcd3. Field numbers are those of etcd's
 * rpc.proto (3.4 – 3.6):
 *
 *   TxnRequest          { compare=1* success=2* }
 *   Compare             { target=2 key=3 mod_revision=6 }          target MOD = 2, result EQUAL = 0
 *   RequestOp           { request_put=2 | request_delete_range=3 }
 *   PutRequest          { key=1 value=2 lease=3 ignore_lease=6 }
 *   DeleteRangeRequest  { key=1 range_end=2 }
 *   TxnResponse         { header=1 succeeded=2 }
 *   ResponseHeader      { revision=3 }
 *   RangeRequest        { key=1 range_end=2 limit=3 keys_only=8 min_mod_revision=10 }
 *   RangeResponse       { header=1 kvs=2* more=3 }       KeyValue { key=1 mod_revision=3 value=5 }
 *   LeaseKeepAliveRequest { ID=1 }   LeaseKeepAliveResponse { header=1 ID=2 TTL=3 }
 *   AuthenticateRequest { name=1 password=2 }     AuthenticateResponse { header=1 token=2 }
 *   StatusResponse      { header=1 version=2 dbSize=3 dbSizeInUse=9 dbSizeQuota=12 }
 *
 * A gRPC message on the wire is `0:u8 length:u32 (big-endian) message`.
 */
import type { Change, Commit, CommitResult, KeyValue, Page, ShardStatus } from '../store.ts';
import { fieldBytes, varintBytes, WireReader, WireWriter } from './wire.ts';

export const GRPC_PREFIX_BYTES = 5;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function writePrefix(bytes: Uint8Array, at: number, length: number): void {
  bytes[at] = 0;
  bytes[at + 1] = length >>> 24;
  bytes[at + 2] = length >>> 16;
  bytes[at + 3] = length >>> 8;
  bytes[at + 4] = length;
}

/** `message` behind its gRPC prefix. */
function framed(messageBytes: number): WireWriter {
  const bytes = new Uint8Array(GRPC_PREFIX_BYTES + messageBytes);
  writePrefix(bytes, 0, messageBytes);
  return new WireWriter(bytes, GRPC_PREFIX_BYTES);
}

/**
 * The request of a commit as pieces to be sent back to back. The journal's put
 * is last in the first piece, so that its value is the entry where it lies:
 * everything before it is written into the headroom. What rides along follows
 * as a piece of its own.
 */
export function encodeCommit(commit: Commit): Uint8Array[] {
  const termKey = encoder.encode(commit.termKey);
  const journalKey = encoder.encode(commit.journalKey);
  const entryLength = commit.entryEnd - commit.entryAt;
  const compare = 2 + fieldBytes(termKey.length) + 1 + varintBytes(commit.expectedRevision);
  const termPut = fieldBytes(termKey.length) + fieldBytes(commit.termValue.length) + 2;
  const journalPut = fieldBytes(journalKey.length) + fieldBytes(entryLength);
  const firstBytes =
    fieldBytes(compare) + fieldBytes(fieldBytes(termPut)) + fieldBytes(fieldBytes(journalPut));
  const headBytes = GRPC_PREFIX_BYTES + firstBytes - entryLength;
  const tail = encodeChanges(commit.changes);

  const inPlace = headBytes <= commit.entryAt;
  const head = inPlace ? commit.buffer : new Uint8Array(headBytes);
  const at = inPlace ? commit.entryAt - headBytes : 0;
  writePrefix(head, at, firstBytes + tail.length);
  const out = new WireWriter(head, at + GRPC_PREFIX_BYTES);
  out.head(0x0a, compare);
  out.number(0x10, 2);
  out.field(0x1a, termKey);
  out.number(0x30, commit.expectedRevision);
  out.head(0x12, fieldBytes(termPut));
  out.head(0x12, termPut);
  out.field(0x0a, termKey);
  out.field(0x12, commit.termValue);
  out.number(0x30, 1);
  out.head(0x12, fieldBytes(journalPut));
  out.head(0x12, journalPut);
  out.field(0x0a, journalKey);
  out.head(0x12, entryLength);

  const pieces = inPlace
    ? [commit.buffer.subarray(at, commit.entryEnd)]
    : [head, commit.buffer.subarray(commit.entryAt, commit.entryEnd)];
  if (tail.length > 0) pieces.push(tail);
  return pieces;
}

const NOTHING = new Uint8Array(0);

/** The changes as further `success` operations of a TxnRequest. */
function encodeChanges(changes: readonly Change[]): Uint8Array {
  if (changes.length === 0) return NOTHING;
  const operations = changes.map(prepareChange);
  let bytes = 0;
  for (const operation of operations) bytes += fieldBytes(fieldBytes(operation.bytes));
  const out = new WireWriter(new Uint8Array(bytes));
  for (const operation of operations) {
    out.head(0x12, fieldBytes(operation.bytes));
    out.head(operation.tag, operation.bytes);
    out.field(0x0a, operation.key);
    if (operation.second !== undefined) out.field(0x12, operation.second);
    if (operation.lease !== undefined) writeInt64(out, 0x18, operation.lease);
  }
  return out.bytes;
}

interface Operation {
  readonly tag: number;
  readonly bytes: number;
  readonly key: Uint8Array;
  /** Field 2: a put's value, the end of a deleted range. */
  readonly second: Uint8Array | undefined;
  readonly lease: bigint | undefined;
}

function prepareChange(change: Change): Operation {
  if ('put' in change) {
    const key = encoder.encode(change.put);
    const lease = change.lease ? BigInt(change.lease) : undefined;
    const leaseBytes = lease === undefined ? 0 : 1 + int64Bytes(lease);
    const bytes = fieldBytes(key.length) + fieldBytes(change.value.length) + leaseBytes;
    return { tag: 0x12, bytes, key, second: change.value, lease };
  }
  const key = encoder.encode(change.delete);
  const second = change.upTo === undefined ? undefined : encoder.encode(change.upTo);
  const bytes = fieldBytes(key.length) + (second === undefined ? 0 : fieldBytes(second.length));
  return { tag: 0x1a, bytes, key, second, lease: undefined };
}

/** Lease ids use all 63 bits, so they are decimal text outside and bigint here. */
function int64Bytes(value: bigint): number {
  let bytes = 1;
  for (let rest = BigInt.asUintN(64, value); rest >= 128n; rest >>= 7n) bytes++;
  return bytes;
}

function writeInt64(out: WireWriter, tag: number, value: bigint): void {
  out.bytes[out.at++] = tag;
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 128n; rest >>= 7n) out.bytes[out.at++] = Number(rest & 127n) | 128;
  out.bytes[out.at++] = Number(rest);
}

export function decodeCommit(message: Uint8Array): CommitResult {
  const reader = new WireReader(message);
  let revision = 0;
  let succeeded = false;
  while (reader.next()) {
    if (reader.number === 1) revision = headerRevision(reader.message());
    else if (reader.number === 2) succeeded = reader.int() !== 0;
    else reader.skip();
  }
  return { succeeded, revision };
}

function headerRevision(reader: WireReader): number {
  let revision = 0;
  while (reader.next()) {
    if (reader.number === 3) revision = reader.int();
    else reader.skip();
  }
  return revision;
}

/** A linearizable read of one key without its value. */
export function encodeConfirm(termKey: string): Uint8Array {
  const key = encoder.encode(termKey);
  const out = framed(fieldBytes(key.length) + 4);
  out.field(0x0a, key);
  out.number(0x18, 1);
  out.number(0x40, 1);
  return out.bytes;
}

/** The mod revision of the key that was found; 0 = none was. */
export function decodeConfirm(message: Uint8Array): number {
  const reader = new WireReader(message);
  let revision = 0;
  while (reader.next()) {
    if (reader.number === 2) revision = headerRevision(reader.message());
    else reader.skip();
  }
  return revision;
}

/** A linearizable read of the keys in [from, to) that were written after `revision`. */
export function encodeChangedAfter(from: string, to: string, revision: number, limit: number): Uint8Array {
  const key = encoder.encode(from);
  const end = encoder.encode(to);
  const numbers = 2 + varintBytes(limit) + varintBytes(revision + 1);
  const out = framed(fieldBytes(key.length) + fieldBytes(end.length) + numbers);
  out.field(0x0a, key);
  out.field(0x12, end);
  out.number(0x18, limit);
  out.number(0x50, revision + 1);
  return out.bytes;
}

export function decodePage(message: Uint8Array): Page {
  const reader = new WireReader(message);
  const entries: KeyValue[] = [];
  let revision = 0;
  let more = false;
  while (reader.next()) {
    if (reader.number === 1) revision = headerRevision(reader.message());
    else if (reader.number === 2) entries.push(decodeKeyValue(reader.message()));
    else if (reader.number === 3) more = reader.int() !== 0;
    else reader.skip();
  }
  return { entries, revision, more };
}

function decodeKeyValue(reader: WireReader): KeyValue {
  const entry: { key: string; value: Uint8Array; modRevision: number } = {
    key: '',
    value: NOTHING,
    modRevision: 0,
  };
  while (reader.next()) {
    if (reader.number === 1) entry.key = decoder.decode(reader.value());
    else if (reader.number === 3) entry.modRevision = reader.int();
    else if (reader.number === 5) entry.value = reader.value();
    else reader.skip();
  }
  return entry;
}

/** `lease` is a decimal lease id. */
export function encodeKeepAlive(lease: string): Uint8Array {
  const id = BigInt(lease);
  const out = framed(1 + int64Bytes(id));
  writeInt64(out, 0x08, id);
  return out.bytes;
}

/** Seconds the lease lives from now on; 0 = it is gone. */
export function decodeKeepAlive(message: Uint8Array): number {
  const reader = new WireReader(message);
  let seconds = 0;
  while (reader.next()) {
    if (reader.number === 3) seconds = reader.int();
    else reader.skip();
  }
  return seconds;
}

export function encodeAuthenticate(username: string, password: string): Uint8Array {
  const name = encoder.encode(username);
  const secret = encoder.encode(password);
  const out = framed(fieldBytes(name.length) + fieldBytes(secret.length));
  out.field(0x0a, name);
  out.field(0x12, secret);
  return out.bytes;
}

export function decodeToken(message: Uint8Array): string {
  const reader = new WireReader(message);
  let token = '';
  while (reader.next()) {
    if (reader.number === 2) token = decoder.decode(reader.value());
    else reader.skip();
  }
  return token;
}

export function encodeEmpty(): Uint8Array {
  return framed(0).bytes;
}

export function decodeStatus(message: Uint8Array): ShardStatus {
  const reader = new WireReader(message);
  const status = { bytes: 0, bytesInUse: 0, quotaBytes: 0, version: '', revision: 0 };
  while (reader.next()) {
    if (reader.number === 1) status.revision = headerRevision(reader.message());
    else if (reader.number === 2) status.version = decoder.decode(reader.value());
    else if (reader.number === 3) status.bytes = reader.int();
    else if (reader.number === 9) status.bytesInUse = reader.int();
    else if (reader.number === 12) status.quotaBytes = reader.int();
    else reader.skip();
  }
  return status;
}
