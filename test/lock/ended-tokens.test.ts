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

function add(ended: EndedTokens, i: number, now: number, table = 0): void {
  ended.add(table, i, token(i), 0, 16, now);
}

function has(ended: EndedTokens, i: number, now: number, table = 0): boolean {
  return ended.has(table, i, token(i), 0, 16, now);
}

function memoryOf(ended: EndedTokens): number {
  const { words, cells } = ended as unknown as { words: Int32Array; cells: Uint16Array };
  return words.byteLength + cells.byteLength;
}

function agesOf(ended: EndedTokens, table = 0): number[] {
  const ages: number[] = [];
  ended.each(table, (_low, _high, ageMs) => ages.push(ageMs));
  return ages;
}

describe('ended tokens', () => {
  it('are remembered for their time, by key and token', () => {
    const ended = new EndedTokens(KEEP_MS);
    expect(has(ended, 1, 0)).toBe(false);
    add(ended, 1, 5_000);
    expect(has(ended, 1, 5_000)).toBe(true);
    expect(ended.has(0, 2, token(1), 0, 16, 5_000)).toBe(false);
    expect(ended.has(0, 1, token(1), 0, 15, 5_000)).toBe(false);
    expect(has(ended, 1, 5_000 + KEEP_MS - 1)).toBe(true);
    expect(has(ended, 1, 5_000 + KEEP_MS)).toBe(false);
  });

  it('are those of their table, also when another has the same', () => {
    const ended = new EndedTokens(KEEP_MS, 3);
    add(ended, 1, 100, 0);
    add(ended, 1, 9_000, 2);
    expect([0, 1, 2].map((table) => has(ended, 1, 9_000, table))).toEqual([true, false, true]);
    expect([0, 1, 2].map((table) => ended.count(table))).toEqual([1, 0, 1]);
    expect(has(ended, 1, 100 + KEEP_MS, 0)).toBe(false);
    expect(has(ended, 1, 100 + KEEP_MS, 2)).toBe(true);
    ended.forget(0, 100 + KEEP_MS);
    expect([0, 1, 2].map((table) => ended.count(table))).toEqual([0, 0, 1]);
  });

  it('are bounded in each table: the oldest goes first', () => {
    const ended = new EndedTokens(KEEP_MS, 2);
    add(ended, 0, 1, 1);
    for (let i = 0; i < LIMITS.endedTokensMax + 11; i++) add(ended, i, 1);
    expect([ended.count(0), ended.count(1)]).toEqual([LIMITS.endedTokensMax, 1]);
    const told = agesOf(ended).length;
    expect(told).toBe(LIMITS.endedTokensMax);
    const asked = [0, 5, 10, 11, 12, 40_000, LIMITS.endedTokensMax + 10];
    expect(asked.map((i) => has(ended, i, 2))).toEqual([false, false, false, true, true, true, true]);
    expect(has(ended, 0, 2, 1)).toBe(true);
  });

  it('take at most 25 bytes each, and give their memory back', () => {
    const ended = new EndedTokens(KEEP_MS);
    expect(memoryOf(ended)).toBeLessThan(10);
    for (let i = 0; i < 60_000; i++) add(ended, i, 1);
    expect(memoryOf(ended)).toBeLessThan(25 * 60_000);
    for (let i = 0; i < 1_000; i++) add(ended, i, KEEP_MS + 1);
    ended.forget(0, KEEP_MS + 1);
    expect(ended.count(0)).toBe(1_000);
    expect(memoryOf(ended)).toBeLessThan(25 * 2_000);
    ended.forget(0, 1 + 2 * KEEP_MS);
    expect(memoryOf(ended)).toBeLessThan(10);
    add(ended, 7, 1 + 2 * KEEP_MS);
    expect(has(ended, 7, 1 + 2 * KEEP_MS)).toBe(true);
  });

  it('of a table that is given up leave their room to the others', () => {
    const ended = new EndedTokens(KEEP_MS, 2);
    for (let i = 0; i < 30_000; i++) add(ended, i, 1, i & 1);
    const before = memoryOf(ended);
    ended.dispose(1);
    expect([ended.count(0), ended.count(1)]).toEqual([15_000, 0]);
    expect([has(ended, 7, 1, 1), has(ended, 8, 1)]).toEqual([false, true]);
    for (let i = 30_000; i < 44_000; i++) add(ended, i, 1);
    expect(memoryOf(ended)).toBeLessThanOrEqual(before);
    expect([has(ended, 8, 1), has(ended, 43_999, 1)]).toEqual([true, true]);
    ended.dispose(0);
    expect(memoryOf(ended)).toBeLessThan(10);
  });

  it('of a table that is always asked make no more room than they need', () => {
    const ended = new EndedTokens(KEEP_MS, 2);
    for (let i = 0; i < 200_000; i++) add(ended, i, i);
    expect(ended.count(0)).toBeLessThan(KEEP_MS + 300);
    expect(memoryOf(ended)).toBeLessThan(40 * KEEP_MS);
    expect(has(ended, 199_999 - KEEP_MS, 199_999)).toBe(false);
    expect(has(ended, 200_000 - KEEP_MS, 199_999)).toBe(true);
  });

  it('keep their times right for longer than 32 bits of milliseconds', () => {
    const keepMs = 2 ** 30;
    const stepMs = 2 ** 28;
    const ended = new EndedTokens(keepMs);
    for (let i = 0; i < 60; i++) {
      const now = i * stepMs;
      add(ended, i, now);
      // The oldest always overlaps the next: there is never none.
      const remembered = Array.from({ length: i + 1 }, (_, j) => has(ended, j, now));
      expect(remembered.indexOf(true)).toBe(Math.max(0, i - 3));
      expect(remembered.lastIndexOf(false)).toBe(i < 4 ? -1 : i - 4);
    }
  });

  it('are what a Map a table would remember', () => {
    const step = fc.record({
      do: fc.constantFrom('add', 'add', 'has', 'wait', 'burst', 'forget', 'told'),
      i: fc.nat(50),
      table: fc.nat(2),
      ms: fc.constantFrom(0, 1, 0.25, 7_999, 8_000, 15_999.5, 16_000),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
        const ended = new EndedTokens(KEEP_MS, 3);
        const maps = [0, 1, 2].map(() => new Map<number, number>());
        let now = 0.5;
        for (const { do: what, i, ms, table } of steps) {
          if (what === 'wait') now += ms;
          const burst = what === 'burst' ? 10 * i : 1;
          for (let j = i; (what === 'add' || what === 'burst') && j < i + burst; j++) {
            add(ended, j, now, table);
            maps[table].set(j, Math.ceil(now));
          }
          if (what === 'forget') ended.forget(table, now);
          if (what === 'told') expect(agesOf(ended, table).length).toBe(ended.count(table));
          maps.forEach((map, of) => {
            const at = map.get(i);
            expect(has(ended, i, now, of)).toBe(at !== undefined && now - at < KEEP_MS);
          });
        }
      }),
      { numRuns: 300 },
    );
  });

  it('survive being told and put back, in order and with their ages', () => {
    const ended = new EndedTokens(KEEP_MS, 2);
    for (let i = 0; i < 100; i++) {
      add(ended, i, 1_000 + 10 * i);
      add(ended, i + 500, 1_000 + 10 * i, 1);
    }
    const copy = new EndedTokens(KEEP_MS, 4);
    copy.add(0, 7, token(7), 0, 16, 50_000);
    ended.each(0, (low, high, ageMs) => copy.restore(3, low, high, ageMs, 50_000));
    expect(agesOf(ended)).toEqual(Array.from({ length: 100 }, (_, i) => 990 - 10 * i));
    expect(agesOf(copy, 3)).toEqual(agesOf(ended));
    expect(has(copy, 0, 50_000 - 990 + KEEP_MS - 1, 3)).toBe(true);
    expect(has(copy, 0, 50_000 - 990 + KEEP_MS, 3)).toBe(false);
    expect(has(copy, 99, 50_000 + KEEP_MS - 1, 3)).toBe(true);
    expect([has(copy, 500, 50_000, 3), has(copy, 0, 50_000)]).toEqual([false, false]);
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
