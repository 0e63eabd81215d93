/**
 * Breaks Holdfast in every way of mutations.ts and sees that it is noticed.
 * Minutes long, so it has a command of its own: `npm run test:mutations`.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MUTATIONS } from './mutations.ts';
import { SEED_MS, Workshop } from './workshop.ts';

const BUILD_MS = 120_000;
const TESTS_MS = 120_000;

let workshop: Workshop;

beforeAll(async () => {
  workshop = await Workshop.open();
}, BUILD_MS);

afterAll(() => workshop.close());

test(
  'without a mutation nothing is found',
  async () => {
    expect((await workshop.run('everything', 20)).rules).toEqual([]);
  },
  BUILD_MS + 20 * SEED_MS,
);

for (const mutation of MUTATIONS) {
  test(
    mutation.name,
    async () => {
      const { rules, after } = await workshop.try(mutation);
      process.stdout.write(`  ${mutation.name}: ${rules.join(', ')} after ${after}\n`);
      expect(rules).not.toEqual([]);
    },
    BUILD_MS + ('tests' in mutation ? TESTS_MS : mutation.seeds * SEED_MS),
  );
}
