/**
 * What most ops do not have, as it lies in a batch's record (lane/record.ts) and
 * in a forward between processes (peers/forward.ts): little-endian, by offset
 *
 *   0 mode u8 · 1 limit u16 · 3 waitMs u32 · 7 lockDelayMs u32 · 11 origin u32
 *   15 attempt u32 · 19 sessionLength u8 · 20 principalLength u8 · 21 batchLength u8
 *
 * The texts stand elsewhere, in the order session, principal, batch.
 */
import type { Op } from '../op.ts';

export const OP_MORE_BYTES = 22;

export function writeOpMore(view: DataView, at: number, op: Op): void {
  view.setUint8(at, op.mode);
  view.setUint16(at + 1, op.limit, true);
  view.setUint32(at + 3, op.waitMs, true);
  view.setUint32(at + 7, op.lockDelayMs, true);
  view.setUint32(at + 11, op.origin, true);
  view.setUint32(at + 15, op.attempt, true);
  view.setUint8(at + 19, op.sessionLength);
  view.setUint8(at + 20, op.principalLength);
  view.setUint8(at + 21, op.batchLength);
}

/** Returns where the texts end, which begin at `textsAt`. */
export function readOpMore(view: DataView, at: number, textsAt: number, op: Op): number {
  op.mode = view.getUint8(at);
  op.limit = view.getUint16(at + 1, true);
  op.waitMs = view.getUint32(at + 3, true);
  op.lockDelayMs = view.getUint32(at + 7, true);
  op.origin = view.getUint32(at + 11, true);
  op.attempt = view.getUint32(at + 15, true);
  op.sessionLength = view.getUint8(at + 19);
  op.principalLength = view.getUint8(at + 20);
  op.batchLength = view.getUint8(at + 21);
  op.sessionAt = textsAt;
  op.principalAt = op.sessionAt + op.sessionLength;
  op.batchAt = op.principalAt + op.principalLength;
  return op.batchAt + op.batchLength;
}
