/** Forced releases, lock delays, tokens of an Idempotency-Key, principals, and who listens. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { describeEntry } from '../../src/lock/dump.ts';
import type { OpWords } from './op-words.ts';
import { ENDED_KEEP_MS, type Said, SlotRig } from './slot-rig.ts';

let rig: SlotRig;
beforeEach(() => {
  rig = new SlotRig();
});

function take(token: string, more: Partial<OpWords> = {}): Said {
  return rig.run({ kind: 'acquire', name: 'n', token: `uuid:${token}`, ...more });
}
const force = (more: Partial<OpWords> = {}) => rig.run({ kind: 'force', name: 'n', ...more });
const release = (token: string) => rig.run({ kind: 'release', name: 'n', token: `uuid:${token}` });
const waits = (attempt: number) => ({ waitMs: 60_000, connection: 1, attempt });
const granted = () => rig.heard.filter(({ what }) => what === 'granted').map(({ of }) => of);
const shared = { mode: 'shared' } as const;

describe('a forced release', () => {
  it('ends all holders with one effect that says by whom and why, and lets the next in', () => {
    take('a', shared);
    take('b', { ...shared, flags: ['events'] });
    take('w', waits(1));
    rig.seal();
    expect(force({ metadata: 'stuck', principal: 'ops' })).toMatchObject({ status: 200, released: 2 });
    rig.seal();
    expect(describeEntry(rig.entries[1])).toMatchObject([
      { effect: 'cleared', all: true, reason: 'stuck', principal: 'ops' },
      { effect: 'promoted' },
    ]);
    expect(rig.heard.filter(({ what }) => what === 'lost')).toEqual([{ what: 'lost', of: 2, more: 103 }]);
    expect(granted()).toEqual([1]);
    expect(take('a', shared).code).toBe('not_held');
    expect(rig.run({ kind: 'renew', name: 'n', token: 'uuid:b' }).code).toBe('not_held');
  });

  it('of one fencing token ends that claim and no newer one', () => {
    take('a', shared);
    take('b', shared);
    expect(force({ fencingToken: 9 })).toMatchObject({ code: 'not_held', changed: false });
    expect(force({ fencingToken: 1 })).toMatchObject({ status: 200, released: 1 });
    expect(force({ fencingToken: 1 }).code).toBe('not_held');
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({ holders: 1, fencingToken: 2 });
    expect(rig.run({ kind: 'force', name: 'other', fencingToken: 2 }).code).toBe('not_held');
  });

  it('of a free lock ends nothing, and does not touch who waits', () => {
    expect(force()).toMatchObject({ status: 200, code: '', changed: false });
    take('a');
    take('w', waits(1));
    rig.detach(1);
    release('a');
    expect(force()).toMatchObject({ status: 200, changed: false });
    expect(rig.slot.claims.waiting).toBe(1);
  });
});

describe('a lock delay', () => {
  const delayed = { lockDelayMs: 5_000, ttlMs: 1_000 } as const;

  it('keeps everybody off after an end that was not a release', () => {
    take('a', delayed);
    rig.trip();
    take('w', waits(1));
    rig.now += 1_010.5;
    rig.expireAll();
    expect(granted()).toEqual([]);
    expect(take('b')).toMatchObject({
      code: 'lock_held',
      fencingToken: 0,
      queueLength: 1,
      retryAfterMs: 5_000,
    });
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({ fencingToken: 0, queueLength: 1 });
    rig.now += 4_999.5;
    rig.expireAll();
    expect(granted()).toEqual([]);
    expect(take('b').retryAfterMs).toBe(1);
    rig.now += 0.5;
    rig.expireAll();
    expect(granted()).toEqual([1]);
    expect(rig.rowsWithoutTimer()).toEqual([]);
  });

  it('is none after a release, and over for whoever comes later', () => {
    take('a', delayed);
    release('a');
    expect(take('b', delayed).status).toBe(201);
    force();
    expect(take('c').code).toBe('lock_held');
    rig.now += 5_000;
    expect(take('c')).toMatchObject({ status: 201, changed: true });
    expect(rig.slot.claims.count).toBe(1);
  });

  it('is the longest of several', () => {
    take('a', { ...shared, lockDelayMs: 5_000 });
    take('b', { ...shared, lockDelayMs: 1_000 });
    force({ fencingToken: 1 });
    rig.now += 3_000;
    force({ fencingToken: 2 });
    rig.now += 1_999;
    expect(take('c').code).toBe('lock_held');
    rig.now += 1;
    expect(take('c').status).toBe(201);
  });

  it('begins in full for an heir, and goes on where it is handed over', () => {
    take('a', { lockDelayMs: 5_000 });
    force();
    rig.now += 4_000;
    rig.handOver();
    rig.now += 999;
    expect(take('b').code).toBe('lock_held');
    rig.now += 1;
    expect(take('b', { lockDelayMs: 5_000 }).status).toBe(201);
    force();
    rig.now += 4_000;
    rig.takeOver();
    rig.now += 4_999;
    expect(take('c').code).toBe('lock_held');
    rig.now += 1;
    expect(take('c').status).toBe(201);
    expect(rig.rowsWithoutTimer()).toEqual([]);
  });

  it('of a claim whose grant is still under way is not shortened by it', () => {
    take('a', { lockDelayMs: 60_000, ttlMs: 1_000 });
    rig.send();
    force();
    rig.land();
    rig.now += 59_999;
    expect(take('b').code).toBe('lock_held');
  });
});

describe('the token of an Idempotency-Key', () => {
  it('is refused for the whole window, also by a later owner', () => {
    take('k', { flags: ['keyed'] });
    release('k');
    take('plain');
    release('plain');
    rig.now += ENDED_KEEP_MS;
    expect(take('k').code).toBe('not_held');
    expect(take('plain').status).toBe(201);
    release('plain');
    rig.now += LIMITS.idempotencyWindowMs - ENDED_KEEP_MS - 1;
    expect(take('k').code).toBe('not_held');
    // Ages count from the last end before the cut: an owner remembers it rather too long.
    rig.handOver();
    rig.now += LIMITS.idempotencyWindowMs - 1;
    expect(take('k').code).toBe('not_held');
    rig.now += 1;
    expect(take('k').status).toBe(201);
  });
});

describe('a principal', () => {
  it('is the only one whose token counts', () => {
    take('a', { principal: 'p' });
    expect(take('a', { principal: 'p' }).status).toBe(200);
    for (const other of ['', 'q']) {
      const words = { name: 'n', token: 'uuid:a', principal: other } as const;
      expect(take('a', { principal: other }).code).toBe('idempotency_mismatch');
      expect(rig.run({ kind: 'renew', ...words }).code).toBe('not_held');
      expect(rig.run({ kind: 'release', ...words }).code).toBe('not_held');
      expect(rig.run({ kind: 'verify', ...words }).current).toBe(false);
    }
    const mine = { name: 'n', token: 'uuid:a', principal: 'p' } as const;
    rig.takeOver();
    expect(rig.run({ kind: 'renew', ...mine }).status).toBe(200);
    expect(rig.run({ kind: 'release', ...mine }).status).toBe(204);
  });

  it('of a plain claim is nobody: who has one does not get at it', () => {
    take('a');
    expect(rig.run({ kind: 'release', name: 'n', token: 'uuid:a', principal: 'p' }).code).toBe('not_held');
  });
});

describe('who listens', () => {
  const events = ['events'] as const;
  const lost = () => rig.heard.filter(({ what }) => what === 'lost').map(({ of, more }) => `${of} ${more}`);

  it('hears of an end against the will of the holder, and of no other', () => {
    take('a', { flags: events, ttlMs: 1_000 });
    rig.trip();
    rig.now += 2_000;
    rig.expireAll();
    expect(lost()).toEqual(['1 102']);
    take('b', { flags: events });
    release('b');
    expect(lost()).toEqual(['1 102']);
  });

  it('is who last acquired or renewed by a socket, also by waiting', () => {
    take('a', { ttlMs: 60_000 });
    take('w', { ...waits(1), flags: events, origin: 9 });
    release('a');
    force();
    expect(lost()).toEqual(['4 103']);
    take('c', { connection: 1, origin: 11, flags: events });
    rig.run({
      kind: 'renew',
      name: 'n',
      token: 'uuid:c',
      connection: 2,
      origin: 12,
      flags: ['events', 'forwarded'],
    });
    const [listener] = rig.slot.aside.listeners.values();
    expect(listener).toEqual({ connection: 2, origin: 12, forwarded: true });
    rig.run({ kind: 'renew', name: 'n', token: 'uuid:c' });
    expect([...rig.slot.aside.listeners.values()]).toEqual([listener]);
    release('c');
    expect(rig.slot.aside.listeners.size).toBe(0);
  });

  it('of a watched lock hears of what a get would show', () => {
    rig.slot.aside.watched.set('n', true);
    const changes = () => rig.heard.splice(0).filter(({ what }) => what === 'changed').length;
    take('a');
    expect(changes()).toBeGreaterThan(0);
    rig.run({ kind: 'renew', name: 'n', token: 'uuid:a' });
    rig.run({ kind: 'get', name: 'n' });
    rig.run({ kind: 'acquire', name: 'other', token: 'uuid:b' });
    expect(changes()).toBe(0);
    rig.run({ kind: 'renew', name: 'n', token: 'uuid:a', metadata: '{}' });
    expect(changes()).toBeGreaterThan(0);
    take('w', waits(1));
    expect(changes()).toBeGreaterThan(0);
    release('a');
    expect(changes()).toBeGreaterThan(0);
  });
});
