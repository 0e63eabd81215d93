/** Waits on one lane: who gets the lock when, what is told, and nothing before it is committed. */
import { describe, expect, it } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { LaneRig, REQUEST_TIMEOUT_MS, type RigLane, setLimits } from './rig.ts';
import { alone, claim, entries, holdUp, loseNext, release, SLOT, wait, Wait } from './standing-rig.ts';

describe('a wait', () => {
  it('is told its place, and gets the lock in the very commit that frees it', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const [second] = a.send([wait('second')]);
    const [third] = a.send([wait('third', { flags: ['full', 'madeToken'] })]);
    await rig.run(50);
    const queued = a.events.map(({ id, status, queueLength }) => [id, status, queueLength]);
    expect(queued).toEqual([
      [second, 100, 1],
      [third, 100, 2],
    ]);
    await rig.run(1_950);
    const before = entries(rig);
    expect(await a.ask(release('first'))).toMatchObject({ status: 204 });
    const said = a.answers.get(second)!;
    expect(said).toMatchObject({ status: 201, code: '', sections: ['claim'], ttlMs: 30_000 });
    expect(said.waitedMs).toBeGreaterThan(1_990);
    expect(said.waitedMs).toBeLessThan(2_050);
    // The TTL starts at the grant.
    expect(said.expiresInMs).toBeGreaterThan(29_950);
    expect(entries(rig) - before).toBe(1);
    expect(a.answers.has(third)).toBe(false);
    expect(await a.ask(release('second'))).toMatchObject({ status: 204 });
    expect(entries(rig) - before).toBe(2);
    const last = a.answers.get(third)!;
    expect(last).toMatchObject({ status: 201, sections: ['claim', 'token', 'labels'], owner: 'third' });
    expect(last.token.startsWith('third')).toBe(true);
    expect(last.fencingToken).toBeGreaterThan(said.fencingToken);
    rig.checkRun();
  });

  it('is served in the order in which it came, one commit each', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('0'));
    const ids = Array.from({ length: 50 }, (_, i) => a.send([wait(`${i + 1}`)])[0]);
    await rig.run(20);
    const before = entries(rig);
    const tokens: number[] = [];
    for (const [i, id] of ids.entries()) {
      await a.ask(release(`${i}`));
      expect(ids.map((one) => a.answers.has(one)).lastIndexOf(true)).toBe(i);
      tokens.push(a.answers.get(id)!.fencingToken);
    }
    expect(entries(rig) - before).toBe(50);
    expect(tokens).toEqual([...tokens].sort((x, y) => x - y));
    expect(new Set(tokens).size).toBe(50);
    rig.checkRun();
  });

  it('gets the lock when the claim before it runs out, and loses it by its own time', async () => {
    const { rig, a } = await alone();
    const first = await a.ask(claim('first', { ttlMs: 1_000 }));
    const [second] = a.send([wait('second', { ttlMs: 1_000 })]);
    await rig.run(1_000 + ttlPadMs(1_000) + 3 * LIMITS.laneTickMs);
    const said = a.answers.get(second)!;
    expect(said.status).toBe(201);
    expect(said.at - first.at).toBeGreaterThan(1_000);
    const [third] = a.send([wait('third')]);
    await rig.run(1_000 + ttlPadMs(1_000) + 3 * LIMITS.laneTickMs);
    expect(a.answers.get(third)).toMatchObject({ status: 201 });
    expect(await a.ask({ ...release('second'), kind: 'renew' })).toMatchObject({ code: 'not_held' });
    rig.checkRun();
  });

  it('that is over is told who holds the lock', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const [second] = a.send([wait('second', { waitMs: 700 })]);
    const sentAt = rig.now;
    expect(await rig.until(() => a.answers.has(second), 1_000)).toBe(true);
    expect(rig.now - sentAt).toBeGreaterThanOrEqual(700);
    expect(rig.now - sentAt).toBeLessThan(700 + 3 * LIMITS.laneTickMs);
    const said = a.answers.get(second)!;
    expect(said).toMatchObject({ status: 409, code: 'wait_timeout', sections: ['holder', 'queue'] });
    expect(said).toMatchObject({ owner: 'first', fencingToken: 1, retryAfterMs: LIMITS.retryAfterMs });
    expect(said.expiresInMs).toBeGreaterThan(29_000);
    // Its place is free.
    const [third] = a.send([wait('third')]);
    await rig.run(20);
    expect(a.events.at(-1)).toMatchObject({ id: third, status: 100, queueLength: 1 });
    rig.checkRun();
  });

  it('that is cancelled ends at once, and its place is free', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const op = wait('second');
    const [second] = a.send([op]);
    const [third] = a.send([wait('third')]);
    await rig.run(20);
    expect(await a.ask({ ...op, kind: 'cancel', attempt: op.attempt! + 1_000 })).toMatchObject({
      code: 'not_held',
    });
    expect(a.answers.has(second)).toBe(false);
    expect(await a.ask({ ...op, kind: 'cancel' })).toMatchObject({ status: 200 });
    expect(a.answers.get(second)).toMatchObject({ status: 409, code: 'cancelled' });
    await a.ask(release('first'));
    expect(a.answers.get(third)).toMatchObject({ status: 201 });
    expect(await a.ask({ ...op, kind: 'cancel' })).toMatchObject({ status: 410, code: 'not_held' });
    rig.checkRun();
  });

  it('that won against its cancel is held', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const op = wait('second');
    const [second] = a.send([op]);
    await rig.run(20);
    const [, cancel] = a.send([release('first'), { ...op, kind: 'cancel' }]);
    await rig.run(20);
    expect(a.answers.get(second)).toMatchObject({ status: 201 });
    expect(a.answers.get(cancel)).toMatchObject({ code: 'not_held' });
    rig.checkRun();
  });

  it('of a client that is gone is not granted, and keeps its place for a while', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const [second] = a.send([wait('second', { connection: 9 })]);
    const [third] = a.send([wait('third')]);
    await rig.run(20);
    a.lane.gone(9);
    await a.ask(release('first'));
    await rig.run(LIMITS.reattachMs - 200);
    expect([a.answers.has(second), a.answers.has(third)]).toEqual([false, false]);
    await rig.run(300);
    expect([a.answers.has(second), a.answers.has(third)]).toEqual([false, true]);
    expect(a.answers.get(third)).toMatchObject({ status: 201 });
    rig.checkRun();
  });

  it('of a client that comes back by another connection in time has its place', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    a.send([wait('second', { connection: 9 })]);
    const [third] = a.send([wait('third')]);
    await rig.run(20);
    a.lane.gone(9);
    await a.ask(release('first'));
    const [again] = a.send([wait('second', { connection: 10, flags: ['resumed'] })]);
    await rig.run(20);
    expect(a.answers.get(again)).toMatchObject({ status: 201, connection: 10 });
    expect(a.answers.has(third)).toBe(false);
    rig.checkRun();
  });
});

describe('nothing is told before it is committed', () => {
  it('neither a place in the queue nor a grant', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    let go = holdUp(a);
    const [second] = a.send([wait('second')]);
    await rig.run(100);
    expect(a.events).toEqual([]);
    go();
    await rig.run(10);
    expect(a.events).toMatchObject([{ id: second, status: 100 }]);
    go = holdUp(a);
    a.send([release('first')]);
    await rig.run(100);
    expect(a.answers.has(second)).toBe(false);
    go();
    await rig.run(10);
    expect(a.answers.get(second)).toMatchObject({ status: 201 });
    rig.checkRun();
  });

  it('and the time in which it must be told counts from the grant', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const [second] = a.send([wait('second')]);
    await rig.run(2 * REQUEST_TIMEOUT_MS);
    const go = holdUp(a);
    const [released] = a.send([release('first')]);
    await rig.run(REQUEST_TIMEOUT_MS - 500);
    expect([a.answers.has(second), a.answers.has(released)]).toEqual([false, false]);
    await rig.run(1_000);
    expect(a.answers.get(released)).toMatchObject({ code: 'outcome_unknown' });
    expect(a.answers.get(second)).toMatchObject({ code: 'outcome_unknown' });
    go();
    await rig.run(100);
    // It was granted all the same: a repeat tells.
    expect(await a.ask(claim('second'))).toMatchObject({ status: 200 });
    rig.checkRun();
  });
});

describe('a round that is lost', () => {
  it('leaves a grant unknown and ends every other wait once', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const [second] = a.send([wait('second')]);
    const [third] = a.send([wait('third')]);
    await rig.run(20);
    loseNext(rig, a);
    const [, fourth] = a.send([release('first'), wait('fourth')]);
    await rig.run(50);
    expect(a.answers.get(second)).toMatchObject({ status: 504, code: 'outcome_unknown' });
    expect(a.answers.get(third)).toMatchObject({ status: 503, code: 'moving' });
    // It was not told that it waits, and nothing was granted.
    expect(a.answers.get(fourth)).toMatchObject({ status: 503, code: 'moving' });
    expect(a.events.map(({ id }) => id)).toEqual([second, third]);
    rig.checkRun();
  });

  it('ends in the same order for who comes back', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const waits = ['second', 'third', 'fourth'].map((token) => new Wait(rig, wait(token)));
    for (const one of waits) one.send();
    await rig.run(20);
    loseNext(rig, a);
    a.send([release('first')]);
    await rig.run(2_000);
    expect(a.served.has(SLOT)).toBe(true);
    // The release did not get through.
    expect(waits.map(({ said }) => said)).toEqual([undefined, undefined, undefined]);
    expect(waits.map(({ codes }) => codes)).toEqual([['outcome_unknown'], ['moving'], ['moving']]);
    await a.ask(release('first'));
    await rig.run(20);
    expect(waits.map(({ said }) => said?.status)).toEqual([201, undefined, undefined]);
    await a.ask(release('second'));
    await rig.run(20);
    expect(waits.map(({ said }) => said?.status)).toEqual([201, 201, undefined]);
    rig.checkRun();
  });
});

describe('many waiters of a shared lock', () => {
  /** Lets them in; returns their ids, and that of an op that was sent when the lock had just come free. */
  async function letIn(): Promise<{
    rig: LaneRig;
    a: RigLane;
    ids: number[];
    other: number;
    commits: number;
  }> {
    const { rig, a } = await alone();
    await a.ask(claim('first'));
    const ids: number[] = [];
    for (let i = 0; i < LIMITS.waitersMax; i++) {
      ids.push(...a.send([wait(`s${i}`, { mode: 'shared' })]));
      if (i % 50 === 0) await rig.run(5);
    }
    await rig.run(200);
    expect(a.events).toHaveLength(ids.length);
    const before = entries(rig);
    a.send([release('first')]);
    const [other] = a.send([claim('other', { name: 'other lock' })]);
    expect(await rig.until(() => ids.every((id) => a.answers.has(id)), 2_000)).toBe(true);
    const commits = entries(rig) - before;
    for (const id of ids) expect(a.answers.get(id)).toMatchObject({ status: 201 });
    const { places } = await a.ask({ kind: 'get', slot: SLOT, name: 'lock' });
    expect(places.map(({ owner }) => owner)).toEqual(ids.map((_, i) => `s${i}`));
    for (const { expiresInMs } of places) expect(expiresInMs).toBeGreaterThan(29_000);
    return { rig, a, ids, other, commits };
  }

  it('come in with one commit', async () => {
    const { rig, a, ids } = await letIn();
    expect(new Set(ids.map((id) => a.answers.get(id)!.at)).size).toBe(1);
    rig.checkRun();
  });

  it('come in bit by bit when an entry has no room for all, other ops in between', async () => {
    setLimits({ entryBytesMax: 8 * 1024 });
    const { rig, a, ids, other, commits } = await letIn();
    expect(commits).toBeGreaterThan(1);
    expect(a.answers.get(other)!.at).toBeLessThanOrEqual(a.answers.get(ids.at(-1)!)!.at);
    const told = ids.map((id) => a.answers.get(id)!.at);
    expect(told).toEqual([...told].sort((x, y) => x - y));
    rig.checkRun();
  });
});

it('acquires are refused while the store is short of room, waits that come back are not', async () => {
  const { rig, lanes } = await LaneRig.settled('a', 'b');
  const [a, b] = lanes;
  const [slot] = a.served;
  await a.ask(claim('first', { slot }));
  const held = new Wait(rig, wait('second', { slot }));
  held.send();
  await rig.run(20);
  const status = b.connection.status.bind(b.connection);
  b.connection.status = async () => ({ ...(await status()), bytesInUse: 9, quotaBytes: 10 });
  await rig.run(LIMITS.statusEveryMs + 1_000);
  a.lane.reach(false);
  await rig.run(1_000);
  expect(b.served.has(slot)).toBe(true);
  expect(await b.ask(claim('new', { slot, name: 'another' }))).toMatchObject({ code: 'overloaded' });
  expect(held.codes).toEqual(['moving']);
  expect(held.positions).toEqual([1, 1]);
  expect(await b.ask(release('first', { slot }))).toMatchObject({ status: 204 });
  expect(held.said).toMatchObject({ status: 201 });
  rig.checkRun();
});
