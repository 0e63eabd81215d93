import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteReader, ByteWriter, JournalError } from '../../src/lock/codec.ts';
import { describeEntry } from '../../src/lock/dump.ts';
import { EFFECT_BYTES_MAX, EffectWriter, ENTRY_VERSION } from '../../src/lock/effects.ts';
import { EndReason } from '../../src/lock/rows.ts';
import { claim, claimed, readAll, write } from './effect-rig.ts';

describe('an entry', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.array(claim, { minLength: 1, maxLength: 6 }), fc.nat(40), (made, headroom) => {
        const writer = new EffectWriter(headroom + 7 * EFFECT_BYTES_MAX, headroom);
        const wanted = made.map((one) => write(writer, one));
        expect(writer.count).toBe(made.length);
        expect(readAll(writer.bytes, headroom, writer.at)).toEqual(wanted);
      }),
      { numRuns: 300 },
    );
  });

  it('without effects is its version', () => {
    const writer = new EffectWriter(10_000, 32);
    expect([...writer.bytes.subarray(32, writer.at)]).toEqual([ENTRY_VERSION]);
    expect(readAll(writer.bytes, 32, writer.at)).toEqual([]);
  });

  it('is small: a grant of a UUID 14 bytes beside name and token, its release 11', () => {
    const { slot, row } = claimed({ name: 'order-12345', token: 'uuid:1', ttlMs: 30_000 }, 100_000, 4_095);
    const writer = new EffectWriter(10_000, 0);
    writer.granted(slot, row);
    const granted = writer.at - 1;
    slot.counter = 100_003;
    writer.ended(slot, row, EndReason.released);
    expect([granted - 11 - 16, writer.at - 1 - granted]).toEqual([14, 11]);
  });

  it('has these bytes (docs/journal.md shows them)', () => {
    const words = { name: 'order-1', token: 'uuid:ABCDEFGHIJKLMNOP', ttlMs: 30_000, owner: 'me' };
    const { slot, row } = claimed(words, 300, 18, 0x1234_5678);
    const writer = new EffectWriter(10_000, 0);
    writer.granted(slot, row);
    slot.claims.setTtlMs(row, 60_000);
    slot.counter = 301;
    writer.renewed(slot, row, false);
    slot.counter = 302;
    writer.ended(slot, row, EndReason.released);
    expect(Buffer.from(writer.bytes.subarray(0, writer.at)).toString('hex')).toMatchInlineSnapshot(
      `"013112ac0278563412b0ea0107026f726465722d314142434445464748494a4b4c4d4e4f506d650212ad027856341201e0d4031312ae027856341202"`,
    );
    expect(describeEntry(writer.bytes.subarray(0, writer.at))).toMatchInlineSnapshot(`
      [
        {
          "effect": "granted",
          "fencingToken": 300,
          "hash": "12345678",
          "name": "order-1",
          "number": 300,
          "owner": "me",
          "slot": 18,
          "tokenFingerprint": "5c888322c9593d7a",
          "ttlMs": 30000,
        },
        {
          "effect": "renewed",
          "fencingToken": 300,
          "hash": "12345678",
          "number": 301,
          "slot": 18,
          "ttlMs": 60000,
        },
        {
          "effect": "ended",
          "fencingToken": 300,
          "hash": "12345678",
          "number": 302,
          "reason": "released",
          "slot": 18,
        },
      ]
    `);
  });

  it('refuses an effect for which it has no room', () => {
    const { slot, row } = claimed({ name: 'n', token: 'uuid:1' }, 1);
    const small = new EffectWriter(2_000, 0);
    expect(() => small.granted(slot, row)).toThrow(RangeError);
    slot.counter = 2;
    expect(() => small.ended(slot, row, EndReason.released)).not.toThrow();
    expect(() => new EffectWriter(20, 0).ended(slot, row, EndReason.released)).toThrow(RangeError);
  });

  it('begins anew with reset', () => {
    const { slot, row } = claimed({ name: 'n', token: 'uuid:1' }, 1);
    const writer = new EffectWriter(10_000, 4);
    slot.counter = 2;
    writer.ended(slot, row, EndReason.expired);
    writer.reset();
    expect([writer.at, writer.count, writer.room()]).toEqual([5, 0, 9_995]);
  });
});

describe('a malformed entry', () => {
  const ended = [ENTRY_VERSION, 0x13, 18, 5, 0x78, 0x56, 0x34, 0x12, 1];
  const cases: [string, number[], number][] = [
    ['nothing at all', [], 0],
    ['another version', [2], 0],
    ['zeros', [ENTRY_VERSION, 0, 0, 0], 3],
    ['kind 0', [ENTRY_VERSION, 0x10, 18, 5], 1],
    ['an unknown kind', [ENTRY_VERSION, 0x0c, 18, 5], 1],
    ['a reason of 0', [ENTRY_VERSION, 0x03, ...ended.slice(2)], 1],
    ['a reason of 5', [ENTRY_VERSION, 0x53, ...ended.slice(2)], 1],
    ['a grant of a later version', [ENTRY_VERSION, 0x91, 18, 5, 0x80], 4],
    ['further flags that are none', [ENTRY_VERSION, 0x91, 18, 5, 0], 4],
    ['a fourth mode', [ENTRY_VERSION, 0x91, 18, 5, 3], 4],
    ['a promotion with flags', [ENTRY_VERSION, 0x15, 18, 5], 1],
    ['a confirmation with flags', [ENTRY_VERSION, 0x1a, 18, 5], 1],
    ['a withdrawal without a reason', [ENTRY_VERSION, 0x06, ...ended.slice(2)], 1],
    ['a withdrawal for reason 5', [ENTRY_VERSION, 0x56, ...ended.slice(2)], 1],
    ['a stub that was forced', [ENTRY_VERSION, 0x39, ...ended.slice(2)], 1],
    ['a forced release with a flag of a later version', [ENTRY_VERSION, 0x87, ...ended.slice(2)], 1],
    ['a session with a flag of a later version', [ENTRY_VERSION, 0x18, 18, 5, 1, 2, 3, 4], 4],
    ['a session whose key is that of a lock', [ENTRY_VERSION, 0x08, 18, 5, 1, 2, 3, 4, 9, 1, 65], 10],
    ['a slot of a session with flags', [ENTRY_VERSION, 0x2b, ...ended.slice(2)], 1],
    ['a semaphore without places', [ENTRY_VERSION, 0x91, 1, 5, 2, 1, 2, 3, 4, 9, 1, 0], 11],
    ['a lock delay of 0', [ENTRY_VERSION, 0x91, 1, 5, 8, 1, 2, 3, 4, 9, 1, 0], 11],
    ['a principal of 65 bytes', [ENTRY_VERSION, 0x91, 1, 5, 16, 1, 2, 3, 4, 9, 1, 65], 11],
    ['a claim on a stub of the future', [ENTRY_VERSION, 0x91, 1, 5, 32, 1, 2, 3, 4, 9, 1, 5], 11],
    ['a renewal of a later version', [ENTRY_VERSION, 0x12, 18, 5], 1],
    ['an end without its last byte', ended.slice(0, -1), 8],
    ['a claim of the future', [...ended.slice(0, -1), 5], 8],
    ['a claim that is the effect itself', [...ended.slice(0, -1), 0], 8],
    ['number 0', [ENTRY_VERSION, 0x13, 18, 0], 3],
    ['slot 65,536', [ENTRY_VERSION, 0x13, 0x80, 0x80, 4], 2],
    ['a varint that is longer than need be', [ENTRY_VERSION, 0x13, 0x92, 0], 2],
    ['a varint that is too long', [ENTRY_VERSION, 0x13, 18, 255, 255, 255, 255, 255, 255, 255, 255, 1], 3],
    ['a varint above 2^53 − 1', [ENTRY_VERSION, 0x13, 18, 255, 255, 255, 255, 255, 255, 255, 0x1f], 3],
    ['a TTL of 0', [ENTRY_VERSION, 0x11, 1, 1, 1, 2, 3, 4, 0], 8],
    ['a key of 0 bytes', [ENTRY_VERSION, 0x11, 1, 1, 1, 2, 3, 4, 9, 0], 9],
    ['a key of 1,025 bytes', [ENTRY_VERSION, 0x11, 1, 1, 1, 2, 3, 4, 9, 0x81, 8], 9],
    ['a token of 65 bytes', [ENTRY_VERSION, 0x01, 1, 1, 1, 2, 3, 4, 9, 1, 65], 10],
    ['a UUID with a length', [ENTRY_VERSION, 0x01, 1, 1, 1, 2, 3, 4, 9, 1, 16], 10],
    ['an owner of 0 bytes', [ENTRY_VERSION, 0x31, 1, 1, 1, 2, 3, 4, 9, 1, 0], 10],
    ['an owner of 257 bytes', [ENTRY_VERSION, 0x31, 1, 1, 1, 2, 3, 4, 9, 1, 0x81, 2], 10],
    ['texts that end early', [ENTRY_VERSION, 0x11, 1, 1, 1, 2, 3, 4, 9, 1, 65, 0, 0], 11],
  ];
  it.each(cases)('%s', (_, bytes, offset) => {
    let error: unknown;
    try {
      readAll(Uint8Array.from(bytes));
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(JournalError);
    expect((error as JournalError).offset).toBe(offset);
  });

  it('is accepted, or refused with a JournalError; never anything else', () => {
    const small = fc.uint8Array({ maxLength: 40 });
    fc.assert(
      fc.property(fc.array(small, { maxLength: 6 }), (parts) => {
        const bytes = Uint8Array.from([ENTRY_VERSION, ...parts.flatMap((part) => [...part])]);
        try {
          for (const effect of readAll(bytes)) {
            expect(effect.fencingToken).toBeGreaterThan(0);
            expect(effect.fencingToken).toBeLessThanOrEqual(effect.number);
            expect(Number.isSafeInteger(effect.number)).toBe(true);
          }
        } catch (error) {
          if (!(error instanceof JournalError)) throw error;
          expect(error.offset).toBeLessThanOrEqual(bytes.length);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it('is found out wherever a good one is cut, never read as something else', () => {
    const made = fc.sample(claim, { numRuns: 60, seed: 7 }).map((one) => ({
      ...one,
      key: one.key.slice(0, 40),
      owner: one.owner.slice(0, 9),
      metadata: one.metadata.slice(0, 9),
    }));
    const writer = new EffectWriter(60 * EFFECT_BYTES_MAX, 0);
    const ends = [1];
    for (const one of made) {
      write(writer, one);
      ends.push(writer.at);
    }
    for (let end = 0; end < writer.at; end++) {
      if (ends.includes(end)) expect(readAll(writer.bytes, 0, end)).toHaveLength(ends.indexOf(end));
      else expect(() => readAll(writer.bytes, 0, end)).toThrow(JournalError);
    }
  });
});

describe('varints', () => {
  it('take one byte for every seven bits, and come back', () => {
    fc.assert(
      fc.property(fc.oneof(fc.maxSafeNat(), fc.nat(0xffff_ffff), fc.nat(300)), (value) => {
        const writer = new ByteWriter(new Uint8Array(10), 0);
        writer.varint(value);
        expect(writer.at).toBe(Math.max(1, Math.ceil(value.toString(2).length / 7)));
        expect(new ByteReader(writer.bytes, 0, writer.at).varint('value', 0, Number.MAX_SAFE_INTEGER)).toBe(
          value,
        );
      }),
      { numRuns: 2_000 },
    );
  });
});
