import { expect, test } from 'vitest';
import { PEERS, REFERENCE } from '../../../bench/peers/list.ts';
import { reportPage, throughputChart } from '../../../bench/peers/report.ts';
import { figuresOf } from '../../../bench/peers/table.ts';
import { measured, runs } from './figures.ts';

const missing = { sweep: [], saturated: [], paced: [], missing: 'there is no <Go>' };
const rows = figuresOf(
  [runs('holdfast', [500_000]), runs('etcd-lock', [4_000]), runs('nats-always', [], missing)],
  REFERENCE,
);

test('the chart has a bar for each that was measured, fastest first, and says what is on disk', () => {
  const svg = throughputChart(rows.toReversed(), PEERS);
  expect(svg).toMatch(/^<svg/);
  expect(svg.indexOf('500 k')).toBeGreaterThan(0);
  expect(svg).toContain('on disk first');
  expect(svg).not.toContain('NATS');
  expect(svg).not.toContain('NaN');
});

test('a lock that is only in memory is marked as such', () => {
  const one = figuresOf([runs('postgres-advisory', [20_000])], REFERENCE);
  expect(throughputChart(one, PEERS)).toContain('not on disk');
});

test('there is a chart even when nothing could be measured', () => {
  expect(throughputChart(figuresOf([runs('nats-always', [], missing)], REFERENCE), PEERS)).toMatch(/^<svg/);
});

test('the page needs nothing from elsewhere, and tells who is missing and why', () => {
  const html = reportPage(rows, PEERS, 'How it was done.', 500, [['cores', '2']]);
  expect(html).not.toMatch(/(src|href)="http/);
  expect(html).toContain('there is no &lt;Go&gt;');
  expect(html).toContain('Not measured: Consul');
  expect(html).toContain('125 ×');
  expect(html).toContain('How it was done.');
});

test('what failed is in the table', () => {
  const bad = runs('etcd3', [10], { saturated: [measured(10, { failures: { 'it is held': 7 } })] });
  expect(reportPage(figuresOf([bad], REFERENCE), PEERS, '', 500, [])).toMatch(/<td class="right">7<\/td>/);
});
