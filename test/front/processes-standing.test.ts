/** Waits, watches and events between several fronts, over real links. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Kind, OpFlag } from '../../src/op.ts';
import { Event } from '../../src/protocol/answer.ts';
import { call, TOKEN, withToken } from './calls.ts';
import { give, introduce, type Rig, type RigOptions, slotsOf, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

const BYTES = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
const rigs: Rig[] = [];
const clients: Client[] = [];
/** What may be in the log at the end. */
let mayLog: RegExp | undefined;

beforeEach(() => {
  mayLog = undefined;
});

afterEach(async () => {
  for (const { ws } of clients.splice(0)) ws.terminate();
  const stopped = rigs.splice(0);
  for (const rig of stopped) expect(rig.logged.filter((line) => mayLog?.test(line) !== true)).toEqual([]);
  for (const rig of stopped) rig.stop();
  await sleep(20);
});

/** So many processes; the last one owns everything. */
async function start(count: number, options: RigOptions = {}): Promise<Rig[]> {
  for (let process = 1; process <= count; process++) {
    rigs.push(await startRig({ owned: process === count, process, ...options }));
  }
  introduce(...rigs);
  for (const i of [0, 1]) give(rigs, i, rigs[count - 1]);
  await until(() => rigs.every((rig) => linksOf(rig).every((link) => link === 'up')));
  return rigs;
}

function linksOf({ front }: Rig): string[] {
  const { processes } = JSON.parse(front.cluster.report()) as { processes: { link?: string }[] };
  return processes.flatMap(({ link }) => link ?? []);
}

async function until(done: () => boolean, ms = 4_000): Promise<void> {
  const end = performance.now() + ms;
  while (!done() && performance.now() < end) await sleep(5);
  expect(done()).toBe(true);
}

async function open(rig: Rig, protocol: string): Promise<Client> {
  const client = await Client.open(rig.url, protocol);
  clients.push(client);
  return client;
}

async function message(client: Client): Promise<Record<string, unknown>> {
  return JSON.parse((await client.frame()).toString()) as Record<string, unknown>;
}

const waitersAt = ({ lane }: Rig): number =>
  lane.queues.waiters.filter(({ attachment }) => attachment !== undefined).length;

test('a wait at another process is granted there, and no request or forward is left open', async () => {
  const [front, owner] = await start(2);
  await call(owner, 'POST', '/v1/locks/a', { lockToken: TOKEN });
  const waiting = call(front, 'POST', '/v1/locks/a', { waitMs: 60_000 });
  await until(() => waitersAt(owner) === 1);
  await until(() => front.front.connections.open === 1 && owner.front.connections.open === 0);
  const stood = performance.now();
  await sleep(50);
  const waitedMs = Math.floor(performance.now() - stood);
  await call(front, 'DELETE', '/v1/locks/a', undefined, withToken);
  const granted = await waiting;
  expect(granted.status).toBe(201);
  expect(granted.body.waitedMs).toBeGreaterThanOrEqual(waitedMs);
  expect(front.front.connections.open).toBe(0);
});

test('a client that goes away withdraws its wait at another process', async () => {
  const [front, owner] = await start(2);
  await call(owner, 'POST', '/v1/locks/a', { lockToken: TOKEN });
  const json = await open(front, 'holdfast.v1.json');
  json.ws.send('[{"id":1,"op":"acquire","name":"a","waitMs":60000},{"id":2,"op":"watch","name":"a"}]');
  await until(() => waitersAt(owner) === 1 && owner.lane.queues.watchers.length === 1);
  json.ws.terminate();
  await until(() => owner.lane.queues.waiters.length === 0 && owner.lane.queues.watchers.length === 0);
  await until(() => front.front.connections.open === 0);
});

test('claims and watches of another process: its sockets hear of them', async () => {
  const [front, owner] = await start(2);
  const [json, binary] = [await open(front, 'holdfast.v1.json'), await open(front, 'holdfast.v1.bin')];
  json.ws.send(`{"id":1,"op":"acquire","name":"a","lockToken":"${TOKEN}"}`);
  await jsonAnswers(json, 1);
  binary.ws.send(frameOf({ id: 2, name: 'b', token: BYTES, flags: OpFlag.events }));
  await binaryAnswers(binary, 1);
  binary.ws.send(frameOf({ kind: Kind.watch, id: 3, name: 'a' }));
  expect((await binaryAnswers(binary, 1))[0]).toMatchObject({ id: 3, status: Event.changed });
  const waiting = call(owner, 'POST', '/v1/locks/a', { waitMs: 60_000 });
  expect(await message(json)).toEqual({ event: 'contended', name: 'a' });
  owner.lane.expire('a');
  expect(await message(json)).toEqual({ event: 'lost', name: 'a', lockToken: TOKEN, reason: 'expired' });
  owner.lane.expire('b');
  const answers = await binaryAnswers(binary, 3);
  expect(answers.map(({ id, status }) => [id, status])).toContainEqual([0xffff_ffff, Event.expired]);
  expect((await waiting).status).toBe(201);
  expect([front, owner].map((rig) => rig.front.connections.open)).toEqual([1, 0]);
});

test('a slot that moves to another process takes its waits and watches along', async () => {
  const [front, first, second] = await start(3);
  await call(second, 'POST', '/v1/locks/a', { lockToken: TOKEN });
  const json = await open(front, 'holdfast.v1.json');
  json.ws.send('{"id":1,"op":"acquire","name":"a","waitMs":60000}');
  expect(await message(json)).toEqual({ event: 'queued', id: 1, position: 1 });
  json.ws.send('{"id":2,"op":"watch","name":"a"}');
  await json.until(() => json.frames.length === 2);
  json.frames.length = 0;
  // The state goes along, as with a real hand-over.
  for (const [key, claim] of second.lane.claims) first.lane.claims.set(key, claim);
  for (const i of [0, 1]) second.announce(i, 'lost', slotsOf(i));
  for (const i of [0, 1]) give([front, second], i, first);
  for (const i of [0, 1]) give([first], i, first);
  first.own(true);
  await until(() => waitersAt(first) === 1 && first.lane.queues.watchers.length === 1);
  await call(second, 'DELETE', '/v1/locks/a', undefined, withToken);
  const seen: Record<string, unknown>[] = [];
  while (!seen.some(({ status }) => status === 201)) seen.push(await message(json));
  expect(seen.find(({ status }) => status === 201)).toMatchObject({ id: 1 });
  await json.until(() => json.frames.length > 0 || seen.some(({ event }) => event === 'changed'));
});

test('an owner that seems gone for a moment: waits find their places again', async () => {
  const [front, owner] = await start(2);
  mayLog = /link/;
  await call(owner, 'POST', '/v1/locks/a', { lockToken: TOKEN });
  const waiting = [1, 2].map((i) => call(front, 'POST', '/v1/locks/a', { waitMs: 60_000, owner: `w${i}` }));
  await until(() => waitersAt(owner) === 2);
  // As far as anybody knows here the owner is gone: what stands with it is given up.
  front.front.laneMessage(0, { kind: 'terms', shard: 's0', terms: [] });
  front.front.laneMessage(0, { kind: 'terms', shard: 's1', terms: [] });
  await sleep(50);
  introduce(...rigs);
  for (const i of [0, 1]) give(rigs, i, owner);
  await until(() => waitersAt(owner) === 2);
  expect(owner.lane.queues.waiters.length).toBe(2);
  await call(owner, 'DELETE', '/v1/locks/a', undefined, withToken);
  const first = await Promise.race(waiting);
  expect(first.status).toBe(201);
  await call(owner, 'DELETE', '/v1/locks/a', undefined, {
    'holdfast-lock-token': first.body.lockToken as string,
  });
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([201, 201]);
});

test('a process that dies takes its waits along: nobody is granted anything for its clients', async () => {
  const [front, owner] = await start(2);
  mayLog = /link/;
  await call(owner, 'POST', '/v1/locks/a', { lockToken: TOKEN });
  const gone = call(front, 'POST', '/v1/locks/a', { waitMs: 60_000 }).catch(() => undefined);
  await until(() => waitersAt(owner) === 1);
  front.stop();
  await gone;
  await until(() => waitersAt(owner) === 0);
  await call(owner, 'DELETE', '/v1/locks/a', undefined, withToken);
  expect((await call(owner, 'GET', '/v1/locks/a')).body).toMatchObject({ held: false });
});
