/**
 * How a lane comes by slots. A record that this lane may claim
 *   was handed to its term          → the Txn compares the record's revision
 *   names a term that is over, whose
 *     one heir this term is         → and that the dead term's key is absent
 *   has never had an owner, and
 *     falls to this term            → the record's revision
 * so two lanes can never both win, and nobody wins against a living owner.
 *
 * A claim whose reply was lost is found again: a record that names this term
 * though the lane does not serve the slot.
 */
import { LIMITS } from '../limits.ts';
import type { Change, Compare, ShardStore } from '../shard/store.ts';
import { eachChangedAfter } from '../shard/store.ts';
import type { Placement } from '../slots/placement.ts';
import {
  decodeTermRecord,
  encodeRecord,
  slotKey,
  TERM_PREFIX,
  termKey,
  type SlotRecord,
  type TermRecord,
} from '../slots/records.ts';
import type { SeenRecord, SlotView } from './view.ts';

export interface Claimed {
  readonly slot: number;
  readonly record: SlotRecord;
  /** It was handed to this very term: the times that its claims had left count. */
  readonly direct: boolean;
}

interface Claimable extends SeenRecord {
  readonly slot: number;
  readonly direct: boolean;
}

/** Half the bound: each slot takes a compare of its own, and its dead owner may take another. */
const SLOTS_A_TXN = LIMITS.txnOpsMax / 2 - 1;

/** All terms whose key is there now. */
export async function livingTerms(store: ShardStore): Promise<Map<string, TermRecord>> {
  const living = new Map<string, TermRecord>();
  await eachChangedAfter(store, TERM_PREFIX, 0, ({ key, value }) => {
    living.set(key.slice(TERM_PREFIX.length), decodeTermRecord(value));
  });
  return living;
}

export interface Claimant {
  readonly term: string;
  readonly living: ReadonlyMap<string, TermRecord>;
  readonly placement: Placement;
  /** Others of its process begin just now: only what was handed to it is claimed. */
  readonly early: boolean;
  /** The seq that the next effect will be journaled with, at the earliest. */
  nextSeq(): number;
  /** Decides ops on the slot. */
  serves(slot: number): boolean;
  /** Is just handing the slot over. */
  hands(slot: number): boolean;
}

/**
 * Claims every slot that this lane may and should have. `claimed`: all slots
 * whose record now names its term and that it does not serve yet; `complete` is
 * false when another lane changed a record meanwhile or a claim failed.
 */
export async function claimSlots(
  store: ShardStore,
  me: Claimant,
  view: SlotView,
): Promise<{ claimed: Claimed[]; complete: boolean }> {
  const claimed: Claimed[] = [];
  const open: Claimable[] = [];
  for (const [slot, { record, modRevision }] of view.records) {
    // Were the record another's, or free, this term would be over, and not know it yet.
    if (me.serves(slot)) continue;
    if (record.owner === me.term) {
      if (!me.hands(slot)) claimed.push({ slot, record, direct: false });
    } else if (mayClaim(slot, record, me)) {
      open.push({ slot, record, modRevision, direct: record.next === me.term });
    }
  }
  // Apart: what was handed over must not fail for what a dead term left.
  const direct = open.filter((slot) => slot.direct);
  const others = open.filter((slot) => !slot.direct);
  const claims = [...inTxns(direct), ...inTxns(others)].map((slots) => claimSome(store, me, view, slots));
  let complete = true;
  for (const claim of await Promise.allSettled(claims)) {
    if (claim.status === 'fulfilled' && claim.value !== undefined) claimed.push(...claim.value);
    else complete = false;
  }
  return { claimed, complete };
}

function inTxns(slots: readonly Claimable[]): Claimable[][] {
  const groups: Claimable[][] = [];
  for (let at = 0; at < slots.length; at += SLOTS_A_TXN) groups.push(slots.slice(at, at + SLOTS_A_TXN));
  return groups;
}

function mayClaim(slot: number, record: SlotRecord, me: Claimant): boolean {
  const last = record.owner ?? record.next;
  if (record.owner === null && last === me.term) return true;
  if (me.early) return false;
  if (last === null) return me.placement.ownerOf(slot) === me.term;
  return !me.living.has(last) && me.placement.heirOf(last) === me.term;
}

/** One Txn over `slots`; undefined when one of them changed meanwhile: the next reading tells. */
async function claimSome(
  store: ShardStore,
  me: Claimant,
  view: SlotView,
  slots: readonly Claimable[],
): Promise<Claimed[] | undefined> {
  const from = me.nextSeq();
  const compares: Compare[] = [];
  const changes: Change[] = [];
  const claimed: Claimed[] = [];
  const dead = new Set<string>();
  for (const { slot, record, modRevision, direct } of slots) {
    const segments = [...record.segments, { term: me.term, from, to: null }];
    const mine: SlotRecord = { ...record, owner: me.term, next: null, segments };
    compares.push({ key: slotKey(slot), modRevision });
    changes.push({ put: slotKey(slot), value: encodeRecord(mine) });
    claimed.push({ slot, record: mine, direct });
    const last = record.owner ?? record.next;
    if (last !== null && !direct) dead.add(last);
  }
  for (const term of dead) compares.push({ key: termKey(term), modRevision: 0 });
  const result = await store.txn({ compares, changes });
  if (!result.succeeded) return undefined;
  view.wrote(
    claimed.map(({ slot, record }) => [slot, record] as const),
    result.revision,
  );
  return claimed;
}
