import { DOMParser } from '@xmldom/xmldom';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { medianPercentiles } from '../../loadtest/slo/figures.ts';
import { outcomeOf, type Outcome } from '../../loadtest/slo/outcome.ts';
import type { ProfileRuns } from '../../loadtest/slo/records.ts';
import { writeReport } from '../../loadtest/slo/report.ts';
import { latencies, newCeiling, newFound, newProfile, newRun } from './slo-found.ts';

const HOSTILE = '<script>alert(1)</script> & "more"';
const DIED = { run: 2, startedAt: '2026-01-31T12:01:00.000Z', failure: HOSTILE };

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-slo-report-'));
});
afterAll(() => rm(folder, { recursive: true }));

function newOutcome(profiles: readonly ProfileRuns[], isQuick = false): Outcome {
  return outcomeOf({
    startedAt: '2026-01-31T12:00:00.000Z',
    endedAt: '2026-01-31T12:30:00.000Z',
    isQuick,
    isInterrupted: false,
    runs: 3,
    config: 'slo.yaml',
    nodeArgs: [],
    versions: { holdfast: '0.1.0', commit: 'abc', node: 'v20', etcd: '3.6' },
    machine: [
      ['processor', HOSTILE],
      ['cores', '2'],
    ],
    profiles,
  });
}

async function reportOf(outcome: Outcome): Promise<string> {
  return readFile(await writeReport(outcome, folder), 'utf8');
}

test('everything that was found is in the report, as text and not as markup', async () => {
  const steady = newFound({
    profile: newProfile({ about: HOSTILE, ceiling: true, targets: { p95Ms: 6, overCeilingP50Ms: 1 } }),
    runs: [newRun({ errors: { overloaded: 3 } }), DIED, newRun({ latency: latencies(2, 9, 30) }, 3)],
    ceilings: [newCeiling(latencies(1.5, 4, 9))],
  });
  const dead = newFound({ profile: newProfile({ name: 'dead' }), runs: [DIED] });
  const html = await reportOf(newOutcome([steady, dead]));
  expect(html).not.toContain('<script');
  const onError = (level: string, message: string): never => {
    throw new Error(`${level}: ${message}`);
  };
  const text = new DOMParser({ onError }).parseFromString(html.replace('<!doctype html>', ''), 'text/xml')
    .documentElement!.textContent!;
  for (const part of [
    ...[
      '0 of 2 profiles met their targets',
      'steady: MISSED',
      'dead: MISSED',
      `died: ${HOSTILE}`,
      'overloaded 3',
    ],
    ...[
      'P95 ≤ 6 ms (7.00 ms)',
      'the bare ceiling at the same rate',
      'Holdfast, the run with the highest P95',
    ],
    ...['run 1, whose P95 is the middle one', '763 MiB', '2026-01-31 12:00:00 UTC'],
  ]) {
    expect(text).toContain(part);
  }
  const files = await readdir(join(folder, 'figures'));
  expect(files).toContain('steady-percentiles.svg');
  expect(files.filter((name) => name.startsWith('dead'))).toEqual([]);
  expect(JSON.parse(await readFile(join(folder, 'slo.json'), 'utf8'))).toMatchObject({ passed: false });
});

test('figures of a run before are not left beside those of this one', async () => {
  await reportOf(newOutcome([newFound({ profile: newProfile({ name: 'old' }) })]));
  await reportOf(newOutcome([newFound({ profile: newProfile({ name: 'new' }) })]));
  const files = await readdir(join(folder, 'figures'));
  expect(files.filter((name) => name.startsWith('old'))).toEqual([]);
  expect(files).toContain('new-cpu.svg');
});

test('a quick run says that nothing was judged, and whether it works', async () => {
  const slow = newFound({ runs: [newRun({ latency: latencies(90, 95, 99) })] });
  const html = await reportOf(newOutcome([slow], true));
  expect(html).toContain('No target was judged. The machinery works.');
  expect(html).toContain('not judged');
  expect(html).not.toContain('MISSED');
  const broken = newOutcome([newFound({ runs: [newRun({ errors: { internal: 1 } })] })], true);
  expect(broken.passed).toBe(false);
  expect(await reportOf(broken)).toContain('SOMETHING IS BROKEN');
});

test('what was interrupted has not passed, whatever it measured', () => {
  const { verdicts: _, passed, ...rest } = newOutcome([newFound()]);
  expect(passed).toBe(true);
  expect(outcomeOf({ ...rest, isInterrupted: true }).passed).toBe(false);
});

test('the curve of percentiles has the medians that are judged, and ends where too few ops lie beyond', () => {
  const curve = medianPercentiles([2, 30, 4].map((p50) => latencies(p50, 50, 90)));
  const at = (percentile: number): number => curve.findLast(([from]) => from <= percentile)![1];
  expect(at(50)).toBeCloseTo(4, 1);
  expect(at(95)).toBeCloseTo(50, 1);
  expect(at(98)).toBeCloseTo(90, 0);
  // Of 1,000 ops.
  expect(curve.at(-1)![0]).toBeCloseTo(99, 0);
  expect(medianPercentiles([])).toEqual([]);
});
