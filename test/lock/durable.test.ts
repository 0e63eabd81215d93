/**
 * Waits, modes, sessions, batches and delays through journal, checkpoint and
 * hand-over: what is read back is what was there.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { CHUNK_BYTES_MIN, encodeCheckpoint, loadCheckpoint } from '../../src/lock/checkpoint.ts';
import { JournalError } from '../../src/lock/codec.ts';
import { rearm, replayEntry } from '../../src/lock/replay.ts';
import { Slot } from '../../src/lock/slot.ts';
import { sealed } from './checkpoint-rig.ts';
import { richHistory, runStep, type Step } from './histories.ts';
import { ENDED_KEEP_MS, SLOT, SlotRig } from './slot-rig.ts';
import { durableState, rowsOf } from './slot-state.ts';

const NOW = 5e6;
const TAKEN_AT = 7e8;
const share = fc.double({ min: 0, max: 1, noNaN: true });
const chunkSizes = fc.integer({ min: CHUNK_BYTES_MIN, max: 20_000 });

interface State {
  readonly ended: string[];
  readonly keyed: string[];
}

/** Equal but for ended tokens that the original has forgotten by now. */
function expectSame(copy: Slot, original: Slot): void {
  const [read, was] = [durableState(copy) as State, durableState(original) as State];
  const latest = (of: 'ended' | 'keyed') => read[of].slice(read[of].length - was[of].length);
  expect({ ...read, ended: latest('ended'), keyed: latest('keyed') }).toEqual(was);
}

function replay(slot: Slot, entries: readonly Uint8Array[]): { applied: number; early: number } {
  let applied = 0;
  let early = 0;
  for (const entry of entries) {
    const result = replayEntry(entry, 0, entry.length, () => slot, NOW);
    applied += result.applied;
    early += result.early;
  }
  return { applied, early };
}

function played(steps: readonly Step[]): SlotRig {
  const rig = new SlotRig();
  for (const step of steps) runStep(rig, step);
  return rig;
}

describe('a state with all that a lock can be', () => {
  it('is what its journal gives, and the journal again changes nothing', () => {
    fc.assert(
      fc.property(richHistory(false), (steps) => {
        const rig = played(steps);
        rig.seal();
        const copy = new Slot(SLOT, ENDED_KEEP_MS);
        expect(replay(copy, rig.entries)).toEqual({ applied: rig.slot.counter, early: 0 });
        expectSame(copy, rig.slot);
        expect(replay(copy, rig.entries)).toEqual({ applied: 0, early: 0 });
        expectSame(copy, rig.slot);
      }),
      { numRuns: 250 },
    );
  });

  it('is what any checkpoint gives, with entries from any earlier point, some twice', () => {
    fc.assert(
      fc.property(
        richHistory(false),
        share,
        share,
        fc.array(fc.nat(), { maxLength: 10 }),
        (steps, cut, from, twice) => {
          const rig = new SlotRig();
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
          const copy = new Slot(SLOT, ENDED_KEEP_MS);
          loadCheckpoint(copy, checkpoint, NOW);
          const later = rig.entries.slice(Math.floor(from * entriesThen));
          const doubled = later.flatMap((entry, i) =>
            twice.includes(i) ? [entry, ...later.slice(0, i + 1)] : [entry],
          );
          expect(replay(copy, doubled).early).toBe(0);
          expectSame(copy, rig.slot);
        },
      ),
      { numRuns: 250 },
    );
  });

  it('comes back from a checkpoint in chunks of any size', () => {
    fc.assert(
      fc.property(richHistory(false), chunkSizes, fc.boolean(), (steps, chunkBytes, handedOver) => {
        const rig = played(steps);
        const made = encodeCheckpoint(rig.slot, chunkBytes, handedOver ? rig.now : undefined);
        for (const chunk of made) expect(chunk.length).toBeLessThanOrEqual(chunkBytes);
        const copy = new Slot(SLOT, ENDED_KEEP_MS);
        loadCheckpoint(copy, made, NOW);
        expect(durableState(copy)).toEqual(durableState(rig.slot));
        expect(rowsOf(copy).every(({ freeAt }) => freeAt === Infinity)).toBe(true);
      }),
      { numRuns: 250 },
    );
  });

  it('keeps about the times that were left when it is handed over: never less, never above the TTL', () => {
    fc.assert(
      fc.property(richHistory(false), (steps) => {
        const rig = played(steps);
        const next = new Slot(SLOT, ENDED_KEEP_MS);
        loadCheckpoint(next, encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN, rig.now), TAKEN_AT, true);
        expect(durableState(next)).toEqual(durableState(rig.slot));
        const before = new Map(rowsOf(rig.slot).map((row) => [row.fencingToken, row.freeAt - rig.now]));
        for (const { kind, fencingToken, ttlMs, session, batch, freeAt } of rowsOf(next)) {
          if (kind === 'waiter' || session !== 0 || batch !== 0) continue;
          const whole = kind === 'delay' ? ttlMs : ttlMs + ttlPadMs(ttlMs);
          const had = Math.min(whole, Math.max(0, before.get(fencingToken)!));
          expect(freeAt - TAKEN_AT).toBeGreaterThanOrEqual(had - 1e-5);
          expect(freeAt - TAKEN_AT).toBeLessThanOrEqual(Math.min(whole, had + 1) + 1e-5);
        }
      }),
      { numRuns: 250 },
    );
  });

  it('begins its times anew for an heir: each row that has one is shown once', () => {
    fc.assert(
      fc.property(richHistory(false), (steps) => {
        const rig = played(steps);
        rig.seal();
        const heir = new Slot(SLOT, ENDED_KEEP_MS);
        replay(heir, rig.entries);
        const shown: number[] = [];
        rearm(heir, NOW, (row) => shown.push(heir.claims.fencingToken(row)));
        const wanted: number[] = [];
        for (const { kind, fencingToken, ttlMs, session, batch, freeAt } of rowsOf(heir)) {
          if (kind === 'waiter') expect(freeAt).toBe(NOW + LIMITS.reattachMs);
          else if (kind === 'delay') expect(freeAt).toBe(NOW + ttlMs);
          else if (session === 0 && batch === 0) expect(freeAt).toBe(NOW + ttlMs + ttlPadMs(ttlMs));
          else continue;
          wanted.push(fencingToken);
        }
        expect(shown.sort((a, b) => a - b)).toEqual(wanted);
      }),
      { numRuns: 150 },
    );
  });
});

describe('a checkpoint with a queue', () => {
  const acquire = { kind: 'acquire', name: 'n' } as const;

  function queued(): SlotRig {
    const rig = new SlotRig();
    rig.run({ ...acquire, token: 'uuid:h', lockDelayMs: 1_000 });
    for (const i of [1, 2, 3]) rig.run({ ...acquire, token: `uuid:${i}`, waitMs: 60_000, attempt: i });
    return rig;
  }

  function load(chunk: Uint8Array): void {
    loadCheckpoint(new Slot(SLOT, ENDED_KEEP_MS), [chunk], NOW);
  }

  /** The holder's record and those of the waiters: his is longer by the flags and the delay. */
  function records(chunk: Uint8Array): Uint8Array[] {
    const body = chunk.subarray(5, -4 - 3);
    const length = (body.length - 3) / 4;
    expect(Number.isInteger(length)).toBe(true);
    const starts = [0, length + 3, 2 * length + 3, 3 * length + 3, body.length];
    return starts.slice(0, -1).map((start, i) => body.subarray(start, starts[i + 1]));
  }

  it('keeps its order, and refuses another one', () => {
    const rig = queued();
    const [chunk] = encodeCheckpoint(rig.slot, 9_000);
    const [holder, ...waiters] = records(chunk);
    expect(waiters.map((bytes) => bytes[0] & 15)).toEqual([5, 5, 5]);
    const inOrder = (order: Uint8Array[]) =>
      sealed(chunk, (bytes) =>
        Uint8Array.from([
          ...bytes.subarray(0, 5),
          ...order.flatMap((part) => [...part]),
          ...bytes.subarray(-3),
        ]),
      );
    expect(() => load(inOrder([holder, ...waiters]))).not.toThrow();
    expect(() => load(inOrder([holder, waiters[1], waiters[0], waiters[2]]))).toThrow(/behind a later one/);
    expect(() => load(inOrder([waiters[0], waiters[1], waiters[2], holder]))).not.toThrow();
  });

  it('refuses a second holder, a delay too many, and what hangs on nothing', () => {
    const rig = queued();
    rig.run({ kind: 'force', name: 'n' });
    const [chunk] = encodeCheckpoint(rig.slot, 9_000);
    const twice = sealed(chunk, (bytes) => {
      const records = bytes.subarray(5, -6);
      expect(records.length).toBeGreaterThan(100);
      return Uint8Array.from([...bytes.subarray(0, 5), ...records, ...records, ...bytes.subarray(-6)]);
    });
    expect(() => load(twice)).toThrow(JournalError);
    const session = new SlotRig();
    session.run({ ...acquire, token: 'uuid:1', session: 'uuid:s', flags: ['newStub'] });
    const [withStub] = encodeCheckpoint(session.slot, 9_000);
    const stubBytes = 1 + 1 + 4 + 3 + 1 + 17;
    const without = sealed(withStub, (bytes) =>
      Uint8Array.from([...bytes.subarray(0, 5), ...bytes.subarray(5 + stubBytes)]),
    );
    expect(() => load(withStub)).not.toThrow();
    expect(() => load(without)).toThrow(/hangs on what does not exist/);
  });
});
