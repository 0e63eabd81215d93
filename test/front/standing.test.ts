import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { StandingRig, TIMEOUT_MS, Told } from './standing-rig.ts';

let rig: StandingRig;

beforeEach(() => {
  rig = new StandingRig();
});

/** Nothing is left of it anywhere. */
function expectOver(): void {
  expect([rig.standing.size, rig.connections.open]).toEqual([0, 0]);
}

test('a wait: its place, then its lock; the time it waited is all of it', () => {
  const told = rig.wait(60_000);
  expect(rig.sent).toMatchObject([{ kind: Kind.acquire, waitMs: 60_000, flags: 0, receivedAt: 0 }]);
  expect(rig.last.attempt).toBe(rig.last.id);
  expect(rig.connections.open).toBe(1);
  rig.queued(rig.last, 3);
  rig.queued(rig.last, 2);
  rig.grants(rig.last, 201, 777);
  expect(told.words).toEqual(['queued 3', 'queued 2', 'final 201']);
  expect(told.last).toMatchObject({ waitedMs: 777, fencingToken: 9, expiresInMs: 5_000 });
  expectOver();
});

test('a lock that is free, a mismatch, a queue that is full: told as the lane says it', () => {
  for (const [status, code] of [
    [200, undefined],
    [409, 'wait_timeout'],
    [422, 'idempotency_mismatch'],
    [429, 'queue_full'],
    [503, 'overloaded'],
  ] as const) {
    const told = rig.wait(1_000);
    if (code === undefined) rig.grants(rig.last, status);
    else rig.fails(rig.last, code);
    expect(told.words).toEqual([`final ${status}${code === undefined ? '' : ` ${code}`}`]);
  }
  expectOver();
});

describe('a wait whose owner is lost', () => {
  test('is sent again after a moment, to the same slot, under a new id, for what is left of its time', () => {
    const told = rig.wait(60_000, { mode: 2, limit: 5, flags: OpFlag.full | OpFlag.events, origin: 12 });
    const [first] = rig.sent;
    rig.queued(first, 4);
    rig.pass(500);
    rig.fails(first, 'moving');
    expect(rig.sent.length).toBe(1);
    rig.pass(LIMITS.resumeMs);
    const second = rig.last;
    expect(second).toMatchObject({
      kind: Kind.acquire,
      slot: first.slot,
      key: first.key,
      token: first.token,
      principal: 'pal',
      flags: OpFlag.full | OpFlag.events | OpFlag.resumed,
      waitMs: 60_000 - 500 - LIMITS.resumeMs,
      receivedAt: 500 + LIMITS.resumeMs,
      fields: { mode: 2, limit: 5, origin: 12 },
    });
    expect(second.id).not.toBe(first.id);
    expect(second.attempt).toBe(second.id);
    rig.queued(second, 4);
    rig.grants(second, 201, 100);
    expect(told.words).toEqual(['queued 4', 'queued 4', 'final 201']);
    // What passed before this attempt counts, too.
    expect(told.last?.waitedMs).toBe(100 + 500 + LIMITS.resumeMs);
    expectOver();
  });

  test('hears nothing of what is still said of an earlier attempt', () => {
    const told = rig.wait(60_000);
    const [first] = rig.sent;
    rig.fails(first, 'outcome_unknown');
    rig.pass(LIMITS.resumeMs);
    const second = rig.last;
    for (const stray of [
      () => rig.queued(first),
      () => rig.grants(first),
      () => rig.fails(first, 'cancelled'),
    ]) {
      stray();
      expect(told.words).toEqual([]);
    }
    rig.grants(second, 200, 5);
    // The first attempt had got it: to its client this is the grant, not a repeat.
    expect(told.words).toEqual(['final 201']);
    rig.grants(second);
    rig.grants(first);
    expect(told.words).toEqual(['final 201']);
    expectOver();
  });

  test('waits longer each time while it fails, and begins anew when it had a place', () => {
    rig.wait(60_000);
    const gaps: number[] = [];
    for (let i = 0; i < 8; i++) {
      const at = rig.clock.now();
      const { length } = rig.sent;
      rig.fails(rig.last, i % 2 === 0 ? 'moving' : 'shard_unavailable');
      while (rig.sent.length === length) rig.pass(LIMITS.resumeMs);
      gaps.push(rig.clock.now() - at);
    }
    expect(gaps).toEqual([20, 40, 80, 160, 320, 500, 500, 500]);
    rig.queued(rig.last);
    rig.fails(rig.last, 'moving');
    const { length } = rig.sent;
    rig.pass(LIMITS.resumeMs);
    expect(rig.sent.length).toBe(length + 1);
  });

  test.each([
    ['moving', true, 'wait_timeout'],
    // It never stood in a queue: why not says more than that its time is over.
    ['moving', false, 'moving'],
    ['shard_unavailable', false, 'shard_unavailable'],
    ['outcome_unknown', true, 'outcome_unknown'],
    ['outcome_unknown', false, 'outcome_unknown'],
  ] as const)('until its time is over: %s, had a place: %s', (code, hadPlace, last) => {
    const told = rig.wait(100);
    if (hadPlace) rig.queued(rig.last);
    while (told.finals.length === 0) {
      rig.fails(rig.last, code);
      rig.pass(LIMITS.resumeMs);
    }
    expect(told.finals).toEqual([`refused ${last}`]);
    expect(rig.clock.now()).toBeGreaterThanOrEqual(100);
    expect(rig.clock.now()).toBeLessThanOrEqual(140);
    expectOver();
  });

  test('who stands in the queue again holds nothing: an earlier doubt is settled by that', () => {
    const told = rig.wait(200);
    rig.fails(rig.last, 'outcome_unknown');
    rig.pass(LIMITS.resumeMs);
    rig.queued(rig.last);
    rig.fails(rig.last, 'moving');
    rig.pass(300);
    rig.fails(rig.last, 'moving');
    expect(told.finals).toEqual(['refused wait_timeout']);
  });

  test('overloaded is the last word for a first attempt only', () => {
    rig.refusing = 'overloaded';
    expect(rig.wait(1_000).words).toEqual(['refused overloaded']);
    rig.refusing = undefined;
    const told = rig.wait(10_000);
    rig.fails(rig.last, 'moving');
    rig.pass(LIMITS.resumeMs);
    rig.fails(rig.last, 'overloaded');
    rig.pass(200);
    rig.grants(rig.last);
    expect(told.words).toEqual(['final 201']);
    expectOver();
  });
});

describe('what nobody says a word about', () => {
  test('is taken for unknown after the request time-out, and sent again', () => {
    const told = rig.wait(60_000);
    const { length } = rig.sent;
    rig.pass(TIMEOUT_MS + 2_000);
    expect(rig.sent.length).toBe(length + 1);
    expect(rig.last.flags).toBe(OpFlag.resumed);
    rig.grants(rig.last);
    expect(told.words).toEqual(['final 201']);
  });

  test('a wait that has its place is waited for until its time is over, and a little', () => {
    const told = rig.wait(10_000);
    rig.queued(rig.last);
    rig.pass(10_000 + TIMEOUT_MS);
    expect([told.finals, rig.sent.length]).toEqual([[], 1]);
    rig.pass(2_000);
    expect(told.finals).toEqual(['refused outcome_unknown']);
    rig.grants(rig.last);
    expect(told.finals.length).toBe(1);
    expectOver();
  });
});

test('too many of them are refused before anything is done', () => {
  const small = new StandingRig();
  const full = small.connections;
  full.open = LIMITS.processRequestsMax;
  expect(small.wait(1_000).handle).toBeUndefined();
  expect([small.sent.length, small.standing.size, full.open]).toEqual([0, 0, LIMITS.processRequestsMax]);
});

test('nobody is told anything before it has its handle', () => {
  rig.refusing = 'queue_full';
  const early: string[] = [];
  class Early extends Told {
    override refused(code: 'queue_full'): void {
      early.push(this.handle === undefined ? 'too early' : code);
    }
  }
  const target = new Early();
  const op = Object.assign(rig.newOp(), { kind: Kind.acquire, waitMs: 5 });
  target.handle = rig.standing.submit(op, target);
  rig.endTurn();
  expect(early).toEqual(['queue_full']);
});

describe('watches', () => {
  test('stand for ever, and begin again with the state', () => {
    const told = rig.watch();
    rig.changed(rig.last, 5);
    rig.changed(rig.last, 8);
    rig.pass(120_000, 500);
    expect(told.words).toEqual(['changed', 'changed']);
    rig.fails(rig.last, 'outcome_unknown');
    for (let i = 0; i < 50; i++) {
      rig.pass(LIMITS.resumeMsMax);
      rig.fails(rig.last, 'moving');
    }
    rig.pass(LIMITS.resumeMsMax);
    expect(rig.last).toMatchObject({ kind: Kind.watch, flags: OpFlag.resumed });
    expect(told.finals).toEqual([]);
    rig.changed(rig.last, 9);
    expect([told.words.length, told.last?.revision]).toEqual([3, 9]);
  });

  test('tell no state twice when they are taken up again, and none that is older', () => {
    const told = rig.watch();
    rig.changed(rig.last, 5);
    rig.fails(rig.last, 'moving');
    rig.pass(LIMITS.resumeMs);
    for (const revision of [5, 4, 6, 5, 7]) rig.changed(rig.last, revision);
    expect(told.words.length).toBe(3);
    expect(told.last?.revision).toBe(7);
  });

  test.each(['moving', 'outcome_unknown'] as const)(
    'that never stood end after the request time-out: %s',
    (code) => {
      const told = rig.watch();
      while (told.finals.length === 0) {
        rig.fails(rig.last, code);
        rig.pass(LIMITS.resumeMs);
      }
      // They change nothing, so nothing of them can be unknown.
      expect(told.finals).toEqual([`refused ${code === 'moving' ? 'moving' : 'shard_unavailable'}`]);
      expect(rig.clock.now()).toBeLessThan(TIMEOUT_MS + 600);
      expectOver();
    },
  );
});
