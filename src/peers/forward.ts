/**
 * One op on its way to the process that owns its slot (frame.ts).
 *
 *   forward := waitedMs:u32 slot:u16 hash:u32 flags:u8 more? request      little-endian
 *   more    := as in protocol/op-more.ts, session principal batch
 *   request := as in protocol/checked-request.ts, its id that of the forward
 *
 * `flags` as in op.ts, but for `forwarded`; the top bit is set when there is
 * `more`, what most ops do not have.
 */
import { LIMITS } from '../limits.ts';
import { Kind, Mode, type Op, OpFlag } from '../op.ts';
import { copyBytes, type GrowingBytes } from '../protocol/bytes.ts';
import { isTokenLength, readCheckedRequest, writeCheckedRequest } from '../protocol/checked-request.ts';
import { OP_MORE_BYTES, readOpMore, writeOpMore } from '../protocol/op-more.ts';

const FORWARD_HEAD_BYTES = 11;
const FLAGS = OpFlag.full | OpFlag.madeToken | OpFlag.keyed | OpFlag.resumed | OpFlag.events | OpFlag.newStub;
const HAS_MORE = 0x80;
const WAITED_MS_MAX = 0xffff_ffff;

/** Appends `op` as a forward. */
export function writeForward(out: GrowingBytes, op: Op, id: number, waitedMs: number): void {
  out.ensure(FORWARD_HEAD_BYTES);
  const { view, length } = out;
  view.setUint32(length, Math.min(WAITED_MS_MAX, Math.max(0, Math.floor(waitedMs))), true);
  view.setUint16(length + 4, op.slot, true);
  view.setUint32(length + 6, op.hash, true);
  const { isPlain } = op;
  view.setUint8(length + 10, isPlain ? op.flags & FLAGS : (op.flags & FLAGS) | HAS_MORE);
  out.length = length + FORWARD_HEAD_BYTES;
  if (!isPlain) writeMore(out, op);
  const own = op.id;
  op.id = id;
  writeCheckedRequest(out, op);
  op.id = own;
}

function writeMore(out: GrowingBytes, op: Op): void {
  out.ensure(OP_MORE_BYTES + op.sessionLength + op.principalLength + op.batchLength);
  const { view, bytes, length } = out;
  writeOpMore(view, length, op);
  let to = copyBytes(op.bytes, op.sessionAt, op.sessionLength, bytes, length + OP_MORE_BYTES);
  to = copyBytes(op.bytes, op.principalAt, op.principalLength, bytes, to);
  out.length = copyBytes(op.bytes, op.batchAt, op.batchLength, bytes, to);
}

/**
 * Moves `op` over the forward at `at`; returns where it ends, -1 if it is none.
 * `receivedAt` gets how long it had waited, to be made a time by the caller.
 */
export function readForward(bytes: Uint8Array, view: DataView, at: number, end: number, op: Op): number {
  if (at + FORWARD_HEAD_BYTES > end) return -1;
  const flags = view.getUint8(at + 10);
  let request = at + FORWARD_HEAD_BYTES;
  op.makePlain();
  if (flags & HAS_MORE) request = readMore(view, request, end, op);
  if (request < 0) return -1;
  const next = readCheckedRequest(bytes, view, request, end, op);
  op.receivedAt = view.getUint32(at, true);
  op.slot = view.getUint16(at + 4, true);
  op.hash = view.getUint32(at + 6, true);
  op.flags = flags & ~HAS_MORE;
  if ((op.flags & ~FLAGS) !== 0) return -1;
  // Who made a token must be able to tell it.
  if (op.flags & OpFlag.madeToken && (!MAKES_TOKEN.has(op.kind) || op.tokenLength !== 16)) return -1;
  return next;
}

const MAKES_TOKEN: ReadonlySet<number> = new Set([Kind.acquire, Kind.sessionOpen]);

/** Returns where the request begins, -1: it is none. */
function readMore(view: DataView, at: number, end: number, op: Op): number {
  if (at + OP_MORE_BYTES > end) return -1;
  const next = readOpMore(view, at, at + OP_MORE_BYTES, op);
  const isPlausible =
    op.mode <= Mode.semaphore &&
    op.limit <= LIMITS.holdersMax &&
    op.waitMs <= LIMITS.waitMsMax &&
    op.lockDelayMs <= LIMITS.lockDelayMsMax &&
    isTokenLength(op.sessionLength) &&
    op.principalLength <= LIMITS.principalBytesMax &&
    (op.batchLength === 0 || op.batchLength === BATCH_BYTES);
  return isPlausible && next <= end ? next : -1;
}

const BATCH_BYTES = 16;
