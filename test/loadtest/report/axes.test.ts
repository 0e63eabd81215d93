import { expect, test } from 'vitest';
import { placeOn, rangeOf, shortNumber } from '../../../loadtest/report/axes.ts';

test('a linear axis ends at round numbers around its figures', () => {
  const { min, max, ticks } = rangeOf({ label: '' }, [0, 66_667], 'ticks');
  expect([min, max]).toEqual([0, 70_000]);
  expect(ticks).toEqual([0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 70_000]);
  expect(rangeOf({ label: '' }, [-3, 11], 'ticks')).toMatchObject({ min: -4, max: 12 });
});

test('a log axis has ticks at 1, 2 and 5, and at powers of ten alone when it is long', () => {
  expect(rangeOf({ label: '', log: true }, [0.7, 42], 'ticks')).toEqual({
    min: 0.5,
    max: 50,
    ticks: [0.5, 1, 2, 5, 10, 20, 50],
  });
  expect(rangeOf({ label: '', log: true }, [1, 1e6], 'ticks').ticks).toEqual([
    1, 10, 100, 1e3, 1e4, 1e5, 1e6,
  ]);
  expect(rangeOf({ label: '', log: true }, [1, 1e20], 'tight').ticks.length).toBeLessThan(10);
});

test('what was asked for stands, and figures decide the rest', () => {
  expect(rangeOf({ label: '', min: 3 }, [5, 9], 'tight')).toMatchObject({ min: 3, max: 9 });
  expect(rangeOf({ label: '', ticks: [1, 5, 50] }, [1, 10], 'tight').ticks).toEqual([1, 5]);
  expect(rangeOf({ label: '', log: true }, [0, -1, Number.NaN, 2, 8], 'tight')).toMatchObject({
    min: 2,
    max: 8,
  });
});

test.each([[[]], [[7]], [[0]], [[Number.NaN]], [[-2, -2]]])('there is an axis for %j', (values) => {
  for (const log of [true, false]) {
    const { min, max, ticks } = rangeOf({ label: '', log }, values, 'ticks');
    expect(max).toBeGreaterThan(min);
    expect(ticks.length).toBeGreaterThan(1);
    if (log) expect(min).toBeGreaterThan(0);
  }
});

test('places run from 0 to 1', () => {
  const range = { min: 1, max: 100, ticks: [] };
  expect(placeOn({ label: '', log: true }, range, 10)).toBeCloseTo(0.5);
  expect(placeOn({ label: '' }, range, 100)).toBe(1);
});

test.each([
  [0, '0'],
  [0.123456, '0.123'],
  [66_667, '66.7 k'],
  [999_999, '1 M'],
  [1_000_000, '1 M'],
  [2.5e9, '2.5 G'],
  [-1500, '-1.5 k'],
])('%d is written %s', (value, shown) => {
  expect(shortNumber(value)).toBe(shown);
});
