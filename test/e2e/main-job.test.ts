import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { pause } from '../servers/holdfast.ts';
import { onEachStore } from './stores.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

onEachStore('a lock over HTTP', (stage) => {
  test('is taken, refused to a second, renewed, shown, verified and released', async () => {
    const { http } = stage;
    const name = 'orders/12345 ü';
    const taken = await http.acquire(name, { ttlMs: 20_000, owner: 'worker-1', metadata: { step: 2 } });
    expect(taken.status).toBe(201);
    expect(taken.body).toMatchObject({ name, mode: 'exclusive', owner: 'worker-1', ttlMs: 20_000 });
    const { lockToken, fencingToken, expiresInMs, waitedMs } = taken.body;
    expect(lockToken).toMatch(UUID);
    expect(fencingToken).toBeGreaterThan(0);
    expect(expiresInMs).toBeGreaterThan(15_000);
    expect(expiresInMs).toBeLessThanOrEqual(20_000);
    expect(waitedMs).toBeGreaterThanOrEqual(0);
    expect(taken.headers.get('x-request-id')).toBeTruthy();
    expect(taken.headers.get('cache-control')).toBe('no-store');

    const refused = await http.acquire(name, { owner: 'worker-2' });
    expect(refused.status).toBe(409);
    expect(refused.headers.get('content-type')).toContain('application/problem+json');
    expect(refused.body).toMatchObject({ code: 'lock_held', status: 409, retryable: true });
    expect(refused.body.holder).toMatchObject({ owner: 'worker-1', fencingToken, mode: 'exclusive' });
    expect(refused.body.holder.expiresInMs).toBeGreaterThan(10_000);
    expect(JSON.stringify(refused.body)).not.toContain(lockToken);

    const renewed = await http.renew(name, lockToken, { ttlMs: 60_000 });
    expect(renewed.status).toBe(200);
    expect(renewed.body).toMatchObject({ name, lockToken, fencingToken, ttlMs: 60_000 });
    expect(renewed.body.expiresInMs).toBeGreaterThan(50_000);

    const shown = await http.get(name);
    expect(shown.status).toBe(200);
    expect(shown.body).toMatchObject({
      name,
      held: true,
      mode: 'exclusive',
      queueLength: 0,
      source: 'shard',
    });
    expect(shown.body.holders).toHaveLength(1);
    expect(shown.body.holders[0]).toMatchObject({ owner: 'worker-1', fencingToken, metadata: { step: 2 } });
    expect(JSON.stringify(shown.body)).not.toContain(lockToken);

    expect((await http.verify(name, { fencingToken })).body).toMatchObject({ current: true, fencingToken });
    expect((await http.verify(name, { lockToken })).body).toMatchObject({ current: true, fencingToken });
    expect((await http.verify(name, { fencingToken: fencingToken + 1 })).body).toMatchObject({
      current: false,
    });
    expect((await http.verify(name, { lockToken: randomUUID() })).body).toMatchObject({ current: false });

    const released = await http.release(name, lockToken);
    expect(released.status).toBe(204);
    expect((await http.get(name)).body).toMatchObject({ name, held: false, holders: [] });
    expect((await http.verify(name, { fencingToken })).body.current).toBe(false);

    const again = await http.acquire(name);
    expect(again.status).toBe(201);
    expect(again.body.fencingToken).toBeGreaterThan(fencingToken);
  });

  test('renew, release with a foreign or ended token are refused and change nothing', async () => {
    const { http } = stage;
    const first = (await http.acquire('stale')).body;
    const foreign = randomUUID();
    expect(await http.renew('stale', foreign)).toMatchObject({ status: 410, body: { code: 'not_held' } });
    expect(await http.release('stale', foreign)).toMatchObject({ status: 410, body: { code: 'not_held' } });
    await http.release('stale', first.lockToken);
    expect((await http.release('stale', first.lockToken)).status).toBe(410);
    expect((await http.renew('stale', first.lockToken)).status).toBe(410);
    const second = (await http.acquire('stale')).body;
    expect((await http.release('stale', first.lockToken)).status).toBe(410);
    expect((await http.get('stale')).body.holders[0].fencingToken).toBe(second.fencingToken);
  });

  test('the same token again is the same claim; once it ended it is refused', async () => {
    const { http } = stage;
    const lockToken = randomUUID();
    const first = await http.acquire('repeated', { lockToken, ttlMs: 5_000 });
    await pause(300);
    const second = await http.acquire('repeated', { lockToken, ttlMs: 60_000 });
    expect([first.status, second.status]).toEqual([201, 200]);
    expect(second.body).toMatchObject({ lockToken, fencingToken: first.body.fencingToken, ttlMs: 5_000 });
    expect(second.body.expiresInMs).toBeLessThanOrEqual(first.body.expiresInMs - 250);
    expect((await http.release('repeated', lockToken)).status).toBe(204);
    expect(await http.acquire('repeated', { lockToken })).toMatchObject({
      status: 410,
      body: { code: 'not_held' },
    });
    expect((await http.acquire('repeated')).status).toBe(201);
  });

  test('a token of 22 to 64 characters serves as well as a UUID', async () => {
    const { http } = stage;
    for (const lockToken of ['AZaz09._~-AZaz09._~-AZ', 'x'.repeat(64), randomUUID().toUpperCase()]) {
      const name = `token-${lockToken.length}`;
      const taken = await http.acquire(name, { lockToken });
      expect(taken).toMatchObject({ status: 201, body: { lockToken } });
      expect((await http.release(name, lockToken)).status).toBe(204);
    }
  });

  test('expires after its TTL and never before', async () => {
    const { http } = stage;
    const names = Array.from({ length: 20 }, (_, i) => `short-${i}`);
    await Promise.all(
      names.map(async (name, i) => {
        const sentAt = performance.now();
        const ttlMs = 1_000 + i * 20;
        const taken = await http.acquire(name, { ttlMs });
        expect(taken.status).toBe(201);
        const answeredAt = performance.now();
        for (;;) {
          const askedAt = performance.now();
          const next = await http.acquire(name);
          if (next.status === 201) {
            expect(performance.now() - sentAt).toBeGreaterThanOrEqual(ttlMs);
            expect(askedAt - answeredAt).toBeLessThan(ttlMs + 1_000);
            expect(next.body.fencingToken).toBeGreaterThan(taken.body.fencingToken);
            return;
          }
          expect(next).toMatchObject({ status: 409, body: { code: 'lock_held' } });
          await pause(15);
        }
      }),
    );
    const refused = await http.acquire('short-0');
    expect(refused.body.code).toBe('lock_held');
  });

  test('a renewal moves the end', async () => {
    const { http } = stage;
    const { lockToken } = (await http.acquire('renewed', { ttlMs: 1_000 })).body;
    for (let i = 0; i < 4; i++) {
      await pause(500);
      expect((await http.renew('renewed', lockToken)).status).toBe(200);
    }
    expect((await http.acquire('renewed')).status).toBe(409);
    await pause(1_300);
    expect((await http.renew('renewed', lockToken)).status).toBe(410);
    expect((await http.acquire('renewed', { lockToken })).status).toBe(410);
  });
});
