/** Of two processes on the same shards one is killed, or stops: the other serves all slots, soon. (One that only stands still: fencing.test.ts.) */
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { BinarySocket } from '../e2e/sockets.ts';
import { HttpClient } from '../e2e/http.ts';
import { Stage } from '../e2e/stores.ts';
import { pause, type HoldfastServer } from '../servers/holdfast.ts';
import { checkClaims } from './checker.ts';
import { Contenders } from './contenders.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';

const TAKEOVER_MS = LIMITS.leaseTtlMs + 1_000;
/** For a machine that has other things to do. */
const SLACK_MS = 500;
const NAMES = Array.from({ length: 64 }, (_, i) => `takeover/${i}`);

let stage: Stage;
let first: HoldfastServer;
let second: HoldfastServer;

beforeEach(async () => {
  stage = new Stage('etcd');
  await stage.open();
});

async function startBoth(): Promise<void> {
  first = await stage.start();
  second = await stage.spawn();
  await second.listening();
}
afterEach(() => stage.close());

/** How long it took until every name could be taken at `server`, and how many requests were refused, or left unknown, before. */
async function timeToServe(
  server: HoldfastServer,
  tag: string,
): Promise<{ tookMs: number; refused: number; unknown: number }> {
  const counts = { refused: 0, unknown: 0 };
  const startedAt = performance.now();
  const socket = await BinarySocket.open(server.wsUrl);
  let open = NAMES.map((name) => ({ name: `${name}/${tag}`, token: randomBytes(16) }));
  while (open.length > 0) {
    const answers = await socket.askAll(open.map((one) => ({ op: 'acquire', ...one })));
    for (const { status } of answers) expect([200, 201, 503, 504]).toContain(status);
    counts.refused += answers.filter(({ status }) => status === 503).length;
    counts.unknown += answers.filter(({ status }) => status === 504).length;
    open = open.filter((_, i) => answers[i].status > 201);
  }
  socket.close();
  return { tookMs: performance.now() - startedAt, ...counts };
}

test.skipIf(etcdMissing)(
  'after kill -9 the other serves within lease + 1 s, under load, and nothing acknowledged is lost',
  async () => {
    await startBoth();
    let serving = first;
    const contenders = new Contenders({
      wsUrl: () => serving.wsUrl,
      names: NAMES,
      sockets: 8,
      clientsPerSocket: 20,
      ttlMs: 10_000,
    });
    contenders.start();
    const http = new HttpClient(first.url);
    const held = await http.batch(
      Array.from({ length: 500 }, (_, i) => ({ op: 'acquire', name: `kept/${i}`, ttlMs: 120_000 })),
    );
    await pause(1_500);
    first.signal('SIGKILL');
    serving = second;
    const { tookMs, refused } = await timeToServe(second, 'killed');
    await pause(1_000);
    await contenders.stop();
    console.log(
      `take-over after kill -9: every slot served after ${tookMs.toFixed(0)} ms (lease ${LIMITS.leaseTtlMs} ms)`,
    );
    expect(tookMs).toBeLessThan(TAKEOVER_MS + SLACK_MS);
    // A fail-over is a pause, not an error, but for what was on its way to the one that was killed.
    expect(refused).toBe(0);
    expect(contenders.wrong.slice(0, 5)).toEqual([]);
    expect(checkClaims(contenders.held).slice(0, 5)).toEqual([]);
    const ops = held.body.results.map(({ name, lockToken }: { name: string; lockToken: string }) => ({
      op: 'verify',
      name,
      lockToken,
    }));
    const verified = (await new HttpClient(second.url).batch(ops)).body.results;
    expect(verified.filter(({ current }: { current: boolean }) => !current)).toEqual([]);
  },
  120_000,
);

test.skipIf(etcdMissing)(
  'after SIGTERM the other serves at once',
  async () => {
    await startBoth();
    const http = new HttpClient(first.url);
    const { lockToken, fencingToken } = (await http.acquire('handed-over', { ttlMs: 60_000 })).body;
    const ended = first.stop();
    const { tookMs, refused, unknown } = await timeToServe(second, 'stopped');
    expect((await ended).code).toBe(0);
    console.log(`take-over after SIGTERM: every slot served after ${tookMs.toFixed(0)} ms`);
    expect(tookMs).toBeLessThan(LIMITS.leaseTtlMs);
    expect([refused, unknown]).toEqual([0, 0]);
    const verified = await new HttpClient(second.url).verify('handed-over', { lockToken });
    expect(verified.body).toMatchObject({ current: true, fencingToken });
  },
  120_000,
);
