import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES_MIN, encodeCheckpoint } from '../../src/lock/checkpoint.ts';
import { describeCheckpoint, describeEntry } from '../../src/lock/dump.ts';
import {
  decodeSlotRecord,
  decodeTermRecord,
  encodeRecord,
  encodeTermRecord,
  type SlotRecord,
} from '../../src/slots/records.ts';
import { type EffectRead, fingerprint, readCheckpoint, readEntry } from './documented-reader.ts';
import { history, runStep } from './histories.ts';
import { SLOT, SlotRig } from './slot-rig.ts';
import { claimsOf } from './slot-state.ts';

const REASONS: Readonly<Record<number, string>> = { 0x10: 'released', 0x20: 'expired' };
const page = readFileSync(new URL('../../docs/journal.md', import.meta.url), 'utf8');

/** The bytes of the examples: groups of hex digits at the start of a line, up to two spaces and a word. */
function examples(): Buffer[] {
  const blocks = page.split('```').filter((block, i) => i % 2 === 1 && block.startsWith('\n01'));
  return blocks.map((block) => {
    const lines = block
      .trim()
      .split('\n')
      .map((line) => /^ *((?:[0-9a-f]{2})+(?: {1,2}(?:[0-9a-f]{2})+)*)(?= {3}|$)/.exec(line)![1]);
    return Buffer.from(lines.join('').replaceAll(' ', ''), 'hex');
  });
}

/** What dump.ts says of the same effect. */
function inWords(effect: EffectRead): unknown {
  const { slot, number } = effect;
  if (effect.kind === 3) {
    const { of, hash, reason } = effect;
    return { slot, number, effect: 'ended', fencingToken: of, hash, reason: REASONS[reason] };
  }
  if (effect.kind === 2) {
    const { of, hash, ttlMs, metadata } = effect;
    return { slot, number, effect: 'renewed', fencingToken: of, hash, ttlMs, ...(metadata && { metadata }) };
  }
  return { slot, number, effect: 'granted', ...claimInWords(effect.claim) };
}

function claimInWords(claim: ReturnType<typeof readCheckpoint>['claims'][number]): object {
  const { fencingToken, hash, ttlMs, key, token, owner, metadata } = claim;
  const [name, namespace] = key.split('\0').reverse();
  return {
    fencingToken,
    name,
    ...(namespace && { namespace }),
    hash,
    ttlMs,
    tokenFingerprint: fingerprint(hash, token),
    ...(owner && { owner }),
    ...(metadata && { metadata }),
  };
}

describe('docs/journal.md', () => {
  it('has examples that are what it says of them', () => {
    const [entry, checkpoint, handOver] = examples();
    expect(describeEntry(entry)).toMatchObject([
      { effect: 'granted', slot: 18, number: 300, name: 'order-1', owner: 'me', ttlMs: 30_000 },
      { effect: 'renewed', slot: 18, number: 301, fencingToken: 300, ttlMs: 60_000 },
      { effect: 'ended', slot: 18, number: 302, fencingToken: 300, reason: 'released' },
    ]);
    expect(describeCheckpoint([checkpoint])).toMatchObject([
      { record: 'state', slot: 7, counter: 3 },
      { record: 'claim', fencingToken: 1, name: 'a', ttlMs: 30_000, hash: 'f0000061' },
      { record: 'ended', ageMs: 0 },
    ]);
    expect(describeCheckpoint([handOver])).toMatchObject([
      { record: 'state', slot: 7, counter: 1 },
      { record: 'claim', fencingToken: 1, name: 'a', ttlMs: 30_000 },
      { record: 'left', leftMs: 10_025 },
    ]);
    const [, high, low] = /→ high ([0-9a-f]{8}), low ([0-9a-f]{8})/.exec(page)!;
    expect(fingerprint('12345678', Buffer.from('0123456789abcdef'))).toBe(high + low);
  });

  it('is enough to read every entry and checkpoint', () => {
    fc.assert(
      fc.property(history, fc.boolean(), (steps, handedOver) => {
        const rig = new SlotRig();
        for (const step of steps) runStep(rig, step);
        rig.seal();
        for (const entry of rig.entries) {
          expect(describeEntry(entry)).toEqual(readEntry(Buffer.from(entry)).map(inWords));
        }
        const chunks = encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN, handedOver ? rig.now : undefined);
        const read = readCheckpoint(chunks.map((chunk) => Buffer.from(chunk)));
        expect(read).toMatchObject({ slot: SLOT, counter: rig.slot.counter });
        expect(new Set(read.claims.map(({ key }) => key))).toEqual(new Set(claimsOf(rig.slot).keys()));
        expect(describeCheckpoint(chunks).slice(1)).toEqual([
          ...read.claims.flatMap((claim) => {
            const inWords = { record: 'claim', ...claimInWords(claim) };
            return handedOver ? [inWords, { record: 'left', leftMs: claim.leftMs }] : [inWords];
          }),
          ...read.ended.map(({ ageMs, fingerprint: tokenFingerprint }) => ({
            record: 'ended',
            tokenFingerprint,
            ageMs,
          })),
        ]);
      }),
      { numRuns: 200 },
    );
  });

  it('shows records as they are written, member by member', () => {
    const [term, slot] = [...page.matchAll(/```json\n(.*?)```/gs)].map(([, json]) => {
      return Buffer.from(JSON.stringify(JSON.parse(json)));
    });
    expect(encodeTermRecord(decodeTermRecord(term))).toEqual(term);
    expect(decodeTermRecord(term)).toMatchObject({ state: 'serving', seq: 42 });
    const full: SlotRecord = {
      epoch: 1,
      owner: '00000000000000aa',
      next: null,
      checkpoint: { term: '00000000000000aa', seq: 41, chunks: 1, bytes: 312 },
      segments: [{ term: '00000000000000aa', from: 42, to: null }],
    };
    expect(slot).toEqual(encodeRecord(full));
    expect(decodeSlotRecord(slot)).toEqual(full);
  });
});
