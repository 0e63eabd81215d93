import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { HttpAnswer, HttpClient } from './http.ts';
import { onEachStore } from './stores.ts';

const sessionPath = (id: string): string => `/v1/sessions/${id}`;

async function open(http: HttpClient, ttlMs = 20_000): Promise<string> {
  const { status, body } = await http.call('POST', '/v1/sessions', { body: { ttlMs, owner: 'me' } });
  expect(status).toBe(201);
  expect(body).toMatchObject({ ttlMs });
  return body.sessionId as string;
}

const atomic = (http: HttpClient, ops: readonly object[]): Promise<HttpAnswer> =>
  http.call('POST', '/v1/batch', { body: { atomic: true, ops } });

const acquires = (names: readonly string[], fields: object = {}): object[] =>
  names.map((name) => ({ op: 'acquire', name, lockToken: randomUUID(), ...fields }));

async function held(http: HttpClient, names: readonly string[]): Promise<number> {
  const { body } = await http.batch(names.map((name) => ({ op: 'get', name })));
  return body.results.filter((result: { held: boolean }) => result.held).length;
}

onEachStore('sessions and atomic batches', (stage) => {
  describe('a session', () => {
    test('holds 2,000 locks over all slots, renewed and released by one call each', async () => {
      const { http } = stage;
      const sessionId = await open(http);
      const names = Array.from({ length: 1_000 }, (_, i) => `session/${i}`);
      for (const half of ['a', 'b']) {
        const { body } = await http.batch(
          acquires(
            names.map((name) => name + half),
            { sessionId },
          ),
        );
        for (const result of body.results)
          expect(result).toMatchObject({ status: 201, sessionId, ttlMs: 20_000 });
      }
      const renewed = await http.call('PUT', sessionPath(sessionId), { body: {} });
      expect(renewed).toMatchObject({ status: 200, body: { sessionId, ttlMs: 20_000 } });
      expect(renewed.body.expiresInMs).toBeGreaterThan(15_000);
      expect(
        await held(
          http,
          names.map((name) => `${name}a`),
        ),
      ).toBe(1_000);
      expect((await http.call('DELETE', sessionPath(sessionId))).status).toBe(204);
      expect(
        await held(
          http,
          names.map((name) => `${name}b`),
        ),
      ).toBe(0);
      const late = await http.call('PUT', sessionPath(sessionId), { body: {} });
      expect(late).toMatchObject({ status: 410, body: { code: 'session_ended' } });
      const refused = await http.acquire('session/late', { sessionId });
      expect(refused).toMatchObject({ status: 410, body: { code: 'session_ended' } });
    });

    test('ends with its locks when nobody renews it', async () => {
      const { http } = stage;
      const sessionId = await open(http, 1_000);
      await http.acquire('session/short', { sessionId });
      const waiting = await http.acquire('session/short', { waitMs: 5_000 });
      expect(waiting.status).toBe(201);
      expect(waiting.body.waitedMs).toBeGreaterThan(500);
      expect((await http.call('GET', sessionPath(sessionId))).body.code).toBe('session_ended');
    });

    test('waits for a lock, which is then its own', async () => {
      const { http } = stage;
      const sessionId = await open(http);
      const holder = await http.acquire('session/wait');
      const waiting = http.acquire('session/wait', { sessionId, waitMs: 10_000 });
      await new Promise((resolve) => setTimeout(resolve, 300));
      await http.release('session/wait', holder.body.lockToken);
      const got = await waiting;
      expect(got).toMatchObject({ status: 201, body: { sessionId } });
      const renewed = await http.renew('session/wait', got.body.lockToken);
      expect(renewed).toMatchObject({ status: 409, body: { code: 'session_bound' } });
      expect((await http.call('DELETE', sessionPath(sessionId))).status).toBe(204);
      expect((await http.acquire('session/wait')).status).toBe(201);
    });
  });

  describe('an atomic batch', () => {
    test('takes 1,000 locks or none, and a repeat finds them', async () => {
      const { http } = stage;
      const names = Array.from({ length: 1_000 }, (_, i) => `atomic/${i}`);
      const other = await http.acquire(names[700]);
      const ops = acquires(names, { ttlMs: 60_000 });
      const refused = await atomic(http, ops);
      expect(refused).toMatchObject({ status: 409, body: { code: 'lock_held', holder: {} } });
      expect(await held(http, names)).toBe(1);
      await http.release(names[700], other.body.lockToken);
      const taken = await atomic(http, ops);
      expect(taken.status).toBe(200);
      for (const [i, result] of taken.body.results.entries()) {
        expect(result).toMatchObject({ status: 201, name: names[i], ttlMs: 60_000 });
        expect(result.expiresInMs).toBeGreaterThan(50_000);
      }
      expect(await held(http, names)).toBe(1_000);
      const again = await atomic(http, ops);
      expect(again.body.results.map((result: { status: number }) => result.status)).toEqual(
        names.map(() => 200),
      );
    });

    test('in a session ends with it', async () => {
      const { http } = stage;
      const sessionId = await open(http);
      const names = Array.from({ length: 50 }, (_, i) => `atomic/session/${i}`);
      const taken = await atomic(http, acquires(names, { sessionId }));
      for (const result of taken.body.results) expect(result).toMatchObject({ status: 201, sessionId });
      await http.call('DELETE', sessionPath(sessionId));
      expect(await held(http, names)).toBe(0);
    });

    test('is refused where it makes no sense', async () => {
      const { http } = stage;
      const twice = await atomic(http, acquires(['atomic/x', 'atomic/x']));
      expect(twice).toMatchObject({ status: 400, body: { code: 'bad_request' } });
      const waits = await atomic(http, acquires(['atomic/x'], { waitMs: 5 }));
      expect(waits.status).toBe(400);
      const release = await atomic(http, [{ op: 'release', name: 'atomic/x', lockToken: randomUUID() }]);
      expect(release.status).toBe(400);
    });

    test('of two that want the same locks at the same time one gets them, again and again', async () => {
      const { http } = stage;
      const names = Array.from({ length: 20 }, (_, i) => `atomic/race/${i}`);
      for (let round = 0; round < 10; round++) {
        const reversed = [...names].reverse();
        const both = await Promise.all([names, reversed].map((of) => atomic(http, acquires(of))));
        expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
        const won = both.find(({ status }) => status === 200)!;
        const releases = won.body.results.map(({ name, lockToken }: Record<string, string>) => ({
          op: 'release',
          name,
          lockToken,
        }));
        await http.batch(releases);
      }
    });
  });
});
