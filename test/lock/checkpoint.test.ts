import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { CHUNK_BYTES_MIN, encodeCheckpoint, loadCheckpoint } from '../../src/lock/checkpoint.ts';
import { readCheckpoint } from '../../src/lock/checkpoint-reader.ts';
import { JournalError } from '../../src/lock/codec.ts';
import { describeCheckpoint } from '../../src/lock/dump.ts';
import { Slot } from '../../src/lock/slot.ts';
import { full, load, sealed } from './checkpoint-rig.ts';
import { history, runStep } from './histories.ts';
import { ENDED_KEEP_MS, SLOT, SlotRig } from './slot-rig.ts';
import { durableState } from './slot-state.ts';

let chunks: Uint8Array[];
beforeAll(() => {
  chunks = encodeCheckpoint(full().slot, CHUNK_BYTES_MIN);
});

describe('a checkpoint', () => {
  it('gives back the state', () => {
    fc.assert(
      fc.property(history, fc.integer({ min: CHUNK_BYTES_MIN, max: 20_000 }), (steps, chunkBytes) => {
        const rig = new SlotRig();
        for (const step of steps) runStep(rig, step);
        const made = encodeCheckpoint(rig.slot, chunkBytes);
        for (const chunk of made) expect(chunk.length).toBeLessThanOrEqual(chunkBytes);
        expect(durableState(load(made))).toEqual(durableState(rig.slot));
      }),
      { numRuns: 300 },
    );
  });

  it('holds the largest claims in the smallest chunks', () => {
    const rig = new SlotRig();
    rig.slot.counter = Number.MAX_SAFE_INTEGER - 10;
    for (let i = 0; i < 3; i++) {
      const name = String(i).padEnd(1_024, 'n');
      const [owner, metadata] = ['o'.repeat(256), 'm'.repeat(1_024)];
      rig.run({ kind: 'acquire', name, token: 't'.repeat(64), ttlMs: 86_400_000, owner, metadata });
      // A short one between: it leaves the chunk nearly full.
      rig.run({ kind: 'acquire', name: `short ${i}`, token: 'uuid:1' });
    }
    for (const chunkBytes of [CHUNK_BYTES_MIN, CHUNK_BYTES_MIN + 40, CHUNK_BYTES_MIN + 1_000]) {
      const made = encodeCheckpoint(rig.slot, chunkBytes);
      for (const chunk of made) expect(chunk.length).toBeLessThanOrEqual(chunkBytes);
      expect(durableState(load(made))).toEqual(durableState(rig.slot));
    }
    expect(() => encodeCheckpoint(rig.slot, CHUNK_BYTES_MIN - 1)).toThrow(RangeError);
  });

  it('of an empty slot is one small chunk', () => {
    const made = encodeCheckpoint(new Slot(SLOT, ENDED_KEEP_MS), 256 * 1024);
    expect(made.map((chunk) => chunk.length)).toEqual([12]);
    expect(durableState(load(made))).toEqual(durableState(new Slot(SLOT, ENDED_KEEP_MS)));
  });

  it('takes about as many bytes as the slot says', () => {
    const { slot } = full();
    const bytes = encodeCheckpoint(slot, 256 * 1024)[0].length;
    expect(Math.abs(bytes / slot.sizeBytes - 1)).toBeLessThan(0.15);
  });

  it('keeps the ages of ended tokens', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1' });
    rig.run({ kind: 'release', name: 'a', token: 'uuid:1' });
    rig.now += 4_000;
    rig.run({ kind: 'acquire', name: 'b', token: 'uuid:2' });
    rig.run({ kind: 'release', name: 'b', token: 'uuid:2' });
    const copy = new Slot(SLOT, ENDED_KEEP_MS);
    loadCheckpoint(copy, encodeCheckpoint(rig.slot, 9_000), 100_000);
    const successor = new SlotRig(100_000 + ENDED_KEEP_MS - 4_000 - 1, copy);
    expect([successor.remembers('a', 'uuid:1'), successor.remembers('b', 'uuid:2')]).toEqual([true, true]);
    successor.now += 1;
    expect([successor.remembers('a', 'uuid:1'), successor.remembers('b', 'uuid:2')]).toEqual([false, true]);
  });

  it('is not loaded over anything', () => {
    const { slot } = full();
    expect(() => loadCheckpoint(slot, chunks, 1_000)).toThrow(RangeError);
  });

  it('reads as lines for people, without the lock tokens', () => {
    const rig = new SlotRig();
    rig.run({
      kind: 'acquire',
      name: 'team\0order-1',
      token: 'uuid:secret',
      ttlMs: 5_000,
      owner: 'me',
      metadata: '{"a":1}',
    });
    rig.run({ kind: 'acquire', name: 'order-2', token: 'very secret', ttlMs: 5_000 });
    rig.run({ kind: 'release', name: 'order-2', token: 'very secret' });
    const described = describeCheckpoint(encodeCheckpoint(rig.slot, 9_000));
    expect(JSON.stringify(described)).not.toContain('secret');
    expect(described).toMatchInlineSnapshot(`
      [
        {
          "counter": 3,
          "record": "state",
          "slot": 7,
        },
        {
          "fencingToken": 1,
          "hash": "f0000421",
          "metadata": "{"a":1}",
          "name": "order-1",
          "namespace": "team",
          "owner": "me",
          "record": "claim",
          "tokenFingerprint": "73aa8d1d885c4e8a",
          "ttlMs": 5000,
        },
        {
          "ageMs": 0,
          "record": "ended",
          "tokenFingerprint": "da6156b049902308",
        },
      ]
    `);
  });

  it('has these bytes (docs/journal.md shows them)', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:ABCDEFGHIJKLMNOP', ttlMs: 30_000 });
    rig.run({ kind: 'acquire', name: 'b', token: 'uuid:ABCDEFGHIJKLMNOP', ttlMs: 30_000 });
    rig.run({ kind: 'release', name: 'b', token: 'uuid:ABCDEFGHIJKLMNOP' });
    const [chunk] = encodeCheckpoint(rig.slot, 9_000);
    expect(Buffer.from(chunk).toString('hex')).toMatchInlineSnapshot(
      `"01010703001101610000f0b0ea0101614142434445464748494a4b4c4d4e4f500200e5c71c7aef8b44db030101dd2bfba6"`,
    );
  });
});

describe('a damaged checkpoint', () => {
  it('is refused whichever byte is another', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), (which, where, flip) => {
        const damaged = chunks.map((chunk) => chunk.slice());
        const chunk = damaged[which % damaged.length];
        chunk[where % chunk.length] ^= flip;
        expect(() => load(damaged)).toThrow(JournalError);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused when a chunk is missing, doubled, cut, swapped or of another state', () => {
    expect(chunks.length).toBeGreaterThan(2);
    const [first, second, third] = chunks;
    const later = encodeCheckpoint(full(1).slot, CHUNK_BYTES_MIN);
    const wrong = [
      [],
      chunks.slice(1),
      chunks.slice(0, -1),
      [first, ...chunks.slice(2)],
      [first, first, ...chunks.slice(1)],
      [second, first, third],
      [second, first, ...chunks.slice(2)],
      [...chunks, chunks[chunks.length - 1]],
      [first.subarray(0, -1), ...chunks.slice(1)],
      [new Uint8Array(3)],
      [first, ...later.slice(1)],
    ];
    for (const list of wrong) expect(() => load(list)).toThrow(JournalError);
    const ofAnother = sealed(second, (bytes) => void (bytes[3] += 1));
    expect(() => load([first, ofAnother, ...chunks.slice(2)])).toThrow(/among those of 7 at 80/);
    expect(() => loadCheckpoint(new Slot(SLOT + 1, ENDED_KEEP_MS), chunks, 1)).toThrow(/not 8/);
  });

  it('is refused for what its checksum cannot tell', () => {
    const { slot } = full();
    const [one] = encodeCheckpoint(slot, 256 * 1024);
    const wrong: [RegExp, (bytes: Uint8Array) => Uint8Array | void][] = [
      [/version 2/, (bytes) => void (bytes[0] = 2)],
      [/last chunk is missing/, (bytes) => void (bytes[1] = 0)],
      [/sum/, (bytes) => void (bytes[bytes.length - 1] += 1)],
      [/sum/, (bytes) => void (bytes[bytes.length - 2] += 1)],
      [/without its sum/, (bytes) => bytes.subarray(0, -3)],
      [/behind the sum/, (bytes) => Uint8Array.from([...bytes, 3, 0, 0])],
      [/kind 0/, (bytes) => Uint8Array.from([...bytes.subarray(0, -3), 0])],
      [/kind 10/, (bytes) => Uint8Array.from([...bytes.subarray(0, -3), 10, 0])],
      [/later version/, (bytes) => Uint8Array.from([...bytes.subarray(0, -3), 0x82])],
      [/fencingToken/, (bytes) => Uint8Array.from([...bytes.subarray(0, -3), 1, 0xff, 0x7f])],
    ];
    for (const [why, change] of wrong) expect(() => load([sealed(one, change)])).toThrow(why);
  });

  it('is refused when a time stands behind anything but a claim', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'b', token: 'uuid:2' });
    rig.run({ kind: 'release', name: 'b', token: 'uuid:2' });
    const left = [4, 5];
    const afterEnded = (bytes: Uint8Array) => Uint8Array.from([...bytes.subarray(0, -3), ...left, 3, 0, 1]);
    const [noClaim] = encodeCheckpoint(rig.slot, 9_000);
    expect(() => load([sealed(noClaim, afterEnded)])).toThrow(/of no claim/);
    const first = (bytes: Uint8Array) => Uint8Array.from([...bytes.subarray(0, 5), ...left, 3, 0, 0]);
    expect(() => load([sealed(noClaim, first)])).toThrow(/of no claim/);
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1' });
    const [timed] = encodeCheckpoint(rig.slot, 9_000, rig.now);
    // Behind the claim and its time: the ended token, the sum, the checksum.
    const claimEnd = timed.length - 10 - 3 - 4;
    const twice = (bytes: Uint8Array) =>
      Uint8Array.from([...bytes.subarray(0, claimEnd), ...left, ...bytes.subarray(claimEnd)]);
    expect(() => load([sealed(timed, twice)])).toThrow(/of no claim/);
    const flagged = (bytes: Uint8Array) => Uint8Array.from([...bytes.subarray(0, 5), 0x14, 5, 3, 0, 0]);
    expect(() => load([sealed(noClaim, flagged)])).toThrow(/later version/);
  });

  it('that holds one lock twice is refused', () => {
    const rig = new SlotRig();
    rig.run({ kind: 'acquire', name: 'a', token: 'uuid:1' });
    const [chunk] = encodeCheckpoint(rig.slot, 9_000);
    const twice = sealed(chunk, (bytes) => {
      const claim = bytes.subarray(5, -3);
      return Uint8Array.from([...bytes.subarray(0, 5), ...claim, ...claim, 3, 2, 0]);
    });
    expect(() => load([twice])).toThrow(/grants what claim 1 holds/);
  });

  it('is accepted, or refused with a JournalError; never anything else', () => {
    const parts = fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(parts, (bodies) => {
        const made = bodies.map((body, i) =>
          sealed(
            Uint8Array.from([1, i === bodies.length - 1 ? 1 : 0, SLOT, 9, i, ...body, 0, 0, 0, 0]),
            () => {},
          ),
        );
        try {
          readCheckpoint(made, {
            state() {},
            stub() {},
            joined() {},
            claim() {},
            waiter() {},
            delay() {},
            left() {},
            ended() {},
          });
        } catch (error) {
          if (!(error instanceof JournalError)) throw error;
        }
      }),
      { numRuns: 3_000 },
    );
  });
});
