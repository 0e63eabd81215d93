import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES_MIN, encodeCheckpoint, loadCheckpoint } from '../../src/lock/checkpoint.ts';
import { JournalError } from '../../src/lock/codec.ts';
import { rearm, replayEntry } from '../../src/lock/replay.ts';
import { Slot } from '../../src/lock/slot.ts';
import { history, runStep } from './histories.ts';
import { ENDED_KEEP_MS, SLOT, SlotRig } from './slot-rig.ts';
import { claimsOf, durableState } from './slot-state.ts';

/** Nothing is forgotten: what replay remembers longer than the owner did is no difference. */
const KEEP_ALL_MS = 1e12;
const NOW = 5e6;

function replay(slot: Slot, entries: readonly Uint8Array[]): { applied: number; early: number } {
  let applied = 0;
  let early = 0;
  for (const entry of entries) {
    const result = replayEntry(entry, 0, entry.length, (number) => (number === SLOT ? slot : undefined), NOW);
    applied += result.applied;
    early += result.early;
  }
  return { applied, early };
}

describe('replay', () => {
  it('of everything gives the state, and again changes nothing', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const rig = new SlotRig(1_000, new Slot(SLOT, KEEP_ALL_MS));
        for (const step of steps) runStep(rig, step);
        rig.seal();
        const copy = new Slot(SLOT, KEEP_ALL_MS);
        expect(replay(copy, rig.entries)).toEqual({ applied: rig.slot.counter, early: 0 });
        expect(durableState(copy)).toEqual(durableState(rig.slot));
        expect(replay(copy, rig.entries)).toEqual({ applied: 0, early: 0 });
        expect(durableState(copy)).toEqual(durableState(rig.slot));
      }),
      { numRuns: 400 },
    );
  });

  it('from any checkpoint, with entries from any earlier point, some twice, gives the state', () => {
    const cuts = fc.tuple(
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
    );
    fc.assert(
      fc.property(history, cuts, fc.array(fc.nat(), { maxLength: 10 }), (steps, [cut, from], twice) => {
        const rig = new SlotRig(1_000, new Slot(SLOT, KEEP_ALL_MS));
        const at = Math.floor(cut * steps.length);
        let checkpoint = encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN);
        let entriesThen = 0;
        for (const [i, step] of steps.entries()) {
          if (i === at) {
            rig.seal();
            checkpoint = encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN);
            entriesThen = rig.entries.length;
          }
          runStep(rig, step);
        }
        rig.seal();
        const copy = new Slot(SLOT, KEEP_ALL_MS);
        loadCheckpoint(copy, checkpoint, NOW);
        const later = rig.entries.slice(Math.floor(from * entriesThen));
        const doubled = later.flatMap((entry, i) =>
          twice.includes(i) ? [entry, ...later.slice(0, i + 1)] : [entry],
        );
        expect(replay(copy, doubled).early).toBe(0);
        expect(durableState(copy)).toEqual(durableState(rig.slot));
        // What it does next is what the original does next.
        const successor = new SlotRig(NOW, copy);
        expect(successor.run({ kind: 'acquire', name: 'fresh', token: 'uuid:9' })).toMatchObject({
          status: 201,
          fencingToken: rig.slot.counter + 1,
        });
      }),
      { numRuns: 400 },
    );
  });

  it('leaves out what comes too early, and says so', () => {
    const rig = new SlotRig();
    for (let i = 0; i < 6; i++) {
      rig.run({ kind: 'acquire', name: `n${i}`, token: `uuid:${i}` });
      rig.seal();
    }
    const copy = new Slot(SLOT, ENDED_KEEP_MS);
    const [first, second, ...rest] = rig.entries;
    expect(replay(copy, [first, ...rest])).toEqual({ applied: 1, early: 4 });
    expect(copy.counter).toBe(1);
    expect(replay(copy, [second, ...rest])).toEqual({ applied: 5, early: 0 });
    expect(durableState(copy)).toEqual(durableState(rig.slot));
  });

  it('refuses a journal that contradicts the state', () => {
    const granted = (name: string, counter: number) => {
      const rig = new SlotRig();
      rig.slot.counter = counter;
      rig.run({ kind: 'acquire', name, token: 'uuid:1' });
      rig.seal();
      return rig.entries[0];
    };
    const released = () => {
      const rig = new SlotRig();
      rig.run({ kind: 'acquire', name: 'n', token: 'uuid:1' });
      rig.seal();
      rig.run({ kind: 'release', name: 'n', token: 'uuid:1' });
      rig.seal();
      return rig.entries[1];
    };
    const slot = new Slot(SLOT, ENDED_KEEP_MS);
    replay(slot, [granted('n', 0)]);
    expect(() => replay(slot, [granted('n', 1)])).toThrow(JournalError);
    const other = new Slot(SLOT, ENDED_KEEP_MS);
    replay(other, [granted('m', 0)]);
    expect(() => replay(other, [released()])).toThrow(/claim 1, which does not exist/);
  });
});

describe('rearm', () => {
  it('gives every claim its whole TTL again and shows it once', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1', ttlMs: 1_000 });
    rig.run({ kind: 'acquire', name: 'b', token: 'uuid:2', ttlMs: 60_000 });
    rig.run({ kind: 'renew', name: 'b', token: 'uuid:2', ttlMs: 2_000 });
    rig.seal();
    const copy = new Slot(SLOT, ENDED_KEEP_MS);
    replay(copy, rig.entries);
    expect([...claimsOf(copy).values()].every(({ freeAt }) => freeAt === Infinity)).toBe(true);
    const shown: number[] = [];
    rearm(copy, 9_000, (row) => shown.push(copy.claims.freeAt(row)));
    expect(shown.sort()).toEqual([10_010.5, 11_011]);
    expect(claimsOf(copy).get('a')).toMatchObject({ promisedUntil: 10_000, freeAt: 10_010.5 });
    expect(claimsOf(copy).get('b')).toMatchObject({ promisedUntil: 11_000, freeAt: 11_011 });
  });

  it('leaves alone the claims of a slot that was handed over, and shows them too', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'timed', token: 'uuid:1', ttlMs: 60_000 });
    rig.trip();
    rig.now += 50_000;
    const copy = new Slot(SLOT, ENDED_KEEP_MS);
    loadCheckpoint(copy, encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN, rig.now), NOW, true);
    rig.run({ kind: 'acquire', name: 'journaled', token: 'uuid:2', ttlMs: 2_000 });
    rig.seal();
    replay(copy, rig.entries);
    const shown: number[] = [];
    rearm(copy, NOW + 1_000, (row) => shown.push(copy.claims.freeAt(row)));
    expect(shown.sort((a, b) => a - b)).toEqual([NOW + 1_000 + 2_011, NOW + 10_040]);
    expect(claimsOf(copy).get('timed')).toMatchObject({ promisedUntil: NOW + 10_000, freeAt: NOW + 10_040 });
  });
});
