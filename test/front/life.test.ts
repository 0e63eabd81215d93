import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { Kind } from '../../src/op.ts';
import { problem } from '../../src/protocol/schemas.ts';
import { raw, type Rig, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';
const JSON_TYPE = { 'content-type': 'application/json' };
let rig: Rig;
const clients: Client[] = [];

afterEach(() => {
  for (const { ws } of clients.splice(0)) ws.terminate();
  expect(rig.logged).toEqual([]);
  rig.stop();
});

async function open(protocol: string): Promise<Client> {
  const client = await Client.open(rig.url, protocol);
  clients.push(client);
  return client;
}

async function acquire(name: string): Promise<{ status: number; body: unknown; headers: Headers }> {
  const response = await fetch(`${rig.url}/v1/locks/${name}`, {
    method: 'POST',
    headers: JSON_TYPE,
    body: JSON.stringify({ lockToken: TOKEN }),
  });
  return { status: response.status, body: await response.json(), headers: response.headers };
}

describe('slots without an owner', () => {
  test('requests wait for it', async () => {
    rig = await startRig({ owned: false });
    const [json, binary] = [await open('holdfast.v1.json'), await open('holdfast.v1.bin')];
    const http = acquire('a');
    json.ws.send('{"id":1,"op":"acquire","name":"b"}');
    binary.ws.send(frameOf({ id: 2, name: 'c' }));
    await sleep(150);
    expect(rig.lane.ops).toBe(0);
    rig.own(true);
    expect((await http).status).toBe(201);
    expect((await jsonAnswers(json, 1))[0]).toMatchObject({ id: 1, status: 201 });
    expect((await binaryAnswers(binary, 1))[0]).toMatchObject({ id: 2, status: 201 });
  });

  test('but not longer than their time-out: then nothing has happened', async () => {
    rig = await startRig({ owned: false, requestTimeoutMs: 300 });
    const [json, binary] = [await open('holdfast.v1.json'), await open('holdfast.v1.bin')];
    const started = performance.now();
    json.ws.send('[{"id":1,"op":"acquire","name":"b"},{"id":2,"op":"get","name":"b"}]');
    binary.ws.send(frameOf({ id: 2, name: 'c' }, { id: 3, name: 'd' }));
    const http = await acquire('a');
    expect(performance.now() - started).toBeGreaterThan(290);
    expect(performance.now() - started).toBeLessThan(900);
    expect(problem.parse(http.body)).toMatchObject({ code: 'moving', retryable: true, retryAfterMs: 250 });
    expect(http.headers.get('retry-after')).toBe('1');
    for (const answer of await jsonAnswers(json, 2))
      expect(answer).toMatchObject({ status: 503, code: 'moving', retryable: true });
    const answers = await binaryAnswers(binary, 2);
    expect(answers.map(({ id, code }) => [id, code])).toEqual([
      [2, CODES.moving.wire],
      [3, CODES.moving.wire],
    ]);
    expect(rig.front.connections.open).toBe(0);
  });
});

test('what a wedged lane leaves unanswered ends as outcome_unknown, with the token', async () => {
  rig = await startRig({ requestTimeoutMs: 300 });
  rig.lane.silent = true;
  const [json, binary] = [await open('holdfast.v1.json'), await open('holdfast.v1.bin')];
  json.ws.send(JSON.stringify({ id: 1, op: 'acquire', name: 'b', lockToken: TOKEN }));
  binary.ws.send(frameOf({ id: 2, name: 'c' }));
  const batch = fetch(`${rig.url}/v1/batch`, {
    method: 'POST',
    headers: JSON_TYPE,
    body: `{"ops":[{"op":"acquire","name":"x","lockToken":"${TOKEN}"}]}`,
  });
  const http = await acquire('a');
  expect(http.status).toBe(504);
  expect(problem.parse(http.body)).toMatchObject({ code: 'outcome_unknown', lockToken: TOKEN });
  expect((await jsonAnswers(json, 1))[0]).toMatchObject({
    id: 1,
    status: 504,
    code: 'outcome_unknown',
    lockToken: TOKEN,
  });
  expect(await (await batch).json()).toMatchObject({
    results: [{ status: 504, code: 'outcome_unknown', lockToken: TOKEN }],
  });
  expect((await binary.end()).code).toBe(1011);
  expect(rig.front.connections.open).toBe(0);
  // A late answer finds nobody, and the front serves on.
  rig.lane.silent = false;
  expect((await acquire('later')).status).toBe(201);
});

test('a busy binary socket whose lane is fine is left alone', async () => {
  rig = await startRig({ requestTimeoutMs: 100 });
  const binary = await open('holdfast.v1.bin');
  const until = performance.now() + 2_500;
  let id = 0;
  while (performance.now() < until) {
    binary.ws.send(frameOf({ kind: Kind.get, id: id++, name: 'a' }));
    await sleep(5);
  }
  expect((await binaryAnswers(binary, id)).length).toBe(id);
  expect(binary.closed).toBeUndefined();
});

test('a process whose shards are all gone is not ready', async () => {
  rig = await startRig({ owned: false });
  const ready = async () => {
    const response = await fetch(`${rig.url}/readyz`);
    return [response.status, await response.json()];
  };
  const shards = (up: boolean) => [
    { name: 's0', up },
    { name: 's1', up },
  ];
  expect(await ready()).toEqual([503, { ready: false, shards: shards(false) }]);
  rig.own(true);
  expect(await ready()).toEqual([200, { ready: true, shards: shards(true) }]);
  rig.front.laneMessage(0, { kind: 'shard', shard: 's0', up: false, detail: 'gone' });
  expect(await ready()).toEqual([
    200,
    {
      ready: true,
      shards: [
        { name: 's0', up: false },
        { name: 's1', up: true },
      ],
    },
  ]);
  const cluster = (await (await fetch(`${rig.url}/v1/cluster`)).json()) as { shards: unknown[] };
  expect(cluster.shards[0]).toMatchObject({ name: 's0', state: 'down', detail: 'gone' });
});

test('shutdown: new work is refused, what is in flight is answered, sockets get 1012', async () => {
  rig = await startRig({ owned: false });
  const [json, binary] = [await open('holdfast.v1.json'), await open('holdfast.v1.bin')];
  const inFlight = acquire('a');
  json.ws.send('{"id":1,"op":"acquire","name":"b"}');
  binary.ws.send(frameOf({ id: 2, name: 'c' }));
  const keptAlive = raw(rig.port, 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', 100);
  await sleep(50);
  const drained = rig.front.drain(2_000);
  json.ws.send('{"id":7,"op":"get","name":"b"}');
  binary.ws.send(frameOf({ kind: Kind.get, id: 8, name: 'c' }));
  expect((await jsonAnswers(json, 1))[0]).toMatchObject({
    id: 7,
    status: 503,
    code: 'draining',
    retryable: true,
  });
  expect((await binaryAnswers(binary, 1))[0]).toMatchObject({
    id: 8,
    status: 503,
    code: CODES.draining.wire,
  });
  await keptAlive;
  await expect(raw(rig.port, '')).rejects.toThrow(/ECONNREFUSED/);
  rig.own(true);
  const { status, headers } = await inFlight;
  expect([status, headers.get('connection')]).toEqual([201, 'close']);
  expect((await jsonAnswers(json, 1))[0]).toMatchObject({ id: 1, status: 201 });
  expect((await binaryAnswers(binary, 1))[0]).toMatchObject({ id: 2, status: 201 });
  await drained;
  rig.front.close();
  expect((await json.end()).code).toBe(1012);
  expect((await binary.end()).code).toBe(1012);
});

test('shutdown: who waits or watches is told so, and holds nothing up', async () => {
  rig = await startRig();
  const [json, binary] = [await open('holdfast.v1.json'), await open('holdfast.v1.bin')];
  await acquire('a');
  const headers = JSON_TYPE;
  const http = fetch(`${rig.url}/v1/locks/a`, { method: 'POST', headers, body: '{"waitMs":60000}' });
  json.ws.send('[{"id":1,"op":"acquire","name":"a","waitMs":60000},{"id":2,"op":"watch","name":"a"}]');
  binary.ws.send(frameOf({ id: 3, name: 'a', waitMs: 60_000 }, { kind: Kind.watch, id: 4, name: 'a' }));
  await binaryAnswers(binary, 2);
  await json.until(() => json.frames.length > 1);
  await sleep(50);
  json.frames.length = 0;
  const started = performance.now();
  rig.front.refuseClients();
  expect((await http).status).toBe(503);
  const told: unknown[] = [];
  while (told.length === 0)
    told.push(...(await jsonAnswers(json, 1)).filter(({ status }) => status !== undefined));
  expect(told).toMatchObject([{ id: 1, status: 503, code: 'draining', retryable: true }]);
  const answers: (readonly [number, number])[] = [];
  while (answers.length < 2) {
    const [{ id, status, code }] = await binaryAnswers(binary, 1);
    if (status >= 200) answers.push([id, code]);
  }
  expect(answers.sort()).toEqual([
    [3, CODES.draining.wire],
    [4, CODES.draining.wire],
  ]);
  await rig.front.drain(5_000);
  expect(performance.now() - started).toBeLessThan(1_000);
  expect(rig.lane.queues).toMatchObject({ waiters: [], watchers: [] });
});

test('shutdown does not wait for ever', async () => {
  rig = await startRig();
  rig.lane.silent = true;
  const json = await open('holdfast.v1.json');
  json.ws.send('{"id":1,"op":"get","name":"b"}');
  const http = acquire('a');
  await sleep(50);
  const started = performance.now();
  await rig.front.drain(200);
  expect(performance.now() - started).toBeLessThan(600);
  rig.front.close();
  expect((await http).status).toBe(504);
  expect((await json.end()).code).toBe(1012);
});

test('a port is not shared unawares', async () => {
  rig = await startRig();
  await expect(startRig({ port: rig.port })).rejects.toThrow(/cannot listen on 127\.0\.0\.1/);
});

test('an answer that is ready after its client has left goes nowhere', async () => {
  let finish: (text: string) => void = () => {};
  const metrics = new Promise<string>((resolve) => {
    finish = resolve;
  });
  rig = await startRig({ metrics: () => metrics });
  const abort = new AbortController();
  const asked = fetch(`${rig.url}/metrics`, { signal: abort.signal });
  await sleep(50);
  abort.abort();
  await expect(asked).rejects.toThrow();
  await sleep(50);
  finish('late');
  await sleep(20);
  expect((await fetch(`${rig.url}/healthz`)).status).toBe(200);
});
