import { expect, test } from 'vitest';
import { latencyOf, mergeLatencies, newHistogram } from '../../loadtest/result.ts';

test('merged latencies are those of all processes together', () => {
  const fast = newHistogram();
  const slow = newHistogram();
  fast.recordValueWithCount(1_000, 900);
  slow.recordValueWithCount(50_000, 100);
  const merged = mergeLatencies([latencyOf(fast), latencyOf(slow)]);
  expect(merged.count).toBe(1_000);
  expect(merged.p50Ms).toBeCloseTo(1, 1);
  expect(merged.p95Ms).toBeCloseTo(50, 0);
  expect(merged.maxMs).toBeCloseTo(50, 0);
});
