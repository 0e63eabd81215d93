import { describe, expect, it } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LaneCounters } from '../../src/metrics/counters.ts';
import { Metrics } from '../../src/metrics/registry.ts';
import { Kind } from '../../src/op.ts';

const SHARDS = ['s0', 's1'];

function writer(shards: readonly string[] = SHARDS): LaneCounters {
  return new LaneCounters(new SharedArrayBuffer(LaneCounters.bytes(shards.length)), shards);
}

/** The samples of a page: `name{labels}` → value. */
async function scrape(metrics: Metrics): Promise<Map<string, number>> {
  const samples = new Map<string, number>();
  for (const line of (await metrics.metricsText()).split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const space = line.lastIndexOf(' ');
    samples.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return samples;
}

describe('Metrics', () => {
  it('has every name of the public surface from the start', async () => {
    const text = await new Metrics({
      writers: [writer()],
      shardNames: SHARDS,
      sockets: () => 0,
    }).metricsText();
    for (const [name, type] of [
      ['holdfast_ops_total', 'counter'],
      ['holdfast_op_duration_seconds', 'histogram'],
      ['holdfast_wait_seconds', 'histogram'],
      ['holdfast_hold_seconds', 'histogram'],
      ['holdfast_held', 'gauge'],
      ['holdfast_waiters', 'gauge'],
      ['holdfast_shard_up', 'gauge'],
      ['holdfast_commit_duration_seconds', 'histogram'],
      ['holdfast_commit_ops', 'histogram'],
      ['holdfast_slots_owned', 'gauge'],
      ['holdfast_sockets', 'gauge'],
    ]) {
      expect(text).toContain(`# TYPE ${name} ${type}\n${name}`);
    }
    expect(text).toContain('process_cpu_seconds_total');
  });

  it('adds up the lanes and the front', async () => {
    const front = writer([]);
    const [a, b] = [writer(), writer()];
    const metrics = new Metrics({ writers: [front, a, b], shardNames: SHARDS, sockets: () => 7 });
    front.countOp(Kind.acquire, CODES.bad_request.wire, 2);
    a.countOp(Kind.acquire, 0, 3);
    b.countOp(Kind.acquire, 0, 4);
    b.countOp(Kind.acquire, CODES.lock_held.wire);
    for (const [lane, held] of [
      [a, 10],
      [b, 20],
    ] as const) {
      lane.setHeld(0, held);
      lane.setHeld(1, held + 1);
      lane.setWaiters(1, 1);
      lane.setSlotsOwned(1, held * 100);
      lane.setUp(0, true);
    }
    a.setUp(1, true);
    let samples = await scrape(metrics);
    expect(samples.get('holdfast_ops_total{op="acquire",code="ok"}')).toBe(7);
    expect(samples.get('holdfast_ops_total{op="acquire",code="lock_held"}')).toBe(1);
    expect(samples.get('holdfast_ops_total{op="acquire",code="bad_request"}')).toBe(2);
    expect(samples.get('holdfast_ops_total{op="release",code="ok"}')).toBe(0);
    expect(samples.get('holdfast_held')).toBe(62);
    expect(samples.get('holdfast_waiters')).toBe(2);
    expect(samples.get('holdfast_slots_owned{shard="s1"}')).toBe(3000);
    expect(samples.get('holdfast_shard_up{shard="s0"}')).toBe(1);
    expect(samples.get('holdfast_shard_up{shard="s1"}')).toBe(0);
    expect(samples.get('holdfast_sockets')).toBe(7);
    a.countOp(Kind.acquire, 0);
    samples = await scrape(metrics);
    expect(samples.get('holdfast_ops_total{op="acquire",code="ok"}')).toBe(8);
  });

  it('gives histograms in seconds, cumulative, with sum and count', async () => {
    const [a, b] = [writer(), writer()];
    const metrics = new Metrics({ writers: [a, b], shardNames: SHARDS, sockets: () => 0 });
    a.recordDuration(Kind.renew, 0.2);
    a.recordDuration(Kind.renew, 2.5);
    b.recordDuration(Kind.renew, 20_000);
    b.recordCommit(1, 4, 64);
    a.recordHold(1_500);
    const samples = await scrape(metrics);
    const name = 'holdfast_op_duration_seconds';
    expect(samples.get(`${name}_bucket{op="renew",le="0.00025"}`)).toBe(1);
    expect(samples.get(`${name}_bucket{op="renew",le="0.003"}`)).toBe(2);
    expect(samples.get(`${name}_bucket{op="renew",le="10"}`)).toBe(2);
    expect(samples.get(`${name}_bucket{op="renew",le="+Inf"}`)).toBe(3);
    expect(samples.get(`${name}_count{op="renew"}`)).toBe(3);
    expect(samples.get(`${name}_sum{op="renew"}`)).toBeCloseTo(20.0027, 6);
    expect(samples.get('holdfast_commit_duration_seconds_bucket{shard="s1",le="0.004"}')).toBe(1);
    expect(samples.get('holdfast_commit_ops_bucket{shard="s1",le="50"}')).toBe(0);
    expect(samples.get('holdfast_commit_ops_bucket{shard="s1",le="100"}')).toBe(1);
    expect(samples.get('holdfast_commit_ops_count{shard="s0"}')).toBe(0);
    expect(samples.get('holdfast_hold_seconds_sum')).toBe(1.5);
  });

  it('labels with ops, codes and shards only', async () => {
    const metrics = new Metrics({ writers: [writer()], shardNames: SHARDS, sockets: () => 0 });
    const labels = new Set<string>();
    for (const sample of (await scrape(metrics)).keys()) {
      if (!sample.startsWith('holdfast_')) continue;
      for (const match of sample.matchAll(/(\w+)="/g)) labels.add(match[1]);
    }
    expect([...labels].sort()).toEqual(['code', 'le', 'op', 'shard']);
  });
});
