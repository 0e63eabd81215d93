import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHUNK_BYTES_MIN, encodeCheckpoint, loadCheckpoint } from '../../src/lock/checkpoint.ts';
import { describeCheckpoint } from '../../src/lock/dump.ts';
import { Slot } from '../../src/lock/slot.ts';
import { ttlPadMs } from '../../src/limits.ts';
import { full, load, sealed } from './checkpoint-rig.ts';
import { history, runStep } from './histories.ts';
import { ENDED_KEEP_MS, SLOT, SlotRig } from './slot-rig.ts';
import { claimsOf, durableState } from './slot-state.ts';

/** Far from the giver's: clocks of two processes have nothing in common. */
const TAKEN_AT = 7e8;

/** As the term that the slot was handed to loads it. */
function loadDirect(chunks: readonly Uint8Array[]): Slot {
  const slot = new Slot(SLOT, ENDED_KEEP_MS);
  loadCheckpoint(slot, chunks, TAKEN_AT, true);
  return slot;
}

/** By name: how long each claim is kept and how long it is promised, from `now` on. */
function times(slot: Slot, now: number): Map<string, { keptMs: number; promisedMs: number }> {
  const found = new Map<string, { keptMs: number; promisedMs: number }>();
  for (const [name, { freeAt, promisedUntil }] of claimsOf(slot))
    found.set(name, { keptMs: freeAt - now, promisedMs: promisedUntil - now });
  return found;
}

describe('a checkpoint of a hand-over', () => {
  it('gives back the state, with about the time that each claim had left: never less, never above its TTL', () => {
    fc.assert(
      fc.property(history, fc.integer({ min: CHUNK_BYTES_MIN, max: 20_000 }), (steps, chunkBytes) => {
        const rig = new SlotRig();
        for (const step of steps) runStep(rig, step);
        const made = encodeCheckpoint(rig.slot, chunkBytes, rig.now);
        for (const chunk of made) expect(chunk.length).toBeLessThanOrEqual(chunkBytes);
        const taken = loadDirect(made);
        expect(durableState(taken)).toEqual(durableState(rig.slot));
        const before = times(rig.slot, rig.now);
        for (const [name, { keptMs, promisedMs }] of times(taken, TAKEN_AT)) {
          const { ttlMs } = claimsOf(taken).get(name)!;
          const padMs = ttlPadMs(ttlMs);
          const had = before.get(name)!.keptMs;
          if (had === Infinity) expect(keptMs).toBeCloseTo(ttlMs + padMs, 5);
          else expect(keptMs).toBeGreaterThanOrEqual(Math.min(Math.max(0, had), ttlMs + padMs) - 1e-5);
          expect(keptMs).toBeLessThanOrEqual(Math.min(Math.max(0, had) + 1, ttlMs + padMs) + 1e-5);
          expect(promisedMs).toBeCloseTo(Math.max(0, keptMs - padMs), 5);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('tells what is left of a TTL, rounded up', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1', ttlMs: 30_000 });
    rig.trip();
    rig.now += 20_000.25;
    const taken = times(loadDirect(encodeCheckpoint(rig.slot, 9_000, rig.now)), TAKEN_AT);
    // 30 s and the pad of 25 ms, less what has gone by.
    expect(taken.get('a')).toEqual({ keptMs: 10_025, promisedMs: 10_000 });
  });

  it('keeps a claim with a grant or a renewal under way for its whole TTL', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'renewed', token: 'uuid:1', ttlMs: 2_000 });
    rig.trip();
    rig.now += 1_500;
    rig.run({ kind: 'renew', name: 'renewed', token: 'uuid:1' });
    rig.run({ kind: 'acquire', name: 'granted', token: 'uuid:2', ttlMs: 4_000 });
    rig.send();
    rig.now += 100;
    const taken = times(loadDirect(encodeCheckpoint(rig.slot, 9_000, rig.now)), TAKEN_AT);
    expect(taken.get('renewed')).toEqual({ keptMs: 2_011, promisedMs: 2_000 });
    expect(taken.get('granted')).toEqual({ keptMs: 4_012, promisedMs: 4_000 });
    // The second of two renewals of one claim is still under way.
    rig.land();
    rig.now += 300;
    rig.run({ kind: 'renew', name: 'granted', token: 'uuid:2' });
    const later = times(loadDirect(encodeCheckpoint(rig.slot, 9_000, rig.now)), TAKEN_AT);
    expect(later.get('granted')!.keptMs).toBe(4_012);
    expect(later.get('renewed')!.keptMs).toBe(1_711);
  });

  it('keeps a claim that is over but not yet ended for no time at all', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1', ttlMs: 1_000 });
    rig.trip();
    rig.now += 5_000;
    const taken = loadDirect(encodeCheckpoint(rig.slot, 9_000, rig.now));
    expect(times(taken, TAKEN_AT).get('a')).toEqual({ keptMs: 0, promisedMs: 0 });
    const next = new SlotRig(TAKEN_AT, taken);
    expect(next.run({ kind: 'acquire', name: 'a', token: 'uuid:2' })).toMatchObject({ status: 201 });
  });

  it('says nothing of times to anybody but the term that it was handed to', () => {
    const rig = full();
    rig.trip();
    const made = encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN, rig.now);
    const others = load(made);
    expect(durableState(others)).toEqual(durableState(rig.slot));
    expect([...claimsOf(others).values()].every(({ freeAt }) => freeAt === Infinity)).toBe(true);
    expect([...claimsOf(loadDirect(made)).values()].some(({ freeAt }) => freeAt === Infinity)).toBe(false);
  });

  it('without times gives whole TTLs to whoever loads it', () => {
    const chunks = encodeCheckpoint(full().slot, CHUNK_BYTES_MIN);
    expect([...claimsOf(loadDirect(chunks)).values()].every(({ freeAt }) => freeAt === Infinity)).toBe(true);
  });

  it('never keeps a claim longer than its TTL, whatever the record says', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1', ttlMs: 2_000 });
    const [chunk] = encodeCheckpoint(rig.slot, 9_000, rig.now);
    const longer = sealed(chunk, (bytes) => {
      const sumAt = bytes.length - 3;
      // 04 and 2,011 ms in two bytes stand in front of the sum.
      expect([...bytes.subarray(sumAt - 3, sumAt)]).toEqual([4, 0xdb, 0x0f]);
      return Uint8Array.from([
        ...bytes.subarray(0, sumAt - 2),
        0xff,
        0xff,
        0xff,
        0x7f,
        ...bytes.subarray(sumAt),
      ]);
    });
    expect(times(loadDirect([longer]), TAKEN_AT).get('a')).toEqual({ keptMs: 2_011, promisedMs: 2_000 });
  });

  it('holds the largest claims and times in the smallest chunks', () => {
    const rig = new SlotRig();
    rig.slot.counter = Number.MAX_SAFE_INTEGER - 10;
    for (let i = 0; i < 3; i++) {
      const name = String(i).padEnd(1_024, 'n');
      const [owner, metadata] = ['o'.repeat(256), 'm'.repeat(1_024)];
      rig.run({ kind: 'acquire', name, token: 't'.repeat(64), ttlMs: 86_400_000, owner, metadata });
    }
    const made = encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN, rig.now);
    expect(made.length).toBeGreaterThan(1);
    for (const chunk of made) expect(chunk.length).toBeLessThanOrEqual(CHUNK_BYTES_MIN);
    expect(durableState(loadDirect(made))).toEqual(durableState(rig.slot));
  });

  it('has these bytes (docs/journal.md shows them), and reads as lines for people', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:ABCDEFGHIJKLMNOP', ttlMs: 30_000 });
    rig.trip();
    rig.now += 20_000;
    const made = encodeCheckpoint(rig.slot, 9_000, rig.now);
    expect(Buffer.from(made[0]).toString('hex')).toMatchInlineSnapshot(
      `"01010701001101610000f0b0ea0101614142434445464748494a4b4c4d4e4f5004a94e030100ac12fe45"`,
    );
    expect(describeCheckpoint(made)).toMatchObject([
      { record: 'state', slot: 7, counter: 1 },
      { record: 'claim', fencingToken: 1, name: 'a', ttlMs: 30_000 },
      { record: 'left', leftMs: 10_025 },
    ]);
  });
});
