import { expect, test } from 'vitest';
import { BASE_LOAD, BASE_SYSTEM } from '../../bench/scale/base.ts';
import { DIMENSIONS } from '../../bench/scale/dimensions.ts';
import { medians } from '../../bench/scale/medians.ts';
import { modelPoints, settingOf } from '../../bench/scale/observe.ts';
import type { LoadPoint, LoadSample } from '../../bench/scale/point.ts';
import { markdown, tableOf, text } from '../../bench/scale/tables.ts';
import { median } from '../../loadtest/median.ts';

const POINT: LoadPoint = { kind: 'load', x: 1, series: 'a', system: BASE_SYSTEM, load: BASE_LOAD };

function sample(of: Partial<LoadSample> = {}): LoadSample {
  return {
    ...{ dimension: 'shards', run: 0, point: POINT, offered: 66_667, achieved: 66_000 },
    ...{ p50Ms: 2, p95Ms: 6, p99Ms: 9, maxMs: 30, sendLagP50Ms: 0.4, commitsPerSecond: 500, commitMs: 1.5 },
    ...{ distanceMs: 0, failed: 0, errors: {}, refused: 0, memory: { holdfast: 150e6, etcd: 90e6 } },
    cores: { front: 0.1, lanes: 0.4, other: 0.05, etcd: 0.5, load: 0.2, relay: 0 },
    ...of,
  };
}

test('the median of an even and an odd count', () => {
  expect(median([5, 1, 3])).toBe(3);
  expect(median([4, 1, 3, 2])).toBe(2.5);
});

test('runs of a point become one sample, field by field; failures add up', () => {
  const runs = [2, 9, 4].map((p50Ms, run) =>
    sample({ run, p50Ms, failed: run, memory: { holdfast: 100 + p50Ms, etcd: 1 } }),
  );
  const other = sample({ point: { ...POINT, x: 2 } });
  const [one, two] = medians([...runs, other]) as LoadSample[];
  expect(one).toMatchObject({ p50Ms: 4, failed: 3, memory: { holdfast: 104 }, point: { x: 1 } });
  expect(two.point.x).toBe(2);
});

test('the model is told nothing of points that failed or were not held, nor of the embedded store', () => {
  const embedded = { ...POINT, system: { ...BASE_SYSTEM, store: 'embedded' as const } };
  const points = modelPoints(
    [sample(), sample({ failed: 1 }), sample({ achieved: 60_000 }), sample({ point: embedded })],
    2,
  );
  expect(points).toHaveLength(1);
  expect(points[0].setting).toMatchObject({ sharedCores: 2, forwarded: 0, isLocal: true });
});

test('how much is forwarded follows from whose names are used', () => {
  const of = (processes: number, owner: 'own' | 'others' | 'any') =>
    settingOf({ ...POINT, system: { ...BASE_SYSTEM, processes }, load: { ...BASE_LOAD, owner } }, 2)
      .forwarded;
  expect(of(1, 'any')).toBe(0);
  expect(of(3, 'own')).toBe(0);
  expect(of(3, 'others')).toBe(1);
  expect(of(3, 'any')).toBeCloseTo(2 / 3, 9);
});

test('a table has its figures in every form', () => {
  const shards = DIMENSIONS.find(({ name }) => name === 'shards')!;
  const table = tableOf(shards, [sample(), sample({ dimension: 'lanes' })]);
  expect(table.rows).toHaveLength(1);
  expect(text(table)).toContain('2.00 / 6.00 / 9.00');
  expect(markdown(table).split('\n')[1]).toMatch(/^\|( --- \|)+$/);
  expect(markdown(table)).toContain('0.10 / 0.40 / 0.05 / 0.50 / 0.20');
});

test('every dimension has points that differ, quick or not', () => {
  for (const isQuick of [true, false]) {
    for (const dimension of DIMENSIONS) {
      const points = dimension.points({ isQuick, seconds: 1, warmupSeconds: 1, heldMax: 10_000_000 });
      const keys = new Set(points.map(({ series, x }) => `${series} ${x}`));
      expect(keys.size, dimension.name).toBe(points.length);
      expect(points.length).toBeGreaterThan(1);
    }
  }
});
