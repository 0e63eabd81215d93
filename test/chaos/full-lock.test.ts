/**
 * Sessions, atomic batches and watches over three real processes, one of which
 * is killed in the middle: what a client is told then, and what is left.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { JsonSocket } from '../e2e/sockets.ts';
import { HttpClient, type HttpAnswer } from '../e2e/http.ts';
import { LIMITS } from '../../src/limits.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { pause, temporaryFolder } from '../servers/holdfast.ts';
import { Owners } from '../servers/owners.ts';
import { Processes, type Place } from '../servers/processes.ts';

const SOON = { timeout: 20_000, interval: 100 };

describe.skipIf(etcdMissing)('a process is killed', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let shards: EtcdCluster[] = [];
  let processes: Processes;

  beforeAll(async () => {
    folder = await temporaryFolder();
    shards = await startTestShards([1, 1]);
  }, PROVISION_MS);

  beforeEach(async () => {
    const etcd = shards.map((shard) => shard.endpoints);
    processes = await Processes.start({ count: 3, etcd, folder: folder.path });
  }, 60_000);

  afterEach(() => processes?.kill());

  afterAll(async () => {
    await Promise.all(shards.map((shard) => shard.stop()));
    await folder.remove();
  });

  const names = (tag: string, count: number) => Array.from({ length: count }, (_, i) => `${tag}/${i}`);

  async function nameOf(place: Place, tag: string): Promise<string> {
    const owners = await Owners.read(shards.map((shard) => shard.endpoints));
    for (let i = 0; ; i++) if (owners.addressOf(`${tag}/${i}`) === place.address) return `${tag}/${i}`;
  }

  test('a session with locks in all of them keeps every lock, and its end releases all', async () => {
    const [victim, second, third] = processes.places;
    const [http, other] = [new HttpClient(second.url), new HttpClient(third.url)];
    const { sessionId } = (await http.call('POST', '/v1/sessions', { body: { ttlMs: 30_000 } })).body;
    const all = names('session', 120);
    const taken = await Promise.all(all.map((name) => http.acquire(name, { sessionId })));
    expect(new Set(taken.map(({ status }) => status))).toEqual(new Set([201]));
    await victim.kill();
    const answers: HttpAnswer[] = [];
    await vi.waitFor(async () => {
      const answer = await other.call('PUT', `/v1/sessions/${sessionId}`);
      answers.push(answer);
      expect(answer.status).toBe(200);
    }, SOON);
    for (const { status, body } of answers.slice(0, -1)) {
      expect([503, 504]).toContain(status);
      expect(body.retryable).toBe(true);
    }
    for (const [i, name] of all.entries()) {
      const { holders } = (await other.get(name)).body;
      expect(holders).toMatchObject([{ fencingToken: taken[i].body.fencingToken }]);
    }
    expect((await other.call('DELETE', `/v1/sessions/${sessionId}`)).status).toBe(204);
    await vi.waitFor(async () => {
      const page = await http.call('GET', '/v1/locks?prefix=session%2F&limit=1000');
      expect(page.body.locks).toEqual([]);
    }, SOON);
  }, 90_000);

  test('an atomic batch that it ran leaves nothing behind but claims that end by themselves', async () => {
    const [runner, second] = processes.places;
    const [http, other] = [new HttpClient(runner.url), new HttpClient(second.url)];
    const all = names('atomic', 200);
    let sent = 0;
    const running = (async () => {
      for (;;) {
        const ops = all.map((name) => ({ op: 'acquire', name, ttlMs: 2_000 }));
        sent++;
        const answer = await http.batch(ops, { atomic: true });
        if (answer.status !== 200) continue;
        const back = answer.body.results.map(({ name, lockToken }: { name: string; lockToken: string }) => {
          return { op: 'release', name, lockToken };
        });
        await http.batch(back);
      }
    })();
    running.catch(() => undefined);
    await pause(1_000);
    await runner.kill();
    await expect(running).rejects.toThrow();
    expect(sent).toBeGreaterThan(2);
    await pause(LIMITS.pendingMs);
    await vi.waitFor(async () => {
      const { status, body } = await other.batch(
        all.map((name) => ({ op: 'acquire', name })),
        { atomic: true },
      );
      expect([status, body.code]).toEqual([200, undefined]);
    }, SOON);
    for (const name of all) expect((await other.get(name)).body.holders).toHaveLength(1);
  }, 90_000);

  test('a watch goes on with the next owner, from the whole state', async () => {
    const [victim, second, third] = processes.places;
    const name = await nameOf(victim, 'watched');
    const socket = await JsonSocket.open(second.wsUrl);
    expect((await socket.ask({ op: 'watch', name })).status).toBe(200);
    const http = new HttpClient(third.url);
    const { lockToken } = (await http.acquire(name, { ttlMs: 60_000, owner: 'before' })).body;
    await socket.event({ event: 'changed', held: true });
    await victim.kill();
    await vi.waitFor(async () => {
      // After an unknown outcome 410 means that it is done.
      expect([204, 410]).toContain((await http.release(name, lockToken)).status);
    }, SOON);
    expect((await http.acquire(name, { owner: 'after' })).status).toBe(201);
    await vi.waitFor(() => {
      const told = socket.others.filter(({ event }) => event === 'changed');
      expect(told.at(-1)).toMatchObject({ held: true, holders: [{ owner: 'after' }] });
      const revisions = told.map(({ revision }) => revision as number);
      expect(revisions).toEqual([...new Set(revisions)].toSorted((a, b) => a - b));
    }, SOON);
    socket.close();
  }, 90_000);
});
