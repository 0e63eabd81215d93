/**
 * An etcd that is killed, frozen or without quorum: requests for it end within
 * their time-out, the other shard goes on, and when it is back everything works
 * without a restart of Holdfast.
 */
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { BinarySocket, type BinaryAnswer } from '../e2e/sockets.ts';
import { Stage } from '../e2e/stores.ts';
import { pause } from '../servers/holdfast.ts';
import { PROVISION_MS } from '../servers/etcd.ts';
import { checkClaims } from './checker.ts';
import { Contenders } from './contenders.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';

const REQUEST_TIMEOUT_MS = 2_000;
/** On top of the time-out: the lane looks at its clock now and then, and the machine has other things to do. */
const LATE_MS = 700;
const OUTAGE_MS = 6_000;
const BACK_MS = 20_000;

interface Asked {
  readonly name: string;
  readonly token: Buffer;
  readonly answer: BinaryAnswer;
  readonly tookMs: number;
}

/** One acquire a name, each timed on its own. */
async function acquireEach(socket: BinarySocket, names: readonly string[]): Promise<Asked[]> {
  return Promise.all(
    names.map(async (name) => {
      const token = randomBytes(16);
      const sentAt = performance.now();
      const answer = await socket.ask({ op: 'acquire', name, token, ttlMs: 60_000 });
      return { name, token, answer, tookMs: performance.now() - sentAt };
    }),
  );
}

function namesOf(round: string): string[] {
  return Array.from({ length: 60 }, (_, i) => `fault/${round}/${i}`);
}

/** Splits what was asked during a fault, and checks what may be said. */
function judge(asked: readonly Asked[]): { served: Asked[]; failed: Asked[] } {
  const served = asked.filter(({ answer }) => answer.status === 201);
  const failed = asked.filter(({ answer }) => answer.status !== 201);
  for (const { answer, tookMs } of failed) {
    expect([CODES.shard_unavailable.wire, CODES.outcome_unknown.wire]).toContain(answer.code);
    expect(tookMs).toBeLessThan(REQUEST_TIMEOUT_MS + LATE_MS);
  }
  return { served, failed };
}

/** Until every name is taken: the same request with the same token each time. */
async function repeatUntilTaken(socket: BinarySocket, failed: readonly Asked[]): Promise<number> {
  const startedAt = performance.now();
  for (const { name, token } of failed) {
    for (;;) {
      const answer = await socket.ask({ op: 'acquire', name, token, ttlMs: 60_000 });
      if (answer.status === 200 || answer.status === 201) {
        const again = await socket.ask({ op: 'acquire', name, token, ttlMs: 60_000 });
        expect(again).toMatchObject({ status: 200, fencingToken: answer.fencingToken });
        break;
      }
      expect([503, 504]).toContain(answer.status);
      expect(performance.now() - startedAt).toBeLessThan(BACK_MS);
      await pause(50);
    }
  }
  const tookMs = performance.now() - startedAt;
  for (const { name, token } of failed) {
    expect((await socket.ask({ op: 'release', name, token })).status).toBe(204);
    expect((await socket.ask({ op: 'get', name })).held).toBe(false);
  }
  return tookMs;
}

describe.skipIf(etcdMissing)('one of two shards', () => {
  const stage = new Stage('etcd');
  beforeAll(async () => {
    await stage.open();
    await stage.start({ args: ['--request-timeout-ms', String(REQUEST_TIMEOUT_MS)] });
  }, PROVISION_MS);
  afterAll(() => stage.close());

  const faults: [string, () => Promise<void> | void, () => Promise<void> | void][] = [
    [
      'killed and started again',
      () => stage.etcd[1].members[0].kill(),
      () => stage.etcd[1].members[0].start(),
    ],
    ['frozen and woken', () => stage.etcd[1].members[0].pause(), () => stage.etcd[1].members[0].resume()],
  ];
  test.each(faults)(
    '%s',
    async (title, begin, end) => {
      const socket = await BinarySocket.open(stage.server.wsUrl);
      await begin();
      const first = await acquireEach(socket, namesOf(`${title}/1`));
      await pause(OUTAGE_MS / 2);
      const second = await acquireEach(socket, namesOf(`${title}/2`));
      for (const asked of [first, second]) {
        const { served, failed } = judge(asked);
        expect(served.length).toBeGreaterThan(10);
        expect(failed.length).toBeGreaterThan(10);
        for (const { tookMs } of served) expect(tookMs).toBeLessThan(REQUEST_TIMEOUT_MS / 2);
      }
      const up = (await stage.http.call('GET', '/metrics')).body.match(
        /^holdfast_shard_up\{shard="s1"\} (\d)$/m,
      );
      expect(up?.[1]).toBe('0');
      expect((await stage.http.call('GET', '/readyz')).status).toBe(200);
      expect((await stage.http.call('GET', '/v1/locks')).status).toBe(503);
      await end();
      const failed = [...judge(first).failed, ...judge(second).failed];
      const tookMs = await repeatUntilTaken(socket, failed);
      console.log(
        `shard ${title}: ${failed.length} requests refused, all taken ${tookMs.toFixed(0)} ms after it was back`,
      );
      for (const { answer } of await acquireEach(socket, namesOf(`${title}/3`)))
        expect(answer.status).toBe(201);
      socket.close();
    },
    120_000,
  );

  test('frozen for a moment: requests wait, none fails', async () => {
    const socket = await BinarySocket.open(stage.server.wsUrl);
    stage.etcd[1].members[0].pause();
    const asked = acquireEach(socket, namesOf('moment'));
    await pause(600);
    stage.etcd[1].members[0].resume();
    expect(judge(await asked).failed).toEqual([]);
    socket.close();
  });

  test('frozen again and again under load: one holder, rising tokens, nothing acknowledged lost', async () => {
    const contenders = new Contenders({
      wsUrl: () => stage.server.wsUrl,
      names: Array.from({ length: 40 }, (_, i) => `fault/load/${i}`),
      sockets: 8,
      clientsPerSocket: 20,
      ttlMs: 15_000,
    });
    contenders.start();
    for (const [shard, ms] of [
      [0, 300],
      [1, 1_200],
      [0, 2_600],
      [1, 5_500],
    ] as const) {
      await pause(700);
      stage.etcd[shard].members[0].pause();
      await pause(ms);
      stage.etcd[shard].members[0].resume();
    }
    await pause(2_000);
    await contenders.stop();
    expect(contenders.wrong.slice(0, 5)).toEqual([]);
    expect(checkClaims(contenders.held).slice(0, 5)).toEqual([]);
    expect(contenders.held.length).toBeGreaterThan(200);
  }, 120_000);
});

describe.skipIf(etcdMissing)('a shard of three members', () => {
  const stage = new Stage('etcd', [3, 1]);
  beforeAll(async () => {
    await stage.open();
    await stage.start({ args: ['--request-timeout-ms', String(REQUEST_TIMEOUT_MS)] });
  }, PROVISION_MS);
  afterAll(() => stage.close());

  test('goes on when any one of them is killed, and serves again when a quorum is back', async () => {
    const socket = await BinarySocket.open(stage.server.wsUrl);
    const { members } = stage.etcd[0];
    for (const [i, member] of members.entries()) {
      await member.kill();
      const asked = await acquireEach(socket, namesOf(`one/${i}`));
      const tookMs = await repeatUntilTaken(socket, judge(asked).failed);
      console.log(`member ${i} of three killed: everything taken after ${tookMs.toFixed(0)} ms`);
      await member.start();
    }
    await members[0].kill();
    await members[1].kill();
    await pause(1_000);
    const asked = await acquireEach(socket, namesOf('quorum'));
    const { served, failed } = judge(asked);
    expect(served.length).toBeGreaterThan(10);
    expect(failed.length).toBeGreaterThan(10);
    await pause(OUTAGE_MS);
    await members[1].start();
    const tookMs = await repeatUntilTaken(socket, failed);
    console.log(
      `quorum lost for ${OUTAGE_MS} ms: everything taken ${tookMs.toFixed(0)} ms after it was back`,
    );
    await members[0].start();
    socket.close();
  }, 180_000);
});
