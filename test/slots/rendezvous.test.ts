import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { heirOf, naturalLog, ownerOf, shardOf, type Candidate } from '../../src/slots/rendezvous.ts';

const SLOTS = 4096;

function homes(shards: readonly Candidate[]): string[] {
  return Array.from({ length: SLOTS }, (_, slot) => shardOf(slot, shards));
}

function counts(names: readonly (string | number)[]): Map<string | number, number> {
  const result = new Map<string | number, number>();
  for (const name of names) result.set(name, (result.get(name) ?? 0) + 1);
  return result;
}

const shards = fc.uniqueArray(
  fc.record({ name: fc.stringMatching(/^[a-z0-9-]{1,32}$/), weight: fc.integer({ min: 1, max: 1000 }) }),
  { selector: (shard) => shard.name, minLength: 1, maxLength: 6 },
);

describe('shardOf', () => {
  it('gives two equal shards 40–60 % each', () => {
    fc.assert(
      fc.property(shards, ([{ name }]) => {
        const share =
          counts(
            homes([
              { name, weight: 7 },
              { name: `${name}x`, weight: 7 },
            ]),
          ).get(name)! / SLOTS;
        expect(share).toBeGreaterThan(0.4);
        expect(share).toBeLessThan(0.6);
      }),
      { numRuns: 30 },
    );
  });

  it('gives shares in proportion to the weights', () => {
    fc.assert(
      fc.property(shards, (all) => {
        const total = all.reduce((sum, shard) => sum + shard.weight, 0);
        const found = counts(homes(all));
        for (const { name, weight } of all) {
          const p = weight / total;
          const deviation = Math.abs((found.get(name) ?? 0) - p * SLOTS);
          // Six standard deviations of a binomial draw.
          expect(deviation).toBeLessThan(6 * Math.sqrt(SLOTS * p * (1 - p)) + 1);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('moves slots only to a shard that joins, only from one that leaves', () => {
    fc.assert(
      fc.property(shards, fc.integer({ min: 1, max: 1000 }), (all, weight) => {
        const joining = { name: 'joining-shard', weight };
        const before = homes(all);
        const after = homes([...all, joining]);
        for (let slot = 0; slot < SLOTS; slot++) {
          if (after[slot] !== before[slot]) expect(after[slot]).toBe(joining.name);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('moves slots only to a shard that gains weight, only from one that loses it', () => {
    fc.assert(
      fc.property(shards, fc.integer({ min: 2, max: 50 }), (all, times) => {
        const heavier = all.map((shard, i) => (i === 0 ? { ...shard, weight: shard.weight * times } : shard));
        const before = homes(all);
        const after = homes(heavier);
        for (let slot = 0; slot < SLOTS; slot++) {
          if (after[slot] !== before[slot]) expect(after[slot]).toBe(all[0].name);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('depends on neither the order nor the unit of the weights', () => {
    fc.assert(
      fc.property(shards, (all) => {
        const doubled = [...all].reverse().map(({ name, weight }) => ({ name, weight: weight * 2 }));
        expect(homes(doubled)).toEqual(homes(all));
      }),
      { numRuns: 10 },
    );
  });

  it('gives nothing to weight 0, and refuses to choose among nothing', () => {
    const all = [
      { name: 'full', weight: 0 },
      { name: 's0', weight: 1 },
    ];
    expect(counts(homes(all))).toEqual(new Map([['s0', SLOTS]]));
    expect(() => shardOf(1, [all[0]])).toThrow(RangeError);
    expect(() => shardOf(1, [])).toThrow(RangeError);
  });

  it('keeps giving this plan: all machines and versions must agree', () => {
    const all = ['s0', 's1', 's2'].map((name, i) => ({ name, weight: i + 1 }));
    const plan = homes(all).map((name) => name[1]);
    expect(plan.slice(0, 64).join('')).toMatchInlineSnapshot(
      `"1112222211111112121012221010222122111101111010021212210112200011"`,
    );
    expect([...counts(plan).entries()].sort()).toMatchInlineSnapshot(`
      [
        [
          "0",
          657,
        ],
        [
          "1",
          1362,
        ],
        [
          "2",
          2077,
        ],
      ]
    `);
  });
});

const terms = fc.uniqueArray(fc.stringMatching(/^[0-9a-f]{16}$/), { minLength: 1, maxLength: 12 });

function owners(of: readonly string[]): string[] {
  return Array.from({ length: SLOTS }, (_, slot) => ownerOf(slot, of)!);
}

/** Six standard deviations of a binomial draw of `of`, of chance 1 in `parts`. */
function expectEven(share: number, of: number, parts: number): void {
  expect(Math.abs(share - of / parts)).toBeLessThan(6 * Math.sqrt((of / parts) * (1 - 1 / parts)) + 1);
}

describe('ownerOf', () => {
  it('gives every term its part, whatever their ids', () => {
    fc.assert(
      fc.property(terms, (all) => {
        const found = counts(owners(all));
        for (const term of all) expectEven(found.get(term) ?? 0, SLOTS, all.length);
      }),
      { numRuns: 30 },
    );
  });

  it('is independent of shardOf: shares are even within one shard', () => {
    const all = ['s0', 's1'].map((name) => ({ name, weight: 1 }));
    const s0 = Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => shardOf(slot, all) === 's0');
    // The same names as candidates for both: the keys of the draws differ.
    for (const names of [
      ['term-a', 'term-b', 'term-c', 'term-d'],
      ['s0', 's1'],
    ]) {
      const found = counts(s0.map((slot) => ownerOf(slot, names)!));
      for (const name of names) expectEven(found.get(name) ?? 0, s0.length, names.length);
    }
  });

  it('moves nothing but what a newcomer wins, or one that left had', () => {
    fc.assert(
      fc.property(terms, fc.stringMatching(/^[0-9a-f]{15}$/), (all, rest) => {
        const joining = `x${rest}`;
        const before = owners(all);
        const after = owners([...all, joining]);
        for (let slot = 0; slot < SLOTS; slot++) {
          if (after[slot] !== before[slot]) expect(after[slot]).toBe(joining);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('depends on no order', () => {
    fc.assert(
      fc.property(terms, (all) => {
        expect(owners([...all].reverse())).toEqual(owners(all));
      }),
      { numRuns: 10 },
    );
  });

  it('has one choice where there is one, and none where there is none', () => {
    expect(ownerOf(77, ['only'])).toBe('only');
    expect(ownerOf(77, [])).toBeUndefined();
  });

  it('keeps giving this plan: processes of several versions share a shard', () => {
    const plan = owners(['0', '1', '2'].map((digit) => digit.repeat(16))).map((term) => term[0]);
    expect(plan.slice(0, 64).join('')).toMatchInlineSnapshot(
      `"1202122101112020111012120200121100001012201122102101120100112221"`,
    );
  });
});

describe('heirOf', () => {
  const living = ['a', 'b', 'c', 'd'].map((letter) => letter.repeat(16));
  const dead = Array.from({ length: 4_000 }, (_, i) => i.toString(16).padStart(16, '0'));

  it('spreads the dead evenly over the living', () => {
    const found = counts(dead.map((term) => heirOf(term, living)!));
    for (const term of living) expectEven(found.get(term) ?? 0, dead.length, living.length);
  });

  it('changes only for those whose heir left, or that a newcomer wins', () => {
    const joining = 'e'.repeat(16);
    for (const term of dead) {
      const before = heirOf(term, living);
      const after = heirOf(term, [...living, joining])!;
      if (after !== before) expect(after).toBe(joining);
      const without = living.filter((other) => other !== before);
      if (after !== joining) expect(heirOf(term, [...without, before!])).toBe(before);
      expect(without).toContain(heirOf(term, without));
    }
  });

  it('depends on no order', () => {
    const reversed = [...living].reverse();
    for (const term of dead) expect(heirOf(term, reversed)).toBe(heirOf(term, living));
  });

  it('is independent of who should own a slot of the same number', () => {
    let same = 0;
    for (const [slot, term] of dead.entries()) if (heirOf(term, living) === ownerOf(slot, living)) same++;
    expectEven(same, dead.length, living.length);
  });

  it('is the only one that lives; of none there is none', () => {
    expect(heirOf(dead[0], [living[2]])).toBe(living[2]);
    expect(heirOf(dead[0], [])).toBeUndefined();
  });

  it('stays who it is: processes of several versions share a shard', () => {
    const heirs = dead.slice(0, 64).map((term) => heirOf(term, living)![0]);
    expect(heirs.join('')).toMatchInlineSnapshot(
      `"babbabcbcdabacabdcaddbaabbdddaaacdcdcbdcabacadabbdbbdbbbaddbcbba"`,
    );
  });
});

describe('naturalLog', () => {
  it('is the logarithm', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.5, max: 2 ** 32, noNaN: true }), (x) => {
        expect(Math.abs(naturalLog(x) - Math.log(x))).toBeLessThan(2e-14);
      }),
    );
  });

  it('never falls where its argument rises, at the seams of its ranges too', () => {
    for (let e = 0; e < 32; e++) {
      for (const seam of [0.75, 1, 1.5]) {
        const x = seam * 2 ** e;
        expect(naturalLog(x * (1 + 1e-9))).toBeGreaterThan(naturalLog(x * (1 - 1e-9)));
      }
    }
  });
});
