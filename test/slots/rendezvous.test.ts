import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { laneOf, naturalLog, ownerOf, shardOf, type Candidate } from '../../src/slots/rendezvous.ts';

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

describe('laneOf and ownerOf', () => {
  it('share evenly, also within one shard', () => {
    const all = ['s0', 's1'].map((name) => ({ name, weight: 1 }));
    const s0 = Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => shardOf(slot, all) === 's0');
    const lanes = counts(s0.map((slot) => laneOf(slot, 4)));
    const owners = counts(s0.map((slot) => ownerOf(slot, ['term-a', 'term-b', 'term-c', 'term-d'])));
    for (const share of [...lanes.values(), ...owners.values()]) {
      expect(Math.abs(share - s0.length / 4)).toBeLessThan(6 * Math.sqrt((s0.length * 3) / 16));
    }
    expect(lanes.size).toBe(4);
    expect(owners.size).toBe(4);
  });

  it('move nothing but what the newcomer wins', () => {
    for (let lanes = 1; lanes < 8; lanes++) {
      for (let slot = 0; slot < SLOTS; slot++) {
        const after = laneOf(slot, lanes + 1);
        if (after !== laneOf(slot, lanes)) expect(after).toBe(lanes);
      }
    }
  });

  it('have one choice where there is one', () => {
    expect(laneOf(77, 1)).toBe(0);
    expect(ownerOf(77, ['only'])).toBe('only');
    expect(() => ownerOf(77, [])).toThrow(RangeError);
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
