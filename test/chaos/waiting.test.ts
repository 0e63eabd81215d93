/**
 * Waiters of one name over three real processes: they keep their order when the
 * process that keeps the queue is killed or stopped, and those whose own process
 * dies are not granted.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { JsonSocket } from '../e2e/sockets.ts';
import { HttpClient } from '../e2e/http.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { pause, temporaryFolder } from '../servers/holdfast.ts';
import { Owners } from '../servers/owners.ts';
import { Processes, type Place } from '../servers/processes.ts';

const WAIT_MS = 60_000;
const SOON = { timeout: 15_000, interval: 20 };

describe.skipIf(etcdMissing)('waiters over three processes', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let shards: EtcdCluster[] = [];
  let processes: Processes;
  const sockets: JsonSocket[] = [];

  beforeAll(async () => {
    folder = await temporaryFolder();
    shards = await startTestShards([1, 1]);
  }, PROVISION_MS);

  beforeEach(async () => {
    const etcd = shards.map((shard) => shard.endpoints);
    processes = await Processes.start({ count: 3, etcd, folder: folder.path });
  }, 60_000);

  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.terminate();
    await processes?.kill();
  });

  afterAll(async () => {
    await Promise.all(shards.map((shard) => shard.stop()));
    await folder.remove();
  });

  async function connect(place: Place): Promise<JsonSocket> {
    const socket = await JsonSocket.open(place.wsUrl);
    sockets.push(socket);
    return socket;
  }

  /** A name whose slot the place owns. */
  async function nameOf(place: Place, tag: string): Promise<string> {
    const owners = await Owners.read(shards.map((shard) => shard.endpoints));
    for (let i = 0; ; i++) if (owners.addressOf(`${tag}/${i}`) === place.address) return `${tag}/${i}`;
  }

  /** Queues one waiter for each socket, one after the other, and notes who is granted when. */
  async function queueUp(name: string, over: readonly JsonSocket[], release: HttpClient) {
    const order: number[] = [];
    const ends: Promise<number>[] = [];
    for (const [i, socket] of over.entries()) {
      const { id, answer } = socket.begin({ op: 'acquire', name, waitMs: WAIT_MS, ttlMs: 10_000 });
      expect((await socket.event({ event: 'queued', id })).position).toBe(i + 1);
      ends.push(
        answer.then(async (claim) => {
          order.push(i);
          if (claim.status === 201) await release.release(name, claim.lockToken);
          return claim.status as number;
        }),
      );
    }
    return { order, ends };
  }

  for (const [title, end] of [
    ['killed', (place: Place) => place.kill()],
    ['stopped', async (place: Place) => void (await place.stop())],
  ] as const) {
    test(`keep their order when the process with the queue is ${title}`, async () => {
      const [owner, second, third] = processes.places;
      const name = await nameOf(owner, `order-${title}`);
      const http = new HttpClient(second.url);
      const holder = (await http.acquire(name, { ttlMs: WAIT_MS })).body;
      const over = await Promise.all([second, third, second, third, third, second].map(connect));
      const { order, ends } = await queueUp(name, over, http);
      await end(owner);
      await vi.waitFor(async () => {
        const { body } = await http.get(name);
        expect(body).toMatchObject({ held: true, queueLength: 6 });
      }, SOON);
      // All of them must be back in their places before the lock comes free.
      await pause(1_500);
      expect((await http.release(name, holder.lockToken)).status).toBe(204);
      expect(await Promise.all(ends)).toEqual([201, 201, 201, 201, 201, 201]);
      expect(order).toEqual([0, 1, 2, 3, 4, 5]);
    }, 90_000);
  }

  test('are not granted when the process they are connected to has died', async () => {
    const [owner, second, third] = processes.places;
    const name = await nameOf(owner, 'front-died');
    const http = new HttpClient(third.url);
    const holder = (await http.acquire(name, { ttlMs: WAIT_MS })).body;
    const over = await Promise.all([second, second, third].map(connect));
    const { order, ends } = await queueUp(name, over, http);
    for (const lost of ends.slice(0, 2)) lost.catch(() => undefined);
    await second.kill();
    await pause(500);
    expect((await http.release(name, holder.lockToken)).status).toBe(204);
    expect(await ends[2]).toBe(201);
    expect(order).toEqual([2]);
    await vi.waitFor(async () => {
      expect((await http.get(name)).body).toMatchObject({ held: false, queueLength: 0 });
    }, SOON);
  }, 90_000);
});
