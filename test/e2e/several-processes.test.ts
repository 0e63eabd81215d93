/** Any of several processes answers any request, whoever owns the slot: the same suite with and without a cluster key. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { PROVISION_MS, startTestShards, type EtcdCluster } from '../servers/etcd.ts';
import { temporaryFolder } from '../servers/holdfast.ts';
import { Processes } from '../servers/processes.ts';
import { HttpClient } from './http.ts';
import { BinarySocket, JsonSocket } from './sockets.ts';

describe.skipIf(etcdMissing).each([['without a cluster key'], ['with a cluster key']])(
  'three processes %s',
  (title) => {
    let folder: Awaited<ReturnType<typeof temporaryFolder>>;
    let shards: EtcdCluster[] = [];
    let processes: Processes;
    let https: HttpClient[] = [];

    beforeAll(async () => {
      folder = await temporaryFolder();
      shards = await startTestShards([1, 1]);
      const key = join(folder.path, 'cluster-key');
      writeFileSync(key, 'a secret of the cluster, for tests\n');
      processes = await Processes.start({
        count: 3,
        etcd: shards.map((shard) => shard.endpoints),
        folder: folder.path,
        ...(title.startsWith('with ') && { args: ['--cluster-key', key] }),
      });
      https = processes.places.map((place) => new HttpClient(place.url));
    }, PROVISION_MS);

    afterAll(async () => {
      await processes?.kill();
      await Promise.all(shards.map((shard) => shard.stop()));
      await folder.remove();
    });

    const names = (tag: string, count = 60) => Array.from({ length: count }, (_, i) => `${tag}/${i}`);

    test('a lock taken at one is renewed, seen, verified, refused and released at the others', async () => {
      const [first, second, third] = https;
      for (const name of names('passed', 20)) {
        const { status, body } = await first.acquire(name, { ttlMs: 60_000, owner: 'me' });
        expect(status).toBe(201);
        const { lockToken, fencingToken } = body;
        expect((await second.acquire(name, { lockToken, owner: 'me' })).status).toBe(200);
        expect((await third.acquire(name)).body).toMatchObject({
          code: 'lock_held',
          holder: { owner: 'me', fencingToken },
        });
        expect((await second.renew(name, lockToken)).body).toMatchObject({ fencingToken, ttlMs: 60_000 });
        expect((await third.get(name)).body).toMatchObject({
          held: true,
          holders: [{ owner: 'me', fencingToken }],
        });
        expect((await first.verify(name, { lockToken })).body).toMatchObject({ current: true, fencingToken });
        expect((await third.release(name, lockToken)).status).toBe(204);
        expect((await second.release(name, lockToken)).status).toBe(410);
        const next = await second.acquire(name);
        expect(next.body.fencingToken).toBeGreaterThan(fencingToken);
      }
    });

    test('requests on one lock from one socket take effect in the order sent, through either WebSocket', async () => {
      for (const { wsUrl } of processes.places) {
        const json = await JsonSocket.open(wsUrl);
        const lockToken = 'one-token-of-22-chars.';
        const asked = names(`order/${wsUrl}`).flatMap((name) => [
          { op: 'acquire', name, lockToken },
          { op: 'acquire', name },
          { op: 'release', name, lockToken },
          { op: 'release', name, lockToken },
        ]);
        const statuses = (await json.askAll(asked)).map(({ status }) => status);
        expect(statuses).toEqual(names('x').flatMap(() => [201, 409, 204, 410]));
        json.close();
        const binary = await BinarySocket.open(wsUrl);
        const token = Buffer.from('one token, 16 B.');
        const packed = names(`packed/${wsUrl}`).flatMap((name) => [
          { op: 'acquire', name, token } as const,
          { op: 'get', name } as const,
          { op: 'release', name, token } as const,
          { op: 'get', name } as const,
        ]);
        const answers = await binary.askAll(packed);
        expect(answers.map(({ status, held }) => [status, held])).toEqual(
          names('x').flatMap(() => [
            [201, false],
            [200, true],
            [204, false],
            [200, false],
          ]),
        );
        binary.close();
      }
    });

    test('a batch over slots of all of them, and a listing of all of them, at each', async () => {
      for (const [i, http] of https.entries()) {
        const all = names(`batch-${i}`, 300);
        const { status, body } = await http.batch(
          all.map((name) => ({ op: 'acquire', name, ttlMs: 60_000 })),
        );
        expect(status).toBe(200);
        expect(new Set(body.results.map((result: { status: number }) => result.status))).toEqual(
          new Set([201]),
        );
      }
      for (const http of https) {
        const found: string[] = [];
        for (let cursor = ''; ;) {
          const page = await http.call('GET', `/v1/locks?prefix=batch-&limit=250${cursor}`);
          expect(page.status).toBe(200);
          found.push(...page.body.locks.map(({ name }: { name: string }) => name));
          if (page.body.nextCursor === undefined) break;
          cursor = `&cursor=${encodeURIComponent(page.body.nextCursor)}`;
        }
        expect(found.toSorted()).toEqual([0, 1, 2].flatMap((i) => names(`batch-${i}`, 300)).toSorted());
      }
    });

    test('each tells who the others are, that it reaches them, and who owns what', async () => {
      for (const [i, http] of https.entries()) {
        await vi.waitFor(
          async () => {
            const { body } = await http.call('GET', '/v1/cluster');
            const others = body.processes.filter(({ self }: { self: boolean }) => !self);
            expect(others.map(({ address }: { address: string }) => address).toSorted()).toEqual(
              processes.places
                .filter((_, other) => other !== i)
                .map((place) => place.address)
                .toSorted(),
            );
            expect(others.map(({ link }: { link: string }) => link)).toEqual(['up', 'up']);
            const counts = body.shards.map(({ slots }: { slots: number }) => slots);
            expect(counts[0] + counts[1]).toBe(4096);
            for (const shard of body.shards) expect(shard.owners).toHaveLength(3);
          },
          { timeout: 5_000, interval: 100 },
        );
      }
    });
  },
);
