/**
 * Reads slots back after a take-over: their checkpoints, then the journals that
 * their records name. Effects are numbered without gaps per slot, so an effect
 * that comes too early tells that another journal has to be replayed first: the
 * journals are gone through again until nothing more is applied.
 */
import { LIMITS } from '../limits.ts';
import { Arena, SLOTS_AN_ARENA } from '../lock/arena.ts';
import { loadCheckpoint } from '../lock/checkpoint.ts';
import { replayEntry } from '../lock/replay.ts';
import { Slot } from '../lock/slot.ts';
import type { KeyValue, Page, ShardStore } from '../shard/store.ts';
import {
  checkpointKey,
  journalKey,
  journalPrefix,
  type Segment,
  slotOfCheckpointKey,
} from '../slots/records.ts';
import { getMany, prefixEnd } from '../shard/store.ts';
import type { Claimed } from './takeover.ts';

export interface Recovered {
  readonly claimed: Claimed;
  readonly slot: Slot;
  /** The slot's counter in its checkpoint, and the bytes of that. */
  readonly checkpointCounter: number;
  readonly checkpointBytes: number;
}

/** The journal contradicts itself or misses something: the slot can't be served. */
export class RecoveryError extends Error {
  override readonly name = 'RecoveryError';
}

/** @throws ShardError, JournalError, RecoveryError */
export async function recover(
  store: ShardStore,
  claimed: readonly Claimed[],
  me: { term: string; endedKeepMs: number; now: () => number },
): Promise<Recovered[]> {
  const checkpoints = await readCheckpoints(store, claimed);
  let arena: Arena | undefined;
  const recovered = claimed.map((claim, i): Recovered => {
    const { slot: number, record, direct } = claim;
    if (i % SLOTS_AN_ARENA === 0) arena = new Arena();
    const slot = new Slot(number, me.endedKeepMs, arena);
    const chunks = checkpoints.get(number) ?? [];
    if (chunks.length !== (record.checkpoint?.chunks ?? 0)) {
      throw new RecoveryError(
        `slot ${number} has ${chunks.length} checkpoint chunks, its record names more or fewer`,
      );
    }
    // With a journal behind it the times would be of before its effects.
    const timed = direct && record.segments.every((segment) => segment.term === me.term);
    if (chunks.length > 0) loadCheckpoint(slot, chunks, me.now(), timed);
    const bytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    return { claimed: claim, slot, checkpointCounter: slot.counter, checkpointBytes: bytes };
  });
  await replayJournals(store, recovered, me);
  return recovered;
}

/** Reads under way at a time. */
const READS = 4;

async function readCheckpoints(
  store: ShardStore,
  claimed: readonly Claimed[],
): Promise<Map<number, Uint8Array[]>> {
  const chunks = new Map<number, Uint8Array[]>();
  const groups = keysInGroups(claimed);
  for (let at = 0; at < groups.length; at += READS) {
    const reads = groups.slice(at, at + READS).map((keys) => getMany(store, keys));
    for (const { key, value } of (await Promise.all(reads)).flat()) {
      const slot = slotOfCheckpointKey(key);
      const list = chunks.get(slot);
      if (list === undefined) chunks.set(slot, [value]);
      else list.push(value);
    }
  }
  return chunks;
}

/** The keys of all chunks, in groups that a reply can carry. */
function keysInGroups(claimed: readonly Claimed[]): string[][] {
  const groups: string[][] = [];
  let room = 0;
  for (const { slot, record } of claimed) {
    const { checkpoint } = record;
    if (checkpoint === null) continue;
    const bytes = Math.ceil(checkpoint.bytes / checkpoint.chunks);
    for (let chunk = 0; chunk < checkpoint.chunks; chunk++) {
      if (room < bytes || groups[groups.length - 1].length === LIMITS.txnOpsMax) {
        groups.push([]);
        room = LIMITS.pageBytesMax;
      }
      groups[groups.length - 1].push(checkpointKey(slot, checkpoint, chunk));
      room -= bytes;
    }
  }
  return groups;
}

async function replayJournals(
  store: ShardStore,
  recovered: readonly Recovered[],
  me: { term: string; now: () => number },
): Promise<void> {
  const slots = new Map<number, Slot>();
  const segments = new Map<string, Segment>();
  for (const { claimed, slot } of recovered) {
    slots.set(claimed.slot, slot);
    for (const segment of claimed.record.segments) {
      if (segment.term !== me.term) segments.set(segment.term, widest(segments.get(segment.term), segment));
    }
  }
  const slotOf = (slot: number): Slot | undefined => slots.get(slot);
  for (let pass = 0; ; pass++) {
    let applied = 0;
    let early = 0;
    for (const segment of segments.values()) {
      const to =
        segment.to === null
          ? prefixEnd(journalPrefix(segment.term))
          : journalKey(segment.term, segment.to + 1);
      await eachOfSize(store, journalKey(segment.term, segment.from), to, (entry) => {
        const result = replayEntry(entry.value, 0, entry.value.length, slotOf, me.now());
        applied += result.applied;
        early += result.early;
      });
    }
    if (early === 0) return;
    if (applied === 0)
      throw new RecoveryError(`the journals of ${[...segments.keys()].join(', ')} miss entries`);
  }
}

function widest(a: Segment | undefined, b: Segment): Segment {
  if (a === undefined) return b;
  const to = a.to === null || b.to === null ? null : Math.max(a.to, b.to);
  return { term: a.term, from: Math.min(a.from, b.from), to };
}

/** Visits the entries of [from, to) in pages of about LIMITS.pageBytesMax. */
async function eachOfSize(
  store: ShardStore,
  from: string,
  to: string,
  visit: (entry: KeyValue) => void,
): Promise<void> {
  let limit = 4;
  for (let at = from; ;) {
    let page: Page;
    try {
      page = await store.range(at, to, { limit });
    } catch (error) {
      // Entries differ in size by a factor of 10,000: a page may be more than a reply can carry.
      if (limit === 1) throw error;
      limit = Math.ceil(limit / 8);
      continue;
    }
    let bytes = 1;
    for (const entry of page.entries) {
      visit(entry);
      bytes += entry.value.length;
    }
    if (!page.more || page.entries.length === 0) return;
    at = `${page.entries[page.entries.length - 1].key}\0`;
    const fits = Math.floor((page.entries.length * LIMITS.pageBytesMax) / bytes);
    limit = Math.max(1, Math.min(fits, limit * 4, 1_000));
  }
}
