import { request } from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PROVISION_MS } from '../servers/etcd.ts';
import type { HttpAnswer, HttpRequest } from './http.ts';
import { Stage } from './stores.ts';

const stage = new Stage('embedded');
beforeAll(async () => {
  await stage.open();
  await stage.start();
}, PROVISION_MS);
afterAll(() => stage.close());

/** Every error has this shape. */
function expectProblem(answer: HttpAnswer, status: number, code: string): void {
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(answer.headers.get('cache-control')).toBe('no-store');
  const { body } = answer;
  expect(body).toMatchObject({ type: `urn:holdfast:error:${code}`, status, code });
  for (const text of [body.title, body.detail, body.requestId]) expect(text).toEqual(expect.any(String));
  expect(body.retryable).toEqual(expect.any(Boolean));
  expect(answer.headers.get('x-request-id')).toBe(body.requestId);
  expect(JSON.stringify(body)).not.toMatch(/\.(js|ts):\d+/);
}

describe('a request that is wrong', () => {
  const name = '/v1/locks/some-name';
  const wrong: [string, string, string, HttpRequest, string | undefined][] = [
    ['broken JSON', 'POST', name, { text: '{"ttlMs":' }, undefined],
    ['JSON that is no object', 'POST', name, { text: '[]' }, undefined],
    ['an unknown field', 'POST', name, { body: { colour: 'red' } }, '/colour'],
    ['a TTL below the range', 'POST', name, { body: { ttlMs: 999 } }, '/ttlMs'],
    ['a TTL above the range', 'POST', name, { body: { ttlMs: 86_400_001 } }, '/ttlMs'],
    ['a TTL that is no integer', 'POST', name, { body: { ttlMs: 1500.5 } }, '/ttlMs'],
    ['a TTL of another type', 'POST', name, { body: { ttlMs: '30000' } }, '/ttlMs'],
    ['a short lock token', 'POST', name, { body: { lockToken: 'short' } }, '/lockToken'],
    [
      'a lock token with other characters',
      'POST',
      name,
      { body: { lockToken: 'a b'.repeat(10) } },
      '/lockToken',
    ],
    ['a long owner', 'POST', name, { body: { owner: 'x'.repeat(257) } }, '/owner'],
    ['metadata that is no object', 'POST', name, { body: { metadata: [1] } }, '/metadata'],
    ['too much metadata', 'POST', name, { body: { metadata: { a: 'x'.repeat(1100) } } }, '/metadata'],
    ['an unknown mode', 'POST', name, { body: { mode: 'greedy' } }, '/mode'],
    ['renew without a token', 'PUT', name, {}, undefined],
    ['release without a token', 'DELETE', name, {}, undefined],
    [
      'a release with a broken token',
      'DELETE',
      name,
      { headers: { 'holdfast-lock-token': 'no' } },
      undefined,
    ],
    ['verify of nothing', 'POST', `${name}/verify`, { body: {} }, undefined],
    ['verify of a fraction', 'POST', `${name}/verify`, { body: { fencingToken: 1.5 } }, '/fencingToken'],
    ['an unknown query parameter', 'GET', `${name}?colour=red`, {}, undefined],
    ['a consistency nobody knows', 'GET', `${name}?consistency=most`, {}, undefined],
    ['a list limit of 0', 'GET', '/v1/locks?limit=0', {}, undefined],
    ['a list limit over 1,000', 'GET', '/v1/locks?limit=1001', {}, undefined],
    ['a broken cursor', 'GET', '/v1/locks?cursor=nonsense', {}, undefined],
    ['a name of 513 bytes', 'GET', `/v1/locks/${'x'.repeat(513)}`, {}, undefined],
    ['a control character in a name', 'GET', '/v1/locks/a%0Ab', {}, undefined],
    ['a name that is not UTF-8', 'GET', '/v1/locks/%ff%fe', {}, undefined],
    ['a batch without ops', 'POST', '/v1/batch', { body: {} }, undefined],
    [
      'a batch of 1,001',
      'POST',
      '/v1/batch',
      { body: { ops: Array.from({ length: 1001 }, () => ({ op: 'get', name: 'x' })) } },
      undefined,
    ],
    [
      'a batch that waits',
      'POST',
      '/v1/batch',
      { body: { ops: [{ op: 'acquire', name: 'x', waitMs: 5 }] } },
      undefined,
    ],
  ];
  test.each(wrong)('%s is 400 bad_request', async (_, method, path, request, pointer) => {
    const answer = await stage.http.call(method, path, request);
    if (answer.status === 200 && path === '/v1/batch') {
      expect(answer.body.results[0]).toMatchObject({ status: 400, code: 'bad_request' });
      return;
    }
    expectProblem(answer, 400, 'bad_request');
    expect(answer.body.retryable).toBe(false);
    if (pointer !== undefined)
      expect(answer.body.errors).toMatchObject([{ pointer, detail: expect.any(String) }]);
  });
});

describe('other errors', () => {
  test('an unknown path is 404, a wrong method 405 with Allow', async () => {
    expectProblem(await stage.http.call('GET', '/v2/locks/x'), 404, 'not_found');
    const answer = await stage.http.call('PATCH', '/v1/locks/x');
    expectProblem(answer, 405, 'method_not_allowed');
    for (const method of ['GET', 'POST', 'PUT', 'DELETE'])
      expect(answer.headers.get('allow')).toContain(method);
  });

  test('a body that is not JSON is 415, a body too large 413', async () => {
    const text = await stage.http.call('POST', '/v1/locks/x', {
      text: 'a=b',
      headers: { 'content-type': 'text/plain' },
    });
    expectProblem(text, 415, 'unsupported_media_type');
    expectProblem(
      await stage.http.call('POST', '/v1/locks/x', { text: ' '.repeat(65 * 1024) }),
      413,
      'too_large',
    );
    expectProblem(
      await stage.http.call('POST', '/v1/batch', { text: ' '.repeat(1024 * 1024 + 1) }),
      413,
      'too_large',
    );
  });

  test('a foreign Origin is 403', async () => {
    const answer = await stage.http.call('GET', '/v1/locks/x', {
      headers: { origin: 'http://evil.example' },
    });
    expectProblem(answer, 403, 'forbidden');
  });

  test('an absent body is an empty one', async () => {
    const answer = await stage.http.call('POST', '/v1/locks/no-body');
    expect(answer).toMatchObject({ status: 201, body: { ttlMs: 30_000 } });
  });

  test('a client that goes away in the middle of its body harms nobody', async () => {
    const { port } = stage.server;
    for (let i = 0; i < 20; i++) {
      await new Promise<void>((resolve) => {
        const half = request({
          port,
          host: '127.0.0.1',
          method: 'POST',
          path: '/v1/locks/half',
          headers: { 'content-length': '1000' },
        });
        half.on('error', () => resolve());
        half.write('{"ttlMs":', () => half.destroy());
        half.on('close', () => resolve());
      });
    }
    expect((await stage.http.get('half')).body.held).toBe(false);
  });
});
