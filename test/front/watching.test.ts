/** Watches, and what sockets hear of their claims. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { Event, Section } from '../../src/protocol/answer.ts';
import { call, expectProblem, expectQuiet } from './calls.ts';
import { type Rig, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';
const BYTES = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
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
  await until(() => rig.lane.queues.watchers.length === 0);
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

async function message(client: Client): Promise<Record<string, unknown>> {
  return JSON.parse((await client.frame()).toString()) as Record<string, unknown>;
}

const fresh = (): string => `watched-${names++}`;
const path = (name: string): string => `/v1/locks/${name}`;
const acquire = (name: string) => call(rig, 'POST', path(name), { lockToken: TOKEN });
const release = (name: string) =>
  call(rig, 'DELETE', path(name), undefined, { 'holdfast-lock-token': TOKEN });

describe('watch over JSON', () => {
  test('the answer once, then the state, then every change, until unwatch', async () => {
    const name = fresh();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'watch', name }));
    expect(await message(client)).toEqual({ id: 1, status: 200 });
    expect(await message(client)).toMatchObject({ event: 'changed', name, held: false, queueLength: 0 });
    await acquire(name);
    const held = await message(client);
    expect(held).toMatchObject({ event: 'changed', name, held: true, mode: 'exclusive' });
    expect(held).not.toHaveProperty('id');
    await release(name);
    expect(await message(client)).toMatchObject({ event: 'changed', held: false });
    client.ws.send(JSON.stringify({ id: 2, op: 'unwatch', name }));
    expect(await message(client)).toEqual({ id: 2, status: 200 });
    await until(() => rig.lane.queues.watchers.length === 0);
    await acquire(name);
    await sleep(20);
    expect(client.frames).toEqual([]);
    client.ws.send(JSON.stringify({ id: 3, op: 'unwatch', name }));
    expect(await message(client)).toEqual({ id: 3, status: 200 });
  });

  test('its id is free once it stands; the same name again begins with the state, once', async () => {
    const name = fresh();
    const client = await open('holdfast.v1.json');
    for (let round = 0; round < 3; round++) {
      client.ws.send(JSON.stringify({ id: 1, op: 'watch', name }));
      expect(await message(client)).toEqual({ id: 1, status: 200 });
      expect(await message(client)).toMatchObject({ event: 'changed', held: false });
    }
    await acquire(name);
    expect(await message(client)).toMatchObject({ event: 'changed', held: true });
    await sleep(20);
    expect(client.frames).toEqual([]);
    expect(rig.lane.queues.watchers.length).toBe(1);
  });

  test('in an array it is answered in one, before its first event', async () => {
    const client = await open('holdfast.v1.json');
    client.ws.send(
      JSON.stringify([
        { id: 1, op: 'watch', name: fresh() },
        { id: 2, op: 'watch', name: fresh() },
      ]),
    );
    const frames: unknown[] = [];
    while (frames.flat().length < 4) frames.push(await message(client));
    const flat = frames.flat() as Record<string, unknown>[];
    expect(flat.map(({ id, event }) => id ?? event).sort()).toEqual([1, 2, 'changed', 'changed']);
    expect(flat[0]).toMatchObject({ status: 200 });
    expect(frames.filter((frame) => !Array.isArray(frame)).length).toBe(2);
  });

  test('a slot that moves: it goes on, and no state is told twice', async () => {
    const name = fresh();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'watch', name }));
    await message(client);
    await message(client);
    rig.own(false);
    await sleep(40);
    rig.own(true);
    await until(() => rig.lane.queues.watchers.length === 1);
    await sleep(20);
    expect(client.frames).toEqual([]);
    await acquire(name);
    expect(await message(client)).toMatchObject({ event: 'changed', held: true });
  });

  test('that can’t stand is refused, and leaves nothing', async () => {
    const client = await open('holdfast.v1.json');
    rig.lane.failWith = 'overloaded';
    client.ws.send(JSON.stringify({ id: 1, op: 'watch', name: fresh() }));
    expect(await message(client)).toMatchObject({ id: 1, status: 503, code: 'overloaded' });
    rig.lane.failWith = undefined;
    rig.lane.silent = true;
    const name = fresh();
    client.ws.send(JSON.stringify({ id: 1, op: 'watch', name }));
    await sleep(20);
    client.ws.send(JSON.stringify({ id: 2, op: 'unwatch', name }));
    const answers = await jsonAnswers(client, 2);
    expect(answers.map(({ id, status }) => [id, status]).sort()).toEqual([
      [1, 409],
      [2, 200],
    ]);
    rig.lane.speak();
  });
});

describe('watch over the binary protocol', () => {
  test('states under its id, until it is cancelled', async () => {
    const name = fresh();
    const client = await open('holdfast.v1.bin');
    client.ws.send(frameOf({ kind: Kind.watch, id: 5, name }));
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({
      id: 5,
      status: Event.changed,
      sections: Section.state,
    });
    await acquire(name);
    const [held] = await binaryAnswers(client, 1);
    expect([held.id, held.status, held.answer.holderCount]).toEqual([5, Event.changed, 1]);
    client.ws.send(frameOf({ kind: Kind.cancel, id: 5 }));
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({ id: 5, code: CODES.cancelled.wire });
    await until(() => rig.lane.queues.watchers.length === 0);
    client.ws.send(frameOf({ kind: Kind.watch, id: 5, name }));
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({ id: 5, status: Event.changed });
  });
});

describe('who holds a lock hears', () => {
  test('over JSON, that somebody waits for it, and that it is lost', async () => {
    const name = fresh();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'acquire', name, lockToken: TOKEN }));
    await jsonAnswers(client, 1);
    const waiting = call(rig, 'POST', path(name), { waitMs: 60_000 });
    expect(await message(client)).toEqual({ event: 'contended', name });
    rig.lane.expire(name);
    expect(await message(client)).toEqual({ event: 'lost', name, lockToken: TOKEN, reason: 'expired' });
    expect((await waiting).status).toBe(201);
  });

  test('also when it was renewed there, and not acquired', async () => {
    const name = fresh();
    await acquire(name);
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'renew', name, lockToken: TOKEN }));
    await jsonAnswers(client, 1);
    await call(rig, 'DELETE', `${path(name)}?force=true&reason=because`);
    expect(await message(client)).toEqual({ event: 'lost', name, lockToken: TOKEN, reason: 'forced' });
  });

  test('over the binary protocol, if it asked for that', async () => {
    const [heard, unheard] = [fresh(), fresh()];
    const client = await open('holdfast.v1.bin');
    client.ws.send(
      frameOf(
        { id: 1, name: heard, token: BYTES, flags: OpFlag.events },
        { id: 2, name: unheard, token: BYTES },
      ),
    );
    await binaryAnswers(client, 2);
    rig.lane.expire(unheard);
    rig.lane.expire(heard);
    expect((await binaryAnswers(client, 1))[0]).toMatchObject({
      id: NO_ID,
      status: Event.expired,
      lockToken: TOKEN,
      detail: heard,
    });
    // Such a word is no answer: the count of those that are owed stays right.
    expect(rig.front.connections.open).toBe(0);
  });

  test('nothing once its socket is closed', async () => {
    const name = fresh();
    const client = await open('holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'acquire', name, lockToken: TOKEN }));
    await jsonAnswers(client, 1);
    client.ws.terminate();
    await client.end();
    await until(() => rig.front.sockets === 0);
    rig.lane.expire(name);
  });
});

describe('force', () => {
  test('releases whoever holds it, and says how many', async () => {
    const name = fresh();
    await acquire(name);
    expect((await call(rig, 'DELETE', `${path(name)}?force=true&reason=stuck`)).body).toEqual({
      released: 1,
    });
    expect((await call(rig, 'DELETE', `${path(name)}?reason=stuck&force=true`)).body).toEqual({
      released: 0,
    });
  });

  test('or the one that has the fencing token', async () => {
    const name = fresh();
    const { fencingToken } = (await acquire(name)).body as { fencingToken: number };
    const at = `${path(name)}?force=true&reason=stuck&fencingToken=`;
    expectProblem(await call(rig, 'DELETE', at + (fencingToken + 1)), 'not_held');
    expect((await call(rig, 'DELETE', at + fencingToken)).body).toEqual({ released: 1 });
    expectProblem(await call(rig, 'DELETE', at + fencingToken), 'not_held');
  });

  test('is sent once: a repeat could hit somebody else', async () => {
    rig.lane.failWith = 'outcome_unknown';
    const before = rig.lane.ops;
    expectProblem(await call(rig, 'DELETE', `${path(fresh())}?force=true&reason=x`), 'outcome_unknown');
    await sleep(60);
    expect(rig.lane.ops).toBe(before + 1);
  });

  test('over the binary protocol', async () => {
    const name = fresh();
    await acquire(name);
    const client = await open('holdfast.v1.bin');
    client.ws.send(frameOf({ kind: Kind.force, id: 4, name, metadata: 'stuck' }));
    const [answer] = await binaryAnswers(client, 1);
    expect([answer.id, answer.status, answer.answer.queueLength]).toEqual([4, 200, 1]);
  });
});
