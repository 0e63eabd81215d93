/** Sessions at home and as stubs elsewhere, and atomic batches, as their coordinators see them. */
import { describe, expect, it } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import { LaneRig, type RigLane, SOON_MS } from './rig.ts';
import { tokenBytes } from '../lock/op-words.ts';
import { alone, claim, entries, release, SLOT, wait } from './standing-rig.ts';
import type { LaneOp, Said } from './words.ts';

const HOME = 9;
const ID = 'uuid:session';

function home(kind: LaneOp['kind'], more: Partial<LaneOp> = {}): LaneOp {
  return { kind, slot: HOME, name: '', session: ID, ...more };
}

function stub(kind: LaneOp['kind'], more: Partial<LaneOp> = {}): LaneOp {
  return { kind, slot: SLOT, name: '', session: ID, ...more };
}

function bound(token: string, more: Partial<LaneOp> = {}): LaneOp {
  return claim(token, { name: `lock of ${token}`, session: ID, ttlMs: 5_000, ...more });
}

/** By slot: the state that the detail of an answer of the session's home names. */
function slotsIn({ detail }: Said): Map<number, number> {
  const bytes = Buffer.from(detail, 'latin1');
  expect(bytes.length % 3).toBe(0);
  const slots = new Map<number, number>();
  for (let at = 0; at < bytes.length; at += 3) slots.set(bytes.readUInt16LE(at), bytes[at + 2]);
  return slots;
}

async function held(a: RigLane, name: string): Promise<boolean> {
  return (await a.ask({ kind: 'get', slot: SLOT, name })).places.length > 0;
}

describe('a session at its home', () => {
  it('is opened, joined, renewed, shown and ended', async () => {
    const { rig, a } = await alone();
    const opened = await a.ask(home('sessionOpen', { ttlMs: 5_000, owner: 'me' }));
    expect(opened).toMatchObject({ status: 201, sections: ['claim'], fencingToken: 0, ttlMs: 5_000 });
    expect(opened.expiresInMs).toBeGreaterThan(4_900);
    expect(await a.ask(home('sessionOpen', { ttlMs: 5_000, owner: 'me' }))).toMatchObject({ status: 200 });
    const joined = await a.ask(home('sessionJoin', { fencingToken: SLOT }));
    expect(joined).toMatchObject({ status: 200, ttlMs: 5_000, detail: '\0' });
    expect(joined.sections).toEqual(['claim', 'detail']);
    expect(await a.ask(home('sessionActivate', { fencingToken: SLOT }))).toMatchObject({ status: 200 });
    expect(await a.ask(home('sessionJoin', { fencingToken: SLOT }))).toMatchObject({ detail: '\u0001' });
    await a.ask(home('sessionJoin', { fencingToken: 300 }));
    await rig.run(2_000);
    const shown = await a.ask(home('sessionGet'));
    expect(shown).toMatchObject({ status: 200, sections: ['claim', 'labels', 'detail'], owner: 'me' });
    expect(shown.expiresInMs).toBeLessThan(3_100);
    expect(shown.expiresInMs).toBeGreaterThan(2_800);
    const renewed = await a.ask(home('sessionRenew'));
    expect(renewed).toMatchObject({ status: 200, sections: ['claim', 'detail'], ttlMs: 5_000 });
    expect(renewed.expiresInMs).toBeGreaterThan(4_900);
    expect(slotsIn(renewed)).toEqual(
      new Map([
        [SLOT, 1],
        [300, 0],
      ]),
    );
    const ended = await a.ask(home('sessionEnd'));
    expect(ended.status).toBe(200);
    expect(slotsIn(ended)).toEqual(slotsIn(renewed));
    for (const kind of ['sessionRenew', 'sessionGet', 'sessionJoin', 'sessionActivate'] as const) {
      const said = await a.ask(home(kind, { fencingToken: SLOT }));
      expect(said).toMatchObject({ status: 410, code: 'session_ended' });
    }
    rig.checkRun();
  });

  it('runs out by itself, and is renewed without a commit', async () => {
    const { rig, a } = await alone();
    await a.ask(home('sessionOpen', { ttlMs: 1_000 }));
    const before = entries(rig);
    for (let i = 0; i < 5; i++) {
      await rig.run(800);
      expect(await a.ask(home('sessionRenew'))).toMatchObject({ status: 200 });
    }
    expect(entries(rig)).toBe(before);
    await rig.run(1_000 + ttlPadMs(1_000) + 3 * LIMITS.laneTickMs);
    expect(entries(rig)).toBe(before + 1);
    expect(await a.ask(home('sessionRenew'))).toMatchObject({ code: 'session_ended' });
    rig.checkRun();
  });
});

describe('the stub of a session', () => {
  it('is made with the first claim, keeps all of them while it is renewed, and ends them in one effect', async () => {
    const { rig, a } = await alone();
    expect(await a.ask(bound('a'))).toMatchObject({ status: 410, code: 'session_ended' });
    const first = await a.ask(bound('a', { flags: ['newStub', 'full'] }));
    expect(first).toMatchObject({ status: 201, sections: ['claim', 'labels'], ttlMs: 5_000 });
    expect(first.expiresInMs).toBeGreaterThan(4_900);
    expect(first.session).toBe(Buffer.from(tokenBytes(ID)).toString('latin1'));
    const inTeam = { name: 'team\0other', flags: ['newStub', 'full'] } as const;
    expect(await a.ask(bound('x', inTeam))).toMatchObject({ status: 201, session: first.session });
    await rig.run(1_000);
    const second = await a.ask(bound('b'));
    expect(second.status).toBe(201);
    // Its time is the stub's.
    expect(second.expiresInMs).toBeLessThan(4_100);
    for (let i = 0; i < 3; i++) {
      await rig.run(3_000);
      const renewed = await a.ask(stub('stubRenew'));
      expect(renewed).toMatchObject({ status: 200, sections: ['claim', 'queue'], queueLength: 2 });
      expect(renewed.expiresInMs).toBeGreaterThan(4_900);
    }
    expect([await held(a, 'lock of a'), await held(a, 'lock of b')]).toEqual([true, true]);
    expect(await a.ask({ ...release('a', { name: 'lock of a' }), kind: 'renew' })).toMatchObject({
      code: 'session_bound',
    });
    await rig.run(5_000 + ttlPadMs(5_000) + 3 * LIMITS.laneTickMs);
    expect([await held(a, 'lock of a'), await held(a, 'lock of b')]).toEqual([false, false]);
    expect(await a.ask(stub('stubRenew'))).toMatchObject({ status: 410, code: 'session_ended' });
    rig.checkRun();
  });

  it('ends with its claims when it is told to, to whom waits for one', async () => {
    const { rig, a } = await alone();
    await a.ask(bound('a', { flags: ['newStub', 'events'], origin: 4, name: 'lock' }));
    await a.ask(bound('b'));
    const [waiting] = a.send([wait('other')]);
    await rig.run(20);
    expect(await a.ask(stub('stubEnd'))).toMatchObject({ status: 200, queueLength: 2 });
    await rig.run(20);
    expect(a.answers.get(waiting)).toMatchObject({ status: 201 });
    expect(a.events.filter(({ status }) => status === 104)).toMatchObject([
      { connection: 4, detail: 'lock' },
    ]);
    expect(await a.ask(stub('stubEnd'))).toMatchObject({ status: 200, queueLength: 0 });
    expect(await a.ask(release('a', { name: 'lock' }))).toMatchObject({ code: 'not_held' });
    rig.checkRun();
  });

  it('gets its whole time again at an heir, and with it the claims that hang on it', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a, b] = lanes;
    const [slot] = a.served;
    await a.ask(bound('a', { slot, flags: ['newStub'] }));
    await a.ask(bound('b', { slot }));
    a.killWithLease();
    expect(await rig.until(() => b.served.has(slot), LIMITS.termPollMs + SOON_MS)).toBe(true);
    await rig.run(4_500);
    expect(await b.ask(stub('stubRenew', { slot }))).toMatchObject({ status: 200 });
    await rig.run(4_500);
    const state = await b.ask({ kind: 'get', slot, name: 'lock of a' });
    expect(state.places).toHaveLength(1);
    expect(state.places[0].expiresInMs).toBeLessThan(600);
    await rig.run(1_000);
    expect((await b.ask({ kind: 'get', slot, name: 'lock of b' })).places).toEqual([]);
    rig.checkRun();
  });
});

describe('an atomic batch', () => {
  const BATCH = 'uuid:batch';
  const part = (token: string): LaneOp => claim(token, { name: `lock of ${token}`, batch: BATCH });
  const confirm = (count: number): LaneOp => ({
    kind: 'confirm',
    slot: SLOT,
    name: '',
    batch: BATCH,
    fencingToken: count,
  });

  it('is confirmed in one commit: what was pending is held from then on, with its whole time', async () => {
    const { rig, a } = await alone();
    const tokens = ['a', 'b', 'c'];
    for (const token of tokens) expect(await a.ask(part(token))).toMatchObject({ status: 201 });
    expect(await held(a, 'lock of a')).toBe(false);
    const said = await a.ask(claim('x', { name: 'lock of a' }));
    expect(said).toMatchObject({ code: 'lock_held', sections: ['queue'] });
    expect(await a.ask(part('a'))).toMatchObject({ code: 'lock_held' });
    await rig.run(2_000);
    const before = entries(rig);
    expect(await a.ask(confirm(3))).toMatchObject({ status: 200 });
    expect(entries(rig)).toBe(before + 1);
    for (const token of tokens) {
      const { places } = await a.ask({ kind: 'get', slot: SLOT, name: `lock of ${token}` });
      expect(places).toHaveLength(1);
      expect(places[0].expiresInMs).toBeGreaterThan(29_900);
    }
    await rig.run(LIMITS.pendingMs + 1_000);
    expect(await held(a, 'lock of c')).toBe(true);
    await rig.run(30_000);
    expect(await held(a, 'lock of c')).toBe(false);
    rig.checkRun();
  });

  it('of which one is missing is not confirmed, and nothing of it is left', async () => {
    const { rig, a } = await alone();
    await a.ask(part('a'));
    await a.ask(part('b'));
    expect(await a.ask(confirm(3))).toMatchObject({ status: 410, code: 'not_held' });
    expect(await a.ask(claim('x', { name: 'lock of a' }))).toMatchObject({ status: 201 });
    expect(await a.ask(claim('x', { name: 'lock of b' }))).toMatchObject({ status: 201 });
    rig.checkRun();
  });

  it('that nobody confirms ends by itself', async () => {
    const { rig, a } = await alone();
    await a.ask(part('a'));
    const [waiting] = a.send([wait('x', { name: 'lock of a' })]);
    await rig.run(LIMITS.pendingMs - 500);
    expect(a.answers.has(waiting)).toBe(false);
    await rig.run(1_000);
    expect(a.answers.get(waiting)).toMatchObject({ status: 201 });
    expect(await a.ask(confirm(1))).toMatchObject({ code: 'not_held' });
    rig.checkRun();
  });
});
