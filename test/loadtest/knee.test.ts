import { expect, test } from 'vitest';
import { Knee } from '../../loadtest/knee.ts';
import type { Stretch } from '../../loadtest/rate.ts';
import { RunningSecond, type Second } from '../../loadtest/timeline.ts';

const LIMITS = { p95Ms: 25, achieved: 0.99, isRefusable: false };
const STEPS: Stretch[] = [100, 200, 300].map((rate) => ({ seconds: 3, from: rate, to: rate }));

function second(atSeconds: number, sent: number, answered: number, latencyMs: number): Second {
  const running = new RunningSecond();
  running.sent = sent;
  running.answered(latencyMs * 1000, answered);
  return running.end(atSeconds);
}

test('goes on while steps are held, and stops at the first that is not', () => {
  const knee = new Knee(STEPS, LIMITS);
  for (let at = 1; at <= 3; at++) expect(knee.see(second(at, 100, 100, 5))).toBe(true);
  for (let at = 4; at <= 6; at++) expect(knee.see(second(at, 200, 200, at === 4 ? 500 : 24))).toBe(true);
  expect(knee.see(second(7, 300, 300, 26))).toBe(true);
  expect(knee.see(second(8, 300, 300, 26))).toBe(true);
  expect(knee.see(second(9, 300, 300, 26))).toBe(false);
  expect(knee.rate).toBe(200);
  expect(knee.found.map((step) => step.held)).toEqual([true, true, false]);
  expect(knee.found[1].p95Ms).toBeCloseTo(24, 0);
});

test('a step in which too few are answered is not held, however fast they were', () => {
  const knee = new Knee(STEPS, LIMITS);
  knee.see(second(1, 100, 100, 5));
  knee.see(second(2, 100, 98, 5));
  expect(knee.see(second(3, 100, 98, 5))).toBe(false);
  expect(knee.rate).toBe(0);
  expect(knee.found[0].achieved).toBe(98);
});

test('where acquires may be refused, what was sent counts', () => {
  const knee = new Knee(STEPS, { ...LIMITS, isRefusable: true });
  for (let at = 1; at <= 3; at++) expect(knee.see(second(at, 60, 60, 5))).toBe(true);
  expect(knee.rate).toBe(100);
});

test('a run that is stopped in the middle of a step has the steps before it', () => {
  const knee = new Knee(STEPS, LIMITS);
  for (let at = 1; at <= 4; at++) knee.see(second(at, 100, 100, 5));
  expect(knee.found).toHaveLength(1);
});
