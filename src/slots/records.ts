/**
 * What Holdfast keeps in a shard beside journal entries and checkpoints: the
 * keys, and the records that are JSON text (docs/journal.md, "Keys and records").
 *
 * Slot records are made once, at the birth of the cluster. An absent record
 * means "not here", never "free".
 */
import { Buffer } from 'node:buffer';

const PREFIX = 'holdfast/';

export const JOURNAL_PREFIX = `${PREFIX}journal/`;
export const CHECKPOINT_PREFIX = `${PREFIX}checkpoint/`;
export const SLOT_PREFIX = `${PREFIX}slot/`;
export const TERM_PREFIX = `${PREFIX}term/`;
export const CLUSTER_KEY = `${PREFIX}cluster`;

const SEQ_DIGITS = 12;
const SLOT_DIGITS = 5;

export function termKey(term: string): string {
  return TERM_PREFIX + term;
}

export function slotKey(slot: number): string {
  return SLOT_PREFIX + String(slot).padStart(SLOT_DIGITS, '0');
}

export function journalPrefix(term: string): string {
  return `${JOURNAL_PREFIX}${term}/`;
}

export function journalKey(term: string, seq: number): string {
  return journalPrefix(term) + String(seq).padStart(SEQ_DIGITS, '0');
}

/** The seq at the end of a journal key. */
export function seqOfJournalKey(key: string): number {
  return Number(key.slice(key.lastIndexOf('/') + 1));
}

export function checkpointPrefix(slot: number, position: Position): string {
  const cut = `${position.term}-${String(position.seq).padStart(SEQ_DIGITS, '0')}`;
  return `${checkpointsOfSlot(slot)}${cut}/`;
}

export function checkpointsOfSlot(slot: number): string {
  return `${CHECKPOINT_PREFIX}${String(slot).padStart(SLOT_DIGITS, '0')}/`;
}

export function checkpointKey(slot: number, position: Position, chunk: number): string {
  return checkpointPrefix(slot, position) + String(chunk).padStart(4, '0');
}

/** A place in a journal: all effects of `term` in entries up to and with `seq`. */
export interface Position {
  readonly term: string;
  readonly seq: number;
}

/** A stretch of one term's journal that may hold effects of a slot. */
export interface Segment {
  readonly term: string;
  readonly from: number;
  /** null: as far as that term got. */
  readonly to: number | null;
}

export interface CheckpointRef extends Position {
  readonly chunks: number;
}

export interface SlotRecord {
  /** Raised whenever the slot moves to another shard. */
  readonly epoch: number;
  /** The term that may write for the slot; null: none yet. */
  readonly owner: string | null;
  readonly checkpoint: CheckpointRef | null;
  /** The journal since the checkpoint, oldest first. */
  readonly segments: readonly Segment[];
}

export const NEW_SLOT: SlotRecord = { epoch: 1, owner: null, checkpoint: null, segments: [] };

export interface TermRecord {
  readonly process: string;
  readonly address: string;
  readonly version: string;
  readonly lane: number;
  /** The store's revision just before the term began: orders terms by age. */
  readonly born: number;
  /** Fixed width, last: the commit path overwrites it in place. */
  readonly seq: number;
}

export interface ClusterRecord {
  readonly format: 1;
  readonly id: string;
  readonly slots: number;
  readonly hash: 'halfsiphash-1-3';
  /** 16 hex characters: the key of the hash that spreads names over slots. */
  readonly hashKey: string;
  /** 64 hex characters: key of the tokens made from idempotency keys. */
  readonly secret: string;
  /** The name of the shard that this copy is in. */
  readonly shard: string;
  /** The shards, with weights, over which the slots were spread at birth. */
  readonly birth: readonly { readonly name: string; readonly weight: number }[];
  /** True once every shard has all its slot records. */
  readonly born: boolean;
}

export function encodeRecord(record: SlotRecord | ClusterRecord): Uint8Array {
  return Buffer.from(JSON.stringify(record));
}

export function decodeSlotRecord(value: Uint8Array): SlotRecord {
  return JSON.parse(Buffer.from(value).toString('utf8')) as SlotRecord;
}

export function decodeClusterRecord(value: Uint8Array): ClusterRecord {
  return JSON.parse(Buffer.from(value).toString('utf8')) as ClusterRecord;
}

/** A term's value with room to overwrite the seq: `…,"seq":"000000000000"}`. */
export function encodeTermRecord(record: TermRecord): Uint8Array {
  const { seq, ...rest } = record;
  return Buffer.from(JSON.stringify({ ...rest, seq: String(seq).padStart(SEQ_DIGITS, '0') }));
}

/** Overwrites the seq in a value that encodeTermRecord made. */
export function patchTermSeq(value: Uint8Array, seq: number): void {
  let rest = seq;
  for (let at = value.length - 3; at > value.length - 3 - SEQ_DIGITS; at--) {
    value[at] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

export function decodeTermRecord(value: Uint8Array): TermRecord {
  const record = JSON.parse(Buffer.from(value).toString('utf8')) as Omit<TermRecord, 'seq'> & { seq: string };
  return { ...record, seq: Number(record.seq) };
}
