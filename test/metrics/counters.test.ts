import { describe, expect, it } from 'vitest';
import { CODES } from '../../src/errors.ts';
import {
  COMMIT_OPS_BOUNDS,
  DURATION_BOUNDS_MS,
  LaneCounters,
  SPAN_BOUNDS_MS,
  histogramSize,
} from '../../src/metrics/counters.ts';
import { Kind, KIND_NAMES } from '../../src/op.ts';

function counters(...shards: string[]): LaneCounters {
  return new LaneCounters(new SharedArrayBuffer(LaneCounters.bytes(shards.length)), shards);
}

describe('LaneCounters', () => {
  it('counts ops by kind and wire code', () => {
    const lane = counters('s0');
    lane.countOp(Kind.acquire, 0);
    lane.countOp(Kind.acquire, 0, 41);
    lane.countOp(Kind.acquire, CODES.lock_held.wire, 2);
    lane.countOp(Kind.renew, CODES.lock_held.wire);
    expect(lane.ops(Kind.acquire, 0)).toBe(42);
    expect(lane.ops(Kind.acquire, CODES.lock_held.wire)).toBe(2);
    expect(lane.ops(Kind.renew, CODES.lock_held.wire)).toBe(1);
    expect(lane.ops(Kind.release, 0)).toBe(0);
  });

  it('has a cell of its own for every kind and code there is', () => {
    const lane = counters();
    const wires = [0, ...Object.values(CODES).map((facts) => facts.wire)];
    let n = 0;
    for (const kind of KIND_NAMES.keys()) for (const wire of wires) lane.countOp(kind, wire, ++n);
    n = 0;
    for (const kind of KIND_NAMES.keys()) for (const wire of wires) expect(lane.ops(kind, wire)).toBe(++n);
    const durations = new Float64Array(histogramSize(DURATION_BOUNDS_MS));
    for (const kind of KIND_NAMES.keys()) lane.addDurations(kind, durations);
    expect(durations.every((cell) => cell === 0)).toBe(true);
  });

  it.each([
    [0, 0],
    [0.25, 0],
    [0.26, 1],
    [10_000, DURATION_BOUNDS_MS.length - 1],
    [10_001, DURATION_BOUNDS_MS.length],
  ])('puts %d ms into bucket %i', (ms, bucket) => {
    const lane = counters();
    lane.recordDuration(Kind.verify, ms);
    const sum = new Float64Array(histogramSize(DURATION_BOUNDS_MS));
    lane.addDurations(Kind.verify, sum);
    const want = new Float64Array(sum.length);
    want[bucket] = 1;
    want[want.length - 1] = ms;
    expect(sum).toEqual(want);
  });

  it('keeps shards, waits and holds apart', () => {
    const lane = counters('s0', 's1', 's2');
    lane.recordWait(7);
    lane.recordHold(90_000_000);
    lane.recordCommit(1, 2.2, 64);
    for (const shard of [0, 1, 2]) {
      lane.setUp(shard, shard !== 1);
      lane.setSlotsOwned(shard, 100 + shard);
      lane.setHeld(shard, 200 + shard);
      lane.setWaiters(shard, 300 + shard);
    }
    const spans = new Float64Array(histogramSize(SPAN_BOUNDS_MS));
    lane.addHolds(spans);
    expect(spans[SPAN_BOUNDS_MS.length]).toBe(1);
    lane.addWaits(spans);
    expect(spans.at(-1)).toBe(90_000_007);
    for (const shard of [0, 1, 2]) {
      const durations = new Float64Array(histogramSize(DURATION_BOUNDS_MS));
      const ops = new Float64Array(histogramSize(COMMIT_OPS_BOUNDS));
      lane.addCommitDurations(shard, durations);
      lane.addCommitOps(shard, ops);
      expect(durations.at(-1)).toBe(shard === 1 ? 2.2 : 0);
      expect(ops.at(-1)).toBe(shard === 1 ? 64 : 0);
      expect(lane.up(shard)).toBe(shard !== 1);
      expect([lane.slotsOwned(shard), lane.held(shard), lane.waiters(shard)]).toEqual([
        100 + shard,
        200 + shard,
        300 + shard,
      ]);
    }
  });

  it('is seen by a reader on the same memory', () => {
    const buffer = new SharedArrayBuffer(LaneCounters.bytes(1));
    const writer = new LaneCounters(buffer, ['s0']);
    const reader = new LaneCounters(buffer, ['s0']);
    writer.countOp(Kind.get, 0, 3);
    expect(reader.ops(Kind.get, 0)).toBe(3);
  });

  it('refuses memory that is too small', () => {
    expect(() => new LaneCounters(new SharedArrayBuffer(64), ['s0'])).toThrow(/bytes/);
  });
});
