import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { EndedTokens, fingerprintText } from '../../src/lock/ended-tokens.ts';

const KEEP_MS = 16_000;

function token(i: number): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(4 * (i % 4), i, true);
  return bytes;
}

function add(ended: EndedTokens, i: number, now: number): void {
  ended.add(i, token(i), 0, 16, now);
}

function has(ended: EndedTokens, i: number, now: number): boolean {
  return ended.has(i, token(i), 0, 16, now);
}

function memoryOf(ended: EndedTokens): number {
  const { words } = ended as unknown as { words: Uint32Array };
  return words.byteLength;
}

describe('ended tokens', () => {
  it('are remembered for their time, by key and token', () => {
    const ended = new EndedTokens(KEEP_MS);
    expect(has(ended, 1, 0)).toBe(false);
    add(ended, 1, 5_000);
    expect(has(ended, 1, 5_000)).toBe(true);
    expect(ended.has(2, token(1), 0, 16, 5_000)).toBe(false);
    expect(ended.has(1, token(1), 0, 15, 5_000)).toBe(false);
    expect(has(ended, 1, 5_000 + KEEP_MS - 1)).toBe(true);
    expect(has(ended, 1, 5_000 + KEEP_MS)).toBe(false);
  });

  it('are bounded: the oldest goes first', () => {
    const ended = new EndedTokens(KEEP_MS);
    for (let i = 0; i < LIMITS.endedTokensMax + 11; i++) add(ended, i, 1);
    expect(ended.count).toBe(LIMITS.endedTokensMax);
    const remembered = Array.from({ length: LIMITS.endedTokensMax + 11 }, (_, i) => has(ended, i, 2));
    expect(remembered.indexOf(true)).toBe(11);
    expect(remembered.lastIndexOf(false)).toBe(10);
  });

  it('take 20 bytes a place, and give their memory back', () => {
    const ended = new EndedTokens(KEEP_MS);
    expect(memoryOf(ended)).toBe(0);
    for (let i = 0; i < 60_000; i++) add(ended, i, 1);
    expect(memoryOf(ended)).toBe(20 * 65_536);
    for (let i = 0; i < 1_000; i++) add(ended, i, KEEP_MS + 1);
    expect(ended.count).toBe(1_000);
    expect(memoryOf(ended)).toBeLessThan(20 * 10_000);
    ended.forget(1 + 2 * KEEP_MS);
    expect(memoryOf(ended)).toBe(0);
    add(ended, 7, 1 + 2 * KEEP_MS);
    expect(has(ended, 7, 1 + 2 * KEEP_MS)).toBe(true);
  });

  it('keep their times right for longer than 32 bits of milliseconds', () => {
    const keepMs = 2 ** 30;
    const stepMs = 2 ** 28;
    const ended = new EndedTokens(keepMs);
    for (let i = 0; i < 60; i++) {
      const now = i * stepMs;
      add(ended, i, now);
      // The oldest always overlaps the next: the ring is never empty.
      const remembered = Array.from({ length: i + 1 }, (_, j) => has(ended, j, now));
      expect(remembered.indexOf(true)).toBe(Math.max(0, i - 3));
      expect(remembered.lastIndexOf(false)).toBe(i < 4 ? -1 : i - 4);
    }
  });

  it('outlive their own numbers', () => {
    const ended = new EndedTokens(KEEP_MS);
    Object.assign(ended, { newest: 2 ** 32 - 50 });
    for (let i = 0; i < 200; i++) {
      add(ended, i, 1);
      expect([has(ended, i, 1), has(ended, i >> 1, 1), has(ended, i + 1, 1)]).toEqual([true, true, false]);
    }
  });

  it('are what a Map would remember', () => {
    const step = fc.record({
      do: fc.constantFrom('add', 'add', 'has', 'wait', 'burst'),
      i: fc.nat(50),
      ms: fc.constantFrom(0, 1, 0.25, 7_999, 8_000, 15_999.5, 16_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const ended = new EndedTokens(KEEP_MS);
        const map = new Map<number, number>();
        let now = 0.5;
        for (const { do: what, i, ms } of steps) {
          if (what === 'wait') now += ms;
          const burst = what === 'burst' ? i : 1;
          for (let j = i; (what === 'add' || what === 'burst') && j < i + burst; j++) {
            add(ended, j, now);
            map.set(j, Math.ceil(now));
          }
          const at = map.get(i);
          expect(has(ended, i, now)).toBe(at !== undefined && now - at < KEEP_MS);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('survive being told and put back, in order and with their ages', () => {
    const ended = new EndedTokens(KEEP_MS);
    for (let i = 0; i < 100; i++) add(ended, i, 1_000 + 10 * i);
    const copy = new EndedTokens(KEEP_MS);
    const ages: number[] = [];
    ended.each((low, high, ageMs) => {
      ages.push(ageMs);
      copy.restore(low, high, ageMs, 50_000);
    });
    expect(ages).toEqual(Array.from({ length: 100 }, (_, i) => 990 - 10 * i));
    expect(has(copy, 0, 50_000 - 990 + KEEP_MS - 1)).toBe(true);
    expect(has(copy, 0, 50_000 - 990 + KEEP_MS)).toBe(false);
    expect(has(copy, 99, 50_000 + KEEP_MS - 1)).toBe(true);
  });
});

describe('the fingerprint', () => {
  it('is part of the stored format: these never change', () => {
    const text = (token: string, hash: number) =>
      fingerprintText(hash, new TextEncoder().encode(token), 0, token.length);
    expect([
      text('', 0),
      text('a', 0),
      text('0123456789abcdef', 0x12345678),
      text('0123456789abcdef012345', 0xffff_ffff),
      text('0123456789abcdef012345', -1),
    ]).toMatchInlineSnapshot(`
      [
        "0000000000000000",
        "a1b01be2ca222a35",
        "938bd7f6fa65d063",
        "b33033e4377d720b",
        "b33033e4377d720b",
      ]
    `);
  });

  it('spreads tokens that differ in little', () => {
    const seen = new Set<string>();
    const bits = new Float64Array(64);
    const count = 20_000;
    for (let i = 0; i < count; i++) {
      const text = fingerprintText(i >>> 10, token(i), 0, 16);
      seen.add(text);
      const value = BigInt(`0x${text}`);
      for (let bit = 0; bit < 64; bit++) bits[bit] += Number((value >> BigInt(bit)) & 1n);
    }
    expect(seen.size).toBe(count);
    for (const ones of bits) expect(Math.abs(ones / count - 0.5)).toBeLessThan(0.02);
  });
});
