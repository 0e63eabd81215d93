/** What the service tells by itself over a WebSocket: changed, lost, contended, queued; and when a lock comes free. */
import { expect, test } from 'vitest';
import { pause } from '../servers/holdfast.ts';
import { JsonSocket } from './sockets.ts';
import { onEachStore } from './stores.ts';

onEachStore('events', (stage) => {
  test('a watch tells the state at once and after each change, with rising revisions', async () => {
    const { http } = stage;
    const name = `watched/${stage.store}`;
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const started = await socket.ask({ op: 'watch', name });
    expect(started.status).toBe(200);
    const first = await socket.event({ event: 'changed', name });
    expect(first).toMatchObject({ held: false, holders: [], queueLength: 0 });
    const { lockToken, fencingToken } = (await http.acquire(name, { owner: 'me' })).body;
    const held = await socket.event({ event: 'changed', name });
    expect(held).toMatchObject({ held: true, mode: 'exclusive', holders: [{ owner: 'me', fencingToken }] });
    expect(held.revision).toBeGreaterThan(first.revision);
    const wait = http.acquire(name, { waitMs: 10_000, owner: 'next' });
    expect(await socket.event({ event: 'changed', name })).toMatchObject({ queueLength: 1 });
    await http.release(name, lockToken);
    const next = await socket.event({ event: 'changed', name });
    expect(next).toMatchObject({ holders: [{ owner: 'next' }], queueLength: 0 });
    expect(next.revision).toBeGreaterThan(held.revision);
    expect(JSON.stringify(next)).not.toContain((await wait).body.lockToken);
    expect((await socket.ask({ op: 'unwatch', name })).status).toBe(200);
    await http.release(name, (await wait).body.lockToken);
    await http.acquire(name);
    await pause(100);
    expect(socket.others.filter(({ event }) => event === 'changed')).toEqual([]);
    socket.close();
  });

  test('a claim that runs out is lost to the socket that last renewed it, at its time', async () => {
    const name = `lost/${stage.store}`;
    const [first, second] = await Promise.all([1, 2].map(() => JsonSocket.open(stage.server.wsUrl)));
    const { lockToken } = await first.ask({ op: 'acquire', name, ttlMs: 1_000 });
    const renewed = await second.ask({ op: 'renew', name, lockToken, ttlMs: 1_500 });
    expect(renewed.status).toBe(200);
    const started = performance.now();
    expect(await second.event({ event: 'lost' })).toEqual({
      event: 'lost',
      name,
      lockToken,
      reason: 'expired',
    });
    const after = performance.now() - started;
    expect(after).toBeGreaterThan(1_400);
    expect(after).toBeLessThan(1_700);
    expect(first.others.filter(({ event }) => event === 'lost')).toEqual([]);
    for (const socket of [first, second]) socket.close();
  });

  test('a lock is never free before its TTL, and free within 100 ms after it', async () => {
    const { http } = stage;
    const ttlMs = 1_000;
    const one = async (i: number): Promise<void> => {
      const name = `ttl/${stage.store}/${i}`;
      const sent = performance.now();
      const claim = await http.acquire(name, { ttlMs });
      const granted = performance.now();
      const promised = sent + claim.body.waitedMs + claim.body.expiresInMs;
      const next = await http.acquire(name, { ttlMs, waitMs: 10_000 });
      const free = performance.now();
      expect(next.status).toBe(201);
      expect(free).toBeGreaterThan(promised);
      expect(free - sent).toBeGreaterThanOrEqual(ttlMs);
      expect(free - granted).toBeLessThan(ttlMs + 100);
      expect((await http.renew(name, claim.body.lockToken)).status).toBe(410);
    };
    for (let i = 0; i < 5; i++) await one(i);
  });
});
