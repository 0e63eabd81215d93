import { describe, expect, it } from 'vitest';
import {
  checkpointKey,
  checkpointPrefix,
  decodeSlotRecord,
  decodeTermRecord,
  encodeRecord,
  encodeTermRecord,
  journalKey,
  NEW_SLOT,
  patchTermSeq,
  patchTermState,
  seqOfJournalKey,
  slotOfCheckpointKey,
  TERM_STATES,
  type SlotRecord,
  type TermRecord,
} from '../../src/slots/records.ts';

const A = 'a'.repeat(16);
const text = (value: Uint8Array): string => Buffer.from(value).toString('utf8');
const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

const TERM: TermRecord = {
  process: 'p',
  address: 'p:1',
  version: '1',
  lane: 3,
  born: 77,
  state: 'serving',
  seq: 0,
};

describe('a term record', () => {
  it('ends with state and seq, each in a fixed width', () => {
    expect(text(encodeTermRecord(TERM))).toBe(
      '{"process":"p","address":"p:1","version":"1","lane":3,"born":77,"state":"s","seq":"000000000000"}',
    );
  });

  it('has both overwritten in place, in any order, and nothing else', () => {
    for (const version of ['1', '"quoted" \u00e4, "state":"s","seq":"000000000000"}']) {
      const record = { ...TERM, version };
      const value = encodeTermRecord(record);
      const { length } = value;
      for (const state of [...TERM_STATES, ...TERM_STATES]) {
        for (const seq of [0, 9, 123_456_789_012, 7]) {
          patchTermState(value, state);
          patchTermSeq(value, seq);
          expect(decodeTermRecord(value)).toEqual({ ...record, state, seq });
          expect(value.length).toBe(length);
        }
      }
      patchTermSeq(value, 5);
      patchTermState(value, 'isolated');
      expect(decodeTermRecord(value)).toEqual({ ...record, state: 'isolated', seq: 5 });
    }
  });

  it('has states that differ in their first letters', () => {
    expect(new Set(TERM_STATES.map((state) => state[0])).size).toBe(TERM_STATES.length);
  });

  it('of an earlier version serves', () => {
    const { state: _, ...earlier } = TERM;
    expect(decodeTermRecord(bytes({ ...earlier, seq: '000000000012' }))).toEqual({ ...TERM, seq: 12 });
  });
});

describe('a slot record', () => {
  it('comes back as it was', () => {
    const record: SlotRecord = {
      epoch: 2,
      owner: null,
      next: A,
      checkpoint: { term: A, seq: 5, chunks: 2, bytes: 300 },
      segments: [{ term: A, from: 6, to: null }],
    };
    for (const one of [record, NEW_SLOT]) expect(decodeSlotRecord(encodeRecord(one))).toEqual(one);
  });

  it('of an earlier version is not handed to anybody', () => {
    const { next: _, ...earlier } = NEW_SLOT;
    expect(decodeSlotRecord(bytes(earlier))).toEqual(NEW_SLOT);
  });

  it('of an earlier version has a checkpoint whose size can be reckoned with', () => {
    const checkpoint = { term: A, seq: 5, chunks: 3 };
    const record = decodeSlotRecord(bytes({ epoch: 1, owner: A, checkpoint, segments: [] }));
    expect(record).toMatchObject({ owner: A, next: null, checkpoint });
    expect(record.checkpoint!.bytes).toBeGreaterThan(0);
  });
});

describe('keys', () => {
  it('tell what they are of', () => {
    expect(seqOfJournalKey(journalKey(A, 123))).toBe(123);
    for (const slot of [0, 7, 4_095, 65_535]) {
      const position = { term: A, seq: 99 };
      expect(slotOfCheckpointKey(checkpointKey(slot, position, 12))).toBe(slot);
      expect(checkpointKey(slot, position, 12).startsWith(checkpointPrefix(slot, position))).toBe(true);
    }
  });

  it('are in the order of their numbers', () => {
    const keys = [1, 2, 10, 300].map((chunk) => checkpointKey(5, { term: A, seq: 1 }, chunk));
    expect([...keys].sort()).toEqual(keys);
    expect(journalKey(A, 9) < journalKey(A, 10)).toBe(true);
  });
});
