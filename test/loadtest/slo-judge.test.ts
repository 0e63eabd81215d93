import { describe, expect, test } from 'vitest';
import { judge, median, middleRun } from '../../loadtest/slo/judge.ts';
import { missedText, tableText, verdictText } from '../../loadtest/slo/words.ts';
import type { Failure } from '../../loadtest/slo/records.ts';
import { latencies, newCeiling, newFound, newProfile, newRun } from './slo-found.ts';

const DIED: Failure = { run: 2, startedAt: '2026-01-31T12:00:00.000Z', failure: 'Holdfast ended' };

test.each([
  [[], undefined],
  [[3], 3],
  [[9, 1, 5], 5],
  [[1, 2, 3, 10], 2.5],
])('the median of %j is %s', (values, expected) => {
  expect(median(values)).toBe(expected);
});

test('the middle run is that with the middle P95, whatever the order', () => {
  const runs = [7, 3, 99, 5, 1].map((p95, i) => newRun({ latency: latencies(1, p95, 100) }, i + 1));
  expect(middleRun(runs)!.run).toBe(4);
  expect(middleRun([])).toBeUndefined();
});

describe('a profile', () => {
  test('that meets everything is met', () => {
    const verdict = judge(newFound());
    expect(verdict.met).toBe(true);
    expect(verdict.checks.map(({ target, met }) => [target, met])).toEqual([
      ['achieved', true],
      ['errorRate', true],
      ['p50Ms', true],
      ['p95Ms', true],
      ['p99Ms', true],
    ]);
    expect(missedText(verdict)).toEqual([]);
  });

  const handOff = { handOff: latencies(4, 9, 9) };
  test.each([
    ['achieved', newRun({ achieved: 490 }), 'achieved ≥ 99 % (98 %)'],
    ['errorRate', newRun({ errors: { overloaded: 1 } }), 'no errors (0.1 %)'],
    ['errorRate', newRun({ unanswered: 1 }), 'no errors (0.1 %)'],
    ['errorRate', newRun({ cut: 1 }), 'no errors (0.1 %)'],
    ['errorRate', newRun({ unsent: 1 }), 'no errors (0.1 %)'],
    ['p50Ms', newRun({ latency: latencies(2.6, 5, 15) }), 'P50 ≤ 2.5 ms (2.60 ms)'],
    ['p95Ms', newRun({ latency: latencies(2, 6.1, 15) }), 'P95 ≤ 6 ms (6.10 ms)'],
    ['p99Ms', newRun({ latency: latencies(2, 5, 21) }), 'P99 ≤ 20 ms (21.01 ms)'],
    ['handOffP50Ms', newRun(handOff), 'hand-off P50 ≤ 3 ms (4.00 ms)'],
    ['handOffP95Ms', newRun(handOff), 'hand-off P95 ≤ 8 ms (9.01 ms)'],
  ] as const)('that misses %s says so, and only that', (target, run, text) => {
    const { targets } = newProfile();
    const bounds = {
      ...targets,
      ...(target.startsWith('handOff') ? { [target]: target === 'handOffP50Ms' ? 3 : 8 } : {}),
    };
    const verdict = judge(newFound({ profile: newProfile({ targets: bounds }), runs: [run] }));
    expect(verdict.met).toBe(false);
    expect(verdict.checks.filter(({ met }) => !met).map((check) => check.target)).toEqual([target]);
    expect(missedText(verdict)).toEqual([text]);
  });

  test('is judged by the medians of its runs', () => {
    const runs = [2, 900, 2.4].map((p50, i) => newRun({ latency: latencies(p50, 1_000, 1_000) }, i + 1));
    const { figures, checks } = judge(newFound({ runs }));
    expect(figures).toMatchObject({ runs: 3, p50Ms: expect.closeTo(2.4, 2) });
    expect(checks.find(({ target }) => target === 'p50Ms')).toMatchObject({ met: true });
    expect(checks.find(({ target }) => target === 'p95Ms')).toMatchObject({ met: false });
  });

  test('has the errors of all its runs together', () => {
    const runs = [newRun(), newRun({ errors: { overloaded: 3 } }, 2), newRun({}, 3)];
    expect(judge(newFound({ runs }))).toMatchObject({
      errors: 3,
      errorRate: 0.001,
      met: false,
      worked: false,
    });
  });

  test('is compared with the ceiling of the same runs', () => {
    const profile = newProfile({ ceiling: true, targets: { overCeilingP50Ms: 1 } });
    const ceilings = [
      newCeiling(latencies(1.2, 3, 9)),
      newCeiling(latencies(0.8, 3, 9), 2),
      newCeiling(latencies(50, 99, 99), 3),
    ];
    const runs = [1, 2, 3].map((run) => newRun({ latency: latencies(2, 5, 15) }, run));
    expect(judge({ profile, runs, ceilings })).toMatchObject({
      met: true,
      ceiling: { p50Ms: expect.closeTo(1.2, 2) },
    });
    const near = judge({ profile, runs, ceilings: ceilings.slice(1, 2) });
    expect(missedText(near)).toEqual(['P50 over the ceiling ≤ 1 ms (1.20 ms)']);
  });

  test('misses what was not measured', () => {
    const profile = newProfile({ targets: { handOffP95Ms: 8, overCeilingP50Ms: 1 } });
    expect(missedText(judge(newFound({ profile })))).toEqual([
      'hand-off P95 ≤ 8 ms (not measured)',
      'P50 over the ceiling ≤ 1 ms (not measured)',
    ]);
  });

  test('of which a run died has failed, and names it', () => {
    const verdict = judge(newFound({ runs: [newRun(), DIED] }));
    expect(verdict).toMatchObject({ met: false, worked: false, died: ['run 2: Holdfast ended'] });
    expect(verdict.checks.every(({ met }) => met)).toBe(true);
    expect(judge(newFound({ ceilings: [DIED] }))).toMatchObject({
      met: false,
      died: ['ceiling of run 2: Holdfast ended'],
    });
    expect(judge(newFound({ runs: [DIED] })).figures).toBeUndefined();
    expect(judge(newFound({ runs: [] }))).toMatchObject({ met: false, worked: false });
  });

  test.each([
    { twoHolders: 1, fallingFences: 0, examples: [] },
    { twoHolders: 0, fallingFences: 1, examples: [] },
  ])('that was not safe once has failed: %j', (safety) => {
    const verdict = judge(newFound({ runs: [newRun({ safety }), newRun({}, 2), newRun({}, 3)] }));
    expect(verdict).toMatchObject({ unsafe: 1, met: false, worked: false });
    expect(missedText(verdict)[0]).toContain('NOT SAFE');
  });

  test('whose figures are no numbers meets nothing', () => {
    const verdict = judge(newFound({ runs: [newRun({ offered: 0, achieved: 0 })] }));
    expect(verdict.checks.find(({ target }) => target === 'achieved')).toMatchObject({ met: false });
  });
});

test('a quick run works where it misses targets, and does not where ops failed', () => {
  const slow = judge(newFound({ runs: [newRun({ latency: latencies(50, 60, 70) })] }));
  expect([slow.met, slow.worked, verdictText(slow, true), verdictText(slow, false)]).toEqual([
    false,
    true,
    'works',
    'MISSED',
  ]);
  const failed = judge(newFound({ runs: [newRun({ cut: 1 })] }));
  expect(verdictText(failed, true)).toBe('BROKEN');
});

test('the table has a line for each profile and its ceiling, and what was missed', () => {
  const met = judge(newFound({ ceilings: [newCeiling(latencies(1, 2, 3))] }));
  const missed = judge(
    newFound({
      profile: newProfile({ name: 'peak' }),
      runs: [newRun({ latency: latencies(2, 7, 15) }), DIED],
    }),
  );
  const lines = tableText([met, missed], false).split('\n');
  expect(lines[0]).toMatch(/^profile +offered\/s +achieved +P50 ms +P95 ms +P99 ms +verdict$/);
  expect(lines[1]).toMatch(/^steady +500 +100 % +2\.00 +5\.00 +15\.0\d +met$/);
  expect(lines[2]).toMatch(/^ {2}its ceiling +500 +100 % +1\.00 /);
  expect(lines[3]).toMatch(/^peak .* MISSED$/);
  expect(lines.slice(5)).toEqual([
    'Missed:',
    '  peak: died: run 2: Holdfast ended',
    '  peak: P95 ≤ 6 ms (7.00 ms)',
  ]);
});
