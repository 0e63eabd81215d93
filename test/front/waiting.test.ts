/** Waits over HTTP and both sockets, on a lane that queues. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { Event, Section } from '../../src/protocol/answer.ts';
import { call, expectProblem, expectQuiet } from './calls.ts';
import { type Rig, slotsOf, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';
const BYTES = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
const OTHER = Buffer.from('ffeeddccbbaa49888877665544332211', 'hex');
const NO_ID = 0xffff_ffff;
let rig: Rig;
const clients: Client[] = [];
let names = 0;

beforeAll(async () => {
  rig = await startRig();
});

afterEach(async () => {
  for (const client of clients.splice(0)) {
    client.ws.close();
    await client.end();
  }
  await until(() => rig.front.connections.open === 0 && rig.front.sockets === 0);
  expectQuiet(rig);
  expect(rig.lane.queues).toMatchObject({ waiters: [], watchers: [] });
});

afterAll(() => rig.stop());

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !done(); i++) await sleep(5);
  expect(done()).toBe(true);
}

async function open(protocol: string): Promise<Client> {
  const client = await Client.open(rig.url, protocol);
  clients.push(client);
  return client;
}

/** A lock that somebody holds. */
async function heldLock(): Promise<{ name: string; path: string; lockToken: string }> {
  const name = `wait-${names++}`;
  const { body } = await call(rig, 'POST', `/v1/locks/${name}`, {});
  return { name, path: `/v1/locks/${name}`, lockToken: body.lockToken as string };
}

const release = (path: string, lockToken: string) =>
  call(rig, 'DELETE', path, undefined, { 'holdfast-lock-token': lockToken });

const waitersOf = (name: string) => rig.lane.queues.of(Buffer.from(name).toString('hex')).length;

describe('HTTP', () => {
  test('is answered when the lock is granted, in the order of the queue', async () => {
    const { name, path, lockToken } = await heldLock();
    const first = call(rig, 'POST', path, { waitMs: 60_000, owner: 'first' });
    await until(() => waitersOf(name) === 1);
    const second = call(rig, 'POST', path, { waitMs: 60_000, owner: 'second' });
    await until(() => waitersOf(name) === 2);
    await sleep(30);
    await release(path, lockToken);
    const granted = await first;
    expect(granted).toMatchObject({ status: 201, body: { name, owner: 'first' } });
    expect(granted.body.waitedMs).toBeGreaterThanOrEqual(30);
    await release(path, granted.body.lockToken as string);
    expect(await second).toMatchObject({ status: 201, body: { owner: 'second' } });
  });

  test('a wait whose time is over, and one on a free lock', async () => {
    const { name, path } = await heldLock();
    const waiting = call(rig, 'POST', path, { waitMs: 60_000 });
    await until(() => waitersOf(name) === 1);
    rig.lane.timeOut(name);
    const reply = await waiting;
    expectProblem(reply, 'wait_timeout');
    expect(reply.body).toMatchObject({ retryAfterMs: 250, queueLength: 0 });
    expect((await call(rig, 'POST', `/v1/locks/free-${names++}`, { waitMs: 60_000 })).status).toBe(201);
  });

  test('a client that goes away withdraws its wait', async () => {
    const { name, path, lockToken } = await heldLock();
    const abort = new AbortController();
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ waitMs: 60_000 });
    const gone = fetch(rig.url + path, { method: 'POST', headers, body, signal: abort.signal });
    await until(() => waitersOf(name) === 1);
    abort.abort();
    await expect(gone).rejects.toThrow();
    await until(() => waitersOf(name) === 0);
    await release(path, lockToken);
    expect((await call(rig, 'GET', path)).body).toMatchObject({ held: false });
  });

  test('a lock that is granted to a client that has just gone is given back, if nobody knows its token', async () => {
    const { name, path, lockToken } = await heldLock();
    const abort = new AbortController();
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, signal: abort.signal };
    const gone = fetch(rig.url + path, { ...init, body: '{"waitMs":60000}' });
    await until(() => waitersOf(name) === 1);
    // The lane decides before it hears of the end.
    rig.lane.silent = true;
    const released = release(path, lockToken);
    await sleep(30);
    abort.abort();
    await expect(gone).rejects.toThrow();
    await sleep(30);
    rig.lane.speak();
    await released;
    await until(() => rig.lane.claims.get(Buffer.from(name).toString('hex')) === undefined);
  });

  test('a slot that moves: the wait finds its place again', async () => {
    const { name, path, lockToken } = await heldLock();
    const waiting = call(rig, 'POST', path, { waitMs: 60_000, owner: 'patient' });
    await until(() => waitersOf(name) === 1);
    rig.own(false);
    await sleep(40);
    rig.own(true);
    await until(() => rig.lane.queues.waiters[0].attachment !== undefined);
    expect(waitersOf(name)).toBe(1);
    await release(path, lockToken);
    const reply = await waiting;
    expect(reply).toMatchObject({ status: 201, body: { owner: 'patient' } });
    expect(reply.body.waitedMs).toBeGreaterThanOrEqual(40);
  });
});

describe('holdfast.v1.json', () => {
  test('tells the place, then the lock', async () => {
    const { name, path, lockToken } = await heldLock();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 'w', op: 'acquire', name, waitMs: 60_000, lockToken: TOKEN }));
    expect(JSON.parse((await client.frame()).toString())).toEqual({ event: 'queued', id: 'w', position: 1 });
    await release(path, lockToken);
    expect(await jsonAnswers(client, 1)).toMatchObject([{ id: 'w', status: 201, lockToken: TOKEN, name }]);
  });

  test('events and answers of an array come in their order', async () => {
    const { name, path, lockToken } = await heldLock();
    const client = await open('holdfast.v1.json');
    const one = { op: 'acquire', name, waitMs: 60_000 };
    client.ws.send(
      JSON.stringify([
        { id: 1, ...one },
        { id: 2, op: 'get', name },
        { id: 3, ...one },
      ]),
    );
    const frames: unknown[] = [];
    while (frames.flat().length < 3) frames.push(JSON.parse((await client.frame()).toString()));
    expect(frames.flat()).toEqual(
      expect.arrayContaining([
        { event: 'queued', id: 1, position: 1 },
        { event: 'queued', id: 3, position: 2 },
        expect.objectContaining({ id: 2, status: 200, queueLength: 1 }),
      ]),
    );
    // Answers to an array come in arrays, events do not.
    for (const frame of frames) {
      for (const one of [frame].flat()) {
        expect(Array.isArray(frame)).toBe(!('event' in (one as object)));
      }
    }
    await release(path, lockToken);
    expect(await jsonAnswers(client, 1)).toMatchObject([{ id: 1, status: 201 }]);
  });

  test('cancel: the request that it names is answered, and its id is free', async () => {
    const { name } = await heldLock();
    const client = await open('holdfast.v1.json');
    const wait = JSON.stringify({ id: 1, op: 'acquire', name, waitMs: 60_000 });
    client.ws.send(wait);
    await client.frame();
    client.ws.send(wait);
    expect(await jsonAnswers(client, 1)).toMatchObject([{ id: null, status: 400 }]);
    client.ws.send(
      JSON.stringify([
        { op: 'cancel', id: 1 },
        { op: 'cancel', id: 2 },
      ]),
    );
    expect(await jsonAnswers(client, 1)).toMatchObject([
      { id: 1, status: 409, code: 'cancelled', retryable: false },
    ]);
    expect(waitersOf(name)).toBe(0);
    client.ws.send(wait);
    expect(JSON.parse((await client.frame()).toString())).toMatchObject({ event: 'queued', id: 1 });
    client.ws.send('{"op":"cancel","id":1}');
    expect(await jsonAnswers(client, 1)).toMatchObject([{ id: 1, status: 409 }]);
    await sleep(20);
    expect(client.frames).toEqual([]);
  });

  test('cancel loses against a grant', async () => {
    const { name, path, lockToken } = await heldLock();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'acquire', name, waitMs: 60_000 }));
    await client.frame();
    rig.lane.silent = true;
    const released = release(path, lockToken);
    await sleep(30);
    client.ws.send('{"op":"cancel","id":1}');
    await sleep(30);
    rig.lane.speak();
    await released;
    expect(await jsonAnswers(client, 1)).toMatchObject([{ id: 1, status: 201 }]);
    await sleep(20);
    expect(client.frames).toEqual([]);
  });

  test('a socket that closes withdraws its waits and keeps its locks', async () => {
    const { name } = await heldLock();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 0, op: 'acquire', name: `${name}-kept` }));
    await jsonAnswers(client, 1);
    for (const id of [1, 2, 3]) {
      client.ws.send(JSON.stringify({ id, op: 'acquire', name, waitMs: 60_000 }));
      await client.frame();
    }
    expect(waitersOf(name)).toBe(3);
    client.ws.terminate();
    await until(() => waitersOf(name) === 0);
    expect(rig.lane.claims.has(Buffer.from(`${name}-kept`).toString('hex'))).toBe(true);
  });
});

describe('holdfast.v1.bin', () => {
  test('answers with the status 100, then the last one, under the id of the request', async () => {
    const { name, path, lockToken } = await heldLock();
    const client = await open('holdfast.v1.bin');
    client.ws.send(frameOf({ id: 7, name, waitMs: 60_000 }, { id: 8, name, waitMs: 60_000, token: BYTES }));
    const queued = await binaryAnswers(client, 2);
    expect(queued.map(({ id, status, sections }) => [id, status, sections])).toEqual([
      [7, Event.queued, Section.queue],
      [8, Event.queued, Section.queue],
    ]);
    expect(queued.map(({ answer }) => answer.queueLength)).toEqual([1, 2]);
    await release(path, lockToken);
    const [granted] = await binaryAnswers(client, 1);
    expect(granted).toMatchObject({ id: 7, status: 201, sections: Section.claim | Section.token });
    await release(path, granted.lockToken);
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({
      id: 8,
      status: 201,
      sections: Section.claim,
    });
  });

  test('cancel has no answer of its own, also for nothing', async () => {
    const { name } = await heldLock();
    const client = await open('holdfast.v1.bin');
    client.ws.send(frameOf({ id: 7, name, waitMs: 60_000 }));
    await binaryAnswers(client, 1);
    client.ws.send(
      frameOf({ kind: Kind.cancel, id: 7 }, { kind: Kind.cancel, id: 99 }, { kind: Kind.get, id: 9, name }),
    );
    const answers = await binaryAnswers(client, 2);
    expect(answers.map(({ id, code }) => [id, code]).sort()).toEqual([
      [7, CODES.cancelled.wire],
      [9, 0],
    ]);
    expect(waitersOf(name)).toBe(0);
  });

  test('an id is used again only when its request is answered', async () => {
    const { name } = await heldLock();
    const client = await open('holdfast.v1.bin');
    client.ws.send(frameOf({ id: 7, name, waitMs: 60_000 }, { id: 7, name, waitMs: 60_000, token: OTHER }));
    const answers = await binaryAnswers(client, 2);
    const byId = new Map(answers.map((answer) => [answer.id, answer]));
    expect(byId.get(NO_ID)).toMatchObject({ status: 400, code: CODES.bad_request.wire });
    expect(byId.get(7)).toMatchObject({ status: Event.queued });
    expect(waitersOf(name)).toBe(1);
    for (let round = 0; round < 3; round++) {
      client.ws.send(frameOf({ kind: Kind.cancel, id: 7 }));
      expect((await binaryAnswers(client, 1))[0]).toMatchObject({ id: 7, code: CODES.cancelled.wire });
      client.ws.send(frameOf({ id: 7, name, waitMs: 60_000 }));
      expect((await binaryAnswers(client, 1))[0]).toMatchObject({ id: 7, status: Event.queued });
    }
    // An answer of the wait before would have ended this one.
    expect(waitersOf(name)).toBe(1);
  });

  test('a wait does not count among the requests that have to be answered', async () => {
    const { name } = await heldLock();
    const short = await startRig({ requestTimeoutMs: 100 });
    const client = await Client.open(short.url, 'holdfast.v1.bin');
    try {
      await call(short, 'POST', `/v1/locks/${name}`, {});
      client.ws.send(frameOf({ id: 7, name, waitMs: 60_000 }, { kind: Kind.watch, id: 8, name }));
      await binaryAnswers(client, 2);
      const end = performance.now() + 2_500;
      for (let id = 100; performance.now() < end; id++) {
        client.ws.send(frameOf({ kind: Kind.get, id, name }));
        await sleep(50);
      }
      expect(client.closed).toBeUndefined();
      expect(short.front.connections.open).toBe(2);
    } finally {
      client.ws.terminate();
      short.stop();
    }
  });

  test('a socket that closes withdraws its waits', async () => {
    const { name } = await heldLock();
    const client = await open('holdfast.v1.bin');
    client.ws.send(frameOf({ id: 7, name, waitMs: 60_000 }, { kind: Kind.watch, id: 8, name }));
    await binaryAnswers(client, 2);
    client.ws.terminate();
    await until(() => rig.lane.queues.waiters.length + rig.lane.queues.watchers.length === 0);
  });

  test('the outcome of a wait is unknown: the token that the server made is told', async () => {
    const { name } = await heldLock();
    const client = await open('holdfast.v1.bin');
    rig.lane.failWith = 'outcome_unknown';
    client.ws.send(frameOf({ id: 7, name, waitMs: 100 }));
    const [answer] = await binaryAnswers(client, 1);
    expect(answer).toMatchObject({ id: 7, code: CODES.outcome_unknown.wire, sections: Section.token });
    expect(answer.lockToken).toMatch(/^[0-9a-f-]{36}$/);
  });
});

test('waiters of one queue over all three, and a slot that moves under them', async () => {
  const { name, path, lockToken } = await heldLock();
  const [json, binary] = [await open('holdfast.v1.json'), await open('holdfast.v1.bin')];
  json.ws.send(JSON.stringify({ id: 1, op: 'acquire', name, waitMs: 60_000 }));
  await json.frame();
  binary.ws.send(frameOf({ id: 2, name, waitMs: 60_000, flags: OpFlag.full }));
  await binaryAnswers(binary, 1);
  const http = call(rig, 'POST', path, { waitMs: 60_000 });
  await until(() => waitersOf(name) === 3);
  for (const i of [0, 1]) rig.announce(i, 'lost', slotsOf(i));
  for (const i of [0, 1]) rig.announce(i, 'owned', slotsOf(i));
  await until(() => rig.lane.queues.waiters.every(({ attachment }) => attachment !== undefined));
  await release(path, lockToken);
  const frames: Record<string, unknown>[] = [];
  while (frames.at(-1)?.status === undefined) frames.push(JSON.parse((await json.frame()).toString()));
  expect(frames.at(-1)).toMatchObject({ id: 1, status: 201 });
  await release(path, frames.at(-1)!.lockToken as string);
  const answers = await binaryAnswers(binary, 2);
  expect(answers.map(({ id, status }) => [id, status])).toEqual([
    [2, Event.queued],
    [2, 201],
  ]);
  await release(path, answers[1].lockToken);
  expect((await http).status).toBe(201);
});
