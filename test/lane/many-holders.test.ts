/** Locks with several holders, as answers tell them: gets, refusals, listings, metrics. */
import { describe, expect, it } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { Answer, readPlace } from '../../src/protocol/answer.ts';
import { ListPage, readListEntry, readListPage } from '../../src/protocol/page.ts';
import { setLimits, type RigLane } from './rig.ts';
import { alone, claim, release, SLOT, wait } from './standing-rig.ts';
import type { LaneOp } from './words.ts';

const GET: LaneOp = { kind: 'get', slot: SLOT, name: 'lock' };

function places(token: string, limit = 3): LaneOp {
  return claim(token, { mode: 'semaphore', limit });
}

describe('a lock with several holders', () => {
  it('is told whole, oldest first, each with its own time', async () => {
    const { rig, a } = await alone();
    for (const token of ['a', 'b', 'c']) {
      expect(await a.ask(places(token))).toMatchObject({ status: 201 });
      await rig.run(1_000);
    }
    const said = await a.ask(places('d'));
    expect(said).toMatchObject({
      status: 409,
      code: 'lock_held',
      owner: 'a',
      mode: 'semaphore',
      queueLength: 0,
    });
    const state = await a.ask(GET);
    expect(state).toMatchObject({ status: 200, sections: ['state'], limit: 3 });
    expect(state.places.map(({ owner }) => owner)).toEqual(['a', 'b', 'c']);
    const left = state.places.map(({ expiresInMs }) => Math.round(expiresInMs / 1_000));
    expect(left).toEqual([27, 28, 29]);
    expect(await a.ask(release('b'))).toMatchObject({ status: 204 });
    expect((await a.ask(GET)).places.map(({ owner }) => owner)).toEqual(['a', 'c']);
    const forced = await a.ask({
      kind: 'force',
      slot: SLOT,
      name: 'lock',
      fencingToken: state.places[0].fencingToken,
    });
    expect(forced).toMatchObject({ status: 200, queueLength: 1 });
    expect((await a.ask(GET)).places.map(({ owner }) => owner)).toEqual(['c']);
    expect(await a.ask({ kind: 'force', slot: SLOT, name: 'lock', fencingToken: 1 })).toMatchObject({
      code: 'not_held',
    });
    rig.checkRun();
  });

  it('of another kind is refused with what is in force', async () => {
    const { rig, a } = await alone();
    await a.ask(places('a'));
    const said = await a.ask(claim('b'));
    expect(said).toMatchObject({ status: 409, code: 'mode_conflict', owner: 'a', fencingToken: 1 });
    expect(said).toMatchObject({
      detail: 'The lock is in use as a semaphore with limit 3.',
      mode: 'semaphore',
    });
    expect(said.expiresInMs).toBeGreaterThan(29_000);
    expect(await a.ask(places('b', 4))).toMatchObject({ code: 'mode_conflict' });
    await a.ask(release('a'));
    await a.ask(claim('c', { mode: 'shared' }));
    expect((await a.ask(places('b'))).detail).toBe('The lock is in use as an exclusive or shared lock.');
    rig.checkRun();
  });

  it('shared: waits for the exclusive one before it, and comes in with all of its kind', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('a', { mode: 'shared' }));
    const [b] = a.send([wait('b')]);
    await rig.run(20);
    expect(await a.ask(claim('c', { mode: 'shared' }))).toMatchObject({ code: 'lock_held', queueLength: 1 });
    const [c, d] = a.send([wait('c', { mode: 'shared' }), wait('d', { mode: 'shared' })]);
    await a.ask(release('a'));
    expect([a.answers.has(b), a.answers.has(c), a.answers.has(d)]).toEqual([true, false, false]);
    await a.ask(release('b'));
    expect(a.answers.get(c)).toMatchObject({ status: 201 });
    expect(a.answers.get(d)).toMatchObject({ status: 201 });
    rig.checkRun();
  });

  it("with a delay is nobody's for as long, then the next one's", async () => {
    const { rig, a } = await alone();
    await a.ask(claim('a', { ttlMs: 1_000, lockDelayMs: 2_000 }));
    const [b] = a.send([wait('b')]);
    await rig.run(1_000 + ttlPadMs(1_000) + 100);
    expect(a.answers.has(b)).toBe(false);
    const said = await a.ask(claim('c'));
    expect(said).toMatchObject({ code: 'lock_held', sections: ['queue'], queueLength: 1 });
    await rig.run(2_000);
    expect(a.answers.get(b)).toMatchObject({ status: 201 });
    rig.checkRun();
  });
});

interface Listed {
  readonly name: string;
  readonly owners: readonly string[];
  readonly queueLength: number;
}

async function list(a: RigLane, more: Partial<LaneOp> = {}): Promise<{ locks: Listed[]; next: number }> {
  const op: LaneOp = { kind: 'list', slot: 0, name: '', ttlMs: 100, ...more };
  const said = await a.ask(op);
  expect(said).toMatchObject({ status: 200, sections: ['detail'] });
  const bytes = new Uint8Array(Buffer.from(said.detail, 'latin1'));
  const source = { bytes, view: new DataView(bytes.buffer), length: bytes.length };
  const [page, state] = [new ListPage(), new Answer()];
  let at = readListPage(source, 0, bytes.length, page);
  const text = (from: number, length: number): string =>
    Buffer.from(bytes.subarray(from, from + length)).toString();
  const locks: Listed[] = [];
  for (let i = 0; i < page.count; i++) {
    at = readListEntry(source, at, bytes.length, page, state);
    const owners: string[] = [];
    let place = state.placesAt;
    for (let holder = 0; holder < state.holderCount; holder++) {
      place = readPlace(source, place, bytes.length, state);
      owners.push(text(state.ownerAt, state.ownerLength));
    }
    locks.push({ name: text(page.keyAt, page.keyLength), owners, queueLength: state.queueLength });
  }
  return { locks, next: page.next };
}

describe('a listing', () => {
  it('shows every holder of a lock, found by any of them, and nothing that is no lock', async () => {
    const { rig, a } = await alone();
    for (const token of ['a', 'b']) await a.ask(places(token));
    a.send([{ ...wait('x', { name: 'other' }) }]);
    await a.ask(claim('y', { name: 'third', batch: 'uuid:batch' }));
    await a.ask({ kind: 'sessionOpen', slot: SLOT, name: '', session: 'uuid:s', ttlMs: 5_000 });
    await a.ask(claim('z', { name: 'zz', session: 'uuid:s', flags: ['newStub'] }));
    const all = [
      { name: 'lock', owners: ['a', 'b'], queueLength: 0 },
      { name: 'other', owners: ['x'], queueLength: 0 },
      { name: 'zz', owners: ['z'], queueLength: 0 },
    ];
    expect((await list(a)).locks).toEqual(all);
    expect((await list(a, { owner: 'b' })).locks).toEqual(all.slice(0, 1));
    expect((await list(a, { owner: 'y' })).locks).toEqual([]);
    expect((await list(a, { ttlMs: 2 })).locks).toEqual(all.slice(0, 2));
    rig.checkRun();
  });

  it('ends a page early when it is long, and goes on behind it', async () => {
    const { rig, a } = await alone();
    setLimits({ listPageBytesMax: 200 });
    const names = Array.from({ length: 20 }, (_, i) => `lock ${String(i).padStart(2, '0')}`);
    for (const name of names) await a.ask(claim('a', { name }));
    const found: string[] = [];
    let more: Partial<LaneOp> = {};
    for (let pages = 0; pages < 30; pages++) {
      const { locks, next } = await list(a, more);
      found.push(...locks.map(({ name }) => name));
      if (next !== SLOT) break;
      expect(locks.length).toBeLessThan(10);
      more = { fencingToken: next, metadata: found.at(-1)! };
    }
    expect(found).toEqual(names);
    rig.checkRun();
  });
});

it('holders and waiters are counted, and how long both took', async () => {
  const { rig, a } = await alone();
  for (const token of ['a', 'b']) await a.ask(places(token, 2));
  a.send([wait('c', { mode: 'semaphore', limit: 2 }), wait('d', { mode: 'semaphore', limit: 2 })]);
  await rig.run(LIMITS.termPollAloneMs + 100);
  expect([a.counters.held(0), a.counters.waiters(0)]).toEqual([2, 2]);
  await a.ask(release('a'));
  await rig.run(LIMITS.termPollAloneMs + 100);
  expect([a.counters.held(0), a.counters.waiters(0)]).toEqual([2, 1]);
  const sums = (add: (into: Float64Array) => void): [number, number] => {
    const into = new Float64Array(20);
    add(into);
    return [into.subarray(0, 19).reduce((sum, n) => sum + n, 0), into[19]];
  };
  const waits = sums((into) => a.counters.addWaits(into));
  expect(waits[0]).toBe(1);
  expect(waits[1]).toBeGreaterThan(900);
  expect(sums((into) => a.counters.addHolds(into))[0]).toBe(1);
  rig.checkRun();
});
