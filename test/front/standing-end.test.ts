/** How waits and watches end before their time: by their client, without it, and with the process. */
import { beforeEach, describe, expect, test } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Kind, OpFlag } from '../../src/op.ts';
import { type Sent, StandingRig, TIMEOUT_MS, type Told } from './standing-rig.ts';

let rig: StandingRig;

beforeEach(() => {
  rig = new StandingRig();
});

function expectOver(): void {
  expect([rig.standing.size, rig.connections.open]).toEqual([0, 0]);
}

/** One that has its place, and the op that it was sent with. */
function waiting(): [Told, Sent] {
  const told = rig.wait(60_000);
  rig.queued(rig.last);
  return [told, rig.last];
}

describe('a client takes its wait back', () => {
  test('the lane is told which one, and its word is passed on', () => {
    const [told, wait] = waiting();
    told.handle!.cancel();
    const cancel = rig.last;
    expect(cancel).toMatchObject({
      kind: Kind.cancel,
      connection: wait.connection,
      attempt: wait.attempt,
      key: wait.key,
      token: wait.token,
      slot: wait.slot,
      principal: 'pal',
      waitMs: 0,
    });
    expect(cancel.id).not.toBe(wait.id);
    expect(told.finals).toEqual([]);
    rig.fails(wait, 'cancelled');
    rig.says(cancel, 200);
    expect(told.words).toEqual(['queued 1', 'final 409 cancelled']);
    expectOver();
  });

  test('in whatever order the lane answers the two', () => {
    const [told, wait] = waiting();
    told.handle!.cancel();
    rig.says(rig.last, 200);
    rig.fails(wait, 'cancelled');
    expect(told.finals).toEqual(['refused cancelled']);
    expectOver();
  });

  test('and hears that it got the lock, if that came first', () => {
    const [told, wait] = waiting();
    told.handle!.cancel();
    rig.fails(rig.last, 'not_held');
    expect(told.finals).toEqual([]);
    rig.grants(wait);
    expect(told.finals).toEqual(['final 201']);
    expectOver();
  });

  test('twice is once', () => {
    const [told] = waiting();
    told.handle!.cancel();
    told.handle!.cancel();
    expect(rig.sent.filter(({ kind }) => kind === Kind.cancel).length).toBe(1);
  });

  test('its places are not told any more', () => {
    const [told, wait] = waiting();
    told.handle!.cancel();
    rig.queued(wait, 1);
    expect(told.words).toEqual(['queued 1']);
  });

  test('while its slot has no owner: it holds nothing, and what is left of it is cleared away', () => {
    const [told, wait] = waiting();
    rig.fails(wait, 'moving');
    told.handle!.cancel();
    expect(told.finals).toEqual(['refused cancelled']);
    expect(rig.connections.open).toBe(0);
    const cancel = rig.last;
    expect([cancel.kind, cancel.attempt]).toEqual([Kind.cancel, wait.attempt]);
    rig.fails(cancel, 'moving');
    rig.pass(LIMITS.resumeMs * 2);
    expect(rig.last.id).not.toBe(cancel.id);
    rig.fails(rig.last, 'not_held');
    expectOver();
  });

  test('before it was sent on: routing asks, and the cancellation says how it ended', () => {
    const told = rig.wait(60_000);
    const { id } = rig.last;
    const { connections, standing } = rig;
    expect(connections.isOver(rig.last.connection, id)).toBe(false);
    told.handle!.cancel();
    expect(connections.isOver(rig.last.connection, id)).toBe(true);
    standing.refuse(id, 'moving');
    rig.endTurn();
    expect(told.finals).toEqual(['refused cancelled']);
    rig.fails(rig.last, 'not_held');
    expectOver();
  });

  test('that never had a place: there is nothing to clear away', () => {
    const told = rig.wait(60_000);
    rig.fails(rig.last, 'moving');
    told.handle!.cancel();
    expect(told.finals).toEqual(['refused cancelled']);
    expect(rig.sent.length).toBe(1);
    expectOver();
  });

  test('while nobody knows whether it got the lock: only the lane can tell', () => {
    const [told, wait] = waiting();
    rig.fails(wait, 'outcome_unknown');
    told.handle!.cancel();
    expect(told.finals).toEqual([]);
    rig.fails(rig.last, 'not_held');
    expect(told.finals).toEqual(['refused outcome_unknown']);
    expectOver();
    const [second, attempt] = waiting();
    rig.fails(attempt, 'outcome_unknown');
    second.handle!.cancel();
    rig.says(rig.last, 200);
    expect(second.finals).toEqual(['refused cancelled']);
    expectOver();
  });

  test('the owner is lost with the wait and its cancellation under way', () => {
    const [told, wait] = waiting();
    told.handle!.cancel();
    const cancel = rig.last;
    rig.fails(wait, 'moving');
    expect(told.finals).toEqual(['refused cancelled']);
    rig.fails(cancel, 'outcome_unknown');
    rig.pass(LIMITS.resumeMs);
    rig.fails(rig.last, 'not_held');
    expectOver();
  });

  test('and nobody answers: it does not wait for ever, but goes on clearing away', () => {
    const [told] = waiting();
    told.handle!.cancel();
    rig.pass(TIMEOUT_MS + 2_000);
    expect(told.finals).toEqual(['refused outcome_unknown']);
    expect(rig.connections.open).toBe(0);
    const cancels = rig.sent.filter(({ kind }) => kind === Kind.cancel).length;
    expect(cancels).toBe(2);
    rig.pass(60_000);
    expectOver();
    expect(rig.sent.filter(({ kind }) => kind === Kind.cancel).length).toBeGreaterThan(10);
    expect(told.finals.length).toBe(1);
  });
});

describe('a client is gone', () => {
  test('its wait is withdrawn, and nobody is told', () => {
    const [told, wait] = waiting();
    told.handle!.leave();
    expect([rig.last.kind, rig.connections.open]).toEqual([Kind.cancel, 0]);
    rig.fails(wait, 'cancelled');
    expect(told.finals).toEqual([]);
    expectOver();
  });

  test('also when it had taken it back before', () => {
    const [told, wait] = waiting();
    told.handle!.cancel();
    told.handle!.leave();
    rig.fails(wait, 'cancelled');
    expect(told.finals).toEqual([]);
    expectOver();
  });

  test('a lock that it got just before stays, if the token is its own', () => {
    const [told, wait] = waiting();
    told.handle!.leave();
    rig.grants(wait);
    expect(rig.sent.some(({ kind }) => kind === Kind.release)).toBe(false);
    expectOver();
  });

  test('and is given back if nobody can know its token', () => {
    const told = rig.wait(60_000, { flags: OpFlag.madeToken, mode: 1 });
    const wait = rig.last;
    rig.queued(wait);
    told.handle!.leave();
    rig.grants(wait);
    expect(rig.last).toMatchObject({
      kind: Kind.release,
      key: wait.key,
      token: wait.token,
      slot: wait.slot,
      attempt: 0,
      fields: { mode: 0 },
    });
    rig.says(rig.last, 204);
    expectOver();
  });

  test('the token of an Idempotency-Key is known to whoever has the key', () => {
    const told = rig.wait(60_000, { flags: OpFlag.madeToken | OpFlag.keyed });
    told.handle!.leave();
    rig.grants(rig.sent[0]);
    expect(rig.sent.some(({ kind }) => kind === Kind.release)).toBe(false);
  });

  test('its watch ends', () => {
    const told = rig.watch();
    const watch = rig.last;
    rig.changed(watch, 1);
    told.handle!.leave();
    expect(rig.last).toMatchObject({ kind: Kind.cancel, attempt: watch.attempt });
    rig.changed(watch, 2);
    rig.fails(watch, 'cancelled');
    rig.says(rig.last, 200);
    expect(told.words).toEqual(['changed']);
    expectOver();
  });

  test('an end that nobody answers is asked for until the wait would have ended by itself', () => {
    const [told] = waiting();
    told.handle!.leave();
    rig.pass(63_000);
    expectOver();
    const watch = rig.watch();
    rig.changed(rig.last, 1);
    watch.handle!.leave();
    rig.pass(TIMEOUT_MS + 2_000);
    expectOver();
  });
});

test('a watch that its client ends is over at once', () => {
  const told = rig.watch();
  const watch = rig.last;
  rig.changed(watch, 1);
  told.handle!.cancel();
  expect(told.words).toEqual(['changed', 'refused cancelled']);
  rig.fails(watch, 'cancelled');
  rig.says(rig.last, 200);
  expect(told.words.length).toBe(2);
  expectOver();
});

describe('the process ends', () => {
  test('who waits is told so, unless it got its lock just before', () => {
    const [first, one] = waiting();
    const [second, two] = waiting();
    const between = rig.wait(60_000);
    rig.fails(rig.last, 'moving');
    const watch = rig.watch();
    rig.changed(rig.last, 1);
    rig.standing.drain();
    const cancels = rig.sent.filter(({ kind }) => kind === Kind.cancel);
    expect(cancels.map(({ attempt }) => attempt).slice(0, 2)).toEqual([one.attempt, two.attempt]);
    expect(between.finals).toEqual(['refused draining']);
    expect(watch.finals).toEqual(['refused draining']);
    // Only what the lane decides is waited for.
    expect(rig.connections.open).toBe(2);
    rig.fails(one, 'cancelled');
    rig.fails(cancels[1], 'not_held');
    rig.grants(two);
    expect(first.finals).toEqual(['refused draining']);
    expect(second.finals).toEqual(['final 201']);
    expect(rig.connections.open).toBe(0);
  });

  test('who comes after that is told so at once', () => {
    rig.standing.drain();
    expect(rig.wait(60_000).words).toEqual(['refused draining']);
    expect(rig.watch().words).toEqual(['refused draining']);
    expect(rig.sent).toEqual([]);
    expectOver();
  });

  test('and with it the last words of whoever is left', () => {
    const [unknown] = waiting();
    const never = rig.wait(60_000);
    rig.fails(rig.last, 'shard_unavailable');
    const watch = rig.watch();
    rig.connections.shutDown();
    expect(unknown.finals).toEqual(['refused outcome_unknown']);
    expect(never.finals).toEqual(['refused shard_unavailable']);
    expect(watch.finals).toEqual(['refused shard_unavailable']);
    expectOver();
  });
});
