import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { CODES, type ErrorCode } from '../../src/errors.ts';
import { batchResults } from '../../src/protocol/schemas.ts';
import { call as callRig, expectProblem, expectQuiet, fresh, type Reply, TOKEN, withToken } from './calls.ts';
import { raw, type Rig, startRig } from './rig.ts';

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

test.each<[string, string, unknown, Record<string, string>, string]>([
  ['POST', '', { ttlMs: 'x' }, {}, '/ttlMs'],
  ['POST', '', { name: 'a' }, {}, '/name'],
  ['POST', '', { mode: 'some' }, {}, '/mode'],
  ['POST', '', { mode: 'semaphore' }, {}, '/limit'],
  ['POST', '', { waitMs: -5 }, {}, '/waitMs'],
  ['POST', '', { waitMs: 300_001 }, {}, '/waitMs'],
  ['POST', '', { sessionId: 'x' }, {}, '/sessionId'],
  ['POST', '', { sessionId: TOKEN, ttlMs: 5_000 }, {}, '/ttlMs'],
  ['POST', '', [], {}, ''],
  ['POST', '', 'null', {}, ''],
  ['POST', '', '7', {}, ''],
  ['POST', '', '{"a":', {}, ''],
  ['POST', '', '{"owner":"\u0001"}', {}, ''],
  ['POST', '', {}, { 'idempotency-key': 'k' }, 'header/Idempotency-Key'],
  ['POST', '', { lockToken: TOKEN }, { 'idempotency-key': '"k"' }, 'header/Idempotency-Key'],
  ['POST', '?x=1', {}, {}, 'query/x'],
  ['PUT', '', {}, {}, 'header/Holdfast-Lock-Token'],
  ['PUT', '', {}, { 'holdfast-lock-token': 'short' }, 'header/Holdfast-Lock-Token'],
  ['PUT', '', { lockToken: TOKEN }, withToken, '/lockToken'],
  ['PUT', '', { owner: 'x' }, withToken, '/owner'],
  ['DELETE', '', undefined, {}, 'header/Holdfast-Lock-Token'],
  ['DELETE', '', { a: 1 }, withToken, '/a'],
  ['DELETE', '?force=yes&reason=x', undefined, {}, 'query/force'],
  ['DELETE', '?reason=x', undefined, {}, 'query/force'],
  ['DELETE', '?force=true', undefined, {}, 'query/reason'],
  ['DELETE', '?force=true&reason=x&fencingToken=0', undefined, {}, 'query/fencingToken'],
  ['DELETE', '?force=true&reason=x', { a: 1 }, {}, '/a'],
  ['GET', '?consistency=weak', undefined, {}, 'query/consistency'],
  ['GET', '?consistency=strong&consistency=strong', undefined, {}, 'query/consistency'],
  ['GET', '?%ff=1', undefined, {}, 'query'],
  ['POST', '/verify', {}, {}, '/fencingToken'],
  ['POST', '/verify', { fencingToken: 0 }, {}, '/fencingToken'],
])('%s %s %j points at what is wrong', async (method, rest, body, headers, pointer) => {
  expect(expectProblem(await call(method, fresh() + rest, body, headers), 'bad_request')[0]).toBe(pointer);
});

test('cached reads are answered as strong ones', async () => {
  expect((await call('GET', `${fresh()}?consistency=cached`)).body).toMatchObject({
    source: 'shard',
    ageMs: 0,
  });
});

test('bodies that are not JSON', async () => {
  const send = (type: string, body = '{}') => call('POST', fresh(), body, { 'content-type': type });
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonp',
    'application/json; charset=latin1',
  ]) {
    expectProblem(await send(type), 'unsupported_media_type');
  }
  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'APPLICATION/JSON;charset=UTF-8',
    'application/vnd.x+json',
  ]) {
    expect((await send(type)).status).toBe(201);
  }
  expect((await send('text/plain', '')).status).toBe(201);
  const invalid = Buffer.from(
    'POST /v1/locks/u HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{"owner":"\xff"}',
    'latin1',
  );
  expect((await raw(rig.port, invalid)).text).toContain('HTTP/1.1 400');
});

test('a body over its limit', async () => {
  const owner = 'x'.repeat(64 * 1_024);
  expectProblem(await call('POST', fresh(), { owner }), 'too_large');
  expectProblem(await call('POST', '/v1/batch', { ops: ['x'.repeat(1_024 * 1_024)] }), 'too_large');
  const chunk = 'x'.repeat(4_096);
  const chunks = `${(4_096).toString(16)}\r\n${chunk}\r\n`.repeat(17);
  const { text } = await raw(
    rig.port,
    `POST /v1/locks/c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
  );
  expect(text).toContain('HTTP/1.1 413');
  expect(rig.lane.claims.has(Buffer.from('c').toString('hex'))).toBe(false);
});

test('a body in many pieces is put together', async () => {
  const body = JSON.stringify({ owner: 'é'.repeat(100), ttlMs: 9_000 });
  const pieces = [...Buffer.from(body)].map((byte) => Buffer.from([0x31, 13, 10, byte, 13, 10]));
  const head = Buffer.from('POST /v1/locks/pieces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
  const { text } = await raw(rig.port, Buffer.concat([head, ...pieces, Buffer.from('0\r\n\r\n')]));
  expect(text).toContain('HTTP/1.1 201');
  expect(text).toContain('"ttlMs":9000');
});

test.each([
  ['GET', '/'],
  ['GET', '/v1'],
  ['GET', '/v1/lock/a'],
  ['POST', '/v1/locks/a/b'],
  ['POST', '/v1/locks/a/verify/'],
  ['GET', '/v1/locks/a/verify/b'],
  ['GET', '//healthz'],
  ['GET', '/constructor'],
])('%s %s is no such path', async (method, path) => {
  expectProblem(await call(method, path), 'not_found');
});

test.each([
  ['PATCH', '/v1/locks/a', 'GET, POST, PUT, DELETE'],
  ['GET', '/v1/locks/a/verify', 'POST'],
  ['POST', '/v1/locks', 'GET'],
  ['GET', '/v1/batch', 'POST'],
  ['DELETE', '/healthz', 'GET'],
  ['POST', '/metrics', 'GET'],
  ['GET', '/v1/sessions', 'POST'],
  ['POST', `/v1/sessions/${TOKEN}`, 'GET, PUT, DELETE'],
])('%s %s is no such method', async (method, path, allow) => {
  const reply = await call(method, path);
  expectProblem(reply, 'method_not_allowed');
  expect(reply.headers.get('allow')).toBe(allow);
});

test('odd methods are told so too', async () => {
  const { text } = await raw(rig.port, 'constructor /v1/locks/a HTTP/1.1\r\nHost: x\r\n\r\n');
  expect(text).toContain('HTTP/1.1 405');
});

test('origins', async () => {
  expectProblem(await call('POST', fresh(), {}, { origin: 'https://evil.example' }), 'forbidden');
  expectProblem(await call('GET', '/healthz', undefined, { origin: 'null' }), 'forbidden');
  const allowed = await call('POST', fresh(), {}, { origin: 'https://app.example' });
  expect([allowed.status, allowed.headers.get('access-control-allow-origin')]).toEqual([
    201,
    'https://app.example',
  ]);
  const preflight = await call('OPTIONS', fresh(), undefined, {
    origin: 'https://app.example',
    'access-control-request-method': 'PUT',
  });
  expect([preflight.status, preflight.headers.get('access-control-allow-methods')]).toEqual([
    204,
    'GET, POST, PUT, DELETE',
  ]);
  expectProblem(await call('OPTIONS', fresh()), 'method_not_allowed');
});

test.each<ErrorCode>([
  'shard_unavailable',
  'overloaded',
  'moving',
  'outcome_unknown',
  'not_held',
  'internal',
])('a lane that says %s', async (code) => {
  rig.lane.failWith = code;
  const reply = await call('POST', fresh(), { lockToken: TOKEN });
  expectProblem(reply, code);
  const retries = CODES[code].retryable && code !== 'outcome_unknown';
  expect(reply.body.retryAfterMs).toBe(retries ? 250 : undefined);
  expect(reply.headers.get('retry-after')).toBe(retries ? '1' : null);
  expect(reply.body.lockToken).toBe(code === 'outcome_unknown' ? TOKEN : undefined);
  const item = (await call('POST', '/v1/batch', { ops: [{ op: 'acquire', name: 'x', lockToken: TOKEN }] }))
    .body;
  expect(batchResults.parse(item).results[0]).toMatchObject({ status: CODES[code].status, code });
  expect(item).toMatchObject(code === 'outcome_unknown' ? { results: [{ lockToken: TOKEN }] } : {});
});
