import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { batchResults, claim, lockState, verdict } from '../../src/protocol/schemas.ts';
import { call as callRig, expectProblem, expectQuiet, fresh, type Reply, TOKEN, withToken } from './calls.ts';
import { raw, type Rig, startRig } from './rig.ts';

const SOON = { timeout: 5_000, interval: 5 };

let rig: Rig;
const call = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
): Promise<Reply> => callRig(rig, method, path, body, headers);

beforeAll(async () => {
  rig = await startRig({ allowOrigins: ['https://app.example'] });
});

afterEach(() => expectQuiet(rig));

afterAll(() => rig.stop());

describe('one lock', () => {
  test('its whole life', async () => {
    const path = fresh();
    const taken = await call('POST', path, { owner: 'me', ttlMs: 5_000, metadata: { a: 1 } });
    expect(taken.status).toBe(201);
    const { lockToken, fencingToken } = claim.parse(taken.body);
    expect(taken.body).toMatchObject({ mode: 'exclusive', owner: 'me', ttlMs: 5_000 });
    const headers = { 'holdfast-lock-token': lockToken };

    const again = await call('POST', path, { lockToken });
    expect([again.status, again.body.fencingToken]).toEqual([200, fencingToken]);
    const other = await call('POST', path);
    expectProblem(other, 'lock_held');
    expect(other.body).toMatchObject({
      holder: { owner: 'me', fencingToken, mode: 'exclusive' },
      queueLength: 0,
      retryAfterMs: 250,
    });
    expect(other.headers.get('retry-after')).toBe('1');

    const renewed = await call('PUT', path, { ttlMs: 7_000 }, headers);
    expect([renewed.status, renewed.body.ttlMs, renewed.body.fencingToken]).toEqual([
      200,
      7_000,
      fencingToken,
    ]);
    const seen = await call('GET', path);
    expect(lockState.parse(seen.body).holders[0]).toMatchObject({
      owner: 'me',
      fencingToken,
      metadata: { a: 1 },
    });
    expect(seen.text).not.toContain(lockToken);

    expect(verdict.parse((await call('POST', `${path}/verify`, { fencingToken })).body).current).toBe(true);
    expect((await call('POST', `${path}/verify`, { lockToken })).body.current).toBe(true);
    expect((await call('POST', `${path}/verify`, { fencingToken: fencingToken + 1 })).body).toEqual({
      current: false,
    });

    expectProblem(await call('DELETE', path, undefined, withToken), 'not_held');
    const released = await call('DELETE', path, undefined, headers);
    expect([released.status, released.text, released.headers.get('content-length')]).toEqual([204, '', null]);
    expectProblem(await call('PUT', path, {}, headers), 'not_held');
    expect((await call('GET', path)).body).toMatchObject({ held: false, holders: [] });
  });

  test('every answer has a request id and is not stored', async () => {
    for (const path of ['/v1/locks/a', '/nowhere', '/healthz', '/v1/locks/%zz']) {
      const { headers } = await call('GET', path);
      expect(headers.get('cache-control')).toBe('no-store');
      expect(headers.get('x-request-id')).toMatch(/^[\w-]{5,}$/);
    }
    expect(
      (
        await call('GET', '/healthz', undefined, { 'x-request-id': 'mine-1', traceparent: '00-0-0-00' })
      ).headers.get('x-request-id'),
    ).toBe('mine-1');
    const hostile = await call('GET', '/nope', undefined, { 'x-request-id': 'a"b' });
    expect(hostile.headers.get('x-request-id')).not.toBe('a"b');
    expectProblem(hostile, 'not_found');
  });

  test.each([
    ['%2Fa%2Fb', '/a/b'],
    ['%7Border-7%7D%2Fstock', '{order-7}/stock'],
    ['gr%C3%B6%C3%9Fe', 'größe'],
    ['a+b%20c', 'a+b c'],
    ['%25', '%'],
    ['...', '...'],
    ['a%22b%5C', 'a"b\\'],
    ['%F0%9F%94%92', '🔒'],
  ])('the name in the path is exact bytes: %s', async (encoded, name) => {
    expect((await call('GET', `/v1/locks/${encoded}`)).body).toMatchObject({ name, held: false });
  });

  test.each(['%', '%4', '%zz', '%ff', '%C3', '%00', '%0A', '%C2%85', 'a'.repeat(513), '%E4'.repeat(10)])(
    'a name that is none is refused: %s',
    async (encoded) => {
      expect(expectProblem(await call('GET', `/v1/locks/${encoded}`), 'bad_request')).toEqual(['path/name']);
    },
  );

  test('names that URL parsers fold are refused when they arrive all the same', async () => {
    for (const target of [
      '/v1/locks/.',
      '/v1/locks/..',
      '/v1/locks/%2E%2e',
      '/v1/locks/',
      '/v1/locks/\xe9',
    ]) {
      const { text } = await raw(
        rig.port,
        Buffer.from(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, 'latin1'),
      );
      expect(text).toContain('HTTP/1.1 400');
      expect(text).toContain('"pointer":"path/name"');
    }
  });
});

describe('batches', () => {
  test('results come in the order of the ops, which take effect in that order', async () => {
    const name = fresh().slice(10);
    const { status, body } = await call('POST', '/v1/batch', {
      atomic: false,
      ops: [
        { op: 'acquire', name, lockToken: TOKEN, owner: 'o' },
        { op: 'acquire', name },
        { op: 'get', name },
        { op: 'verify', name, lockToken: TOKEN },
        { op: 'renew', name, lockToken: TOKEN, ttlMs: 4_000 },
        { op: 'release', name, lockToken: TOKEN },
        { op: 'release', name, lockToken: TOKEN },
      ],
    });
    expect(status).toBe(200);
    const { results } = batchResults.parse(body);
    expect(results.map((result) => result.status)).toEqual([201, 409, 200, 200, 200, 204, 410]);
    expect(results[0]).toMatchObject({ name, lockToken: TOKEN, owner: 'o' });
    expect(results[1]).toMatchObject({ code: 'lock_held', retryable: true, holder: { owner: 'o' } });
    expect(results[4]).toMatchObject({ ttlMs: 4_000 });
    expect(results[5]).toEqual({ status: 204 });
  });

  test('a thousand ops are fine, one more is not, none is', async () => {
    const ops = (count: number) => ({
      ops: Array.from({ length: count }, (_, i) => ({ op: 'get', name: `n${i}` })),
    });
    const full = await call('POST', '/v1/batch', ops(1_000));
    expect((full.body.results as { name: string }[]).map(({ name }) => name)).toEqual(
      ops(1_000).ops.map(({ name }) => name),
    );
    expect(expectProblem(await call('POST', '/v1/batch', ops(1_001)), 'bad_request')).toEqual(['/ops']);
    expect((await call('POST', '/v1/batch', { ops: [] })).body).toEqual({ results: [] });
  });

  test.each<[unknown, string[]]>([
    [{}, ['/ops']],
    [{ ops: {} }, ['/ops']],
    [{ ops: [], more: 1 }, ['/more']],
    [{ ops: [{ op: 'get', name: 'a' }], atomic: true }, ['/ops/0/op']],
    [{ ops: [], atomic: 1 }, ['/atomic']],
    [{ ops: [7, null, []] }, ['/ops/0', '/ops/1', '/ops/2']],
    [{ ops: [{ name: 'a' }, { op: 'list', name: 'a' }, { op: 7 }] }, ['/ops/0/op', '/ops/1/op', '/ops/2/op']],
    [{ ops: [{ op: 'acquire', name: 'a', waitMs: 1 }] }, ['/ops/0/waitMs']],
    [
      {
        ops: [
          { op: 'acquire', name: 'a' },
          { op: 'renew', name: 'a' },
        ],
      },
      ['/ops/1/lockToken'],
    ],
    [{ ops: [{ op: 'acquire', x: 1 }, { op: 'get' }] }, ['/ops/0/x', '/ops/1/name']],
  ])('%j is refused as a whole', async (body, pointers) => {
    const before = rig.lane.ops;
    expect(expectProblem(await call('POST', '/v1/batch', body), 'bad_request')).toEqual(pointers);
    expect(rig.lane.ops).toBe(before);
  });
});

describe('the rest', () => {
  test('cluster, readiness, life, metrics, description', async () => {
    expect((await call('GET', '/v1/cluster')).body).toMatchObject({
      process: { id: 'p1', version: '9.9.9' },
      slots: 4_096,
      shards: [
        {
          name: 's0',
          state: 'up',
          weight: 1,
          slots: 2_048,
          owners: [{ process: 'p1', lane: 0, slots: 2_048 }],
        },
        { name: 's1', state: 'up', weight: 2 },
      ],
    });
    expect((await call('GET', '/readyz')).body).toEqual({
      ready: true,
      shards: [
        { name: 's0', up: true },
        { name: 's1', up: true },
      ],
    });
    expect((await call('GET', '/healthz')).status).toBe(200);
    expect((await call('GET', '/metrics')).text).toBe('holdfast_sockets 0\n');
    expect((await call('GET', '/openapi.json')).body).toMatchObject({
      openapi: '3.1.0',
      info: { version: '9.9.9' },
    });
    expect(expectProblem(await call('GET', '/healthz?x'), 'bad_request')).toEqual(['query/x']);
    expect(expectProblem(await call('GET', '/v1/ws'), 'bad_request')).toEqual(['header/Upgrade']);
  });

  test('requests on one connection, one after the other', async () => {
    const one = (path: string) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const { text } = await raw(rig.port, one('/healthz') + one('/readyz') + one('/healthz'));
    expect(text.match(/HTTP\/1\.1 200/g)?.length).toBe(3);
  });

  test('a client that goes away leaves nothing behind', async () => {
    rig.lane.silent = true;
    const aborts = Array.from({ length: 20 }, () => {
      const abort = new AbortController();
      const asked = fetch(rig.url + fresh(), { method: 'POST', signal: abort.signal }).catch(() => 'aborted');
      return { abort, asked };
    });
    await vi.waitFor(() => expect(rig.front.connections.open).toBe(20), SOON);
    for (const { abort } of aborts) abort.abort();
    await Promise.all(aborts.map(({ asked }) => asked));
    await vi.waitFor(() => expect(rig.front.connections.open).toBe(0), SOON);
  });
});
