import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ClaimTable } from '../../src/lock/claims.ts';
import { ByteReader, ByteWriter, JournalError } from '../../src/lock/codec.ts';
import { describeEntry } from '../../src/lock/dump.ts';
import {
  type Effect,
  EFFECT_BYTES_MAX,
  EffectKind,
  EffectWriter,
  ENTRY_VERSION,
  readEffects,
} from '../../src/lock/effects.ts';
import { EndReason } from '../../src/lock/rows.ts';
import { opOf } from './slot-rig.ts';

interface Seen {
  kind: number;
  slot: number;
  number: number;
  reason: number;
  hash: number;
  fencingToken: number;
  ttlMs: number;
  texts: string[];
}

function copyOf(effect: Effect): Seen {
  const { kind, slot, number, reason, hash, fencingToken, ttlMs } = effect;
  const text = (at: number, length: number) =>
    Buffer.from(effect.bytes.slice(at, at + length)).toString('latin1');
  const granted = kind === EffectKind.granted;
  const texts = [
    granted ? text(effect.keyAt, effect.keyLength) : '',
    granted ? text(effect.tokenAt, effect.tokenLength) : '',
    granted ? text(effect.ownerAt, effect.ownerLength) : '',
    text(effect.metadataAt, effect.metadataLength),
  ];
  return {
    kind,
    slot,
    number,
    reason,
    hash,
    fencingToken,
    ttlMs: kind === EffectKind.ended ? 0 : ttlMs,
    texts,
  };
}

function readAll(bytes: Uint8Array, at = 0, end = bytes.length): Seen[] {
  const seen: Seen[] = [];
  readEffects(bytes, at, end, (effect) => seen.push(copyOf(effect)));
  return seen;
}

const latin = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const number = fc.oneof(
  fc.integer({ min: 2, max: 300 }),
  fc.maxSafeInteger().map((n) => Math.max(2, Math.abs(n))),
);
const claim = fc.record({
  number,
  back: fc.nat(),
  slot: fc.nat(0xffff),
  hash: fc.nat(0xffff_ffff),
  ttlMs: fc.integer({ min: 1, max: 0xffff_ffff }),
  key: latin(1, 1_024),
  token: latin(1, 64),
  owner: latin(0, 256),
  metadata: latin(0, 1_024),
  kind: fc.constantFrom(...Object.values(EffectKind)),
  reason: fc.constantFrom(...Object.values(EndReason)),
});

function insert(
  claims: ClaimTable,
  made: { [K in 'key' | 'token' | 'owner' | 'metadata']: string } & { hash: number },
  fencingToken: number,
  ttlMs: number,
): number {
  const { key, token, owner, metadata, hash } = made;
  const bytes = Buffer.from(key + token + owner + metadata, 'latin1');
  const tokenAt = key.length;
  const ownerAt = tokenAt + token.length;
  const metadataAt = ownerAt + owner.length;
  const [keyLength, tokenLength, ownerLength, metadataLength] = [key, token, owner, metadata].map(
    (t) => t.length,
  );
  const source = {
    bytes,
    hash,
    keyAt: 0,
    keyLength,
    tokenAt,
    tokenLength,
    ownerAt,
    ownerLength,
    metadataAt,
    metadataLength,
  };
  return claims.insert(source, fencingToken, ttlMs);
}

describe('an entry', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.array(claim, { minLength: 1, maxLength: 6 }), fc.nat(40), (made, headroom) => {
        const writer = new EffectWriter(headroom + 7 * EFFECT_BYTES_MAX, headroom);
        const wanted: Seen[] = [];
        for (const one of made) {
          const claims = new ClaimTable();
          const { slot, hash, ttlMs, key, token, owner, metadata, kind } = one;
          const fencingToken =
            kind === EffectKind.granted ? one.number : Math.max(1, one.number - 1 - one.back);
          const row = insert(claims, one, fencingToken, ttlMs);
          if (kind === EffectKind.granted) writer.granted(slot, claims, row);
          if (kind === EffectKind.renewed) writer.renewed(slot, one.number, claims, row, metadata !== '');
          if (kind === EffectKind.ended) writer.ended(slot, one.number, hash | 0, fencingToken, one.reason);
          const texts = kind === EffectKind.granted ? [key, token, owner, metadata] : ['', '', '', ''];
          if (kind === EffectKind.renewed) texts[3] = metadata;
          wanted.push({
            kind,
            slot,
            number: one.number,
            reason: kind === EffectKind.ended ? one.reason : 0,
            hash,
            fencingToken,
            ttlMs: kind === EffectKind.ended ? 0 : ttlMs,
            texts,
          });
        }
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
    const claims = new ClaimTable();
    const op = opOf({ kind: 'acquire', name: 'order-12345', token: 'uuid:1', ttlMs: 30_000 });
    const writer = new EffectWriter(10_000, 0);
    const row = claims.insert(op, 100_000, 30_000);
    writer.granted(4_095, claims, row);
    const granted = writer.at - 1;
    writer.ended(4_095, 100_003, claims.hash(row), 100_000, EndReason.released);
    expect([granted - 11 - 16, writer.at - 1 - granted]).toEqual([14, 11]);
  });

  it('has these bytes (docs/journal.md shows them)', () => {
    const claims = new ClaimTable();
    const op = opOf({
      kind: 'acquire',
      name: 'order-1',
      token: 'uuid:ABCDEFGHIJKLMNOP',
      ttlMs: 30_000,
      owner: 'me',
    });
    op.hash = 0x1234_5678;
    const writer = new EffectWriter(10_000, 0);
    const row = claims.insert(op, 300, 30_000);
    writer.granted(18, claims, row);
    claims.setTtlMs(row, 60_000);
    writer.renewed(18, 301, claims, row, false);
    writer.ended(18, 302, claims.hash(row), 300, EndReason.released);
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
    const claims = new ClaimTable();
    const row = claims.insert(opOf({ kind: 'acquire', name: 'n', token: 'uuid:1' }), 1, 1_000);
    const writer = new EffectWriter(2_000, 0);
    expect(() => writer.granted(1, claims, row)).toThrow(RangeError);
  });

  it('begins anew with reset', () => {
    const writer = new EffectWriter(10_000, 4);
    writer.ended(1, 2, 3, 1, EndReason.expired);
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
    ['an unknown kind', [ENTRY_VERSION, 0x14, 18, 5], 1],
    ['a reason of 0', [ENTRY_VERSION, 0x03, ...ended.slice(2)], 1],
    ['a reason of 5', [ENTRY_VERSION, 0x53, ...ended.slice(2)], 1],
    ['a grant of a later version', [ENTRY_VERSION, 0x91, 18, 5], 1],
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
    const claims = new ClaimTable();
    const row = claims.insert(
      opOf({ kind: 'acquire', name: 'name', token: 'x', owner: 'me', metadata: '{"a":1}' }),
      300,
      9_000,
    );
    const writer = new EffectWriter(10_000, 0);
    writer.granted(18, claims, row);
    const ends = [1, writer.at];
    writer.renewed(18, 301, claims, row, true);
    ends.push(writer.at);
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
