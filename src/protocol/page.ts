/**
 * A page of a listing on its way from a lane to the front, as the `page`
 * section of an answer, perhaps by way of another process. Clients see it as JSON.
 *
 *   page  := next:u32 count:u32 entry* cover           little-endian
 *   entry := slot:u16 keyLength:u16 key state          (state as in protocol/answer.ts)
 *   cover := from:u16 bits:u8*                         to the page's end
 *
 * Entries are ordered by slot, then by the bytes of the key. `next` is the slot
 * to go on from, the number of slots when nothing is left; when the last entry
 * is of that very slot, the next page begins behind its key.
 *
 * The cover tells which slots the page speaks for: bit i % 8 of byte i / 8 is
 * set when the lane owned slot from + i and looked at it. Only so can be told
 * whether all pages together have a gap, or two pages the same slot, when slots
 * changed hands meanwhile.
 *
 * The request is an Op of kind list: `hash` the index of the shard in the
 * shards file, key the prefix, owner the owner wanted (empty: all), ttlMs the
 * most entries wanted, fencingToken the slot to start from, metadata the key
 * behind which that slot starts (empty: at its first).
 */
import { copyBytes, type GrowingBytes, ProtocolError, type ByteSource } from './bytes.ts';
import { addPlace, type Answer, readState, Section, STATE_HEAD_BYTES, writeStateHead } from './answer.ts';

const PAGE_HEAD_BYTES = 8;
const ENTRY_HEAD_BYTES = 4;

/** Begins a page over what `page` held. */
export function beginListPage(page: GrowingBytes): void {
  page.reset();
  page.ensure(PAGE_HEAD_BYTES);
  page.length = PAGE_HEAD_BYTES;
  page.view.setUint32(4, 0, true);
}

/** Appends a lock: its key is at keys[keyAt, +keyLength), its state in `state` (none or one holder). */
export function addToListPage(
  page: GrowingBytes,
  slot: number,
  keys: Uint8Array,
  keyAt: number,
  keyLength: number,
  state: Answer,
): void {
  beginListEntry(page, slot, keys, keyAt, keyLength, state);
  if (state.holderCount > 0) addPlace(page, state);
}

/** The same for a lock of any number of holders: addPlace of answer.ts follows for each of `state.holderCount`. */
export function beginListEntry(
  page: GrowingBytes,
  slot: number,
  keys: Uint8Array,
  keyAt: number,
  keyLength: number,
  state: Answer,
): void {
  page.ensure(ENTRY_HEAD_BYTES + keyLength + STATE_HEAD_BYTES);
  const at = page.length;
  page.view.setUint16(at, slot, true);
  page.view.setUint16(at + 2, keyLength, true);
  const stateAt = copyBytes(keys, keyAt, keyLength, page.bytes, at + ENTRY_HEAD_BYTES);
  page.length = writeStateHead(page, stateAt, state);
  state.placesAt = page.length;
  page.view.setUint32(4, page.view.getUint32(4, true) + 1, true);
}

/**
 * Ends the page and makes it the detail of `answer`, which gets status 200 and no code.
 * @param covered the slots it speaks for, in rising order
 */
export function endListPage(
  page: GrowingBytes,
  nextSlot: number,
  covered: readonly number[],
  answer: Answer,
): void {
  page.view.setUint32(0, nextSlot, true);
  writeCover(page, covered);
  answer.status = 200;
  answer.code = 0;
  answer.sections = Section.detail;
  answer.detailBytes = page.bytes;
  answer.detailAt = 0;
  answer.detailLength = page.length;
}

function writeCover(page: GrowingBytes, covered: readonly number[]): void {
  const from = covered[0] ?? 0;
  const size = covered.length === 0 ? 0 : ((covered[covered.length - 1] - from) >> 3) + 1;
  page.ensure(2 + size);
  const { view, bytes, length } = page;
  view.setUint16(length, from, true);
  const at = length + 2;
  bytes.fill(0, at, at + size);
  for (const slot of covered) bytes[at + ((slot - from) >> 3)] |= 1 << ((slot - from) & 7);
  page.length = at + size;
}

/** A page being read: one entry at a time. */
export class ListPage {
  next = 0;
  count = 0;
  /** Of the entry that `readListEntry` read last. */
  slot = 0;
  keyAt = 0;
  keyLength = 0;
  stateAt = 0;
}

/** Reads the head of the page at `at`, which ends at `end`; returns where its first entry is. */
export function readListPage({ view }: ByteSource, at: number, end: number, page: ListPage): number {
  if (at + PAGE_HEAD_BYTES > end) throw new ProtocolError(`page at ${at}: its head is cut off`);
  page.next = view.getUint32(at, true);
  page.count = view.getUint32(at + 4, true);
  return at + PAGE_HEAD_BYTES;
}

/** Reads the entry at `at` into `page` and its state into `state`; returns where the next one is. */
export function readListEntry(
  source: ByteSource,
  at: number,
  end: number,
  page: ListPage,
  state: Answer,
): number {
  if (at + ENTRY_HEAD_BYTES > end) throw new ProtocolError(`entry at ${at}: its head is cut off`);
  page.slot = source.view.getUint16(at, true);
  page.keyLength = source.view.getUint16(at + 2, true);
  page.keyAt = at + ENTRY_HEAD_BYTES;
  page.stateAt = page.keyAt + page.keyLength;
  return readState(source, page.stateAt, end, state);
}

/** The slots that the page speaks for: `at` is where its last entry ended, `end` its end. */
export function readListCover({ view, bytes }: ByteSource, at: number, end: number): number[] {
  if (at + 2 > end) throw new ProtocolError(`cover at ${at}: its head is cut off`);
  const from = view.getUint16(at, true);
  const slots: number[] = [];
  for (let byte = at + 2; byte < end; byte++) {
    for (let bit = 0; bit < 8; bit++) {
      if ((bytes[byte] & (1 << bit)) !== 0) slots.push(from + (byte - at - 2) * 8 + bit);
    }
  }
  return slots;
}
