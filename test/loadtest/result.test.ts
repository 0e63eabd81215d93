import { expect, test } from 'vitest';
import { Recorder } from '../../loadtest/recorder.ts';
import { latencyOf, mergeLatencies, mergeResults, newHistogram } from '../../loadtest/result.ts';
import type { Second } from '../../loadtest/timeline.ts';

const SAFE = { twoHolders: 0, fallingFences: 0, examples: [] };

function recorder(seconds = 2, onSecond?: (second: Second) => void): Recorder {
  const what = { workload: 'test', protocol: 'binary', seconds, sockets: 1, opsPerFrame: 1 } as const;
  return new Recorder({ ...what, labels: ['', 'acquire', 'release'] }, onSecond);
}

/** `ops` at `at`, answered `latencyMs` later. */
function note(one: Recorder, label: number, at: number, latencyMs: number, ops: number): void {
  one.turn(at);
  one.offered(at, ops);
  one.answered(label, at, at + latencyMs, ops);
}

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

test('what belongs to the warm-up or comes too late is told apart from the measured time', () => {
  const heard: number[] = [];
  const one = recorder(2, (second) => heard.push(second.atSeconds));
  one.start(1_000, 2_500, 4_500);
  note(one, 1, 1_200, 5, 7);
  one.turn(2_500);
  note(one, 1, 2_600, 10, 100);
  note(one, 2, 3_600, 20, 50);
  note(one, 1, 4_490, 30, 3);
  one.turn(4_600);
  note(one, 1, 4_600, 5, 9);
  one.unsent(4_499, 2);
  one.unsent(4_500, 2);
  const result = one.result(4, SAFE);
  expect(heard).toEqual([-1, 0, 1, 2]);
  expect(result.timeline.map((second) => second.atSeconds)).toEqual([1, 2]);
  expect(result.timeline.map((second) => second.sent)).toEqual([100, 53]);
  // The answers that came after the end are in the latencies but not in a second.
  expect(result.timeline.map((second) => second.answered)).toEqual([100, 50]);
  expect(result).toMatchObject({
    offered: 155 / 2,
    achieved: 150 / 2,
    answered: 153,
    unsent: 2,
    unanswered: 4,
  });
  expect(result.byOp['acquire'].count).toBe(103);
  expect(result.byOp['release'].count).toBe(50);
  expect(result.timeline[1].p50Ms).toBeCloseTo(20, 0);
});

test('seconds of several processes are merged by their histograms, not by their percentiles', () => {
  const results = [
    { ops: 990, latencyMs: 1 },
    { ops: 10, latencyMs: 500 },
  ].map(({ ops, latencyMs }) => {
    const one = recorder();
    one.start(0, 0, 2_000);
    note(one, 1, 100, latencyMs, ops);
    one.failed('overloaded');
    one.turn(2_000);
    return one.result(0, { ...SAFE, twoHolders: 1, examples: [`of ${ops}`] });
  });
  const merged = mergeResults(results);
  expect(merged.timeline).toHaveLength(2);
  expect(merged.timeline[0]).toMatchObject({ atSeconds: 1, sent: 1_000, answered: 1_000, errors: 2 });
  expect(merged.timeline[0].p95Ms).toBeCloseTo(1, 1);
  expect(merged.timeline[0].maxMs).toBeGreaterThan(490);
  expect(merged.timeline[1]).toMatchObject({ answered: 0, p50Ms: 0, maxMs: 0 });
  expect(merged).toMatchObject({ processes: 2, errors: { overloaded: 2 }, protocol: 'binary' });
  expect(merged.safety).toEqual({ twoHolders: 2, fallingFences: 0, examples: ['of 990', 'of 10'] });
});

test('processes that are stopped in the same second have one last second', () => {
  const results = [1_300, 1_302].map((at) => {
    const one = recorder();
    one.start(0, 0, 2_000);
    one.turn(1_000);
    one.offered(1_100, 5);
    one.stop(at);
    return one.result(0, SAFE);
  });
  const { timeline } = mergeResults(results);
  expect(timeline.map(({ atSeconds, sent }) => [atSeconds, sent])).toEqual([
    [1, 0],
    [1.302, 10],
  ]);
});

test('a run that is stopped has the time until then', () => {
  const one = recorder(60);
  one.start(0, 1_000, 61_000);
  note(one, 1, 1_500, 1, 10);
  one.stop(3_500);
  one.stop(4_000);
  const result = one.result(0, SAFE);
  expect(result.seconds).toBe(2.5);
  expect(result.timeline.map((second) => second.atSeconds)).toEqual([1, 2, 2.5]);
  expect(result.offered).toBe(4);
});

test('a long run puts several seconds into one, and loses none', () => {
  const one = recorder(7_300);
  one.start(0, 0, 7_300_000);
  for (let s = 0; s < 7_300; s += 2) note(one, 1, s * 1000, 2, 3);
  one.turn(7_300_000);
  const { timeline } = one.result(0, SAFE);
  expect(timeline).toHaveLength(Math.ceil(7_300 / 3));
  expect(timeline.reduce((sum, second) => sum + second.sent, 0)).toBe(3_650 * 3);
  expect(timeline.at(-1)!.atSeconds).toBe(7_300);
});

test('an expected refusal is an answer, and counted by its code', () => {
  const one = recorder();
  one.start(0, 0, 2_000);
  one.offered(10, 1);
  one.refused(1, 'lock_held', 10, 12);
  one.handedOff(100, 103);
  one.turn(2_000);
  const result = one.result(0, SAFE);
  expect(result).toMatchObject({ answered: 1, refusals: { lock_held: 1 }, errors: {} });
  expect(result.handOff).toMatchObject({ count: 1 });
  expect(result.handOff.p50Ms).toBeCloseTo(3, 1);
});
