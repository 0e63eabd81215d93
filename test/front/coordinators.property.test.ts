/** What coordinators tell, and what they leave, in any weather (coordinator-world.ts). */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Weather, World } from './coordinator-world.ts';

const share = (max: number) => fc.integer({ min: 0, max: 100 }).map((percent) => (percent / 100) * max);
const weathers: fc.Arbitrary<Weather> = fc.record({
  refused: share(0.1),
  unknown: share(0.08),
  silent: share(0.02),
  dropped: share(0.08),
  late: share(0.05),
  delayMs: fc.constantFrom(2, 50, 800),
  outages: fc.integer({ min: 0, max: 6 }),
  deaths: fc.integer({ min: 0, max: 3 }),
});

/** Enough of everything. */
const ROUGH: Weather = {
  refused: 0.05,
  unknown: 0.06,
  silent: 0.01,
  dropped: 0.06,
  late: 0.04,
  delayMs: 50,
  outages: 5,
  deaths: 1,
};

test('in rough weather all that can be told is told, and right', () => {
  const outcomes = new Map<string, number>();
  for (let seed = 1; seed <= 8; seed++) {
    const world = new World(seed, ROUGH);
    world.run(3);
    expect(world.problems).toEqual([]);
    for (const [outcome, count] of world.outcomes)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count);
  }
  const kinds: Readonly<Record<string, string>> = {
    open: 'done',
    acquire: 'done lock_held session_ended outcome_unknown shard_unavailable',
    'keep-alive': 'done shard_unavailable session_ended',
    end: 'done',
    batch: 'done lock_held shard_unavailable outcome_unknown',
    'batch in a session': 'done session_ended',
  };
  const missing = Object.entries(kinds).flatMap(([kind, codes]) =>
    codes.split(' ').filter((code) => !outcomes.has(`${kind} ${code}`)),
  );
  expect(missing).toEqual([]);
});

test('what is told holds, and nothing is left', () => {
  fc.assert(
    fc.property(fc.integer(), weathers, fc.integer({ min: 1, max: 4 }), (seed, weather, clients) => {
      const world = new World(seed, weather);
      world.run(clients);
      expect(world.problems).toEqual([]);
    }),
    { numRuns: 80 },
  );
});

test('without faults nobody is told of any, and an end leaves nothing', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      const calm = {
        refused: 0,
        unknown: 0,
        silent: 0,
        dropped: 0,
        late: 0,
        delayMs: 3,
        outages: 0,
        deaths: 0,
      };
      const world = new World(seed, calm);
      world.run(3);
      expect(world.problems).toEqual([]);
      const faults = [...world.outcomes.keys()].filter((key) => /unavailable|unknown|moving/.test(key));
      expect(faults).toEqual([]);
    }),
    { numRuns: 20 },
  );
});
