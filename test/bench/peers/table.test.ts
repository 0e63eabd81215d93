import { expect, test } from 'vitest';
import { NOT_COMPARED, PEERS, REFERENCE } from '../../../bench/peers/list.ts';
import {
  aligned,
  exitCodeOf,
  figureCells,
  figuresOf,
  markdown,
  promiseCells,
  verdicts,
} from '../../../bench/peers/table.ts';
import { measured, runs } from './figures.ts';
import { median } from '../../../loadtest/median.ts';

test('the median of runs is not moved by one bad one', () => {
  expect(median([5, 1, 900])).toBe(5);
  expect(median([4, 1])).toBe(2.5);
  expect(median([])).toBeNaN();
});

test('a row has the medians, and how many times as fast Holdfast is', () => {
  const rows = figuresOf([runs('holdfast', [900, 1_000, 5_000]), runs('etcd-lock', [12, 8, 10])], REFERENCE);
  expect(rows[0]).toMatchObject({ opsPerSecond: 1_000, slowest: 900, fastest: 5_000, ratio: 1, failed: 0 });
  expect(rows[1]).toMatchObject({ opsPerSecond: 10, ratio: 100, target: 100, inFlight: 8, runs: 3 });
  expect(rows[0].inFlight).toBe(8 * 64);
  expect(rows[1].cores).toEqual({ server: 0.5, load: 0.25 });
});

test('targets are met, missed, or not judged without the row to compare with', () => {
  const met = figuresOf([runs('holdfast', [1_000]), runs('etcd-lock', [10])], REFERENCE);
  expect(verdicts(met)).toEqual([expect.stringMatching(/^met .*≥ 100 × etcd's lock service: 100 ×$/)]);
  const missed = figuresOf([runs('holdfast', [999]), runs('etcd-lock', [10])], REFERENCE);
  expect(verdicts(missed)).toEqual([expect.stringMatching(/^MISSED/)]);
  expect(verdicts(figuresOf([runs('etcd-lock', [10])], REFERENCE))).toEqual([
    expect.stringMatching(/^not judged/),
  ]);
});

test('to be ahead of the raw pipeline is to be faster, not as fast', () => {
  const judge = (own: number): string[] =>
    verdicts(figuresOf([runs('holdfast', [own]), runs('redis-always', [100])], REFERENCE));
  expect(judge(100)[0]).toMatch(/^MISSED {2}ahead of SET NX PX pipeline, always/);
  expect(judge(101)[0]).toMatch(/^met/);
});

test('a peer that could not be had is a loud row, and a failure where all must be there', () => {
  const missing = { sweep: [], saturated: [], paced: [], missing: 'there is no Go to build one' };
  const rows = figuresOf([runs('holdfast', [100]), runs('nats-always', [], missing)], REFERENCE);
  const text = aligned(figureCells(rows, 500));
  expect(text).toMatch(/NATS KV create, sync always +NOT MEASURED +there is no Go to build one/);
  expect(text).not.toContain('NaN');
  expect(verdicts(rows)).toEqual([]);
  expect(exitCodeOf(rows, true)).toBe(1);
  expect(exitCodeOf(rows, false)).toBe(0);
});

test('failed and unanswered requests of all runs are counted, and end it with 1', () => {
  const bad = { failures: { 'it is held': 2 }, unanswered: 3 };
  const one = runs('redlock-always', [10, 10]);
  const rows = figuresOf([{ ...one, saturated: [measured(10, bad), measured(10, bad)] }], REFERENCE);
  expect(rows[0].failed).toBe(10);
  expect(rows[0].failures).toEqual({ 'it is held': 4 });
  expect(exitCodeOf(rows, false)).toBe(1);
  expect(exitCodeOf(figuresOf([one], REFERENCE), true)).toBe(0);
});

test('latencies at a rate that was not held are not shown', () => {
  const half = { offeredPerSecond: 500 };
  const one = runs('etcd3', [100], { paced: [measured(250, half)] });
  const [, row] = figureCells(figuresOf([one], REFERENCE), 500);
  expect(row.filter((cell) => cell === 'not held (50 %)')).toHaveLength(2);
});

test('columns are aligned, and Markdown keeps its cells apart', () => {
  expect(
    aligned([
      ['', 'a', 'b'],
      ['long name', '1', '2'],
    ]),
  ).toBe('           a  b\nlong name  1  2');
  expect(
    markdown([
      ['', 'a|b'],
      ['x', '1'],
    ]),
  ).toBe('|  | a\\|b |\n|---|---|\n| x | 1 |');
});

test('every peer has a key of its own and says what it promises', () => {
  expect(new Set(PEERS.map(({ key }) => key)).size).toBe(PEERS.length);
  expect(PEERS.some(({ key }) => key === REFERENCE)).toBe(true);
  for (const row of promiseCells(PEERS)) for (const cell of row.slice(1)) expect(cell).not.toBe('');
  for (const { concurrencies } of PEERS)
    expect([...concurrencies].sort((a, b) => a - b)).toEqual(concurrencies);
  expect(NOT_COMPARED.map(({ name }) => name)).toEqual(['Consul']);
});
