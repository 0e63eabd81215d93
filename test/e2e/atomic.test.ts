/** Atomic batches: all of them or none, within a tag and over all slots. */
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import type { HttpClient } from './http.ts';
import { onEachStore } from './stores.ts';

async function heldOf(http: HttpClient, names: readonly string[]): Promise<string[]> {
  const { body } = await http.batch(names.map((name) => ({ op: 'get', name })));
  return names.filter((_, i) => body.results[i].held);
}

onEachStore('atomic batches', (stage) => {
  const acquires = (names: readonly string[], more: object = {}) =>
    names.map((name) => ({ op: 'acquire', name, ...more }));
  const spread = (tag: string, count: number) =>
    Array.from({ length: count }, (_, i) => `${tag}/${stage.store}/${i}`);
  const tagged = (tag: string, count: number) =>
    Array.from({ length: count }, (_, i) => `{${tag}/${stage.store}}/${i}`);

  for (const [title, names] of [
    ['within a tag', tagged('atomic', 10)],
    ['over many slots', spread('atomic', 40)],
  ] as const) {
    test(`${title}: all are held, or none is`, async () => {
      const { http } = stage;
      const all = await http.batch(acquires(names, { ttlMs: 20_000, owner: 'a' }), { atomic: true });
      expect(all.status).toBe(200);
      expect(all.body.results.map(({ status }: { status: number }) => status)).toEqual(names.map(() => 201));
      for (const [i, claim] of all.body.results.entries()) {
        expect(claim).toMatchObject({ name: names[i], ttlMs: 20_000, owner: 'a' });
        expect(claim.expiresInMs).toBeGreaterThan(10_000);
        expect(claim.expiresInMs).toBeLessThanOrEqual(20_000);
        expect((await http.get(names[i])).body.holders).toHaveLength(1);
      }
      const [, ...rest] = all.body.results;
      for (const { name, lockToken } of rest) expect((await http.release(name, lockToken)).status).toBe(204);
      const refused = await http.batch(acquires(names), { atomic: true });
      expect([refused.status, refused.body.code]).toEqual([409, 'lock_held']);
      for (const name of names.slice(1)) {
        expect((await http.get(name)).body.held).toBe(false);
        const again = await http.acquire(name);
        expect(again.status).toBe(201);
        await http.release(name, again.body.lockToken);
      }
    });
  }

  test('a repeat with the same tokens is the same batch', async () => {
    const { http } = stage;
    const ops = spread('repeat', 8).map((name) => ({ op: 'acquire', name, lockToken: randomUUID() }));
    const first = await http.batch(ops, { atomic: true });
    const again = await http.batch(ops, { atomic: true });
    expect(again.status).toBe(200);
    const tokens = (answer: typeof first) =>
      answer.body.results.map(({ fencingToken }: { fencingToken: number }) => fencingToken);
    expect(tokens(again)).toEqual(tokens(first));
  });

  test('a thousand locks, or none', async () => {
    const { http } = stage;
    const names = spread('thousand', 1_000);
    const other = await http.acquire(names[700]);
    const refused = await http.batch(acquires(names), { atomic: true });
    expect([refused.status, refused.body.code, refused.body.index]).toEqual([409, 'lock_held', 700]);
    expect(await heldOf(http, names)).toEqual([names[700]]);
    await http.release(names[700], other.body.lockToken);
    expect((await http.batch(acquires(names), { atomic: true })).status).toBe(200);
    expect(await heldOf(http, names)).toEqual(names);
  });

  test('in a session they end with it', async () => {
    const { http } = stage;
    const { sessionId } = (await http.call('POST', '/v1/sessions')).body;
    const names = spread('session', 50);
    const taken = await http.batch(acquires(names, { sessionId }), { atomic: true });
    for (const result of taken.body.results) expect(result).toMatchObject({ status: 201, sessionId });
    expect((await http.call('DELETE', `/v1/sessions/${sessionId}`)).status).toBe(204);
    expect(await heldOf(http, names)).toEqual([]);
  });

  test('batches that want the same names in other orders never deadlock, and never share', async () => {
    const { http } = stage;
    const names = spread('rivals', 6);
    let won = 0;
    const rival = async (i: number): Promise<void> => {
      for (let tries = 0; tries < 25; tries++) {
        const mine = i % 2 === 0 ? names : names.toReversed();
        const answer = await http.batch(acquires(mine), { atomic: true });
        if (answer.status !== 200) {
          expect([answer.status, answer.body.code]).toEqual([409, 'lock_held']);
          continue;
        }
        won++;
        const states = await Promise.all(names.map((name) => http.get(name)));
        const tokens = new Map(
          answer.body.results.map(({ name, fencingToken }: any) => [name, fencingToken]),
        );
        for (const { body } of states) {
          expect(body.holders).toHaveLength(1);
          expect(body.holders[0].fencingToken).toBe(tokens.get(body.name));
        }
        for (const { name, lockToken } of answer.body.results)
          expect((await http.release(name, lockToken)).status).toBe(204);
      }
    };
    await Promise.all([0, 1, 2, 3].map(rival));
    expect(won).toBeGreaterThan(0);
  }, 60_000);

  test('only acquires, each name once', async () => {
    const { http } = stage;
    const wrong = [
      [{ op: 'release', name: 'a', lockToken: randomUUID() }],
      [{ op: 'get', name: 'a' }],
      [...acquires(['a', 'b', 'a'])],
    ];
    for (const ops of wrong) {
      const { status, body } = await http.batch(ops, { atomic: true });
      expect([status, body.code]).toEqual([400, 'bad_request']);
      expect(body.errors.length).toBeGreaterThan(0);
    }
    expect((await http.batch([], { atomic: true })).body).toEqual({ results: [] });
  });
});
