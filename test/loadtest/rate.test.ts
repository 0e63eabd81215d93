import fc from 'fast-check';
import { expect, test } from 'vitest';
import { stretchesOf, type ProfileName } from '../../loadtest/profile.ts';
import { Arrivals, opsUntil, secondsOf, type Stretch } from '../../loadtest/rate.ts';

const stretch = fc.record({
  seconds: fc.double({ min: 0.05, max: 5, noNaN: true }),
  from: fc.double({ min: 1, max: 500, noNaN: true }),
  to: fc.double({ min: 1, max: 500, noNaN: true }),
});
const stretches = fc.array(stretch, { minLength: 1, maxLength: 5 });
const phase = fc.double({ min: 0, max: 0.99, noNaN: true });

function timesOf(all: readonly Stretch[], opsEach: number, startMs: number, phase: number): number[] {
  const arrivals = new Arrivals(all, opsEach, startMs, phase);
  const times: number[] = [];
  for (; arrivals.nextAt !== Infinity; arrivals.shift()) times.push(arrivals.nextAt);
  return times;
}

test('at any time as many arrivals have been due as the integral of the rate says', () => {
  fc.assert(
    fc.property(stretches, fc.integer({ min: 1, max: 7 }), phase, (all, opsEach, phase) => {
      const times = timesOf(all, opsEach, 1_000, phase);
      const wanted = (at: number): number => opsUntil(all, (at - 1_000) / 1000) / opsEach;
      for (const [i, at] of times.entries()) expect(wanted(at)).toBeCloseTo(i + phase, 4);
      expect(Math.abs(times.length - wanted(1_000 + secondsOf(all) * 1000))).toBeLessThanOrEqual(1 + 1e-6);
    }),
  );
});

test('arrivals come one after the other, within the time of the run', () => {
  fc.assert(
    fc.property(stretches, phase, (all, phase) => {
      const times = timesOf(all, 1, 0, phase);
      for (let i = 1; i < times.length; i++) expect(times[i]).toBeGreaterThan(times[i - 1]);
      expect(times[0] ?? 0).toBeGreaterThanOrEqual(0);
      expect(times.at(-1) ?? 0).toBeLessThanOrEqual(secondsOf(all) * 1000 + 1e-6);
    }),
  );
});

test('the processes of a run together have the arrivals of one', () => {
  const of = (rate: number): Stretch[] => [{ seconds: 2, from: rate, to: rate }];
  const parts = [0, 1, 2, 3].flatMap((process) => timesOf(of(25), 1, 0, process / 4));
  const alone = timesOf(of(100), 1, 0, 0);
  expect(parts.sort((a, b) => a - b).map((at) => at.toFixed(6))).toEqual(alone.map((at) => at.toFixed(6)));
});

test('profiles', () => {
  const of = (profile: ProfileName, more = {}): Stretch[] =>
    stretchesOf({ profile, rate: 1_000, seconds: 30, ...more });
  expect(of('steady')).toEqual([{ seconds: 30, from: 1_000, to: 1_000 }]);
  expect(secondsOf(stretchesOf({ profile: 'soak', rate: 1 }))).toBe(3_600);
  expect(of('ramp')).toEqual([{ seconds: 30, from: 100, to: 1_000 }]);
  expect(of('ramp', { from: 500, to: 50 })).toEqual([{ seconds: 30, from: 500, to: 50 }]);
  expect(of('peak').map(({ seconds, to }) => [seconds, to])).toEqual([
    [10, 1_000],
    [10, 3_000],
    [10, 1_000],
  ]);
  expect(
    of('step', { from: 100, to: 400, steps: 4 }).map(({ seconds, from, to }) => [seconds, from, to]),
  ).toEqual([100, 200, 300, 400].map((rate) => [8, rate, rate]));
  expect(secondsOf(stretchesOf({ profile: 'step', rate: 10 }))).toBe(100);
});
