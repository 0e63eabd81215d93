import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { expectQuiet } from './calls.ts';
import { type Rig, startRig } from './rig.ts';
import { Client, jsonAnswers } from './sockets.ts';

const SOON = { timeout: 5_000, interval: 5 };

const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';
let rig: Rig;
let client: Client;
let names = 0;

beforeAll(async () => {
  rig = await startRig();
});

beforeEach(async () => {
  client = await Client.open(rig.url, 'holdfast.v1.json');
});

afterEach(async () => {
  client.ws.close();
  await client.end();
  await vi.waitFor(() => expectQuiet(rig), SOON);
});

afterAll(() => rig.stop());

function send(value: unknown): void {
  client.ws.send(typeof value === 'string' ? value : JSON.stringify(value));
}

test('a lock from acquire to release', async () => {
  const name = `ws-${names++}`;
  send({ id: 1, op: 'acquire', name, ttlMs: 30_000, owner: 'me' });
  const [taken] = await jsonAnswers(client, 1);
  expect(taken).toMatchObject({ id: 1, status: 201, name, owner: 'me', ttlMs: 30_000, mode: 'exclusive' });
  const { lockToken, fencingToken } = taken;
  send({ id: 1, op: 'acquire', name });
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({
    id: 1,
    status: 409,
    code: 'lock_held',
    retryable: true,
    holder: { fencingToken },
  });
  send({ id: 'b', op: 'renew', name, lockToken });
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 'b', status: 200, fencingToken });
  send({ id: 3, op: 'get', name });
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 3, status: 200, held: true });
  send({ id: 4, op: 'verify', name, fencingToken });
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: 4, status: 200, current: true });
  send({ id: 5, op: 'release', name, lockToken });
  expect(await jsonAnswers(client, 1)).toEqual([{ id: 5, status: 204 }]);
  send({ id: 6, op: 'release', name, lockToken });
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({
    id: 6,
    status: 410,
    code: 'not_held',
    retryable: false,
  });
  send({ id: 7, op: 'ping' });
  expect(await jsonAnswers(client, 1)).toEqual([{ id: 7, status: 200 }]);
});

test('a request alone is answered alone, an array in arrays', async () => {
  for (const id of [1, 2, 3]) send({ id, op: 'get', name: `x${id}` });
  await client.until(() => client.frames.length === 3);
  for (const { data, isBinary } of client.frames)
    expect([isBinary, Array.isArray(JSON.parse(data.toString()))]).toEqual([false, false]);
  client.frames.length = 0;
  send([1, 2, 3].map((id) => ({ id, op: 'get', name: `x${id}` })));
  const frame = JSON.parse((await client.frame()).toString()) as { id: number }[];
  expect(frame.map(({ id }) => id).sort()).toEqual([1, 2, 3]);
});

test('ten thousand requests in one array, each answered once', async () => {
  send(Array.from({ length: 10_000 }, (_, id) => ({ id, op: 'acquire', name: `many-${id}` })));
  const answers = await jsonAnswers(client, 10_000);
  expect(new Set(answers.map(({ id }) => id)).size).toBe(10_000);
  expect(answers.every(({ status }) => status === 201)).toBe(true);
});

describe('refusals', () => {
  test.each<[unknown, unknown, string | undefined]>([
    ['{"id":1,', null, undefined],
    ['', null, undefined],
    ['nonsense', null, undefined],
    [[], null, undefined],
    [7, null, undefined],
    [[null], null, undefined],
    [[[]], null, undefined],
    [{ op: 'get', name: 'a' }, null, '/id'],
    [{ id: -1, op: 'get', name: 'a' }, null, '/id'],
    [{ id: 1.5, op: 'get', name: 'a' }, null, '/id'],
    [{ id: {}, op: 'get', name: 'a' }, null, '/id'],
    [{ id: '', op: 'get', name: 'a' }, null, '/id'],
    [{ id: 'x'.repeat(65), op: 'get', name: 'a' }, null, '/id'],
    [{ id: 1 }, 1, '/op'],
    [{ id: 1, op: 'steal', name: 'a' }, 1, '/op'],
    [{ id: 1, op: 7, name: 'a' }, 1, '/op'],
    [{ id: 1, op: 'constructor', name: 'a' }, 1, '/op'],
    [{ id: 1, op: 'watch' }, 1, '/name'],
    [{ id: 1, op: 'unwatch' }, 1, '/name'],
    [{ id: 1, op: 'session.end' }, 1, '/sessionId'],
    [{ id: 1, op: 'session.get', sessionId: TOKEN }, 1, '/op'],
    [{ id: 1, op: 'get' }, 1, '/name'],
    [{ id: 1, op: 'get', name: 'a', ttlMs: 1_000 }, 1, '/ttlMs'],
    [{ id: 1, op: 'acquire', name: 'a', waitMs: 0.5 }, 1, '/waitMs'],
    [{ id: 1, op: 'acquire', name: 'a', mode: 7 }, 1, '/mode'],
    [{ id: 1, op: 'acquire', name: '\ud800' }, 1, '/name'],
    [{ id: 1, op: 'release', name: 'a' }, 1, '/lockToken'],
    [{ id: 1, op: 'ping', x: 1 }, 1, '/x'],
    [{ id: '"</', op: 'nope' }, '"</', '/op'],
  ])('%j', async (sent, id, pointer) => {
    send(sent);
    const [answer] = await jsonAnswers(client, 1);
    expect(answer).toMatchObject({ id, status: 400, code: 'bad_request', retryable: false });
    expect(answer.detail).toBeTruthy();
    expect((answer.errors as { pointer: string }[] | undefined)?.[0].pointer).toBe(pointer);
    send({ id: 9, op: 'ping' });
    expect(await jsonAnswers(client, 1)).toEqual([{ id: 9, status: 200 }]);
  });

  test('a nest of brackets', async () => {
    send('['.repeat(500_000));
    send(`${'['.repeat(50_000)}${']'.repeat(50_000)}`);
    expect((await jsonAnswers(client, 2)).map(({ id, status }) => [id, status])).toEqual([
      [null, 400],
      [null, 400],
    ]);
  });

  test('an id that is open already does not disturb the first', async () => {
    rig.lane.silent = true;
    send({ id: 1, op: 'get', name: 'first' });
    send({ id: 1, op: 'get', name: 'second' });
    expect((await jsonAnswers(client, 1))[0]).toMatchObject({
      id: null,
      status: 400,
      errors: [{ pointer: '/id' }],
    });
    expect(rig.front.connections.open).toBe(1);
  });

  test('a binary frame', async () => {
    client.ws.send(Buffer.from('{"id":1,"op":"ping"}'));
    expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: null, status: 400 });
  });

  test('one bad request in an array spoils only itself', async () => {
    send([{ id: 1, op: 'get', name: 'a' }, { id: 2, op: 'get' }, 5]);
    const answers = await jsonAnswers(client, 3);
    expect(new Map(answers.map(({ id, status }) => [id, status]))).toEqual(
      new Map<unknown, number>([
        [1, 200],
        [2, 400],
        [null, 400],
      ]),
    );
  });

  test('a frame over the limit, and one far over it', async () => {
    send(`[${' '.repeat(1_024 * 1_024)}]`);
    expect((await jsonAnswers(client, 1))[0]).toMatchObject({ id: null, status: 413, code: 'too_large' });
    send(' '.repeat(3 * 1_024 * 1_024));
    expect((await client.end()).code).toBe(1006);
  });

  test('text that is not UTF-8 ends the socket', async () => {
    client.ws.send(Buffer.from([0x22, 0xff, 0x22]), { binary: false });
    expect((await client.end()).code).toBe(1006);
  });
});

test('cancel has no answer of its own', async () => {
  send({ op: 'cancel', id: 5 });
  send({ id: 6, op: 'ping' });
  expect(await jsonAnswers(client, 1)).toEqual([{ id: 6, status: 200 }]);
});

test('a lane that fails is told as it is, with the token where the outcome is unknown', async () => {
  rig.lane.failWith = 'outcome_unknown';
  send({ id: 1, op: 'acquire', name: 'a', lockToken: TOKEN });
  expect((await jsonAnswers(client, 1))[0]).toMatchObject({
    id: 1,
    status: 504,
    code: 'outcome_unknown',
    retryable: true,
    lockToken: TOKEN,
  });
  rig.lane.failWith = 'shard_unavailable';
  send({ id: 1, op: 'acquire', name: 'a' });
  const [answer] = await jsonAnswers(client, 1);
  expect(answer).toMatchObject({ id: 1, status: 503, code: 'shard_unavailable', retryAfterMs: 250 });
  expect(answer).not.toHaveProperty('lockToken');
});

test('a socket that closes leaves nothing open', async () => {
  rig.lane.silent = true;
  send(Array.from({ length: 100 }, (_, id) => ({ id, op: 'get', name: 'a' })));
  await vi.waitFor(() => expect(rig.front.connections.open).toBe(100), SOON);
});

describe('the handshake', () => {
  const status = (url: string, protocols: string[], headers = {}): Promise<number | string> =>
    new Promise((resolve) => {
      const ws = new WebSocket(url.replace('http', 'ws'), protocols, { headers });
      ws.on('open', () => {
        resolve(ws.protocol);
        ws.close();
      });
      ws.on('unexpected-response', (_, response) => {
        resolve(response.statusCode ?? 0);
        response.resume();
        ws.terminate();
      });
      ws.on('error', () => {});
    });

  test('protocols', async () => {
    const url = `${rig.url}/v1/ws`;
    expect(await status(url, [])).toBe('');
    expect(await status(url, ['holdfast.v1.json'])).toBe('holdfast.v1.json');
    expect(await status(url, ['holdfast.v9', 'holdfast.v1.bin', 'holdfast.v1.json'])).toBe('holdfast.v1.bin');
    expect(await status(url, ['chat'])).toBe(400);
    await sleep(20);
  });

  test('origins, queries, other paths', async () => {
    expect(await status(`${rig.url}/v1/ws`, [], { origin: 'https://evil.example' })).toBe(403);
    expect(await status(`${rig.url}/v1/ws?key=1`, [])).toBe(400);
    expect(await status(`${rig.url}/v1/wss`, [])).toBe(404);
  });
});
