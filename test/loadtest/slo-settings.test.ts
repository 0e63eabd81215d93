import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseSloConfig, readSloConfig } from '../../loadtest/slo/config.ts';
import { readWish, type Plan } from '../../loadtest/slo/options.ts';
import { readOutcome } from '../../loadtest/slo/outcome.ts';
import { readWorkload } from '../../loadtest/workload.ts';
import { ROOT } from '../servers/holdfast.ts';

const FILE = join(ROOT, 'loadtest', 'slo.yaml');
const SMALL = `
seconds: 20
warmupSeconds: 3
runs: 5
targets: { achieved: 0.99 }
quick: { rate: 4000, seconds: 1, warmupSeconds: 0.5, sockets: 4, names: 100, clients: 10 }
profiles:
  one: { about: a, workload: acquire-release, rate: 9000, targets: { p50Ms: 2 } }
  two: { about: b, workload: get, rate: 1000, seconds: 5, clients: 50, targets: { achieved: 0.5 } }
`;

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-slo-settings-'));
  file = join(folder, 'slo.yaml');
  await writeFile(file, SMALL);
});
afterAll(() => rm(folder, { recursive: true }));

function planOf(...args: string[]): Plan {
  const wish = readWish(['--config', file, ...args], ROOT);
  if (wish === undefined || 'redraw' in wish) throw new Error('no plan');
  return wish.plan;
}

test('the file of the project has the profiles and targets that the service is judged by', () => {
  const { profiles, runs } = readSloConfig(FILE);
  const byName = new Map(profiles.map((profile) => [profile.name, profile]));
  expect(runs).toBe(5);
  for (const profile of profiles) {
    expect(profile.seconds).toBeGreaterThanOrEqual(20);
    expect(profile.targets, profile.name).toMatchObject({ achieved: 0.99, errorRate: 0 });
    expect(readWorkload(profile.workload).name).toBe(profile.workload);
  }
  expect(byName.get('steady')).toMatchObject({
    rate: 66_667,
    targets: { p50Ms: 2.5, p95Ms: 6, overCeilingP50Ms: 1 },
  });
  const p95 = {
    peak: [600_000, 16],
    summit: [1e6, 25],
    renew: [1e6, 12],
    reads: [1e6, 12],
    small: [66_667, 12],
  };
  for (const [name, [rate, p95Ms]] of Object.entries(p95)) {
    expect(byName.get(name), name).toMatchObject({ rate, targets: { p95Ms } });
  }
  expect(byName.get('small')).toMatchObject({ opsPerFrame: 1 });
  expect(byName.get('mixed')).toMatchObject({ rate: 600_000, workload: 'mixed-80-20' });
  expect(byName.get('contended')).toMatchObject({ workload: 'waiters' });
  expect(byName.get('cached')).toMatchObject({ workload: 'cached', spin: true, targets: { p50Ms: 0.5 } });
});

describe('a file', () => {
  const changed = (change: (content: any) => void): unknown => {
    const content: unknown = parse(SMALL);
    change(content);
    return content;
  };

  test.each<[string, (content: any) => void]>([
    ['f: profiles.one.rate is 0; allowed: a number above 0', (c) => (c.profiles.one.rate = 0)],
    [
      'f: profiles.one.speed is not a setting; allowed: about, workload, rate',
      (c) => (c.profiles.one.speed = 1),
    ],
    [
      'f: profiles.one.targets.p50 is not a setting; allowed: achieved, errorRate',
      (c) => (c.profiles.one.targets = { p50: 1 }),
    ],
    [
      'f: profiles.one.targets.p95Ms is -1; allowed: a number above 0',
      (c) => (c.profiles.one.targets.p95Ms = -1),
    ],
    ['f: targets.achieved is 99; allowed: a number from 0 to 1', (c) => (c.targets.achieved = 99)],
    ['f: profiles is {}; allowed: at least one profile', (c) => (c.profiles = {})],
    ['f: profiles.one.ceiling is', (c) => (c.profiles.one.targets.overCeilingP50Ms = 1)],
    ['f: runs is missing; allowed: a whole number above 0', (c) => delete c.runs],
    ['f: one is measured for less than a second', (c) => (c.profiles.one.seconds = 0.5)],
  ])('that is wrong is refused: %s', (message, change) => {
    expect(() => parseSloConfig(changed(change), 'f')).toThrow(message);
  });

  test('says for all profiles what they do not say themselves', () => {
    const [one, two] = parseSloConfig(parse(SMALL), 'f').profiles;
    expect(one).toMatchObject({
      seconds: 20,
      warmupSeconds: 3,
      ceiling: false,
      targets: { achieved: 0.99, p50Ms: 2 },
    });
    expect(two).toMatchObject({ seconds: 5, targets: { achieved: 0.5 } });
  });
});

describe('the command line', () => {
  test('changes what the file says', () => {
    expect(planOf()).toMatchObject({ runs: 5, isQuick: false, out: join(ROOT, 'reports', 'slo') });
    expect(readWish([], ROOT)).toMatchObject({ plan: { config: 'loadtest/slo.yaml' } });
    const plan = planOf('--only', 'two', '--runs', '2', '--seconds', '7', '--warmup', '0', '--out', folder);
    expect(plan).toMatchObject({ runs: 2, out: folder });
    expect(plan.profiles).toMatchObject([{ name: 'two', seconds: 7, warmupSeconds: 0, rate: 1_000 }]);
  });

  test('--quick lowers rates and times, never raises them', () => {
    const { profiles, runs, isQuick } = planOf('--quick');
    expect({ runs, isQuick }).toEqual({ runs: 1, isQuick: true });
    expect(profiles).toMatchObject([
      { name: 'one', rate: 4_000, seconds: 1, warmupSeconds: 0.5, sockets: 4, names: 100 },
      { name: 'two', rate: 1_000, seconds: 1, warmupSeconds: 0.5, names: 100, clients: 10, spin: false },
    ]);
    expect(planOf('--quick', '--runs', '2').runs).toBe(2);
  });

  test.each([
    [['--only', 'one,three'], 'has no profile three; allowed: one, two'],
    [['--only', ','], '--only names no profile'],
    [['--runs', '1.5'], '1.5 is not a whole number of 1 or more'],
    [['--seconds', '0.5'], '0.5 is not a number of 1 or more'],
    [['--fast'], "unknown option '--fast'"],
    [['--config', '/nowhere/slo.yaml'], '/nowhere/slo.yaml: the SLO file cannot be read'],
    [['extra'], 'too many arguments'],
  ])('%j is refused', (args, message) => {
    expect(() => planOf(...args)).toThrow(message);
  });
});

test('only a report of the gate can be drawn again', async () => {
  await expect(readOutcome(file)).rejects.toThrow('cannot be read');
  const other = join(folder, 'other.json');
  await writeFile(other, '{"format":"something else"}');
  await expect(readOutcome(other)).rejects.toThrow('is not a slo.json of this version');
});
