/** Waiting for a lock: the order, and every way in which a wait ends. */
import { randomUUID } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import { lockPath } from './http.ts';
import { JsonSocket } from './sockets.ts';
import { onEachStore, type Stage } from './stores.ts';

const SOON = { timeout: 5_000, interval: 10 };

async function queueLength(stage: Stage, name: string): Promise<number> {
  return (await stage.http.get(name)).body.queueLength as number;
}

/** Resolves once so many wait. */
function queued(stage: Stage, name: string, count: number): Promise<void> {
  return vi.waitFor(async () => expect(await queueLength(stage, name)).toBe(count), SOON);
}

onEachStore('waiting for a lock', (stage) => {
  test('waiters get it in the order in which they came, each with a higher fencing token', async () => {
    const { http } = stage;
    const name = `fifo/${stage.store}`;
    const first = (await http.acquire(name)).body;
    const waits: Promise<{ owner: string; body: any }>[] = [];
    const order: string[] = [];
    for (let i = 0; i < 6; i++) {
      const owner = `waiter-${i}`;
      waits.push(
        http.acquire(name, { waitMs: 20_000, owner }).then(async ({ status, body }) => {
          expect(status).toBe(201);
          order.push(owner);
          expect((await http.release(name, body.lockToken)).status).toBe(204);
          return { owner, body };
        }),
      );
      await queued(stage, name, i + 1);
    }
    const tried = await http.acquire(name, { owner: 'a try' });
    expect(tried.body).toMatchObject({ code: 'lock_held', queueLength: 6 });
    expect((await http.release(name, first.lockToken)).status).toBe(204);
    const ended = await Promise.all(waits);
    expect(order).toEqual([0, 1, 2, 3, 4, 5].map((i) => `waiter-${i}`));
    const tokens = [first, ...ended.map(({ body }) => body)].map(({ fencingToken }) => fencingToken);
    expect(tokens).toEqual(tokens.toSorted((a: number, b: number) => a - b));
    expect(new Set(tokens).size).toBe(tokens.length);
    expect(ended[0].body.waitedMs).toBeGreaterThan(0);
    expect(await queueLength(stage, name)).toBe(0);
  });

  test('the TTL starts with the grant, and waitedMs tells how long it took', async () => {
    const { http } = stage;
    const name = `ttl-from-grant/${stage.store}`;
    const { lockToken } = (await http.acquire(name)).body;
    const wait = http.acquire(name, { waitMs: 10_000, ttlMs: 2_000 });
    await queued(stage, name, 1);
    const before = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 700));
    await http.release(name, lockToken);
    const { body } = await wait;
    expect(body.waitedMs).toBeGreaterThanOrEqual(Math.floor(performance.now() - before) - 300);
    expect(body.waitedMs).toBeGreaterThanOrEqual(690);
    expect(body.expiresInMs).toBeGreaterThan(1_500);
  });

  test('a wait that is over is 409 wait_timeout, with the holder, and leaves no place behind', async () => {
    const { http } = stage;
    const name = `timeout/${stage.store}`;
    const { lockToken, fencingToken } = (await http.acquire(name, { owner: 'me' })).body;
    const started = performance.now();
    const { status, body } = await http.acquire(name, { waitMs: 300 });
    expect(status).toBe(409);
    expect(performance.now() - started).toBeGreaterThanOrEqual(300);
    expect(body).toMatchObject({
      code: 'wait_timeout',
      retryable: true,
      holder: { owner: 'me', fencingToken, mode: 'exclusive' },
    });
    expect(body.queueLength).toBe(0);
    expect(body.retryAfterMs).toBeGreaterThan(0);
    expect(await queueLength(stage, name)).toBe(0);
    await http.release(name, lockToken);
  });

  test('an HTTP client that goes away loses its place at once', async () => {
    const { http } = stage;
    const name = `aborted/${stage.store}`;
    const { lockToken } = (await http.acquire(name)).body;
    const gone = new AbortController();
    const wait = fetch(stage.server.url + lockPath(name), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ waitMs: 60_000 }),
      signal: gone.signal,
    });
    await queued(stage, name, 1);
    gone.abort();
    await expect(wait).rejects.toThrow();
    await queued(stage, name, 0);
    await http.release(name, lockToken);
    expect((await http.get(name)).body.held).toBe(false);
  });

  test('a socket hears its place, can cancel, and leaves the queue when it closes', async () => {
    const { http } = stage;
    const name = `cancel/${stage.store}`;
    const { lockToken } = (await http.acquire(name)).body;
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const other = await JsonSocket.open(stage.server.wsUrl);
    const first = socket.begin({ op: 'acquire', name, waitMs: 60_000 });
    expect(await socket.event({ event: 'queued', id: first.id })).toMatchObject({ position: 1 });
    const second = other.begin({ op: 'acquire', name, waitMs: 60_000 });
    expect(await other.event({ event: 'queued', id: second.id })).toMatchObject({ position: 2 });
    socket.send({ op: 'cancel', id: first.id });
    expect(await first.answer).toMatchObject({ status: 409, code: 'cancelled', retryable: false });
    await queued(stage, name, 1);
    other.terminate();
    await queued(stage, name, 0);
    expect((await http.release(name, lockToken)).status).toBe(204);
    expect((await http.get(name)).body.held).toBe(false);
    socket.close();
  });

  test('the same token again while it waits is the same place, and a release of it withdraws', async () => {
    const { http } = stage;
    const name = `same-token/${stage.store}`;
    const holder = (await http.acquire(name)).body;
    const lockToken = randomUUID();
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const first = socket.begin({ op: 'acquire', name, waitMs: 60_000, lockToken });
    await socket.event({ event: 'queued', id: first.id });
    const again = socket.begin({ op: 'acquire', name, waitMs: 60_000, lockToken });
    await socket.event({ event: 'queued', id: again.id });
    expect(await queueLength(stage, name)).toBe(1);
    const other = await http.acquire(name, { lockToken, waitMs: 1_000, mode: 'shared' });
    expect(other.body.code).toBe('idempotency_mismatch');
    await http.release(name, holder.lockToken);
    const granted = await again.answer;
    expect(granted.status).toBe(201);
    expect(await first.answer).toMatchObject({ status: 409, code: 'cancelled' });
    expect((await http.release(name, lockToken)).status).toBe(204);
    socket.close();
  });

  test('waits in many small and large frames are all served', async () => {
    const names = Array.from({ length: 50 }, (_, i) => `many/${stage.store}/${i}`);
    const sockets = await Promise.all([1, 2, 3].map(() => JsonSocket.open(stage.server.wsUrl)));
    const rounds = await Promise.all(
      sockets.map((socket) =>
        socket.askAll(names.map((name) => ({ op: 'acquire', name, ttlMs: 1_000, waitMs: 20_000 }))),
      ),
    );
    for (const answers of rounds)
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    for (const [i] of names.entries()) {
      const tokens = rounds.map((answers) => answers[i].fencingToken);
      expect(new Set(tokens).size).toBe(3);
    }
    for (const socket of sockets) socket.close();
  });
});

onEachStore(
  'waiters over a restart',
  (stage) => {
    test('keep their order after a kill -9 when they come back, whoever comes back first', async () => {
      await stage.start();
      const name = `restart/${stage.store}`;
      const holder = (await stage.http.acquire(name, { ttlMs: 60_000 })).body;
      const tokens = [randomUUID(), randomUUID(), randomUUID()];
      const before = await JsonSocket.open(stage.server.wsUrl);
      for (const lockToken of tokens) {
        const { id } = before.begin({ op: 'acquire', name, waitMs: 60_000, lockToken });
        await before.event({ event: 'queued', id });
      }
      const { port } = stage.server;
      await stage.server.kill();
      await stage.start({ port });
      const after = await JsonSocket.open(stage.server.wsUrl);
      const order: number[] = [];
      const waits = [2, 0, 1].map((i) =>
        after
          .begin({ op: 'acquire', name, waitMs: 60_000, lockToken: tokens[i] })
          .answer.then(async (claim) => {
            order.push(i);
            expect((await stage.http.release(name, claim.lockToken)).status).toBe(204);
            return claim.status;
          }),
      );
      await vi.waitFor(
        () => expect(after.others.filter(({ event }) => event === 'queued')).toHaveLength(3),
        SOON,
      );
      expect((await stage.http.release(name, holder.lockToken)).status).toBe(204);
      expect(await Promise.all(waits)).toEqual([201, 201, 201]);
      expect(order).toEqual([0, 1, 2]);
      after.close();
    }, 60_000);
  },
  { start: false },
);
