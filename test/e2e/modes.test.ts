/** Shared locks, semaphores, lock delay, forced release: who may hold what together. */
import { expect, test, vi } from 'vitest';
import { lockPath } from './http.ts';
import { JsonSocket } from './sockets.ts';
import { onEachStore } from './stores.ts';

const SOON = { timeout: 5_000, interval: 10 };

onEachStore('modes', (stage) => {
  test('shared claims hold together, and none overtakes a waiting exclusive one', async () => {
    const { http } = stage;
    const name = `shared/${stage.store}`;
    const readers = [];
    for (let i = 0; i < 3; i++) {
      const { status, body } = await http.acquire(name, { mode: 'shared', owner: `r${i}` });
      expect(status).toBe(201);
      expect(body.mode).toBe('shared');
      readers.push(body);
    }
    const shown = (await http.get(name)).body;
    expect(shown).toMatchObject({ held: true, mode: 'shared' });
    expect(shown.holders.map(({ owner }: { owner: string }) => owner)).toEqual(['r0', 'r1', 'r2']);
    expect((await http.acquire(name)).body.code).toBe('lock_held');
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const writer = socket.begin({ op: 'acquire', name, waitMs: 20_000, owner: 'w' });
    await socket.event({ event: 'queued', id: writer.id });
    const late = await http.acquire(name, { mode: 'shared' });
    expect(late.body).toMatchObject({ code: 'lock_held', queueLength: 1 });
    const after = ['r3', 'r4'].map((owner) =>
      socket.begin({ op: 'acquire', name, mode: 'shared', waitMs: 20_000, owner }),
    );
    await socket.event({ event: 'queued', id: after[1].id });
    for (const { lockToken } of readers) expect((await http.release(name, lockToken)).status).toBe(204);
    const written = await writer.answer;
    expect(written).toMatchObject({ status: 201, mode: 'exclusive' });
    expect((await http.get(name)).body).toMatchObject({ mode: 'exclusive', queueLength: 2 });
    await http.release(name, written.lockToken);
    const together = await Promise.all(after.map(({ answer }) => answer));
    expect(together.map(({ status, mode }) => [status, mode])).toEqual([
      [201, 'shared'],
      [201, 'shared'],
    ]);
    socket.close();
  });

  test('a semaphore has so many places, first come first served', async () => {
    const { http } = stage;
    const name = `semaphore/${stage.store}`;
    const wish = { mode: 'semaphore', limit: 3 };
    const claims = [];
    for (let i = 0; i < 3; i++) claims.push((await http.acquire(name, wish)).body);
    expect(claims.map(({ mode, limit }) => [mode, limit])).toEqual(claims.map(() => ['semaphore', 3]));
    expect((await http.acquire(name, wish)).body.code).toBe('lock_held');
    expect((await http.get(name)).body).toMatchObject({ mode: 'semaphore', limit: 3 });
    expect((await http.get(name)).body.holders).toHaveLength(3);
    const wait = http.acquire(name, { ...wish, waitMs: 20_000 });
    await vi.waitFor(async () => expect((await http.get(name)).body.queueLength).toBe(1), SOON);
    expect((await http.release(name, claims[1].lockToken)).status).toBe(204);
    const { status, body } = await wait;
    expect(status).toBe(201);
    expect(body.fencingToken).toBeGreaterThan(claims[2].fencingToken);
    for (const { lockToken } of [claims[0], claims[2], body])
      expect((await http.release(name, lockToken)).status).toBe(204);
    expect((await http.get(name)).body.held).toBe(false);
  });

  test('what does not fit what is in force is a mode_conflict that says so, until the lock is free', async () => {
    const { http } = stage;
    const name = `conflict/${stage.store}`;
    const { lockToken } = (await http.acquire(name, { mode: 'semaphore', limit: 2 })).body;
    for (const wish of [{}, { mode: 'shared' }, { mode: 'semaphore', limit: 3 }, { waitMs: 5_000 }]) {
      const { status, body } = await http.acquire(name, wish);
      expect([status, body.code, body.retryable]).toEqual([409, 'mode_conflict', false]);
      expect(body.detail).toContain('semaphore');
      expect(body.detail).toContain('2');
    }
    await http.release(name, lockToken);
    expect((await http.acquire(name, { mode: 'semaphore', limit: 3 })).status).toBe(201);
  });

  test('mode and limit are checked', async () => {
    const { http } = stage;
    for (const [wish, pointer] of [
      [{ mode: 'semaphore' }, '/limit'],
      [{ mode: 'semaphore', limit: 0 }, '/limit'],
      [{ mode: 'semaphore', limit: 10_001 }, '/limit'],
      [{ mode: 'exclusive', limit: 2 }, '/limit'],
      [{ limit: 2 }, '/limit'],
      [{ mode: 'other' }, '/mode'],
      [{ waitMs: -1 }, '/waitMs'],
      [{ waitMs: 300_001 }, '/waitMs'],
      [{ lockDelayMs: 1.5 }, '/lockDelayMs'],
    ] as const) {
      const { status, body } = await http.acquire('checked', wish);
      expect([status, body.code]).toEqual([400, 'bad_request']);
      expect(body.errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
    }
  });

  test('a forced release ends all holders or a named one, says why it was lost, and lets waiters in', async () => {
    const { http } = stage;
    const name = `force/${stage.store}`;
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const claim = await socket.ask({ op: 'acquire', name });
    expect(claim.status).toBe(201);
    const path = `${lockPath(name)}?force=true&reason=${encodeURIComponent('stuck & old')}`;
    const wrong = await http.call('DELETE', `${path}&fencingToken=${claim.fencingToken + 1}`);
    expect([wrong.status, wrong.body.code]).toEqual([410, 'not_held']);
    expect((await http.call('DELETE', `${lockPath(name)}?force=true`)).status).toBe(400);
    const wait = http.acquire(name, { waitMs: 20_000, owner: 'next' });
    expect(await socket.event({ event: 'contended' })).toMatchObject({ name });
    const forced = await http.call('DELETE', `${path}&fencingToken=${claim.fencingToken}`);
    expect([forced.status, forced.body]).toEqual([200, { released: 1 }]);
    expect(await socket.event({ event: 'lost' })).toMatchObject({
      name,
      lockToken: claim.lockToken,
      reason: 'forced',
    });
    expect((await wait).status).toBe(201);
    expect((await http.renew(name, claim.lockToken)).status).toBe(410);
    expect((await http.call('DELETE', path)).body).toEqual({ released: 1 });
    expect((await http.call('DELETE', path)).body).toEqual({ released: 0 });
    for (let i = 0; i < 4; i++) await http.acquire(name, { mode: 'shared' });
    expect((await http.call('DELETE', path)).body).toEqual({ released: 4 });
    socket.close();
  });

  test('after a lock delay the next claim waits, but not after a release', async () => {
    const { http } = stage;
    const name = `delay/${stage.store}`;
    const released = (await http.acquire(name, { lockDelayMs: 60_000 })).body;
    await http.release(name, released.lockToken);
    expect((await http.acquire(name, { ttlMs: 1_000, lockDelayMs: 1_500 })).status).toBe(201);
    const started = performance.now();
    const next = await http.acquire(name, { waitMs: 20_000 });
    const waited = performance.now() - started;
    expect(next.status).toBe(201);
    expect(waited).toBeGreaterThan(2_400);
    expect(waited).toBeLessThan(3_500);
  });
});
