/** Three processes on two etcd clusters of three members, with every kind of fault: the short form of `npm run bench:faults`. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { temporaryFolder } from '../servers/holdfast.ts';
import { Processes } from '../servers/processes.ts';
import { Faults, faultTable, type EventReport } from './faults.ts';
import { AnswerLog, quantile } from './pauses.ts';

const REQUEST_TIMEOUT_MS = LIMITS.requestTimeoutMsDefault;
/** For a machine that has other things to do. */
const SLACK_MS = 2_000;

describe.skipIf(etcdMissing)('three processes on two shards of three members', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let shards: EtcdCluster[] = [];
  let processes: Processes | undefined;
  const reports: EventReport[] = [];

  beforeAll(async () => {
    folder = await temporaryFolder();
    shards = await startTestShards([3, 3]);
    const etcd = shards.map((shard) => shard.endpoints);
    processes = await Processes.start({ count: 3, etcd, folder: folder.path });
    const faults = new Faults({
      processes,
      shards,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      rate: 240,
      groups: 48,
      contenders: 90,
      downMs: 3_000,
      memberAwayMs: 4_000,
      calmMs: 1_000,
      short: true,
      say: () => {},
    });
    await faults.run();
    reports.push(...faults.reports);
    console.log(faultTable(reports, ['p0', 'p1', 'p2']));
    expect(faults.claims).toBeGreaterThan(1_000);
  }, PROVISION_MS);

  afterAll(async () => {
    await processes?.kill();
    await Promise.all(shards.map((shard) => shard.stop()));
    await folder.remove();
  });

  const report = (words: string): EventReport => {
    const found = reports.find(({ event }) => event.includes(words));
    if (found === undefined) throw new Error(`no event «${words}»`);
    return found;
  };

  test('no two holders, no falling token, no grant lost, no refusal that was none', () => {
    expect(reports.flatMap(({ violations }) => violations)).toEqual([]);
    expect(reports).toHaveLength(6);
  });

  test.each([
    ['kill -9 of p0', 0],
    ['frozen past its lease', 1],
  ])('%s: others serve its slots after lease + 1 s', (words, process) => {
    const { slotPauseMs, pauseMs, processRefused } = report(words);
    expect(slotPauseMs).toBeLessThan(LIMITS.leaseTtlMs + 1_000 + SLACK_MS);
    expect(slotPauseMs).toBeGreaterThan(1_000);
    // Its slots pause; those of the others don't, and for clients of the others it is a pause only.
    expect(pauseMs).toBeLessThan(SLACK_MS);
    expect(processRefused.filter((_, i) => i !== process)).toEqual([0, 0]);
  });

  test('the leader of a shard killed, a member away: a pause, no refusal', () => {
    expect(report('leader of s0').slotPauseMs).toBeLessThan(5_000 + SLACK_MS);
    expect(report('a member of s1 away').slotPauseMs).toBeLessThan(SLACK_MS);
    expect([report('leader of s0').refused, report('a member of s1 away').refused]).toEqual([{}, {}]);
  });

  test('a rolling restart: only `draining` and 1012, and nothing in doubt', () => {
    const { refused, unknown, cut, slotPauseMs } = report('rolling restart');
    expect(Object.keys(refused).filter((code) => code !== 'draining')).toEqual([]);
    expect([unknown, cut]).toEqual([0, 0]);
    expect(slotPauseMs).toBeLessThan(SLACK_MS);
  });
});

describe('what it is judged by', () => {
  test('pauses are found at the beginning, in the middle and at the end, by group and process', () => {
    const log = new AnswerLog();
    for (const [at, group, process] of [
      [5, 0, 0],
      [10, 0, 0],
      [12, 1, 1],
      [40, 0, 1],
      [95, 1, 0],
      [120, 0, 0],
    ]) {
      log.add(at, group, process);
    }
    expect(log.pauses(8, 100, 3, 2)).toEqual({
      answers: 4,
      allMs: 55,
      byGroupMs: [60, 83, 92],
      byProcessMs: [85, 60],
    });
    expect(log.pauses(50, 60, 1, 1)).toMatchObject({ answers: 0, allMs: 10 });
  });

  test('quantiles', () => {
    expect([quantile([3, 1, 2], 0.5), quantile([3, 1, 2], 1), quantile([], 0.5)]).toEqual([2, 3, 0]);
  });
});
