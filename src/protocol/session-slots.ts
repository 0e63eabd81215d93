/**
 * The slots in which a session has locks, as the detail of answers of the
 * session's own slot. Between lane and front only: clients never see it.
 *
 *   slots := (slot:u16 state:u8)*          little-endian
 */
import type { Answer } from './answer.ts';
import { type GrowingBytes, ProtocolError } from './bytes.ts';

/** Of a slot: some request was about to take a lock there, or did. */
export const SlotState = { pending: 0, active: 1 } as const;

export interface SessionSlot {
  readonly slot: number;
  readonly state: number;
}

const SLOT_BYTES = 3;

/** Appends one slot to `out`, which becomes the answer's detail. */
export function addSessionSlot(out: GrowingBytes, slot: number, state: number): void {
  out.ensure(SLOT_BYTES);
  out.view.setUint16(out.length, slot, true);
  out.view.setUint8(out.length + 2, state);
  out.length += SLOT_BYTES;
}

/** The slots in the detail of `answer`. @throws ProtocolError */
export function readSessionSlots(answer: Answer): SessionSlot[] {
  const { detailBytes, detailAt, detailLength } = answer;
  if (detailLength % SLOT_BYTES !== 0) throw new ProtocolError(`${detailLength} bytes are no list of slots`);
  const slots: SessionSlot[] = [];
  for (let at = detailAt; at < detailAt + detailLength; at += SLOT_BYTES) {
    const state = detailBytes[at + 2];
    if (state > SlotState.active) throw new ProtocolError(`${state} at ${at} is no state of a slot`);
    slots.push({ slot: detailBytes[at] | (detailBytes[at + 1] << 8), state });
  }
  return slots;
}
