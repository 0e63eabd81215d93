/** Shared claims and semaphores, and what does not go together. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import type { OpWords } from './op-words.ts';
import { type Said, SlotRig } from './slot-rig.ts';
import { rowsOf } from './slot-state.ts';

let rig: SlotRig;
beforeEach(() => {
  rig = new SlotRig();
});

function take(token: string, more: Partial<OpWords> = {}): Said {
  return rig.run({ kind: 'acquire', name: 'n', token: `uuid:${token}`, ...more });
}
const shared = { mode: 'shared' } as const;
const three = { mode: 'semaphore', limit: 3 } as const;
const waits = (attempt: number) => ({ waitMs: 60_000, connection: 1, attempt });
const release = (token: string) => rig.run({ kind: 'release', name: 'n', token: `uuid:${token}` });
const granted = () => rig.heard.filter(({ what }) => what === 'granted').map(({ of }) => of);

describe('shared claims', () => {
  it('hold the lock together, each with a fencing token of its own', () => {
    expect(
      [take('a', shared), take('b', shared), take('c', shared)].map((said) => said.fencingToken),
    ).toEqual([1, 2, 3]);
    expect(take('x')).toMatchObject({ code: 'lock_held', fencingToken: 1, mode: 'shared' });
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({
      holders: 3,
      mode: 'shared',
      fencingToken: 1,
    });
    release('a');
    expect(take('x')).toMatchObject({ code: 'lock_held', fencingToken: 2 });
    for (const token of ['b', 'c']) {
      expect(rig.run({ kind: 'verify', name: 'n', token: `uuid:${token}` }).current).toBe(true);
      expect(release(token).status).toBe(204);
    }
    expect(take('x').status).toBe(201);
  });

  it('never overtake a waiting exclusive one, and all in front of it go at once', () => {
    take('x');
    take('a', { ...shared, ...waits(1) });
    take('b', { ...shared, ...waits(2) });
    take('y', waits(3));
    take('c', { ...shared, ...waits(4) });
    release('x');
    expect(granted()).toEqual([1, 2]);
    expect(take('d', shared).code).toBe('lock_held');
    release('a');
    release('b');
    expect(granted()).toEqual([1, 2, 3]);
    release('y');
    expect(granted()).toEqual([1, 2, 3, 4]);
  });

  it('are renewed, expire and are released each by itself', () => {
    take('a', { ...shared, ttlMs: 1_000 });
    take('b', { ...shared, ttlMs: 60_000 });
    rig.trip();
    rig.now += 1_011;
    expect(rig.run({ kind: 'renew', name: 'n', token: 'uuid:a' }).code).toBe('not_held');
    expect(rig.run({ kind: 'renew', name: 'n', token: 'uuid:b' })).toMatchObject({
      status: 200,
      fencingToken: 2,
    });
    expect(rig.slot.claims.held).toBe(1);
    expect(rig.slot.aside.crowds.size).toBe(0);
  });

  it('go past a detached shared waiter, an exclusive one does not', () => {
    take('x');
    take('a', { ...shared, ...waits(1) });
    rig.detach(1);
    release('x');
    expect(take('y').code).toBe('lock_held');
    expect(take('b', shared).status).toBe(201);
  });

  it('are at most as many as a get can show', () => {
    for (let i = 0; i < LIMITS.holdersMax; i++) take(`${i}`, shared);
    expect(take('one more', shared)).toMatchObject({ code: 'quota_exceeded', changed: false });
    expect(take('7', shared)).toMatchObject({ status: 200, fencingToken: 8 });
    expect(take('x', waits(1)).queued).toBe(1);
    expect(rig.run({ kind: 'force', name: 'n' })).toMatchObject({ released: LIMITS.holdersMax });
    expect(granted()).toEqual([1]);
    rig.seal();
    rig.takeOver();
    expect(rig.slot.claims.held).toBe(1);
  }, 60_000);
});

describe('a semaphore', () => {
  it('has as many places as its limit says', () => {
    expect(['a', 'b', 'c', 'd'].map((token) => take(token, three).status)).toEqual([201, 201, 201, 409]);
    take('d', { ...three, ...waits(1) });
    release('b');
    expect(granted()).toEqual([1]);
    expect(rowsOf(rig.slot).map(({ fencingToken }) => fencingToken)).toEqual([1, 3, 6]);
  });

  it('keeps a place for each detached waiter', () => {
    for (const token of ['a', 'b', 'c']) take(token, three);
    take('d', { ...three, ...waits(1) });
    rig.detach(1);
    release('a');
    expect(take('e', three).code).toBe('lock_held');
    release('b');
    expect(take('e', three).status).toBe(201);
    expect(take('f', three).code).toBe('lock_held');
    expect(take('d', { ...three, ...waits(2) }).status).toBe(201);
  });

  it('does not mix with another limit, or with claims of another kind, nor do those with it', () => {
    take('a', three);
    const conflict = { code: 'mode_conflict', mode: 'semaphore', limit: 3, fencingToken: 1, changed: false };
    expect(take('b', { mode: 'semaphore', limit: 4 })).toMatchObject(conflict);
    expect(take('b', shared)).toMatchObject(conflict);
    expect(take('b', waits(1))).toMatchObject(conflict);
    expect(take('a', { mode: 'semaphore', limit: 4 }).code).toBe('idempotency_mismatch');
    release('a');
    expect(take('b', shared).status).toBe(201);
    expect(take('c', three)).toMatchObject({ code: 'mode_conflict', mode: 'shared' });
  });

  it('is in force while somebody only waits for it', () => {
    take('a', { mode: 'semaphore', limit: 1 });
    take('b', { mode: 'semaphore', limit: 1, ...waits(1) });
    rig.detach(1);
    release('a');
    expect(take('x')).toMatchObject({ code: 'mode_conflict', mode: 'semaphore', limit: 1, fencingToken: 0 });
  });
});

describe('many holders', () => {
  it('are each found by token and by fencing token, whoever has gone', () => {
    const many = { mode: 'semaphore', limit: 50 } as const;
    for (let i = 0; i < 50; i++) take(`${i}`, many);
    for (let i = 0; i < 50; i += 2) release(`${i}`);
    for (let i = 0; i < 50; i++) {
      const isHeld = i % 2 === 1;
      expect(rig.run({ kind: 'verify', name: 'n', token: `uuid:${i}` }).current).toBe(isHeld);
      expect(rig.run({ kind: 'verify', name: 'n', fencingToken: i + 1 }).current).toBe(isHeld);
    }
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({ holders: 25, fencingToken: 2 });
    for (let i = 1; i < 50; i += 2) release(`${i}`);
    expect(rig.slot.claims.count).toBe(0);
    expect(rig.slot.aside.crowds.size).toBe(0);
  });

  it('are not all looked at by one op, and none of them outlives its time for its own', () => {
    const many = { mode: 'semaphore', limit: 200 } as const;
    for (let i = 0; i < 200; i++) take(`${i}`, { ...many, ttlMs: 1_000 });
    rig.trip();
    rig.now += 1_011;
    expect(rig.run({ kind: 'renew', name: 'n', token: 'uuid:199' })).toMatchObject({ code: 'not_held' });
    expect(rig.slot.claims.held).toBeLessThan(200);
    expect(rig.slot.claims.held).toBeGreaterThan(100);
    rig.expireAll();
    expect(rig.slot.claims.held).toBe(0);
  });
});
