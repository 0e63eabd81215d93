/**
 * How a lane comes by slots: it reads the slot records and the living terms,
 * and claims what has no living owner and falls to it. Each claim is a Txn on
 * the record's revision and on the absence of the dead owner's term key, so two
 * lanes can never both win, and nobody wins against a living owner.
 *
 * A claim whose reply was lost is found again by the next reading: a record
 * that names this term though the lane does not serve the slot.
 *
 * For now one process serves a shard: that of its oldest living term. The
 * others stand by.
 */
import { LIMITS } from '../limits.ts';
import type { Change, Compare, ShardStore } from '../shard/store.ts';
import { eachEntry } from '../shard/store.ts';
import {
  decodeSlotRecord,
  decodeTermRecord,
  encodeRecord,
  SLOT_PREFIX,
  slotKey,
  TERM_PREFIX,
  termKey,
  type SlotRecord,
  type TermRecord,
} from '../slots/records.ts';
import { laneOf } from '../slots/rendezvous.ts';

export interface Claimed {
  readonly slot: number;
  readonly record: SlotRecord;
}

export interface Claimant {
  readonly term: string;
  readonly process: string;
  readonly lane: number;
  readonly lanes: number;
}

/** Half the bound: each slot takes a compare of its own, and its dead owner may take another. */
const SLOTS_A_TXN = LIMITS.txnOpsMax / 2 - 1;

/** All terms whose key is there now. */
export async function livingTerms(store: ShardStore): Promise<Map<string, TermRecord>> {
  const living = new Map<string, TermRecord>();
  await eachEntry(store, TERM_PREFIX, {}, (entry) => {
    living.set(entry.key.slice(TERM_PREFIX.length), decodeTermRecord(entry.value));
  });
  return living;
}

/** True when the process of the oldest living term is this one. */
export function isServing(living: ReadonlyMap<string, TermRecord>, process: string): boolean {
  let oldest: TermRecord | undefined;
  let oldestId = '';
  for (const [id, term] of living) {
    if (oldest === undefined || term.born < oldest.born || (term.born === oldest.born && id < oldestId)) {
      oldest = term;
      oldestId = id;
    }
  }
  return oldest?.process === process;
}

/**
 * Claims every slot that falls to this lane. `claimed`: all slots whose record
 * now names its term and that it does not serve yet (`serves`); `complete` is
 * false when another lane changed a record meanwhile or a claim failed.
 * A claim that failed or whose reply was lost is looked at again by the next call.
 * @throws ShardError when the records can't be read
 */
export async function claimSlots(
  store: ShardStore,
  me: Claimant,
  living: ReadonlyMap<string, TermRecord>,
  nextSeq: () => number,
  serves: (slot: number) => boolean,
): Promise<{ claimed: Claimed[]; complete: boolean }> {
  let complete = true;
  const mine: Claimed[] = [];
  const free: (Claimed & { modRevision: number })[] = [];
  const serving = isServing(living, me.process);
  await eachEntry(store, SLOT_PREFIX, {}, (entry) => {
    const slot = Number(entry.key.slice(SLOT_PREFIX.length));
    const record = decodeSlotRecord(entry.value);
    if (record.owner === me.term) {
      if (!serves(slot)) mine.push({ slot, record });
    } else if (
      serving &&
      !(record.owner !== null && living.has(record.owner)) &&
      laneOf(slot, me.lanes) === me.lane
    ) {
      free.push({ slot, record, modRevision: entry.modRevision });
    }
  });
  const claims: Promise<Claimed[] | undefined>[] = [];
  for (let at = 0; at < free.length; at += SLOTS_A_TXN) {
    claims.push(claimSome(store, me, free.slice(at, at + SLOTS_A_TXN), nextSeq()));
  }
  for (const claim of await Promise.allSettled(claims)) {
    if (claim.status === 'fulfilled' && claim.value !== undefined) mine.push(...claim.value);
    else complete = false;
  }
  return { claimed: mine, complete };
}

/** One Txn over `slots`; undefined when one of them changed meanwhile: the next reading tells. */
async function claimSome(
  store: ShardStore,
  me: Claimant,
  slots: readonly (Claimed & { modRevision: number })[],
  from: number,
): Promise<Claimed[] | undefined> {
  const compares: Compare[] = [];
  const changes: Change[] = [];
  const claimed: Claimed[] = [];
  const dead = new Set<string>();
  for (const { slot, record, modRevision } of slots) {
    const segments = [...record.segments, { term: me.term, from, to: null }];
    const mine: SlotRecord = { ...record, owner: me.term, segments };
    compares.push({ key: slotKey(slot), modRevision });
    changes.push({ put: slotKey(slot), value: encodeRecord(mine) });
    claimed.push({ slot, record: mine });
    if (record.owner !== null) dead.add(record.owner);
  }
  for (const term of dead) compares.push({ key: termKey(term), modRevision: 0 });
  const result = await store.txn({ compares, changes });
  return result.succeeded ? claimed : undefined;
}
