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
import {
  type EffectRead,
  fingerprint,
  readCheckpoint,
  readEntry,
  type RecordRead,
} from './documented-reader.ts';
import { history, richHistory, runStep } from './histories.ts';
import { SLOT, SlotRig } from './slot-rig.ts';
import { rowsOf } from './slot-state.ts';

const REASONS: Readonly<Record<number, readonly string[]>> = {
  3: ['', 'released', 'expired', 'forced', 'session_ended'],
  6: ['', 'released', 'cancelled', 'wait_timeout', 'lost'],
  9: ['', 'released', 'expired'],
};
const NAMES = { 3: 'ended', 5: 'promoted', 6: 'withdrawn', 9: 'closed', 10: 'confirmed' } as const;
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
  const { slot, number, kind } = effect;
  const where = { slot, number };
  switch (kind) {
    case 1:
      return { ...where, effect: 'granted', fencingToken: number, ...claimInWords(effect.claim) };
    case 4:
      return { ...where, effect: 'queued', ...claimInWords(effect.claim) };
    case 8:
      return { ...where, effect: 'opened', ...stubInWords(effect.stub) };
  }
  const meant = { ...where, fencingToken: effect.of, hash: effect.hash };
  switch (kind) {
    case 2: {
      const { ttlMs, metadata } = effect;
      return { ...meant, effect: 'renewed', ttlMs, ...(metadata && { metadata }) };
    }
    case 7: {
      const { one, reason, principal } = effect;
      return {
        ...meant,
        effect: 'cleared',
        all: !one,
        ...(reason && { reason }),
        ...(principal && { principal }),
      };
    }
    case 11:
      return { ...meant, effect: 'joined', ...joinedInWords(effect) };
    case 5:
    case 10:
      return { ...meant, effect: NAMES[kind] };
    default:
      return { ...meant, effect: NAMES[kind], reason: REASONS[kind][effect.reason >> 4] };
  }
}

function claimInWords(claim: Extract<EffectRead, { kind: 1 | 4 }>['claim']): object {
  const { hash, ttlMs, key, token, owner, metadata, principal, limit, lockDelayMs, keyed } = claim;
  const [name, namespace] = key.split('\0').reverse();
  const mode = ['', 'shared', 'semaphore'][claim.mode];
  return {
    name,
    ...(namespace && { namespace }),
    hash,
    ttlMs,
    tokenFingerprint: fingerprint(hash, token),
    ...(mode && { mode }),
    ...(limit && { limit }),
    ...(owner && { owner }),
    ...(principal && { principal }),
    ...(lockDelayMs && { lockDelayMs }),
    ...(keyed && { keyed }),
    ...(claim.stub && { session: claim.stub }),
    ...(claim.batch && { batch: claim.batch }),
    ...(metadata && { metadata }),
  };
}

function stubInWords({
  key,
  hash,
  ttlMs,
  owner,
  principal,
}: Extract<EffectRead, { kind: 8 }>['stub']): object {
  const markAt = key[0] < 4 ? 0 : key.indexOf(0) + 1;
  const namespace = key.subarray(0, Math.max(0, markAt - 1)).toString();
  return {
    ...(namespace && { namespace }),
    of: ['', 'session', 'session stub', 'batch'][key[markAt]],
    idFingerprint: fingerprint('0', key.subarray(markAt + 1)),
    hash,
    ttlMs,
    ...(owner && { owner }),
    ...(principal && { principal }),
  };
}

function joinedInWords({ sessionSlot, active }: { sessionSlot: number; active: boolean }): object {
  return { sessionSlot, state: active ? 'active' : 'pending' };
}

/** What dump.ts says of the same record. */
function recordInWords(record: RecordRead): object {
  switch (record.kind) {
    case 1:
    case 7: {
      const { claim, kind } = record;
      return { record: kind === 1 ? 'claim' : 'delay', fencingToken: claim.number, ...claimInWords(claim) };
    }
    case 5:
      return { record: 'waiter', number: record.claim.number, ...claimInWords(record.claim) };
    case 6:
      return { record: 'stub', number: record.stub.number, ...stubInWords(record.stub) };
    case 4:
      return { record: 'left', leftMs: record.leftMs };
    case 8:
      return { record: 'joined', ...joinedInWords(record) };
    default: {
      const { kind, ageMs, fingerprint: tokenFingerprint } = record;
      return { record: kind === 2 ? 'ended' : 'keyed', ageMs, tokenFingerprint };
    }
  }
}

describe('docs/journal.md', () => {
  it('has examples that are what it says of them', () => {
    const [entry, another, checkpoint, handOver, handOverOfMore] = examples();
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
    expect(describeEntry(another)).toMatchObject([
      { effect: 'granted', number: 1, name: 'a', mode: 'shared', principal: 'ci' },
      { effect: 'queued', number: 2, name: 'a', principal: 'ci' },
      { effect: 'cleared', number: 3, fencingToken: 1, all: true, reason: 'stuck', principal: 'ops' },
      { effect: 'promoted', number: 4, fencingToken: 2 },
      { effect: 'opened', number: 5, of: 'session stub', ttlMs: 10_000, hash: '00000005' },
      { effect: 'granted', number: 6, name: 'b', mode: 'semaphore', limit: 3, session: 5 },
      { effect: 'queued', number: 7, name: 'a' },
      { effect: 'closed', number: 8, fencingToken: 5, reason: 'released' },
    ]);
    expect(describeCheckpoint([handOverOfMore])).toMatchObject([
      { record: 'state', slot: 7, counter: 7 },
      { record: 'stub', number: 5, of: 'session stub' },
      { record: 'left', leftMs: 10_015 },
      { record: 'claim', fencingToken: 4, name: 'a' },
      { record: 'left', leftMs: 30_025 },
      { record: 'waiter', number: 7, name: 'a' },
      { record: 'claim', fencingToken: 6, name: 'b', session: 5 },
      { record: 'ended', ageMs: 0 },
    ]);
    const [, high, low] = /→ high ([0-9a-f]{8}), low ([0-9a-f]{8})/.exec(page)!;
    expect(fingerprint('12345678', Buffer.from('0123456789abcdef'))).toBe(high + low);
  });

  it('has examples that are what Holdfast writes', () => {
    const rig = new SlotRig();
    const [a, b] = [
      { kind: 'acquire', name: 'a', ttlMs: 30_000 } as const,
      { kind: 'acquire', name: 'b' } as const,
    ];
    const waits = { waitMs: 60_000, attempt: 1 };
    const session = 'uuid:0123456789abcdef';
    rig.run({ ...a, token: 'uuid:ABCDEFGHIJKLMNOP', mode: 'shared', principal: 'ci' });
    rig.run({ ...a, token: 'uuid:QRSTUVWXYZabcdef', principal: 'ci', ...waits });
    rig.run({ kind: 'force', name: 'a', metadata: 'stuck', principal: 'ops' });
    const place = { mode: 'semaphore', limit: 3, session, flags: ['newStub'] } as const;
    rig.run({ ...b, token: 'uuid:ghijklmnopqrstuv', ttlMs: 10_000, ...place });
    rig.run({ ...a, token: 'uuid:wxyzABCDEFGHIJKL', ...waits });
    const handOver = encodeCheckpoint(rig.slot, 9_000, rig.now);
    rig.run({ kind: 'stubEnd', name: '', session });
    rig.seal();
    const [, another, , , handOverOfMore] = examples();
    expect(Buffer.from(rig.entries[0]).toString('hex')).toBe(another.toString('hex'));
    expect(handOver.map((chunk) => Buffer.from(chunk).toString('hex'))).toEqual([
      handOverOfMore.toString('hex'),
    ]);
  });

  it('is enough to read every entry and checkpoint', () => {
    const histories = fc.oneof(history, richHistory(false), richHistory(false));
    fc.assert(
      fc.property(histories, fc.boolean(), (steps, handedOver) => {
        const rig = new SlotRig();
        for (const step of steps) runStep(rig, step);
        rig.seal();
        for (const entry of rig.entries) {
          expect(describeEntry(entry)).toEqual(readEntry(Buffer.from(entry)).map(inWords));
        }
        const chunks = encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN, handedOver ? rig.now : undefined);
        const read = readCheckpoint(chunks.map((chunk) => Buffer.from(chunk)));
        expect(read).toMatchObject({ slot: SLOT, counter: rig.slot.counter });
        expect(describeCheckpoint(chunks).slice(1)).toEqual(read.records.map(recordInWords));
        const locks = read.records.flatMap((record) => ('claim' in record ? [record.claim.number] : []));
        const wanted = rowsOf(rig.slot).filter(({ kind }) => ['claim', 'waiter', 'delay'].includes(kind));
        expect(locks.sort((a, b) => a - b)).toEqual(wanted.map(({ fencingToken }) => fencingToken));
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
