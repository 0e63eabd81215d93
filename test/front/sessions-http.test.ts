/** Requests of sessions, Idempotency-Keys and atomic batches, from the wire to whoever takes them and back. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { Kind } from '../../src/op.ts';
import { call, expectProblem, expectQuiet } from './calls.ts';
import { type Rig, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

const ID = '99112233-4455-4677-8899-aabbccddeeff';
const UNKNOWN = '00000000-4455-4677-8899-aabbccddeeff';
let rig: Rig;
const clients: Client[] = [];

beforeAll(async () => {
  rig = await startRig();
});

afterEach(async () => {
  for (const client of clients.splice(0)) {
    client.ws.close();
    await client.end();
  }
  await sleep(20);
  expectQuiet(rig);
});

afterAll(() => rig.stop());

async function open(protocol: string): Promise<Client> {
  const client = await Client.open(rig.url, protocol);
  clients.push(client);
  return client;
}

describe('a session over HTTP', () => {
  test('from its opening to its end', async () => {
    const opened = await call(rig, 'POST', '/v1/sessions', { ttlMs: 20_000, sessionId: ID });
    expect(opened).toMatchObject({ status: 201, body: { sessionId: ID, ttlMs: 20_000 } });
    const path = `/v1/sessions/${ID}`;
    expect((await call(rig, 'GET', path)).status).toBe(200);
    expect(await call(rig, 'PUT', path, {})).toMatchObject({ status: 200, body: { sessionId: ID } });
    const claim = await call(rig, 'POST', '/v1/locks/of-a-session', { sessionId: ID });
    expect(claim.status).toBe(201);
    const ended = await call(rig, 'DELETE', path);
    expect([ended.status, ended.text]).toEqual([204, '']);
    expectProblem(await call(rig, 'PUT', path), 'session_ended');
    expectProblem(await call(rig, 'POST', '/v1/locks/another', { sessionId: UNKNOWN }), 'session_ended');
  });

  test('an id is made when none is given', async () => {
    const { body } = await call(rig, 'POST', '/v1/sessions');
    expect(body.sessionId).toMatch(/^[0-9a-f-]{36}$/);
    expect((await call(rig, 'GET', `/v1/sessions/${String(body.sessionId)}`)).status).toBe(200);
  });

  test.each([
    ['POST', '/v1/sessions', { name: 'a' }, '/name'],
    ['PUT', '/v1/sessions/short', {}, 'path/id'],
    ['PUT', '/v1/sessions/%zz', {}, 'path/id'],
    ['GET', '/v1/sessions/', undefined, 'path/id'],
    ['PUT', `/v1/sessions/${ID}`, { ttlMs: 5_000 }, '/ttlMs'],
    ['DELETE', `/v1/sessions/${ID}?force=true`, undefined, 'query/force'],
  ])('%s %s %j points at what is wrong', async (method, path, body, pointer) => {
    expect(expectProblem(await call(rig, method, path, body), 'bad_request')).toEqual([pointer]);
  });

  test('what lies below one is no path', async () => {
    expectProblem(await call(rig, 'GET', `/v1/sessions/${ID}/locks`), 'not_found');
  });
});

test('a session over JSON', async () => {
  const client = await open('holdfast.v1.json');
  client.ws.send(JSON.stringify({ id: 1, op: 'session.open', sessionId: ID }));
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 1, status: 201, sessionId: ID });
  client.ws.send(JSON.stringify({ id: 2, op: 'session.keepalive', sessionId: ID }));
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 2, status: 200, sessionId: ID });
  client.ws.send(JSON.stringify({ id: 3, op: 'acquire', name: 'json-session', sessionId: ID }));
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 3, status: 201 });
  client.ws.send(JSON.stringify({ id: 4, op: 'session.end', sessionId: ID }));
  expect(await jsonAnswers(client, 1)).toEqual([{ id: 4, status: 204 }]);
  client.ws.send(JSON.stringify({ id: 5, op: 'session.keepalive', sessionId: ID }));
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 5, status: 410, code: 'session_ended' });
});

test('a session over the binary protocol', async () => {
  const client = await open('holdfast.v1.bin');
  const name = Buffer.concat([Buffer.of(1), Buffer.from('a-session-of-22-letters')]);
  const says = async (kind: number): Promise<unknown> => {
    client.ws.send(frameOf({ kind, id: kind, name }));
    const [{ id, status, code }] = await binaryAnswers(client, 1);
    return [id, status, code];
  };
  expect(await says(Kind.sessionOpen)).toEqual([Kind.sessionOpen, 201, 0]);
  expect(await says(Kind.sessionRenew)).toEqual([Kind.sessionRenew, 200, 0]);
  expect(await says(Kind.sessionGet)).toEqual([Kind.sessionGet, 200, 0]);
  expect(await says(Kind.sessionEnd)).toEqual([Kind.sessionEnd, 204, 0]);
  expect(await says(Kind.sessionGet)).toEqual([Kind.sessionGet, 410, CODES.session_ended.wire]);
});

describe('an Idempotency-Key', () => {
  const acquire = (name: string, key: string) =>
    call(rig, 'POST', `/v1/locks/${name}`, {}, { 'idempotency-key': `"${key}"` });

  test('stands for one lock token of one lock', async () => {
    const first = await acquire('keyed', 'job 1');
    const again = await acquire('keyed', 'job 1');
    expect([first.status, again.status]).toEqual([201, 200]);
    expect(again.body.lockToken).toBe(first.body.lockToken);
    expect((await acquire('keyed', 'job 2')).body.code).toBe('lock_held');
    expect((await acquire('keyed-too', 'job 1')).body.lockToken).not.toBe(first.body.lockToken);
  });

  test('over JSON too, and in a batch', async () => {
    const { lockToken } = (await acquire('keyed-ws', 'k')).body;
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'acquire', name: 'keyed-ws', idempotencyKey: 'k' }));
    expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 1, status: 200, lockToken });
    const ops = [{ op: 'acquire', name: 'keyed-ws', idempotencyKey: 'k' }];
    expect((await call(rig, 'POST', '/v1/batch', { ops })).body).toMatchObject({
      results: [{ status: 200, lockToken }],
    });
  });
});

describe('a batch', () => {
  test('what follows an acquire in a session on the same name waits for it', async () => {
    await call(rig, 'POST', '/v1/sessions', { sessionId: ID });
    const lockToken = UNKNOWN;
    const { body } = await call(rig, 'POST', '/v1/batch', {
      ops: [
        { op: 'acquire', name: 'steps', sessionId: ID, lockToken },
        { op: 'release', name: 'steps', lockToken },
        { op: 'acquire', name: 'steps', sessionId: ID },
        { op: 'get', name: 'steps' },
        { op: 'get', name: 'elsewhere' },
      ],
    });
    expect(body).toMatchObject({
      results: [
        { status: 201, lockToken },
        { status: 204 },
        { status: 201 },
        { status: 200, held: true },
        { status: 200, held: false },
      ],
    });
    await call(rig, 'DELETE', `/v1/sessions/${ID}`);
  });

  test('a token that the server makes for a later item is the one that holds', async () => {
    await call(rig, 'POST', '/v1/sessions', { sessionId: ID });
    const { body } = await call(rig, 'POST', '/v1/batch', {
      ops: [
        { op: 'acquire', name: 'made', sessionId: ID, lockToken: UNKNOWN },
        { op: 'release', name: 'made', lockToken: UNKNOWN },
        { op: 'acquire', name: 'made' },
      ],
    });
    const { lockToken } = (body.results as { lockToken: string }[])[2];
    const verdict = await call(rig, 'POST', '/v1/locks/made/verify', { lockToken });
    expect(verdict.body).toMatchObject({ current: true });
    await call(rig, 'DELETE', `/v1/sessions/${ID}`);
  });
});
