import { describe, expect, test } from 'vitest';
import { onEachStore } from './stores.ts';

onEachStore('listing and batches', (stage) => {
  describe('a batch', () => {
    test('answers in the order of its ops, and ops on one name take effect in that order', async () => {
      const { http } = stage;
      const lockToken = 'one-token-of-22-chars.';
      const answer = await http.batch([
        { op: 'acquire', name: 'b/1', lockToken, owner: 'me' },
        { op: 'acquire', name: 'b/2' },
        { op: 'acquire', name: 'b/1' },
        { op: 'get', name: 'b/1' },
        { op: 'renew', name: 'b/1', lockToken },
        { op: 'verify', name: 'b/1', lockToken },
        { op: 'release', name: 'b/1', lockToken },
        { op: 'get', name: 'b/1' },
        { op: 'acquire', name: 'b/1' },
        { op: 'release', name: 'b/3', lockToken },
      ]);
      expect(answer.status).toBe(200);
      const { results } = answer.body;
      expect(results.map((result: { status: number }) => result.status)).toEqual([
        201, 201, 409, 200, 200, 200, 204, 200, 201, 410,
      ]);
      expect(results[0]).toMatchObject({ name: 'b/1', lockToken, owner: 'me' });
      expect(results[2]).toMatchObject({ code: 'lock_held', holder: { owner: 'me' } });
      expect(results[3]).toMatchObject({ held: true });
      expect(results[5]).toMatchObject({ current: true });
      expect(results[7]).toMatchObject({ held: false });
      expect(results[8].fencingToken).toBeGreaterThan(results[0].fencingToken);
      expect(results[9]).toMatchObject({ code: 'not_held' });
    });

    test('of 1,000 ops over both shards takes 1,000 locks', async () => {
      const { http } = stage;
      const ops = Array.from({ length: 1_000 }, (_, i) => ({ op: 'acquire', name: `many/${i}` }));
      const { status, body } = await http.batch(ops);
      expect(status).toBe(200);
      expect(body.results).toHaveLength(1_000);
      for (const [i, result] of body.results.entries())
        expect(result).toMatchObject({ status: 201, name: `many/${i}` });
      const tokens = new Set(body.results.map((result: { lockToken: string }) => result.lockToken));
      expect(tokens.size).toBe(1_000);
    });

    test('one wrong op refuses the whole batch and says where', async () => {
      const { http } = stage;
      const answer = await http.batch([
        { op: 'acquire', name: 'wrong/1' },
        { op: 'acquire', name: 'wrong/2', ttlMs: 5 },
      ]);
      if (answer.status === 400) {
        expect(answer.body.errors[0].pointer).toBe('/ops/1/ttlMs');
        expect((await http.get('wrong/1')).body.held).toBe(false);
      } else {
        expect(answer.body.results).toMatchObject([{ status: 201 }, { status: 400, code: 'bad_request' }]);
      }
    });
  });

  describe('a list', () => {
    test('walks all held locks of a prefix by cursor, each once', async () => {
      const { http } = stage;
      const names = Array.from({ length: 250 }, (_, i) => `list/${i}`);
      await http.batch(
        names.map((name, i) => ({ op: 'acquire', name, owner: i % 2 === 0 ? 'even' : 'odd' })),
      );
      await http.batch([{ op: 'acquire', name: 'listen/not-in-it' }]);
      const seen: string[] = [];
      let cursor: string | undefined;
      let pages = 0;
      do {
        const at = cursor === undefined ? '' : `&cursor=${encodeURIComponent(cursor)}`;
        const page = await http.call('GET', `/v1/locks?prefix=list%2F&limit=40${at}`);
        expect(page.status).toBe(200);
        expect(page.body.locks.length).toBeLessThanOrEqual(40);
        for (const lock of page.body.locks) {
          expect(lock).toMatchObject({ held: true, mode: 'exclusive' });
          expect(JSON.stringify(lock)).not.toContain('lockToken');
          seen.push(lock.name);
        }
        cursor = page.body.nextCursor;
        expect(++pages).toBeLessThan(300);
      } while (cursor !== undefined);
      expect(seen.toSorted()).toEqual(names.toSorted());
    });

    test('filters by owner, and by default shows at most 100', async () => {
      const { http } = stage;
      const owned = await http.call('GET', '/v1/locks?prefix=list%2F&owner=odd&limit=1000');
      expect(owned.body.locks).toHaveLength(125);
      const all = await http.call('GET', '/v1/locks');
      expect(all.body.locks).toHaveLength(100);
      expect(all.body.nextCursor).toBeTruthy();
    });

    test('of a prefix nobody uses is empty', async () => {
      const answer = await stage.http.call('GET', '/v1/locks?prefix=nobody');
      expect(answer).toMatchObject({ status: 200, body: { locks: [] } });
      expect(answer.body.nextCursor).toBeUndefined();
    });
  });
});
