/** Waiting: who is granted what, in which order, and who leaves the queue. */
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { EFFECT_BYTES_MAX, EffectWriter, SHORT_EFFECT_BYTES_MAX } from '../../src/lock/effects.ts';
import { apply, Outcome, work } from '../../src/lock/machine.ts';
import { opOf, type OpWords } from './op-words.ts';
import { type Said, SlotRig } from './slot-rig.ts';
import { rowsOf } from './slot-state.ts';

let rig: SlotRig;
beforeEach(() => {
  rig = new SlotRig();
});

const token = (i: number | string): string => `uuid:${i}`;

function take(i: number | string, more: Partial<OpWords> = {}): Said {
  return rig.run({ kind: 'acquire', name: 'n', token: token(i), ...more });
}
function wait(i: number, more: Partial<OpWords> = {}): Said {
  return take(i, { waitMs: 60_000, connection: 1, attempt: i, ...more });
}
function release(i: number | string, more: Partial<OpWords> = {}): Said {
  return rig.run({ kind: 'release', name: 'n', token: token(i), ...more });
}
function heard(): string[] {
  const words = rig.heard.map(({ what, of, more }) =>
    [what, of, more].filter((word) => word !== undefined).join(' '),
  );
  rig.heard = [];
  return words;
}
function holders(): string[] {
  return rowsOf(rig.slot)
    .filter(({ kind }) => kind === 'claim')
    .map((row) => row.token.replace(/\0+$/, ''));
}

describe('a wait', () => {
  it('is queued with its place, and granted in the order of arrival, by the effect of the release', () => {
    take('h');
    expect([wait(1), wait(2), wait(3)].map((said) => said.queued)).toEqual([1, 2, 3]);
    expect(rig.slot.counter).toBe(4);
    release('h');
    // One release and one grant: a hand-off is one commit.
    expect(rig.slot.counter).toBe(6);
    expect(heard()).toEqual(['granted 1 6']);
    release(1);
    expect(heard()).toEqual(['granted 2 8']);
    expect(rig.slot.claims.waiting).toBe(1);
  });

  it('of a free lock is granted at once', () => {
    expect(wait(1)).toMatchObject({ status: 201, fencingToken: 1, armable: true });
  });

  it('counts its TTL from the grant', () => {
    take('h', { ttlMs: 60_000 });
    wait(1, { ttlMs: 2_000 });
    rig.now += 30_000;
    rig.trip();
    release('h');
    rig.trip();
    expect(rowsOf(rig.slot)[0]).toMatchObject({ promisedUntil: rig.now + 2_000, freeAt: rig.now + 2_011 });
  });

  it('is over when its time is, counted from when it was received', () => {
    take('h', { ttlMs: 60_000 });
    wait(1, { waitMs: 1_000, receivedAt: rig.now - 400 });
    rig.now += 599;
    rig.expireAll();
    expect(heard()).toEqual([]);
    rig.now += 1;
    rig.expireAll();
    expect(heard()).toEqual(['refused 1 wait_timeout']);
    // The same token may wait again: nothing was ever granted for it.
    expect(wait(1).queued).toBe(1);
  });

  it('is not granted after its time though nobody has looked yet', () => {
    take('h', { ttlMs: 60_000 });
    wait(1, { waitMs: 1_000 });
    wait(2);
    rig.now += 1_000;
    release('h');
    expect(heard()).toEqual(['refused 1 wait_timeout', 'granted 2 6']);
  });

  it('goes on when the holder is overdue and somebody else comes', () => {
    take('h', { ttlMs: 1_000 });
    rig.trip();
    wait(1);
    rig.now += 1_011;
    expect(take(2)).toMatchObject({ code: 'lock_held', fencingToken: 4 });
    expect(heard()).toEqual(['granted 1 4']);
  });

  it('is never overtaken by a try', () => {
    take('h');
    wait(1);
    expect(take(2)).toMatchObject({ code: 'lock_held', fencingToken: 1, queueLength: 1 });
    rig.run({ kind: 'get', name: 'n' });
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({ holders: 1, queueLength: 1 });
  });

  it('is refused when the queue is full, and that frees nothing', () => {
    take('h');
    for (let i = 1; i <= LIMITS.waitersMax; i++) expect(wait(i).queued).toBe(i);
    expect(wait(LIMITS.waitersMax + 1)).toMatchObject({
      code: 'queue_full',
      queueLength: LIMITS.waitersMax,
    });
    release(7);
    expect(wait(LIMITS.waitersMax + 2).queued).toBe(LIMITS.waitersMax);
  });

  it('sheds when the slot is full', () => {
    take('h');
    Object.defineProperty(rig.slot, 'sizeBytes', { value: LIMITS.slotBytesMax });
    expect(wait(1)).toMatchObject({ code: 'overloaded', changed: false });
  });

  it('tells the holders that somebody waits, each time', () => {
    take('h', { flags: ['events'] });
    wait(1);
    wait(2);
    expect(heard()).toEqual(['contended 1', 'contended 1']);
    wait(2);
    expect(heard()).toEqual([]);
  });
});

describe('a repeat of a wait', () => {
  beforeEach(() => {
    take('h');
    wait(1);
    wait(2);
    heard();
  });

  it('keeps its place; the attachment before is told that it is no more', () => {
    expect(wait(1, { attempt: 7 })).toMatchObject({ queued: 1, changed: false });
    expect(heard()).toEqual(['refused 1 cancelled']);
    release('h');
    expect(heard()).toEqual(['granted 7 5']);
  });

  it('by the same attachment changes nothing', () => {
    expect(wait(2)).toMatchObject({ queued: 2, changed: false });
    expect(heard()).toEqual([]);
  });

  it('that does not wait is told that the lock is held', () => {
    expect(take(1)).toMatchObject({ code: 'lock_held', fencingToken: 1, queueLength: 2 });
  });

  it('with another mode, limit, session or principal is a mismatch', () => {
    for (const other of [{ mode: 'shared' as const }, { principal: 'p' }, { session: 'uuid:s' }])
      expect(wait(1, other).code).toBe('idempotency_mismatch');
    expect(heard()).toEqual([]);
  });

  it('that was granted meanwhile is a repeat of the claim', () => {
    release('h');
    expect(wait(1)).toMatchObject({ status: 200, fencingToken: 5 });
  });
});

describe('leaving the queue', () => {
  beforeEach(() => {
    take('h');
    wait(1);
    wait(2);
    heard();
  });

  it('by a cancel of the attachment: it is told, and the next one moves up', () => {
    const cancel = { kind: 'cancel', name: 'n', token: token(1), connection: 1 } as const;
    expect(rig.run({ ...cancel, attempt: 5 })).toMatchObject({ code: 'not_held', changed: false });
    expect(rig.run({ ...cancel, attempt: 1 })).toMatchObject({ status: 200, changed: true });
    expect(heard()).toEqual(['refused 1 cancelled']);
    release('h');
    expect(heard()).toEqual(['granted 2 6']);
    // A repeat after a cut connection must not be told that it had ended.
    expect(wait(1).queued).toBe(1);
  });

  it('never undoes a grant', () => {
    release('h');
    const cancel = { kind: 'cancel', name: 'n', token: token(1), connection: 1, attempt: 1 } as const;
    expect(rig.run(cancel)).toMatchObject({ code: 'not_held', changed: false });
    expect(holders()).toEqual(['1']);
  });

  it('by a release of its token: 204, and a late copy is refused', () => {
    expect(release(1)).toMatchObject({ status: 204, changed: true });
    expect(heard()).toEqual(['refused 1 cancelled']);
    expect(wait(1).code).toBe('not_held');
  });

  it('by somebody else is not possible', () => {
    expect(release(1, { principal: 'p' }).code).toBe('not_held');
    const cancel = { kind: 'cancel', name: 'n', token: token(1), connection: 1, attempt: 1 } as const;
    expect(rig.run({ ...cancel, principal: 'p' }).code).toBe('not_held');
  });

  it('lets those go who only waited for the one who left', () => {
    rig = new SlotRig();
    take('h', { mode: 'shared' });
    wait(1);
    wait(2, { mode: 'shared' });
    expect(heard()).toEqual([]);
    release(1);
    expect(heard()).toEqual(['refused 1 cancelled', 'granted 2 5']);
  });

  it('makes a renewal of its token impossible', () => {
    expect(rig.run({ kind: 'renew', name: 'n', token: token(1) }).code).toBe('not_held');
    expect(rig.run({ kind: 'verify', name: 'n', token: token(1) }).current).toBe(false);
  });
});

describe('a detached waiter', () => {
  beforeEach(() => {
    take('h');
    wait(1);
    wait(2, { connection: 2 });
  });

  it('keeps its place and everybody behind it waiting, but is granted nothing', () => {
    rig.detach(1);
    release('h');
    expect(heard()).toEqual([]);
    expect(take(3)).toMatchObject({ code: 'lock_held', fencingToken: 0, queueLength: 2 });
    expect(wait(1, { attempt: 9, flags: ['resumed'] })).toMatchObject({ status: 201, fencingToken: 5 });
    expect(heard()).toEqual([]);
  });

  it('is withdrawn after its grace, and the next one is granted', () => {
    rig.detach(1);
    release('h');
    rig.now += LIMITS.reattachMs;
    rig.expireAll();
    expect(heard()).toEqual(['granted 2 6']);
    // It comes too late for its place, not for the lock.
    expect(wait(1).queued).toBe(1);
  });

  it('may be cancelled by whoever has its token', () => {
    rig.detach(1);
    release('h');
    rig.run({ kind: 'cancel', name: 'n', token: token(1), connection: 5, attempt: 6 });
    expect(heard()).toEqual(['granted 2 6']);
  });

  it('is what everybody becomes with a new owner; the order stays', () => {
    rig.takeOver();
    release('h');
    expect(heard()).toEqual([]);
    expect(wait(2, { attempt: 12 }).queued).toBe(2);
    expect(wait(1, { attempt: 11 }).status).toBe(201);
    release(1);
    expect(heard()).toEqual(['granted 12 7']);
  });

  it('does not live longer than its wait', () => {
    wait(3, { waitMs: 1_000 });
    rig.detach(1);
    rig.now += 1_000;
    rig.expireAll();
    expect(rig.slot.claims.waiting).toBe(2);
  });
});

describe('more than an entry holds', () => {
  it('is put off: a thousand are let in one entry after the other, all of them', () => {
    // Numbers as long as they get.
    rig.slot.counter = Number.MAX_SAFE_INTEGER - 5_000;
    take('h');
    const waiters = LIMITS.waitersMax;
    for (let i = 1; i <= waiters; i++) wait(i, { mode: 'shared' });
    const small = new EffectWriter(EFFECT_BYTES_MAX + 10 * SHORT_EFFECT_BYTES_MAX, 0);
    const { slot, witness, now } = rig;
    apply(slot, opOf({ kind: 'release', name: 'n', token: token('h') }), now, small, new Outcome(), witness);
    expect(slot.hasWork).toBe(true);
    expect(small.room()).toBeGreaterThanOrEqual(0);
    // A try in the meantime overtakes nobody, a shared one neither.
    small.reset();
    const out = new Outcome();
    apply(
      slot,
      opOf({ kind: 'acquire', name: 'n', token: token('t'), mode: 'shared' }),
      now,
      small,
      out,
      witness,
    );
    expect(out.status).toBe(409);
    let entries = 0;
    for (let more = true; more; entries++) {
      small.reset();
      more = work(slot, now, small, witness, 5);
      expect(small.room()).toBeGreaterThanOrEqual(0);
    }
    expect(entries).toBeGreaterThan(1);
    expect(rig.heard.filter(({ what }) => what === 'granted').map(({ of }) => of)).toEqual(
      Array.from({ length: waiters }, (_, i) => i + 1),
    );
    expect(slot.claims.held).toBe(waiters);
  });
});
