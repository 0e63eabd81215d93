import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { halfSipHash, hashBytes, parseHashKey, slotHash, slotOf, tagRange } from '../../src/slots/hash.ts';
import { HALF_SIP_HASH_2_4 } from './halfsiphash-vectors.ts';

const KEY = parseHashKey('0001020304050607');
const encoder = new TextEncoder();

function hex(hash: number): string {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, hash, true);
  return Buffer.from(view.buffer).toString('hex');
}

function hashText(text: string, key = KEY): number {
  const bytes = encoder.encode(text);
  return hashBytes(bytes, 0, bytes.length, key);
}

describe('HalfSipHash', () => {
  it('reads the key little-endian', () => {
    expect(KEY).toEqual({ k0: 0x03020100, k1: 0x07060504 });
    expect(parseHashKey('FFFFFFFFffffffff')).toEqual({ k0: 0xffffffff, k1: 0xffffffff });
    for (const wrong of ['', '00', '000102030405060g', '00010203040506070']) {
      expect(() => parseHashKey(wrong)).toThrow(TypeError);
    }
  });

  it('gives the published results for 2-4', () => {
    expect(HALF_SIP_HASH_2_4).toHaveLength(64);
    const input = Uint8Array.from({ length: 64 }, (_, i) => i);
    for (const [length, expected] of HALF_SIP_HASH_2_4.entries()) {
      expect(hex(halfSipHash(input, 0, length, KEY.k0, KEY.k1, 2, 4))).toBe(expected);
    }
  });

  it('keeps giving these results for 1-3: they are stored', () => {
    const results = ['', 'a', 'ab', 'abc', 'abcd', 'order-12345', 'x'.repeat(512)].map((t) => hashText(t));
    expect(results).toMatchInlineSnapshot(`
      [
        1477757078,
        4217696294,
        657217721,
        3272101945,
        154581159,
        1894254098,
        3700684888,
      ]
    `);
  });

  it('agrees with a second, plainer implementation for any key, bytes and place', () => {
    const word = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(word, word, fc.uint8Array({ maxLength: 600 }), fc.nat(64), (k0, k1, bytes, at) => {
        const placed = new Uint8Array(at + bytes.length + 7).fill(0xa5);
        placed.set(bytes, at);
        const hash = hashBytes(placed, at, bytes.length, { k0, k1 });
        expect(hash).toBe(plainHash(bytes, k0, k1, 1, 3));
        expect(Number.isInteger(hash) && hash >= 0 && hash <= 0xffffffff).toBe(true);
      }),
    );
  });

  it.each([
    ['numbered', (i: number) => `order-${i}`],
    ['padded', (i: number) => `tenant/eu-west/stock/${String(i).padStart(12, '0')}`],
    ['prefix-free', (i: number) => i.toString(36)],
  ])('spreads %s names evenly over slots', (_, name) => {
    const names = 200_000;
    const counts = new Float64Array(4096);
    for (let i = 0; i < names; i++) counts[slotOf(hashText(name(i)), 4096)]++;
    const expected = names / 4096;
    const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 4095 degrees of freedom: mean 4095, standard deviation 90.5; ± 5 of them.
    expect(Math.abs(chiSquare - 4095)).toBeLessThan(453);
  });

  it('changes half of the bits when one bit of name or key changes', () => {
    let flips = 0;
    const tries = 4_000;
    for (let i = 0; i < tries; i++) {
      const bytes = encoder.encode(`lock-${i}-abcdefgh`);
      const before = hashBytes(bytes, 0, bytes.length, KEY);
      bytes[i % bytes.length] ^= 1 << (i % 8);
      const otherKey = { k0: (KEY.k0 ^ (1 << (i & 31))) >>> 0, k1: KEY.k1 };
      flips += bitCount(before ^ hashBytes(bytes, 0, bytes.length, i % 2 === 0 ? KEY : otherKey));
    }
    expect(flips / tries / 32).toBeCloseTo(0.5, 1);
  });
});

describe('slotOf', () => {
  it('takes the top bits', () => {
    expect(slotOf(0, 4096)).toBe(0);
    expect(slotOf(0xffffffff, 4096)).toBe(4095);
    expect(slotOf(0x00100000, 4096)).toBe(1);
    expect(slotOf(0xffffffff, 64)).toBe(63);
    expect(slotOf(0x80000000, 2)).toBe(1);
  });
});

describe('tagRange', () => {
  function tagOf(name: string): string | undefined {
    const before = encoder.encode('{no}');
    const bytes = encoder.encode(`{no}${name}{no}`);
    const at = before.length;
    const range = tagRange(bytes, at, bytes.length - 2 * at);
    if (range === 0) return undefined;
    const start = at + (range >>> 16);
    return new TextDecoder().decode(bytes.subarray(start, start + (range & 0xffff)));
  }

  it.each([
    ['{order-7}/stock', 'order-7'],
    ['stock/{order-7}', 'order-7'],
    ['a{b}c{d}', 'b'],
    ['{{a}}', '{a'],
    ['{ }', ' '],
    ['{é}x', 'é'],
    ['a}b{c}', 'c'],
  ])('of %j is %j', (name, tag) => expect(tagOf(name)).toBe(tag));

  it.each(['plain', '', '{', '}', '{}', '{}{a}', 'a{b', 'a}b{c', '}{'])('of %j is none', (name) =>
    expect(tagOf(name)).toBeUndefined(),
  );

  it('packs the longest name', () => {
    const name = encoder.encode(`${'x'.repeat(100)}{${'y'.repeat(410)}}`);
    expect(tagRange(name, 0, name.length)).toBe((101 << 16) | 410);
  });

  it('does what a regular expression says', () => {
    const text = fc.array(fc.constantFrom('{', '}', 'a', 'b', 'é'), { maxLength: 12 }).map((c) => c.join(''));
    fc.assert(
      fc.property(text, (name) => {
        expect(tagOf(name)).toBe(/^[^{]*\{([^}]+)\}/.exec(name)?.[1]);
      }),
    );
  });
});

describe('slotHash', () => {
  function slotHashOf(namespace: string, name: string): number {
    const prefix = namespace === '' ? '' : `${namespace}\0`;
    const bytes = encoder.encode(`...${prefix}${name}...`);
    const length = bytes.length - 6;
    const nameAt = 3 + encoder.encode(prefix).length;
    return slotHash(bytes, 3, length, nameAt, hashBytes(bytes, 3, length, KEY), KEY);
  }

  it('is the hash of the whole key without a tag', () => {
    expect(slotHashOf('', 'order-7')).toBe(hashText('order-7'));
    expect(slotHashOf('eu', 'order-7')).toBe(hashText('eu\0order-7'));
    expect(slotHashOf('', '{}order-7')).toBe(hashText('{}order-7'));
  });

  it('is that of the tag, within the namespace', () => {
    expect(slotHashOf('', '{order-7}/stock')).toBe(hashText('order-7'));
    expect(slotHashOf('', 'pay/{order-7}')).toBe(hashText('order-7'));
    expect(slotHashOf('eu', '{order-7}/stock')).toBe(hashText('eu\0order-7'));
    expect(slotHashOf('eu', '{order-7}')).not.toBe(slotHashOf('us', '{order-7}'));
  });

  it('looks for the tag in the name only', () => {
    expect(slotHashOf('{x}', 'order-7')).toBe(hashText('{x}\0order-7'));
  });
});

/** The textbook form, over a copy of the input padded to words. */
function plainHash(bytes: Uint8Array, k0: number, k1: number, c: number, d: number): number {
  const padded = new Uint8Array((bytes.length + 4) & ~3);
  padded.set(bytes);
  padded[padded.length - 1] = bytes.length;
  const v = Uint32Array.of(k0, k1, k0 ^ 0x6c796765, k1 ^ 0x74656462);
  const rotate = (i: number, by: number): void => {
    v[i] = (v[i] << by) | (v[i] >>> (32 - by));
  };
  const add = (a: number, b: number, by: number): void => {
    v[a] += v[b];
    rotate(b, by);
    v[b] ^= v[a];
  };
  const rounds = (n: number): void => {
    for (; n > 0; n--) {
      add(0, 1, 5);
      rotate(0, 16);
      add(2, 3, 8);
      add(0, 3, 7);
      add(2, 1, 13);
      rotate(2, 16);
    }
  };
  const view = new DataView(padded.buffer);
  for (let at = 0; at < padded.length; at += 4) {
    const word = view.getUint32(at, true);
    v[3] ^= word;
    rounds(c);
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  rounds(d);
  return (v[1] ^ v[3]) >>> 0;
}

function bitCount(word: number): number {
  let count = 0;
  for (; word !== 0; word &= word - 1) count++;
  return count;
}
