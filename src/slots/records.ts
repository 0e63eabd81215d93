/**
 * What Holdfast keeps in a shard beside journal entries and checkpoints: the
 * keys, and the records that are JSON text (docs/journal.md, "Keys and records").
 *
 * Slot records are made once, at the birth of the cluster. An absent record
 * means "not here", never "free".
 */
import { Buffer } from 'node:buffer';
import { LIMITS } from '../limits.ts';

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

export function slotOfCheckpointKey(key: string): number {
  return Number(key.slice(CHECKPOINT_PREFIX.length, CHECKPOINT_PREFIX.length + SLOT_DIGITS));
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
  /** Of all chunks together. */
  readonly bytes: number;
}

export interface SlotRecord {
  /** Raised whenever the slot moves to another shard. */
  readonly epoch: number;
  /** The term that may write for the slot; null: none just now. */
  readonly owner: string | null;
  /** Without an owner: the term that it was handed to, and that alone may claim it while it lives. */
  readonly next: string | null;
  readonly checkpoint: CheckpointRef | null;
  /** The journal since the checkpoint, oldest first. */
  readonly segments: readonly Segment[];
}

export const NEW_SLOT: SlotRecord = { epoch: 1, owner: null, next: null, checkpoint: null, segments: [] };

/**
 * - serving: takes slots
 * - leaving: its process stops; it hands its slots over and gets no others
 * - isolated: other processes do not reach its process; likewise, while that lasts
 */
export const TERM_STATES = ['serving', 'leaving', 'isolated'] as const;
export type TermState = (typeof TERM_STATES)[number];

export interface TermRecord {
  readonly process: string;
  readonly address: string;
  readonly version: string;
  readonly lane: number;
  /** The store's revision just before the term began: orders terms by age. */
  readonly born: number;
  /** Fixed width, last: the commit path overwrites both in place. */
  readonly state: TermState;
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

/** Without what version 0.1.0 did not write yet. */
type StoredSlotRecord = Omit<SlotRecord, 'next' | 'checkpoint'> & {
  readonly next?: string | null;
  readonly checkpoint: (Omit<CheckpointRef, 'bytes'> & { readonly bytes?: number }) | null;
};

export function decodeSlotRecord(value: Uint8Array): SlotRecord {
  const record = JSON.parse(Buffer.from(value).toString('utf8')) as StoredSlotRecord;
  const { next = null, checkpoint } = record;
  if (checkpoint === null) return { ...record, next, checkpoint };
  const bytes = checkpoint.bytes ?? checkpoint.chunks * LIMITS.checkpointChunkBytes;
  return { ...record, next, checkpoint: { ...checkpoint, bytes } };
}

export function decodeClusterRecord(value: Uint8Array): ClusterRecord {
  return JSON.parse(Buffer.from(value).toString('utf8')) as ClusterRecord;
}

/** A term's value with room to overwrite state and seq: `…,"state":"s","seq":"000000000000"}`. */
export function encodeTermRecord(record: TermRecord): Uint8Array {
  const { state, seq, ...rest } = record;
  const fixed = { state: state[0], seq: String(seq).padStart(SEQ_DIGITS, '0') };
  return Buffer.from(JSON.stringify({ ...rest, ...fixed }));
}

/** Bytes of a term's value from its state's letter on. */
const FROM_STATE = 's","seq":"'.length + SEQ_DIGITS + '"}'.length;

/** Overwrites the state in a value that encodeTermRecord made. */
export function patchTermState(value: Uint8Array, state: TermState): void {
  value[value.length - FROM_STATE] = state.charCodeAt(0);
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
  const record = JSON.parse(Buffer.from(value).toString('utf8')) as Omit<TermRecord, 'state' | 'seq'> & {
    state: string;
    seq: string;
  };
  const state = TERM_STATES.find((name) => name[0] === record.state) ?? 'serving';
  return { ...record, state, seq: Number(record.seq) };
}
