import { describe, expect, test } from 'vitest';
import { check, fit, type Observation } from '../../bench/scale/fit.ts';
import { fitNonNegative } from '../../bench/scale/least-squares.ts';
import {
  commitLatencyMs,
  commitsOfChain,
  predict,
  type Coefficients,
  type Setting,
} from '../../bench/scale/model.ts';
import { coresOf, DEFAULT_LIMITS, planFor, planOneCell } from '../../bench/scale/plan.ts';

const COSTS: Coefficients = {
  front: { op: 0.25, frame: 6, round: 40, forward: 1.2, second: 4_000 },
  lanes: { op: 0.8, commit: 180, second: 9_000 },
  other: { op: 0.1, second: 6_000 },
  etcd: { op: 0.3, commit: 420, second: 12_000 },
  load: { op: 0.2, frame: 5, second: 20_000 },
  roundTrip: { baseMs: 0.9, perOpMs: 0.002, perNeighbourMs: 0.2, queueMs: 0.6 },
  answering: { overheadMs: 0.3, queueMs: 0.5, hopMs: 0.8, p95OfP50: 2.5 },
};

const SETTING: Setting = {
  ...{ opsPerSecond: 66_667, opsPerFrame: 64, processes: 1, lanes: 1, shards: 1, forwarded: 0 },
  ...{ isLocal: true, distanceMs: 0, sendTicks: 900, wait: 0.5, sharedCores: 2 },
  extraCores: 0,
};

/** Differ in everything, so that every cost can be told from the others. */
const SETTINGS: readonly Setting[] = [
  ...[10_000, 33_333, 66_667, 133_333, 200_000].map((opsPerSecond) => ({ ...SETTING, opsPerSecond })),
  ...[1, 4, 16, 256].map((opsPerFrame) => ({ ...SETTING, opsPerSecond: 20_000, opsPerFrame })),
  ...[2, 4].map((shards) => ({ ...SETTING, shards })),
  ...[1, 5, 20].map((distanceMs) => ({ ...SETTING, distanceMs })),
  { ...SETTING, lanes: 2 },
  ...[2, 3].flatMap((processes) => [
    { ...SETTING, processes },
    { ...SETTING, processes, forwarded: 1 },
    { ...SETTING, processes, opsPerSecond: 20_000, forwarded: 0.5, isLocal: false, sendTicks: 1_800 },
  ]),
];

function observed(setting: Setting, noise = 1): Observation {
  const { commitsPerSecond, commitMs, p50Ms, p95Ms, cores } = predict(COSTS, setting);
  return { setting, commitsPerSecond, commitMs, p50Ms: p50Ms * noise, p95Ms: p95Ms * noise, cores };
}

describe('least squares', () => {
  test('finds coefficients of very different sizes', () => {
    const known = [3e-6, 40, 0];
    const equations = [1, 2, 3, 4, 5, 6].map((i) => {
      const features = [1e6 * i ** 2, i % 3, 1 / i];
      return { features, value: features.reduce((sum, x, j) => sum + x * known[j], 0), weight: 1 };
    });
    const found = fitNonNegative(equations);
    expect(found[0]).toBeCloseTo(known[0], 9);
    expect(found[1]).toBeCloseTo(known[1], 3);
    expect(found[2]).toBeCloseTo(known[2], 3);
  });

  test('never goes below zero, and leaves a feature that is always zero alone', () => {
    const equations = [1, 2, 3].map((x) => ({ features: [x, 1, 0], value: 2 * x - 1, weight: 1 }));
    const found = fitNonNegative(equations);
    expect(Math.min(...found)).toBe(0);
    expect(found[0]).toBeGreaterThan(1);
    expect(found[1]).toBe(0);
    expect(found[2]).toBe(0);
  });

  test('weights decide between equations that disagree', () => {
    const [found] = fitNonNegative([
      { features: [1], value: 10, weight: 9 },
      { features: [1], value: 20, weight: 1 },
    ]);
    expect(found).toBeCloseTo(11, 6);
  });
});

describe('the fit', () => {
  const found = fit(SETTINGS.map((setting) => observed(setting)));

  test('recovers the costs that points were made from', () => {
    for (const part of ['front', 'lanes', 'other', 'etcd', 'load', 'roundTrip', 'answering'] as const) {
      for (const [name, known] of Object.entries(COSTS[part])) {
        const value = (found[part] as unknown as Record<string, number>)[name];
        expect(Math.abs(value / known - 1), `${part}.${name}: ${value}, made from ${known}`).toBeLessThan(
          0.05,
        );
      }
    }
  });

  test('predicts points that it has not seen', () => {
    for (const { observation, unseen } of check(SETTINGS.map((setting) => observed(setting)))) {
      expect(Math.abs(unseen.p50Ms / observation.p50Ms - 1)).toBeLessThan(0.1);
      expect(Math.abs(unseen.commitsPerSecond / observation.commitsPerSecond - 1)).toBeLessThan(0.05);
    }
  });

  test('does not let a point tell what it is checked against', () => {
    const hop = { ...SETTING, processes: 2, forwarded: 1 };
    const points = [...SETTINGS.filter(({ forwarded }) => forwarded === 0), hop].map((s) => observed(s));
    const { observation, fitted, unseen } = check(points).at(-1)!;
    expect(fitted.p50Ms / observation.p50Ms).toBeGreaterThan(0.95);
    // What a hop takes is in no other point.
    expect(unseen.p50Ms).toBeLessThan(fitted.p50Ms - 0.9 * COSTS.answering.hopMs);
  });

  test('shows the error of a point that does not fit', () => {
    const points = SETTINGS.map((setting, i) => observed(setting, i === 3 ? 4 : 1));
    const { observation, unseen } = check(points)[3];
    expect(unseen.p50Ms / observation.p50Ms).toBeLessThan(0.5);
  });

  test('needs a point', () => {
    expect(() => fit([])).toThrow('no measured point');
  });
});

describe('the model', () => {
  const growing = <T>(values: readonly T[], of: (value: T) => number): void => {
    const results = values.map(of);
    for (let i = 1; i < results.length; i++) expect(results[i]).toBeGreaterThan(results[i - 1]);
  };

  test('one commit in flight: never more than one a round trip, and one an arrival when those are rare', () => {
    expect(commitsOfChain(0.002, 1e6)).toBeCloseTo(500, 6);
    expect(commitsOfChain(0.002, 10)).toBeCloseTo(10, 0);
    expect(commitsOfChain(0.002, 0)).toBe(0);
    growing([1, 10, 100, 1_000, 10_000], (arrivals) => commitsOfChain(0.002, arrivals));
  });

  test('a busy chain adds its part of the commit that is under way', () => {
    expect(commitLatencyMs(4, 250, 0.5)).toBeCloseTo(6, 9);
    expect(commitLatencyMs(4, 125, 1)).toBeCloseTo(6, 9);
    expect(commitLatencyMs(4, 0, 1)).toBe(4);
  });

  test('more ops cost more, take longer and come in larger commits', () => {
    const rates = [5_000, 20_000, 66_667, 150_000, 250_000];
    const at = (opsPerSecond: number) => predict(COSTS, { ...SETTING, opsPerSecond });
    growing(rates, (rate) => at(rate).utilization);
    growing(rates, (rate) => at(rate).p50Ms);
    growing(rates, (rate) => at(rate).opsPerCommit);
  });

  test('distance, hops and neighbours take longer; larger frames cost less', () => {
    growing([0, 1, 5, 20], (distanceMs) => predict(COSTS, { ...SETTING, distanceMs }).p50Ms);
    growing([0, 0.5, 1], (forwarded) => predict(COSTS, { ...SETTING, processes: 2, forwarded }).p50Ms);
    growing([1, 2, 3], (processes) => predict(COSTS, { ...SETTING, processes }).p50Ms);
    growing([256, 64, 16, 4, 1], (opsPerFrame) => predict(COSTS, { ...SETTING, opsPerFrame }).cores.front);
  });

  test('a distant etcd gets fewer and larger commits', () => {
    const near = predict(COSTS, SETTING);
    const far = predict(COSTS, { ...SETTING, distanceMs: 20 });
    expect(far.commitsPerSecond).toBeLessThan(near.commitsPerSecond / 4);
    expect(far.opsPerCommit).toBeGreaterThan(near.opsPerCommit * 4);
    expect(far.cores.etcd).toBeLessThan(near.cores.etcd);
  });

  test('says when the processors do not suffice', () => {
    expect(predict(COSTS, SETTING).isSaturated).toBe(false);
    expect(predict(COSTS, { ...SETTING, opsPerSecond: 5_000_000 }).isSaturated).toBe(true);
  });
});

describe('a plan', () => {
  test('keeps its limits', () => {
    const { cells, processes, lanes, shards, prediction, cellOpsPerSecond } = planFor(COSTS, 10_000_000);
    expect(cells * cellOpsPerSecond).toBeCloseTo(10_000_000, 0);
    expect(prediction.cores.front / processes).toBeLessThanOrEqual(DEFAULT_LIMITS.threadUtilization);
    expect(prediction.cores.lanes / processes / lanes).toBeLessThanOrEqual(DEFAULT_LIMITS.threadUtilization);
    expect(prediction.cores.etcd / shards).toBeLessThanOrEqual(
      DEFAULT_LIMITS.memberCores * DEFAULT_LIMITS.memberUtilization,
    );
    expect(prediction.p50Ms).toBeLessThanOrEqual(DEFAULT_LIMITS.p50Ms);
    expect(processes).toBeGreaterThanOrEqual(DEFAULT_LIMITS.processesMin);
  });

  test.each([
    ['the fronts', { ...COSTS, front: { ...COSTS.front, op: 30 } }, {}],
    ['the lanes', { ...COSTS, lanes: { ...COSTS.lanes, op: 30 } }, {}],
    ["etcd's processors", { ...COSTS, etcd: { ...COSTS.etcd, op: 60 } }, {}],
    ["etcd's disk", COSTS, { diskBytesPerSecond: 1e6 }],
    ["an entry's size", COSTS, { entryBytes: 1_000 }],
    ['P50', COSTS, { p50Ms: 4 }],
  ])('ends where %s would break', (limit, costs, change) => {
    const limits = { ...DEFAULT_LIMITS, p50Ms: 1_000, ...change };
    const plan = planFor(costs, 10_000_000, limits);
    expect(plan.limit).toBe(limit);
    expect(plan.cells).toBeGreaterThan(1);
  });

  test('needs more cores for more ops, and for costlier ones', () => {
    const plans = [66_667, 600_000, 1_000_000, 10_000_000].map((rate) => planFor(COSTS, rate));
    for (let i = 1; i < plans.length; i++) expect(coresOf(plans[i])).toBeGreaterThan(coresOf(plans[i - 1]));
    const costlier = { ...COSTS, lanes: { ...COSTS.lanes, op: 4 * COSTS.lanes.op } };
    expect(coresOf(planFor(costlier, 1_000_000))).toBeGreaterThan(coresOf(plans[2]));
  });

  test('is refused when a single op breaks a limit', () => {
    expect(() => planFor(COSTS, 1_000, { ...DEFAULT_LIMITS, p50Ms: 0.1 })).toThrow(
      'no cell keeps the limits',
    );
  });

  test('one cell for everything costs etcd more than several', () => {
    const cells = planFor(COSTS, 4_000_000);
    const one = planOneCell(COSTS, 4_000_000, cells.cells * cells.shards, { ...DEFAULT_LIMITS, p50Ms: 100 });
    expect(one?.etcdCores ?? Infinity).toBeGreaterThan(cells.etcdCores);
  });
});
