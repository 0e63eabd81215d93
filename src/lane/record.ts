/**
 * The op as it lies in a batch on its way from the front to a lane. Private to
 * one process and one version: the public grammar is in protocol/.
 *
 *   batch  := record*                       little-endian
 *   record := head key token owner metadata [session principal batch more]
 *
 * The head, by offset:
 *   0 size u16 · 2 kind u8 · 3 flags u8 · 4 id u32 · 8 connection u32
 *   12 hash u32 · 16 receivedAt f64 · 24 fencingToken f64 · 32 ttlMs u32
 *   36 slot u16 · 38 keyLength u16 · 40 ownerLength u16 · 42 metadataLength u16
 *   44 tokenLength u8 · 45 key, token, owner, metadata
 *
 * The kind has its top bit set when `more`, what most ops do not have, stands
 * at the record's end (protocol/op-more.ts).
 */
import type { Op } from '../op.ts';
import { OP_MORE_BYTES, readOpMore, writeOpMore } from '../protocol/op-more.ts';

const RECORD_HEAD_BYTES = 45;
const HAS_MORE = 0x80;

/** A batch being filled or read: the same bytes as numbers and as text. */
export class BatchBytes {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  length = 0;
  /** Of one that is read bit by bit: where the next record begins. */
  at = 0;

  constructor(buffer: ArrayBuffer, length = 0) {
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.length = length;
  }
}

/** Bytes `op`'s record takes. */
export function recordBytes(op: Op): number {
  const plain = RECORD_HEAD_BYTES + op.keyLength + op.tokenLength + op.ownerLength + op.metadataLength;
  return op.isPlain ? plain : plain + op.sessionLength + op.principalLength + op.batchLength + OP_MORE_BYTES;
}

/** Appends `op` (its fields may lie in any bytes). The caller made sure that recordBytes(op) fit. */
export function writeRecord(batch: BatchBytes, op: Op): void {
  const { view, bytes } = batch;
  const at = batch.length;
  const isPlain = op.isPlain;
  view.setUint8(at + 2, isPlain ? op.kind : op.kind | HAS_MORE);
  view.setUint8(at + 3, op.flags);
  view.setUint32(at + 4, op.id, true);
  view.setUint32(at + 8, op.connection, true);
  view.setUint32(at + 12, op.hash, true);
  view.setFloat64(at + 16, op.receivedAt, true);
  view.setFloat64(at + 24, op.fencingToken, true);
  view.setUint32(at + 32, op.ttlMs, true);
  view.setUint16(at + 36, op.slot, true);
  view.setUint16(at + 38, op.keyLength, true);
  view.setUint16(at + 40, op.ownerLength, true);
  view.setUint16(at + 42, op.metadataLength, true);
  view.setUint8(at + 44, op.tokenLength);
  let to = at + RECORD_HEAD_BYTES;
  to = copy(op.bytes, op.keyAt, op.keyLength, bytes, to);
  to = copy(op.bytes, op.tokenAt, op.tokenLength, bytes, to);
  to = copy(op.bytes, op.ownerAt, op.ownerLength, bytes, to);
  to = copy(op.bytes, op.metadataAt, op.metadataLength, bytes, to);
  if (!isPlain) to = writeMore(batch, op, to);
  view.setUint16(at, to - at, true);
  batch.length = to;
}

function writeMore({ bytes, view }: BatchBytes, op: Op, at: number): number {
  let to = copy(op.bytes, op.sessionAt, op.sessionLength, bytes, at);
  to = copy(op.bytes, op.principalAt, op.principalLength, bytes, to);
  to = copy(op.bytes, op.batchAt, op.batchLength, bytes, to);
  writeOpMore(view, to, op);
  return to + OP_MORE_BYTES;
}

/** Bytes of the record at `at`. */
export function sizeAt({ view }: BatchBytes, at: number): number {
  return view.getUint16(at, true);
}

export function kindAt({ view }: BatchBytes, at: number): number {
  return view.getUint8(at + 2) & ~HAS_MORE;
}

export function receivedAtAt({ view }: BatchBytes, at: number): number {
  return view.getFloat64(at + 16, true);
}

/** Moves `op` over the record at `at`; returns where the next one begins. */
export function readRecord(batch: BatchBytes, at: number, op: Op): number {
  const { view } = batch;
  op.bytes = batch.bytes;
  const kind = view.getUint8(at + 2);
  op.kind = kind & ~HAS_MORE;
  op.flags = view.getUint8(at + 3);
  op.id = view.getUint32(at + 4, true);
  op.connection = view.getUint32(at + 8, true);
  op.hash = view.getUint32(at + 12, true);
  op.receivedAt = view.getFloat64(at + 16, true);
  op.fencingToken = view.getFloat64(at + 24, true);
  op.ttlMs = view.getUint32(at + 32, true);
  op.slot = view.getUint16(at + 36, true);
  op.keyLength = view.getUint16(at + 38, true);
  op.ownerLength = view.getUint16(at + 40, true);
  op.metadataLength = view.getUint16(at + 42, true);
  op.tokenLength = view.getUint8(at + 44);
  op.keyAt = at + RECORD_HEAD_BYTES;
  op.tokenAt = op.keyAt + op.keyLength;
  op.ownerAt = op.tokenAt + op.tokenLength;
  op.metadataAt = op.ownerAt + op.ownerLength;
  op.makePlain();
  const next = at + sizeAt(batch, at);
  if (kind & HAS_MORE) readOpMore(view, next - OP_MORE_BYTES, op.metadataAt + op.metadataLength, op);
  return next;
}

/** A loop, not `set` of a `subarray`: for the 10–40 bytes of a name it is several times faster. */
function copy(from: Uint8Array, at: number, length: number, to: Uint8Array, toAt: number): number {
  for (let i = 0; i < length; i++) to[toAt + i] = from[at + i];
  return toAt + length;
}
