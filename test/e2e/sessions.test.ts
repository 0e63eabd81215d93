/** Sessions: many locks that live and end with one keep-alive. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { HttpClient } from './http.ts';
import { JsonSocket } from './sockets.ts';
import { pause } from '../servers/holdfast.ts';
import { onEachStore } from './stores.ts';

const open = (http: HttpClient, body: object = {}) => http.call('POST', '/v1/sessions', { body });
const keepAlive = (http: HttpClient, id: string) => http.call('PUT', `/v1/sessions/${id}`);
const end = (http: HttpClient, id: string) => http.call('DELETE', `/v1/sessions/${id}`);

onEachStore('sessions', (stage) => {
  const names = (tag: string, count: number) =>
    Array.from({ length: count }, (_, i) => `${tag}/${stage.store}/${i}`);

  test('one keep-alive keeps locks in many slots, and the end releases all of them', async () => {
    const { http } = stage;
    const opened = await open(http, { ttlMs: 3_000, owner: 'worker' });
    expect(opened.status).toBe(201);
    const { sessionId, expiresInMs, ttlMs } = opened.body;
    expect(ttlMs).toBe(3_000);
    expect(expiresInMs).toBeGreaterThan(2_000);
    const all = names('kept', 60);
    const taken = await Promise.all(all.map((name) => http.acquire(name, { sessionId })));
    expect(new Set(taken.map(({ status }) => status))).toEqual(new Set([201]));
    expect(taken[0].body).toMatchObject({ sessionId, ttlMs: 3_000 });
    expect(taken[0].body.expiresInMs).toBeLessThanOrEqual(3_000);
    for (let i = 0; i < 5; i++) {
      await pause(900);
      const kept = await keepAlive(http, sessionId);
      expect(kept.status).toBe(200);
      expect(kept.body).toMatchObject({ sessionId, ttlMs: 3_000 });
      expect(kept.body.expiresInMs).toBeGreaterThan(2_000);
    }
    for (const name of all.slice(0, 10)) expect((await http.get(name)).body.held).toBe(true);
    const renewed = await http.renew(all[0], taken[0].body.lockToken);
    expect([renewed.status, renewed.body.code]).toEqual([409, 'session_bound']);
    expect((await http.release(all[1], taken[1].body.lockToken)).status).toBe(204);
    expect((await http.call('GET', `/v1/sessions/${sessionId}`)).status).toBe(200);
    expect((await end(http, sessionId)).status).toBe(204);
    const states = await Promise.all(all.map((name) => http.get(name)));
    expect(states.filter(({ body }) => body.held)).toEqual([]);
    for (const answer of [await end(http, sessionId), await keepAlive(http, sessionId)]) {
      expect([answer.status, answer.body.code]).toEqual([410, 'session_ended']);
    }
    expect((await http.acquire(all[0], { sessionId })).body.code).toBe('session_ended');
  }, 60_000);

  test('a session that is not kept alive ends with all its locks, and says so', async () => {
    const { http } = stage;
    const sessionId = randomUUID();
    expect((await open(http, { ttlMs: 1_000, sessionId })).body.sessionId).toBe(sessionId);
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const all = names('lost', 5);
    const taken = await socket.askAll(all.map((name) => ({ op: 'acquire', name, sessionId })));
    expect(new Set(taken.map(({ status }) => status))).toEqual(new Set([201]));
    const waits = await Promise.all(all.map((name) => http.acquire(name, { waitMs: 10_000 })));
    expect(new Set(waits.map(({ status }) => status))).toEqual(new Set([201]));
    for (const [i, name] of all.entries()) {
      const lost = await socket.event({ event: 'lost', name });
      expect(['expired', 'session_ended']).toContain(lost.reason);
      expect(lost.lockToken).toBe(taken[i].lockToken);
    }
    expect((await keepAlive(http, sessionId)).body.code).toBe('session_ended');
    socket.close();
  }, 60_000);

  test('over a WebSocket, and a wait in a session', async () => {
    const socket = await JsonSocket.open(stage.server.wsUrl);
    const opened = await socket.ask({ op: 'session.open', ttlMs: 30_000 });
    expect(opened.status).toBe(201);
    const { sessionId } = opened;
    const [name] = names('waited', 1);
    const holder = (await stage.http.acquire(name)).body;
    const wait = socket.begin({ op: 'acquire', name, sessionId, waitMs: 10_000 });
    await socket.event({ event: 'queued', id: wait.id });
    await stage.http.release(name, holder.lockToken);
    expect(await wait.answer).toMatchObject({ status: 201, sessionId });
    expect(await socket.ask({ op: 'session.keepalive', sessionId })).toMatchObject({
      status: 200,
      sessionId,
    });
    expect((await socket.ask({ op: 'session.end', sessionId })).status).toBe(204);
    expect((await stage.http.get(name)).body.held).toBe(false);
    expect((await socket.ask({ op: 'session.keepalive', sessionId })).code).toBe('session_ended');
    socket.close();
  });

  test('what may not be asked is refused', async () => {
    const { http } = stage;
    const { sessionId } = (await open(http)).body;
    const both = await http.acquire('either', { sessionId, ttlMs: 5_000 });
    expect([both.status, both.body.errors[0].pointer]).toEqual([400, '/ttlMs']);
    expect((await open(http, { ttlMs: 10 })).status).toBe(400);
    expect((await open(http, { sessionId: 'short' })).status).toBe(400);
    expect((await http.acquire('none', { sessionId: randomUUID() })).body.code).toBe('session_ended');
    expect((await keepAlive(http, 'short')).status).toBe(400);
  });

  test('many locks in one slot and in all slots, kept and ended by one call', async () => {
    const { http } = stage;
    const { sessionId } = (await open(http, { ttlMs: 60_000 })).body;
    const all = [...names('{one-slot}/many', 2_000), ...names('spread', 3_000)];
    for (let at = 0; at < all.length; at += 1_000) {
      const ops = all.slice(at, at + 1_000).map((name) => ({ op: 'acquire', name, sessionId }));
      const { body } = await http.batch(ops);
      expect(new Set(body.results.map(({ status }: { status: number }) => status))).toEqual(new Set([201]));
    }
    expect((await keepAlive(http, sessionId)).status).toBe(200);
    expect((await end(http, sessionId)).status).toBe(204);
    const left = await http.call('GET', `/v1/locks?prefix=${encodeURIComponent('spread/')}`);
    expect(left.body.locks).toEqual([]);
    expect(
      (await http.call('GET', `/v1/locks?prefix=${encodeURIComponent('{one-slot}/')}`)).body.locks,
    ).toEqual([]);
  }, 60_000);
});
