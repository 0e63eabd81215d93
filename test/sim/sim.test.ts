/**
 * Whole clusters under seeded faults. A seed that fails prints how to run it
 * again, and the end of its trace.
 *
 *   HOLDFAST_SIM_SEEDS=5000   how many seeds
 *   HOLDFAST_SIM_FROM=1000    the first of them
 *   HOLDFAST_SIM_SEED=42      this one only, with the whole tail of its trace
 *   HOLDFAST_SIM_PROFILE=kills
 */
import { env } from 'node:process';
import { describe, expect, it } from 'vitest';
import { PROFILE_NAMES, run, type RunResult } from './run.ts';
import type { ProfileName } from './profiles.ts';

/** Three of each profile: what takes about a minute on one slow core. */
const SEEDS_DEFAULT = 42;
const TAIL_LINES = 80;

const one = env.HOLDFAST_SIM_SEED === undefined ? undefined : Number(env.HOLDFAST_SIM_SEED);
const profile = env.HOLDFAST_SIM_PROFILE as ProfileName | undefined;
const from = one ?? Number(env.HOLDFAST_SIM_FROM ?? 0);
const count = one === undefined ? Number(env.HOLDFAST_SIM_SEEDS ?? SEEDS_DEFAULT) : 1;
const ALL_MS = 60_000 + count * 5_000;

function failureText({ seed, profile: name, violations, tail }: RunResult): string {
  const lines = violations.slice(0, 10).map(({ rule, text }) => `  ${rule}: ${text}`);
  const more = violations.length > lines.length ? [`  … ${violations.length} in all`] : [];
  return [
    `seed ${seed} (${name}) broke the contract:`,
    ...lines,
    ...more,
    'the end of its trace:',
    ...tail.slice(one === undefined ? -TAIL_LINES : 0).map((line) => `  ${line}`),
    `again: HOLDFAST_SIM_SEED=${seed} HOLDFAST_SIM_PROFILE=${name} npx vitest run test/sim/sim.test.ts`,
  ].join('\n');
}

describe('simulation', () => {
  it(
    'keeps the contract whatever fails',
    async () => {
      const failures: string[] = [];
      const grants = { granted: 0, waited: 0, inSessions: 0, shared: 0, forced: 0 };
      const sum = { ...grants, unknown: 0, terms: 0, handOvers: 0, forwards: 0 };
      for (let seed = from; seed < from + count; seed++) {
        const result = await run(seed, profile);
        if (result.violations.length > 0) failures.push(failureText(result));
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += result[key];
        if (failures.length >= 3) break;
      }
      expect(failures.join('\n\n'), failures.join('\n\n')).toBe('');
      // A simulation in which nothing happens proves nothing.
      expect(sum.granted).toBeGreaterThan(count * 50);
      if (one !== undefined || profile !== undefined) return;
      expect(sum.waited).toBeGreaterThan(count * 20);
      expect(sum.inSessions).toBeGreaterThan(count * 3);
      expect(sum.shared).toBeGreaterThan(count * 5);
      expect(sum.forced).toBeGreaterThan(count / 2);
      expect(sum.unknown).toBeGreaterThan(count);
      expect(sum.terms).toBeGreaterThan(count * 8);
      expect(sum.handOvers).toBeGreaterThan(count * 10);
      expect(sum.forwards).toBeGreaterThan(count * 50);
    },
    ALL_MS,
  );

  it(
    'runs a seed the same way every time',
    async () => {
      const hashes = new Set<number>();
      for (const name of ['everything', 'waits'] satisfies ProfileName[]) {
        const first = await run(7, name);
        const second = await run(7, name);
        expect(second.hash).toBe(first.hash);
        expect(second.events).toBe(first.events);
        hashes.add(first.hash);
      }
      hashes.add((await run(8, 'waits')).hash);
      expect(hashes.size).toBe(3);
    },
    ALL_MS,
  );

  it('has a profile for every kind of fault', () => {
    expect(PROFILE_NAMES).toEqual(
      expect.arrayContaining([
        'calm',
        'kills',
        'store',
        'pauses',
        'leases',
        'clocks',
        'jumps',
        'links',
        'waits',
      ]),
    );
  });
});
