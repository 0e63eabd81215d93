/** Repeats: the same token or Idempotency-Key is one claim, also when it comes late. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { lockPath, type HttpClient } from './http.ts';
import { onEachStore } from './stores.ts';

const keyed = (http: HttpClient, name: string, key: string, body: object = {}) =>
  http.call('POST', lockPath(name), { body, headers: { 'idempotency-key': key } });

onEachStore('repeats', (stage) => {
  test('a lock token is one claim: repeated, mismatched, over', async () => {
    const { http } = stage;
    const name = `token/${stage.store}`;
    const lockToken = randomUUID();
    const first = await http.acquire(name, { lockToken, ttlMs: 20_000 });
    expect(first.status).toBe(201);
    const again = await http.acquire(name, { lockToken, ttlMs: 60_000 });
    expect(again.status).toBe(200);
    expect(again.body).toMatchObject({ fencingToken: first.body.fencingToken, ttlMs: 20_000 });
    expect(again.body.expiresInMs).toBeLessThanOrEqual(20_000);
    for (const other of [{ mode: 'shared' }, { mode: 'semaphore', limit: 1 }]) {
      const { status, body } = await http.acquire(name, { lockToken, ...other });
      expect([status, body.code]).toEqual([422, 'idempotency_mismatch']);
    }
    expect((await http.release(name, lockToken)).status).toBe(204);
    expect((await http.acquire(name, { lockToken })).body.code).toBe('not_held');
    expect((await http.acquire(name)).status).toBe(201);
  });

  test('an Idempotency-Key is a token of its own for each name, and remembers the end', async () => {
    const { http } = stage;
    const name = `key/${stage.store}`;
    const key = `"job 42 ${stage.store}"`;
    const first = await keyed(http, name, key, { ttlMs: 20_000 });
    expect(first.status).toBe(201);
    const again = await keyed(http, name, key, { ttlMs: 20_000 });
    expect(again.status).toBe(200);
    expect(again.body).toMatchObject({
      lockToken: first.body.lockToken,
      fencingToken: first.body.fencingToken,
    });
    expect((await keyed(http, name, key, { mode: 'shared' })).body.code).toBe('idempotency_mismatch');
    const other = await keyed(http, `${name}/other`, key);
    expect(other.status).toBe(201);
    expect(other.body.lockToken).not.toBe(first.body.lockToken);
    expect((await http.release(name, first.body.lockToken)).status).toBe(204);
    expect([(await keyed(http, name, key)).status, (await keyed(http, name, key)).body.code]).toEqual([
      410,
      'not_held',
    ]);
    expect((await keyed(http, name, '"another"')).status).toBe(201);
  });

  test('a key is a quoted string, and stands alone', async () => {
    const { http } = stage;
    for (const key of ['bare', '""', '"open', `"${'x'.repeat(256)}"`]) {
      const { status, body } = await keyed(http, 'keys', key);
      expect([key, status, body.code]).toEqual([key, 400, 'bad_request']);
    }
    const both = await keyed(http, 'keys', '"both"', { lockToken: randomUUID() });
    expect(both.status).toBe(400);
  });

  test('in a batch each item has its own', async () => {
    const { http } = stage;
    const ops = [0, 1].map((i) => ({
      op: 'acquire',
      name: `batch-key/${stage.store}/${i}`,
      idempotencyKey: 'one',
    }));
    const first = (await http.batch(ops)).body.results;
    const again = (await http.batch(ops)).body.results;
    expect(first.map(({ status }: { status: number }) => status)).toEqual([201, 201]);
    expect(again.map(({ status }: { status: number }) => status)).toEqual([200, 200]);
    expect(first[0].lockToken).not.toBe(first[1].lockToken);
    expect(again[0].lockToken).toBe(first[0].lockToken);
  });
});
