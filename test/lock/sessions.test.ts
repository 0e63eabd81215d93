/** Sessions, their stubs, and atomic batches. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS, ttlPadMs } from '../../src/limits.ts';
import type { OpWords } from './op-words.ts';
import { ENDED_KEEP_MS, type Said, SlotRig } from './slot-rig.ts';
import { rowsOf } from './slot-state.ts';

let rig: SlotRig;
beforeEach(() => {
  rig = new SlotRig();
});

const S = 'uuid:session';
const X = 'uuid:batch';

function run(kind: OpWords['kind'], more: Partial<OpWords> = {}): Said {
  return rig.run({ kind, name: '', ...more });
}
function take(name: string, token: string, more: Partial<OpWords> = {}): Said {
  return rig.run({ kind: 'acquire', name, token: `uuid:${token}`, ...more });
}
const onS = { session: S, flags: ['newStub'] } as const;
const granted = () => rig.heard.filter(({ what }) => what === 'granted').map(({ of }) => of);
const names = () => rowsOf(rig.slot).flatMap(({ kind, name }) => (kind === 'claim' ? [name] : []));

describe('a session, at its own slot', () => {
  it('is opened once, renewed, told, and ended for good', () => {
    expect(run('sessionOpen', { session: S, ttlMs: 5_000, owner: 'me' })).toMatchObject({
      status: 201,
      ttlMs: 5_000,
      armable: true,
    });
    rig.trip();
    expect(run('sessionOpen', { session: S })).toMatchObject({ status: 200, ttlMs: 5_000, armable: false });
    expect(run('sessionOpen', { session: S, principal: 'p' }).code).toBe('idempotency_mismatch');
    expect(run('sessionRenew', { session: S })).toMatchObject({ status: 200, armable: true, changed: false });
    expect(rowsOf(rig.slot)).toMatchObject([{ kind: 'session', owner: 'me', freeAt: Infinity }]);
    for (const kind of [
      'sessionRenew',
      'sessionGet',
      'sessionEnd',
      'sessionJoin',
      'sessionActivate',
    ] as const)
      expect(run(kind, { session: S, principal: 'p' })).toMatchObject({
        code: 'session_ended',
        changed: false,
      });
    expect(run('sessionEnd', { session: S })).toMatchObject({ status: 200, slots: '[]' });
    for (const kind of ['sessionOpen', 'sessionRenew', 'sessionGet', 'sessionEnd', 'sessionJoin'] as const)
      expect(run(kind, { session: S }).code).toBe('session_ended');
  });

  it('knows its slots: pending first, then active, and never back', () => {
    run('sessionOpen', { session: S });
    expect(run('sessionJoin', { session: S, fencingToken: 5 })).toMatchObject({ status: 200, changed: true });
    expect(run('sessionJoin', { session: S, fencingToken: 5 })).toMatchObject({ changed: false });
    run('sessionJoin', { session: S, fencingToken: 9 });
    expect(run('sessionActivate', { session: S, fencingToken: 5 })).toMatchObject({ changed: true });
    expect(run('sessionJoin', { session: S, fencingToken: 5 })).toMatchObject({
      slotState: 1,
      changed: false,
    });
    expect(run('sessionGet', { session: S }).slots).toBe('[[5,1],[9,0]]');
    expect(run('sessionRenew', { session: S }).slots).toBe('[[5,1],[9,0]]');
    rig.takeOver();
    expect(run('sessionEnd', { session: S }).slots).toBe('[[5,1],[9,0]]');
  });

  it('ends by its time, also when nobody looks', () => {
    run('sessionOpen', { session: S, ttlMs: 1_000 });
    rig.trip();
    rig.now += 1_010.4;
    expect(run('sessionGet', { session: S }).status).toBe(200);
    rig.now += 0.1;
    expect(run('sessionRenew', { session: S })).toMatchObject({ code: 'session_ended', changed: true });
    expect(rig.slot.claims.count).toBe(0);
  });
});

describe('a claim of a session', () => {
  it('needs its stub, which only somebody who has asked the session may make', () => {
    expect(take('a', '1', { session: S })).toMatchObject({ code: 'session_ended', changed: false });
    expect(take('a', '1', { ...onS, ttlMs: 5_000 })).toMatchObject({
      status: 201,
      ttlMs: 5_000,
      armable: false,
    });
    expect(take('b', '2', { session: S })).toMatchObject({ status: 201, ttlMs: 5_000 });
    expect(take('c', '3', { session: S, principal: 'p' }).code).toBe('session_ended');
    expect(rowsOf(rig.slot).map(({ kind }) => kind)).toEqual(['stub', 'claim', 'claim']);
    expect(rig.heard).toEqual([{ what: 'begins', of: 1 }]);
  });

  it('is not made for a refusal', () => {
    take('a', 'h');
    expect(take('a', '1', onS)).toMatchObject({ code: 'lock_held', changed: false });
    expect(take('a', '1', { ...onS, waitMs: 1_000 }).queued).toBe(1);
    expect(rowsOf(rig.slot).map(({ kind }) => kind)).toEqual(['claim', 'stub', 'waiter']);
  });

  it('has the times of the stub, and only those', () => {
    take('a', '1', { ...onS, ttlMs: 5_000 });
    rig.trip();
    const times = () => rowsOf(rig.slot).map(({ promisedUntil, freeAt }) => [promisedUntil, freeAt]);
    const first = [rig.now + 5_000, rig.now + 5_000 + ttlPadMs(5_000)];
    expect(times()).toEqual([first, first]);
    rig.now += 4_000;
    expect(rig.run({ kind: 'renew', name: 'a', token: 'uuid:1' })).toMatchObject({ code: 'session_bound' });
    expect(run('stubRenew', { session: S })).toMatchObject({ status: 200, ttlMs: 5_000, changed: false });
    rig.trip();
    rig.now += 4_000;
    expect(rig.run({ kind: 'verify', name: 'a', token: 'uuid:1' }).current).toBe(true);
    rig.now += 1_012.5;
    expect(rig.run({ kind: 'get', name: 'a' })).toMatchObject({
      status: 200,
      changed: true,
      fencingToken: 0,
    });
    expect(rig.slot.claims.count).toBe(0);
    expect(run('stubRenew', { session: S }).code).toBe('session_ended');
  });

  it('is a mismatch for the same token without it, or of another one', () => {
    take('a', '1', onS);
    expect(take('a', '1').code).toBe('idempotency_mismatch');
    expect(take('a', '1', { session: 'uuid:other' }).code).toBe('idempotency_mismatch');
    expect(take('a', '1', { session: S }).status).toBe(200);
    take('b', '2');
    expect(take('b', '2', onS).code).toBe('idempotency_mismatch');
  });

  it('is released by itself, the stub stays', () => {
    take('a', '1', onS);
    expect(rig.run({ kind: 'release', name: 'a', token: 'uuid:1' }).status).toBe(204);
    expect(take('b', '2', { session: S }).status).toBe(201);
  });
});

describe('the end of a stub', () => {
  beforeEach(() => {
    take('a', '1', { ...onS, flags: ['newStub', 'events'] });
    take('b', '2', { session: S, mode: 'shared' });
    take('b', 'other', { mode: 'shared' });
    take('c', 'h');
    take('c', '3', { session: S, waitMs: 60_000, attempt: 3 });
    for (const [name, attempt] of [
      ['a', 4],
      ['b', 5],
      ['c', 6],
    ] as const)
      take(name, `w${attempt}`, { waitMs: 60_000, attempt });
    rig.heard = [];
  });

  it('is one effect for all its claims and waiters; who waits for them is granted', () => {
    const before = rig.slot.counter;
    expect(run('stubEnd', { session: S })).toMatchObject({ status: 200, released: 2 });
    expect(rig.heard).toEqual([
      { what: 'lost', of: 2, more: 104 },
      { what: 'refused', of: 3, more: 'session_ended' },
      { what: 'granted', of: 4, more: before + 2 },
    ]);
    expect(names().sort()).toEqual(['a', 'b', 'c']);
    expect(take('a', '1').code).toBe('not_held');
    expect(run('stubEnd', { session: S })).toEqual({ ...run('stubEnd', { session: S }), status: 200 });
  });

  it('by its time does the same', () => {
    rig.trip();
    rig.now += LIMITS.ttlMsDefault + ttlPadMs(LIMITS.ttlMsDefault);
    expect(rig.run({ kind: 'get', name: 'z' }).changed).toBe(false);
    rig.expireAll();
    expect(granted()).toContain(4);
    expect(names()).not.toContain('2');
  });

  it('is remembered: nobody makes it again', () => {
    run('stubEnd', { session: S });
    expect(take('z', '9', onS).code).toBe('session_ended');
    rig.takeOver();
    expect(take('z', '9', onS).code).toBe('session_ended');
    rig.now += ENDED_KEEP_MS;
    expect(take('z', '9', onS).status).toBe(201);
  });
});

describe('an atomic batch', () => {
  const inX = { batch: X } as const;

  it('holds places that nobody sees until it is confirmed', () => {
    expect(take('a', '1', { ...inX, ttlMs: 5_000 })).toMatchObject({
      status: 201,
      ttlMs: 5_000,
      armable: false,
    });
    take('b', '2', inX);
    expect(take('a', '1', inX)).toMatchObject({ code: 'lock_held', fencingToken: 0 });
    expect(take('a', 'x')).toMatchObject({ code: 'lock_held', fencingToken: 0, changed: false });
    expect(rig.run({ kind: 'get', name: 'a' })).toMatchObject({ fencingToken: 0 });
    for (const kind of ['renew', 'release'] as const)
      expect(rig.run({ kind, name: 'a', token: 'uuid:1' }).code).toBe('not_held');
    expect(rig.run({ kind: 'verify', name: 'a', token: 'uuid:1' }).current).toBe(false);
    expect(rig.run({ kind: 'verify', name: 'a', fencingToken: 2 }).current).toBe(false);
    expect(rig.run({ kind: 'force', name: 'a' })).toMatchObject({ status: 200, changed: false });
    expect(rig.slot.claims.held).toBe(0);
    expect(run('confirm', { ...inX, fencingToken: 2 })).toMatchObject({ status: 200, changed: true });
    expect(rig.heard.map(({ what, of }) => [what, of])).toEqual([
      ['begins', 1],
      ['begins', 2],
      ['begins', 3],
    ]);
    expect(rig.slot.claims.held).toBe(2);
    rig.trip();
    expect(rowsOf(rig.slot)[0]).toMatchObject({ ttlMs: 5_000, promisedUntil: rig.now + 5_000, batch: 0 });
    expect(take('a', '1')).toMatchObject({ status: 200, fencingToken: 2 });
    expect(run('confirm', { ...inX, fencingToken: 2 }).code).toBe('not_held');
  });

  it('never waits', () => {
    take('a', 'h');
    expect(take('a', '1', { ...inX, waitMs: 60_000 })).toMatchObject({ code: 'lock_held', changed: false });
  });

  it('is given up as a whole: tokens may be used again, who waits is granted', () => {
    take('a', '1', inX);
    take('b', '2', inX);
    take('b', 'w', { waitMs: 60_000, attempt: 1 });
    expect(run('stubEnd', inX)).toMatchObject({ status: 200, released: 2 });
    expect(granted()).toEqual([1]);
    expect(take('a', '1', inX).code).toBe('not_held');
    expect(take('a', '1', { batch: 'uuid:again' }).status).toBe(201);
  });

  it('fails as a whole when one of it is missing', () => {
    take('a', '1', inX);
    take('b', '2', inX);
    expect(run('confirm', { ...inX, fencingToken: 3 })).toMatchObject({ code: 'not_held', changed: true });
    expect(rig.slot.claims.count).toBe(0);
  });

  it('ends by itself when nobody confirms it', () => {
    take('a', '1', inX);
    rig.trip();
    rig.now += LIMITS.pendingMs + ttlPadMs(LIMITS.pendingMs);
    expect(run('confirm', { ...inX, fencingToken: 1 })).toMatchObject({ code: 'not_held' });
    expect(take('a', 'x').status).toBe(201);
  });

  it('may hang on a session, whose end is also its own', () => {
    take('a', '1', { ...inX, ...onS, ttlMs: 5_000 });
    take('b', '2', inX);
    run('stubEnd', { session: S });
    expect(run('confirm', { ...inX, fencingToken: 2 }).code).toBe('not_held');
    rig = new SlotRig();
    take('a', '1', { ...inX, ...onS, ttlMs: 5_000 });
    rig.heard = [];
    run('confirm', { ...inX, fencingToken: 1 });
    expect(rig.heard).toEqual([]);
    rig.trip();
    expect(rowsOf(rig.slot)[1]).toMatchObject({ kind: 'claim', freeAt: rig.now + 5_012.5 });
  });

  it('is refused as a session that has ended is, before anything else of it is looked at', () => {
    take('a', '1', inX);
    rig.trip();
    rig.now += 16_000;
    expect(take('a', '1', { ...inX, session: S }).code).toBe('session_ended');
  });

  it('of two claims on one shared lock ends whole, by an op on that lock', () => {
    take('a', '1', { ...inX, mode: 'shared' });
    take('a', '2', { ...inX, mode: 'shared' });
    rig.trip();
    rig.now += 16_000;
    expect(rig.run({ kind: 'renew', name: 'a', token: 'uuid:1' }).code).toBe('not_held');
    expect(rig.slot.claims.count).toBe(0);
  });
});
