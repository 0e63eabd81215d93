import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isForFrames, Mix, opsOfArrival, share } from '../../loadtest/settings.ts';
import { readOptions } from '../../loadtest/options.ts';
import { opsOf, parseWorkload, readWorkload, workloadNames } from '../../loadtest/workload.ts';

const about = 'a test';

describe('the workloads that come with the driver', () => {
  test.each(workloadNames())('%s', (name) => {
    const workload = readWorkload(name);
    expect(workload.about).not.toBe('');
    const { settings } = readOptions(['--workload', name]);
    expect(settings.stretches[0].from).toBeGreaterThan(0);
    expect(share(settings, 3)).toHaveLength(3);
  });

  test('the fast engine does those that it can', () => {
    const fast = workloadNames().filter((name) => {
      const workload = readWorkload(name);
      return isForFrames({ protocol: workload.defaults.protocol ?? 'binary', workload });
    });
    expect(fast).toEqual([
      ...['acquire-release', 'get', 'hold', 'mixed-80-20', 'renew', 'renewals', 'small-clients'],
    ]);
    expect(isForFrames({ protocol: 'json', workload: readWorkload('get') })).toBe(false);
  });
});

describe('the grammar', () => {
  let folder: string;
  beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'holdfast-load-'))));
  afterAll(() => rm(folder, { recursive: true }));

  test('steps have what the file says, and what they say themselves', () => {
    const { parts, popularity } = parseWorkload(
      {
        about,
        ttlMs: 5_000,
        waitMs: 100,
        popularity: { zipf: 1.2 },
        cycle: [
          { acquire: { mode: 'semaphore', limit: 3, times: 2 } },
          { hold: [1, 5] },
          'release',
          'acquire',
        ],
      },
      'test',
    );
    const [first, hold, release, last] = parts[0].cycle;
    expect(first).toMatchObject({ mode: 'semaphore', limit: 3, times: 2, waitMs: 100, ttlMs: 5_000 });
    expect(hold).toEqual({ call: 'hold', ms: [1, 5] });
    expect(release.call).toBe('release');
    expect(last).toMatchObject({ mode: 'exclusive', limit: 0, times: 1 });
    expect(popularity).toEqual({ zipf: 1.2 });
    expect(opsOf(parts[0])).toBe(5);
  });

  test.each([
    [{ cycle: ['acquire', 'relase'] }, /cycle\[1\]/],
    [{ cycle: ['acquire', { hold: -1 }] }, /cycle\[1\]\.hold is -1; allowed: whole milliseconds/],
    [
      { cycle: [{ acquire: { ttlMs: 10 } }] },
      /cycle\[0\]\.acquire\.ttlMs is 10; allowed: whole milliseconds, 1000–86400000/,
    ],
    [{ cycle: [{ acquire: { patience: 3 } }] }, /cycle\[0\]\.acquire\.patience is not a setting/],
    [{ cycle: [{ acquire: {}, release: {} }] }, /cycle\[0\].*one of acquire/],
    [{ cycle: [] }, /cycle is \[\]; allowed: at least one step/],
    [{}, /either a cycle or a mix/],
    [{ cycle: ['get'], mix: [{ weight: 1, cycle: ['get'] }] }, /either a cycle or a mix/],
    [{ mix: [{ weight: 0, cycle: ['get'] }] }, /mix\[0\]\.weight is 0; allowed: a number above 0/],
    [{ cycle: ['get'], rate: 'fast' }, /rate is "fast"; allowed: a number above 0/],
    [{ cycle: ['get'], tempo: 3 }, /tempo is not a setting; allowed: about, protocol/],
    [{ cycle: ['renew'] }, /nobody holds what it renews or releases/],
  ])('%j is refused with its place', (content, message) => {
    expect(() => parseWorkload({ about, ...content }, 'test', 'test.yaml')).toThrow(message);
    expect(() => parseWorkload({ about, ...content }, 'test', 'test.yaml')).toThrow(/^test\.yaml: /);
  });

  test('flags beat the file, the file beats what is usual', () => {
    const path = join(folder, 'mine.yaml');
    writeFileSync(
      path,
      'about: mine\nrate: 500\nnames: 10\nclients: 5\npopularity: uniform\ncycle: [acquire, hold: 20, release]\n',
    );
    const { settings } = readOptions(['--workload', path, '--rate', '900', '--hold', '7', '--ttl', '2000']);
    expect(settings.workload.name).toBe('mine');
    expect(settings.stretches).toEqual([{ seconds: 30, from: 900, to: 900 }]);
    expect(settings).toMatchObject({ names: 10, clients: 5, sockets: 8, protocol: 'binary' });
    expect(
      settings.workload.parts[0].cycle.map((step) => (step.call === 'hold' ? step.ms : step.ttlMs)),
    ).toEqual([2_000, [7, 7], 2_000]);
  });

  test.each([
    [['--workload', 'no-such'], /no-such\.yaml: the workload file cannot be read/],
    [['--workload', 'cached', '--protocol', 'binary'], /no cached reads/],
    [['--share-names'], /popularity is uniform or zipf/],
    [['--rate', '0'], /above 0/],
  ])('%j is refused', (args, message) => {
    expect(() => readOptions(args)).toThrow(message);
  });
});

test('a mix keeps the shares of its ops at any time', () => {
  const workload = readWorkload('mixed-80-20');
  expect(opsOfArrival(workload)).toBeCloseTo(100 / 90, 9);
  const mix = new Mix(workload);
  let reads = 0;
  for (let arrivals = 1; arrivals <= 9_000; arrivals++) {
    if (mix.next() === 0) reads++;
    expect(Math.abs(reads - (arrivals * 8) / 9)).toBeLessThanOrEqual(1);
  }
});

test('a share of a run', () => {
  const { settings } = readOptions(['--rate', '1000', '--sockets', '9', '--names', '101']);
  const parts = share(settings, 2);
  expect(parts.map(({ process, stretches }) => [process, stretches[0].from])).toEqual([
    [0, 500],
    [1, 500],
  ]);
  expect(parts[0].names).toBe(51);
  const hot = readOptions(['--workload', 'hot-names', '--share-names']).settings;
  expect(share(hot, 2).map(({ names }) => names)).toEqual([1_000, 1_000]);
});
