/**
 * One page of a listing: the locks of one shard that this lane holds, in the
 * order of slot and name, from a cursor on: those with a holder that a get would
 * show. The answer leaves with a round trip
 * like any read; what it costs is bounded by rows looked at, not only by hits.
 */
import { Buffer } from 'node:buffer';
import { LIMITS } from '../limits.ts';
import { heldLocks, holdersOf } from '../lock/lock-view.ts';
import type { Slot } from '../lock/slot.ts';
import type { Op } from '../op.ts';
import { addPlace, Answer, writeAnswer } from '../protocol/answer.ts';
import { GrowingBytes } from '../protocol/bytes.ts';
import { beginListEntry, beginListPage, endListPage } from '../protocol/page.ts';
import { describeLock, describePlace } from './describe.ts';
import type { Hold } from './hold.ts';
import type { Round } from './round.ts';

const answer = new Answer();
const page = new GrowingBytes();

/** What a list op asks for (protocol/page.ts). */
interface Query {
  readonly fromSlot: number;
  readonly prefix: Uint8Array;
  readonly owner: Uint8Array;
  readonly after: Uint8Array;
  readonly limit: number;
  readonly now: number;
}

/** Writes the page that `op` asks for as its answer into `round`. `slots`: how many the cluster has. */
export function list(
  round: Round,
  op: Op,
  holds: ReadonlyMap<number, Hold>,
  slots: number,
  now: number,
): void {
  const query: Query = {
    fromSlot: op.fencingToken,
    prefix: op.bytes.subarray(op.keyAt, op.keyAt + op.keyLength),
    owner: op.bytes.subarray(op.ownerAt, op.ownerAt + op.ownerLength),
    after: op.bytes.subarray(op.metadataAt, op.metadataAt + op.metadataLength),
    limit: op.ttlMs,
    now,
  };
  const held = [...holds.keys()].filter((slot) => slot >= query.fromSlot).sort((a, b) => a - b);
  beginListPage(page);
  let looked = 0;
  let left = query.limit;
  let next = slots;
  const covered: number[] = [];
  for (const number of held) {
    if (left <= 0 || looked >= LIMITS.listRowsMax || isLong()) {
      next = number;
      break;
    }
    covered.push(number);
    const { slot } = holds.get(number)!;
    looked += slot.claims.count;
    const rows = matchingRows(slot, query);
    const added = addRows(slot, rows, left, now);
    if (added < rows.length) {
      next = number;
      break;
    }
    left -= added;
  }
  answer.id = op.id;
  endListPage(page, next, covered, answer);
  round.add(op, 0, 0, writeAnswer(round.answers, answer));
}

/** A row of each matching lock of one slot, by name, behind the cursor when it is the cursor's slot. */
function matchingRows(slot: Slot, query: Query): number[] {
  const rows: number[] = [];
  for (const row of heldLocks(slot)) {
    if (isWanted(slot, row, query)) rows.push(row);
  }
  return rows.sort((a, b) => Buffer.compare(keyOf(slot, a), keyOf(slot, b)));
}

/** Adds rows of one slot while there is room, `limit` at the most; returns how many. */
function addRows(slot: Slot, rows: readonly number[], limit: number, now: number): number {
  for (const [i, row] of rows.entries()) {
    if (i === limit || isLong()) return i;
    addRow(slot, row, now);
  }
  return rows.length;
}

/** Locks with thousands of holders may fill a page long before its limit. */
function isLong(): boolean {
  return page.length >= LIMITS.listPageBytesMax;
}

function addRow(slot: Slot, row: number, now: number): void {
  const { claims } = slot;
  describeLock(answer, slot, row);
  beginListEntry(page, slot.number, claims.bytes, claims.keyAt(row), claims.keyLength(row), answer);
  for (const holder of holdersOf(slot, row)) {
    describePlace(answer, slot, holder);
    answer.expiresInMs = Math.max(0, Math.floor(claims.promisedUntil(holder) - now));
    addPlace(page, answer);
  }
}

function keyOf(slot: Slot, row: number): Uint8Array {
  const { claims } = slot;
  return claims.bytes.subarray(claims.keyAt(row), claims.keyAt(row) + claims.keyLength(row));
}

function isWanted(slot: Slot, row: number, query: Query): boolean {
  const key = keyOf(slot, row);
  if (
    key.length < query.prefix.length ||
    Buffer.compare(key.subarray(0, query.prefix.length), query.prefix) !== 0
  )
    return false;
  // Without a namespace in the prefix, those of the other namespaces begin with it too.
  if (key.indexOf(0, query.prefix.length) >= 0) return false;
  if (slot.number === query.fromSlot && query.after.length > 0 && Buffer.compare(key, query.after) <= 0)
    return false;
  for (const holder of holdersOf(slot, row)) if (isOwned(slot, holder, query)) return true;
  return false;
}

/** The claim in `row` is not over, and of the owner asked for, if there is one. */
function isOwned({ claims }: Slot, row: number, { owner, now }: Query): boolean {
  if (claims.freeAt(row) <= now) return false;
  if (owner.length === 0) return true;
  const at = claims.ownerAt(row);
  return Buffer.compare(claims.bytes.subarray(at, at + claims.ownerLength(row)), owner) === 0;
}
