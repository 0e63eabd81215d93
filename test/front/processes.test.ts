/** Several fronts that forward to each other over real links. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind } from '../../src/op.ts';
import { call, expectProblem, TOKEN, withToken } from './calls.ts';
import { give, introduce, raw, type Rig, type RigOptions, slotsOf, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

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

async function until(done: () => boolean, ms = 3_000): Promise<void> {
  const end = performance.now() + ms;
  while (!done() && performance.now() < end) await sleep(5);
  expect(done()).toBe(true);
}

async function open(rig: Rig, protocol: string): Promise<Client> {
  const client = await Client.open(rig.url, protocol);
  clients.push(client);
  return client;
}

test('any process answers any request, as the owner would', async () => {
  const [front, owner] = await start(2);
  const granted = await call(front, 'POST', '/v1/locks/a', { ttlMs: 20_000, owner: 'me' });
  expect(granted.status).toBe(201);
  expect(granted.body).toMatchObject({ name: 'a', owner: 'me', ttlMs: 20_000, mode: 'exclusive' });
  const { lockToken } = granted.body as { lockToken: string };
  const repeat = await call(owner, 'POST', '/v1/locks/a', { lockToken, ttlMs: 20_000 });
  expect([repeat.status, repeat.body.fencingToken]).toEqual([200, granted.body.fencingToken]);
  expect((await call(front, 'POST', '/v1/locks/a', {})).body).toMatchObject({ code: 'lock_held' });
  const results = await call(front, 'POST', '/v1/batch', {
    ops: [
      { op: 'acquire', name: 'b', lockToken: TOKEN },
      { op: 'release', name: 'b', lockToken: TOKEN },
      { op: 'verify', name: 'a', lockToken },
    ],
  });
  expect(results.body).toMatchObject({ results: [{ status: 201 }, { status: 204 }, { current: true }] });
  expect(owner.front.sockets).toBe(0);
  expect(front.lane.ops).toBe(0);
  expect((await call(front, 'DELETE', '/v1/locks/a', undefined, withToken)).body.code).toBe('not_held');
});

test('on sockets too, in the order in which a client sent them', async () => {
  const [front] = await start(2);
  const [json, binary] = [await open(front, 'holdfast.v1.json'), await open(front, 'holdfast.v1.bin')];
  json.ws.send(`{"id":"x","op":"acquire","name":"j","lockToken":"${TOKEN}"}`);
  expect((await jsonAnswers(json, 1))[0]).toMatchObject({ id: 'x', status: 201, lockToken: TOKEN });
  const token = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
  for (let round = 0; round < 50; round++) {
    binary.ws.send(frameOf({ kind: Kind.acquire, id: 2 * round, name: 'k', token }));
    binary.ws.send(frameOf({ kind: Kind.release, id: 2 * round + 1, name: 'k', token }));
  }
  const answers = await binaryAnswers(binary, 100);
  const statuses = answers.sort((a, b) => a.id - b.id).map(({ status }) => status);
  expect(statuses).toEqual(Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? 201 : 204)));
});

test('requests wait while a slot is between two processes, and keep their order', async () => {
  const [front, first, second] = await start(3);
  for (const i of [0, 1]) second.announce(i, 'lost', slotsOf(i));
  const binary = await open(front, 'holdfast.v1.bin');
  const token = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
  const send = (id: number): void =>
    binary.ws.send(frameOf({ kind: id % 2 === 0 ? Kind.acquire : Kind.release, id, name: 'k', token }));
  for (let id = 0; id < 10; id++) send(id);
  await sleep(60);
  for (const i of [0, 1]) give([second, front], i, first);
  for (let id = 10; id < 20; id++) send(id);
  await sleep(60);
  expect(binary.frames).toEqual([]);
  for (const i of [0, 1]) give([first], i, first);
  first.own(true);
  const answers = await binaryAnswers(binary, 20);
  const statuses = answers.sort((a, b) => a.id - b.id).map(({ status }) => status);
  expect(statuses).toEqual(Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? 201 : 204)));
  expect(second.lane.ops).toBe(0);
});

test('the heir of an owner that is gone knows for which slots requests wait in other processes', async () => {
  const [front, heir, owner] = await start(3);
  for (const i of [0, 1]) give([front, heir], i, undefined);
  const waiting = [call(front, 'POST', '/v1/locks/a', {}), call(heir, 'POST', '/v1/locks/b', {})];
  await until(() => heir.lanesHear.at(-1)?.length === 2);
  expect(heir.lanesHear.at(-1)).toEqual(
    [...front.routing.wanted(), ...heir.routing.wanted()].sort((a, b) => a - b),
  );
  await until(() => front.lanesHear.at(-1)?.length === 2);
  for (const i of [0, 1]) give([front, heir], i, owner);
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([201, 201]);
  await until(() => heir.lanesHear.at(-1)?.length === 0);
});

test('what the owner leaves unanswered is of unknown outcome, or not there for reads', async () => {
  const [front, owner] = await start(2, { requestTimeoutMs: 300 });
  owner.lane.silent = true;
  const answers = await Promise.all([
    call(front, 'POST', '/v1/locks/a', { lockToken: TOKEN }),
    call(front, 'GET', '/v1/locks/a'),
  ]);
  expect(answers[0].body).toMatchObject({ code: 'outcome_unknown', lockToken: TOKEN });
  expectProblem(answers[1], 'shard_unavailable');
  expect(front.front.connections.open).toBe(0);
});

test('the cluster: owners and processes, whoever is asked', async () => {
  const [front, owner] = await start(2);
  give(rigs, 0, front, Uint16Array.of(1, 2, 3));
  owner.announce(0, 'lost', Uint16Array.of(1, 2, 3));
  front.announce(0, 'owned', Uint16Array.of(1, 2, 3));
  for (const rig of rigs) {
    const { body } = await call(rig, 'GET', '/v1/cluster');
    expect(body).toMatchObject({ process: { id: rig.id, version: '9.9.9' }, slots: 4_096 });
    const self = rig === front;
    const processes = [
      { id: 'p1', self, ...(!self && { address: `127.0.0.1:${front.port}`, link: 'up' }) },
      { id: 'p2', self: !self, ...(self && { address: `127.0.0.1:${owner.port}`, link: 'up' }) },
    ];
    expect(body.processes).toMatchObject(self ? processes : [processes[1], processes[0]]);
    const [s0, s1] = body.shards as { owners: { process: string; slots: number }[]; slots: number }[];
    const ownersOf = (shard: typeof s0) =>
      shard.owners.map(({ process, slots }) => `${process} ${slots}`).sort();
    expect([s0.slots, ownersOf(s0)]).toEqual([2_048, ['p1 3', 'p2 2045']]);
    expect([s1.slots, ownersOf(s1)]).toEqual([2_048, ['p2 2048']]);
    expect(s0.owners[0]).toMatchObject({ lane: 0, state: 'serving' });
  }
});

describe('a list over several processes', () => {
  const NAMES = Array.from({ length: 200 }, (_, i) => `list-${i}`);

  async function listAll(rig: Rig, limit: number): Promise<string[]> {
    const names: string[] = [];
    let cursor = '';
    do {
      const { status, body } = await call(rig, 'GET', `/v1/locks?limit=${limit}${cursor}`);
      expect(status).toBe(200);
      names.push(...(body.locks as { name: string }[]).map(({ name }) => name));
      cursor = body.nextCursor === undefined ? '' : `&cursor=${String(body.nextCursor)}`;
    } while (cursor !== '');
    return names;
  }

  /** p2 owns s0, p3 owns s1. */
  async function startThree(): Promise<Rig[]> {
    await start(3);
    const [front, first, second] = rigs;
    second.announce(0, 'lost', slotsOf(0));
    give(rigs, 0, first);
    first.announce(0, 'owned', slotsOf(0));
    const ops = NAMES.map((name) => ({ op: 'acquire', name }));
    await call(front, 'POST', '/v1/batch', { ops });
    return rigs;
  }

  test('has every lock once, whoever is asked', async () => {
    const [front, first, second] = await startThree();
    expect(first.lane.claims.size).toBeGreaterThan(50);
    expect(first.lane.claims.size + second.lane.claims.size).toBe(NAMES.length);
    for (const rig of [front, first, second]) {
      for (const limit of [1_000, 7]) expect((await listAll(rig, limit)).sort()).toEqual([...NAMES].sort());
    }
  });

  test('takes a slot that two speak for from one of them, and does not leave one out', async () => {
    const [front, first, second] = await startThree();
    // Moved while the list was made: the second one's page speaks for it as well.
    const [moved] = [...first.lane.claims.values()].map(({ slot }) => slot);
    second.lane.alsoCovers.add(moved);
    for (const [key, claim] of first.lane.claims)
      if (claim.slot === moved) second.lane.claims.set(key, claim);
    expect((await listAll(front, 1_000)).sort()).toEqual([...NAMES].sort());
    first.lane.uncovered.add(moved);
    expect((await listAll(front, 1_000)).sort()).toEqual([...NAMES].sort());
    second.lane.alsoCovers.clear();
    expectProblem(await call(front, 'GET', '/v1/locks'), 'shard_unavailable');
    // What lies behind the gap is no part of a page that ends before it.
    const [before] = [...first.lane.claims.values()].filter(({ slot }) => slot < moved);
    if (before !== undefined) expect((await call(front, 'GET', '/v1/locks?limit=1')).status).toBe(200);
  });

  test('is none when a process that owns slots cannot be asked', async () => {
    const [front, first] = await startThree();
    mayLog = /link/;
    first.stop();
    await until(() => linksOf(front).some((link) => link !== 'up'));
    expectProblem(await call(front, 'GET', '/v1/locks'), 'shard_unavailable');
  });
});

describe('peers', () => {
  test(
    'a process that lost touch with most others says so, and when it is over',
    { timeout: 20_000 },
    async () => {
      mayLog = /reach|link/;
      const [one, two] = await start(2);
      // Others that nobody has heard of here.
      const gone = { ...one, id: 'p8', port: 1 };
      introduce(one, two, gone as Rig, { ...gone, id: 'p9' } as Rig);
      await until(() => one.reached.length > 0, LIMITS.isolatedAfterMs + 2_000);
      expect(one.reached).toEqual([false]);
      introduce(one, two);
      await until(() => one.reached.length > 1);
      expect(one.reached).toEqual([false, true]);
    },
  );

  test('another key, a web page: they are not let in, and clients never see it', async () => {
    const [one, two] = [
      await startRig({ key: Buffer.from('a'.repeat(32)) }),
      await startRig({ process: 2, owned: false }),
    ];
    rigs.push(one, two);
    mayLog = /link/;
    introduce(one, two);
    await sleep(300);
    expect([linksOf(one), linksOf(two)].flat()).not.toContain('up');
    const request = `GET /v1/peer HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n`;
    const { text } = await raw(one.port, `${request}Origin: http://x\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 403 .*"code":"forbidden"/s);
    expect((await call(one, 'GET', '/v1/peer')).status).toBe(404);
    expect(one.front.sockets).toBe(0);
  });

  test('shutdown: clients are refused, what others forward is taken until the slots are theirs', async () => {
    const [front, owner] = await start(2);
    owner.front.refuseClients();
    await expect(raw(owner.port, '')).rejects.toThrow(/ECONNREFUSED/);
    expect((await call(front, 'POST', '/v1/locks/a', { lockToken: TOKEN })).status).toBe(201);
    owner.lane.silent = true;
    const inFlight = call(front, 'GET', '/v1/locks/a');
    await until(() => owner.front.connections.open === 1);
    const drained = owner.front.drain(2_000);
    // Handed over: the other one goes on.
    for (const i of [0, 1]) {
      owner.announce(i, 'lost', slotsOf(i));
      give(rigs, i, front);
      front.announce(i, 'owned', slotsOf(i));
    }
    expect((await call(front, 'POST', '/v1/locks/b', { lockToken: TOKEN })).status).toBe(201);
    expect(front.lane.ops).toBe(1);
    owner.lane.speak();
    expect((await inFlight).body).toMatchObject({ held: true });
    await drained;
  });
});
