import { beforeEach, describe, expect, test } from 'vitest';
import { SessionName } from '../../src/front/session-name.ts';
import type { Target } from '../../src/front/coordination.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { freshToken, homeKey, sessionOp, stubKey } from './coordinator-rig.ts';
import type { Fate } from './model-slots.ts';
import {
  a,
  begin,
  clock,
  expectQuiet,
  hold,
  homeSlot,
  model,
  nameAway,
  open,
  S,
  slotOf,
  TTL_MS,
} from './session-rig.ts';

beforeEach(() => begin());

describe('an acquire in a session', () => {
  test.each([
    ['an ended one', () => {}],
    ['one that ends between join and activation', () => open()],
  ])('%s: session_ended, and nothing is left', (what, begin) => {
    begin();
    const asked = a.acquire(nameAway(), freshToken(), S);
    if (what !== 'an ended one') model.fate = (op) => endOn(op, Kind.acquire);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    expect(model.claims.size + model.stubs.size).toBe(0);
    expectQuiet(a);
  });

  test('asks its home again when the stub that it knew of is gone', () => {
    open();
    const name = nameAway();
    hold(name);
    model.stubs.delete(stubKey(slotOf(name), S));
    model.claims.clear();
    // Another process has opened the same session anew.
    model.sessions.get(homeKey(S))!.slots.clear();
    hold(name);
    expect(model.done[Kind.sessionJoin]).toBe(2);
  });

  test('waits out the end of a stub that home did not count on', () => {
    open();
    const name = nameAway();
    leaveStubBehind(name);
    const early = a.acquire(name, freshToken(), S);
    clock.advance(20);
    expect(early.told).toMatchObject([{ status: 503, code: 'shard_unavailable' }]);
    clock.advance(3_900);
    a.session(Kind.sessionRenew, S);
    clock.advance(200);
    hold(name);
  });

  test('says so when the session ended with such a stub', () => {
    open();
    const name = nameAway();
    leaveStubBehind(name);
    model.fate = (op) => endOn(op, Kind.acquire);
    const asked = a.acquire(name, freshToken(), S);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
  });

  test('says session_ended when home counts on a stub that is gone', () => {
    open();
    const name = nameAway();
    hold(name);
    model.stubs.delete(stubKey(slotOf(name), S));
    const asked = a.acquire(name, freshToken(), S);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
  });

  test('is nothing that has happened when its home cannot be asked', () => {
    open();
    model.fate = (op) => ({ delayMs: 1, drop: op.kind === Kind.sessionJoin });
    const asked = a.acquire(nameAway(), freshToken(), S);
    clock.advance(3_500);
    expect(asked.told).toMatchObject([{ status: 503, code: 'shard_unavailable' }]);
    expect(model.done[Kind.acquire]).toBe(0);
  });

  test('may have happened when it cannot be activated, and a repeat completes it', () => {
    open();
    const name = nameAway();
    const token = freshToken();
    model.fate = (op) => {
      if (op.kind === Kind.acquire) model.downUntil[homeSlot()] = clock.now() + 2_500;
      return { delayMs: 1 };
    };
    const asked = a.acquire(name, token, S);
    clock.advance(2_600);
    expect(asked.told).toMatchObject([{ status: 504, code: 'outcome_unknown' }]);
    model.fate = () => ({ delayMs: 1 });
    const again = a.acquire(name, token, S);
    clock.advance(20);
    expect(again.told).toMatchObject([{ status: 200 }]);
    expect(model.sessions.get(homeKey(S))!.slots.get(slotOf(name))).toBe(true);
  });

  test('counts the time of its last step', () => {
    open();
    model.fate = (op) => ({ delayMs: op.kind === Kind.sessionActivate ? 700 : 1 });
    const asked = a.acquire(nameAway(), freshToken(), S);
    clock.advance(2_000);
    const [{ status, waitedMs, expiresInMs }] = asked.told;
    expect(status).toBe(201);
    expect(waitedMs).toBeGreaterThan(1_000);
    expect(waitedMs + expiresInMs).toBeLessThanOrEqual(TTL_MS + 2);
    expect(waitedMs + expiresInMs).toBeGreaterThan(TTL_MS - 2);
  });

  test('passes a refusal on', () => {
    open();
    const name = nameAway();
    hold(name);
    const asked = a.acquire(name, freshToken(), S);
    clock.advance(20);
    expect(asked.told).toMatchObject([{ status: 409, code: 'lock_held' }]);
  });
});

describe('a wait in a session', () => {
  /** What became of the last wait. */
  let steps: string[];
  let waits: Target;
  let waiting: Op;

  beforeEach(() => {
    steps = [];
    a.standing = {
      submit(op, target) {
        const { waitMs, flags, ttlMs, namespaceLength } = op;
        steps.push(`${waitMs} ${(flags & OpFlag.newStub) !== 0} ${ttlMs} ${namespaceLength}`);
        waits = target;
        waiting = Object.assign(new Op(), op, { bytes: op.bytes.slice(), waitMs: 0 });
        return { cancel: () => steps.push('cancel'), leave: () => steps.push('leave') };
      },
    };
    open();
  });

  /** It gets what a try would get now. */
  function serve(name: string): void {
    const refuse = (): void => {};
    model.requestTimeoutMs = 600_000;
    model.submit(waiting, slotOf(name), { answers: (_, ...answer) => waits.final(...answer), refuse });
    clock.advance(20);
  }

  test('stands after the join, and is told after the activation', () => {
    const name = nameAway();
    const asked = a.acquire(name, freshToken(), S, 60_000);
    clock.advance(20);
    expect(steps).toEqual([`60000 true ${TTL_MS} 3`]);
    clock.advance(2_000);
    model.fate = (op) => ({ delayMs: op.kind === Kind.sessionActivate ? 1_500 : 1 });
    serve(name);
    expect(asked.told).toEqual([]);
    clock.advance(2_300);
    const [{ status, waitedMs, expiresInMs }] = asked.told;
    expect(status).toBe(201);
    expect(waitedMs).toBeGreaterThan(4_000);
    expect(expiresInMs).toBeGreaterThan(TTL_MS - 2_400);
    expect(expiresInMs).toBeLessThanOrEqual(TTL_MS - 2_250);
    expectQuiet(a);
  });

  test('passes on how it ended without the lock', () => {
    const asked = a.acquire(nameAway(), freshToken(), S, 60_000);
    clock.advance(20);
    waits.refused('wait_timeout');
    expect(asked.told).toMatchObject([{ status: 409, code: 'wait_timeout' }]);
  });

  test('is taken back when the session ended meanwhile', () => {
    const name = nameAway();
    const asked = a.acquire(name, freshToken(), S, 60_000);
    clock.advance(20);
    model.sessions.clear();
    serve(name);
    expect(asked.told).toMatchObject([{ status: 410, code: 'session_ended' }]);
    expect(model.claims.size + model.stubs.size).toBe(0);
  });

  test('is cancelled before and after the join', () => {
    const early = a.acquire(nameAway(), freshToken(), S, 60_000);
    early.handle!.cancel();
    expect(early.told).toEqual([]);
    clock.advance(20);
    expect(early.told).toMatchObject([{ code: 'cancelled' }]);
    expect(steps).toEqual([]);
    const late = a.acquire(nameAway(), freshToken(), S, 60_000);
    clock.advance(20);
    late.handle!.cancel();
    waits.refused('cancelled');
    expect(late.told).toMatchObject([{ code: 'cancelled' }]);
    expect(steps.slice(1)).toEqual(['cancel']);
  });

  test('ends with its client', () => {
    const early = a.acquire(nameAway(), freshToken(), S, 60_000);
    early.handle!.leave();
    const late = a.acquire(nameAway(), freshToken(), S, 60_000);
    clock.advance(20);
    late.handle!.leave();
    waits.refused('cancelled');
    clock.advance(20);
    expect(steps.slice(1)).toEqual(['leave']);
    expect([...early.told, ...late.told]).toEqual([]);
    expectQuiet(a);
  });
});

/** The session ends right before the first op of `kind` is carried out. */
function endOn(op: Op, kind: number): Fate {
  if (op.kind === kind) model.sessions.delete(homeKey(S));
  return { delayMs: 1 };
}

/** As an acquire that was never activated leaves it, when keep-alives did not reach the slot: over. */
function leaveStubBehind(name: string): void {
  const slot = slotOf(name);
  hold(name);
  model.sessions.get(homeKey(S))!.slots.set(slot, false);
  a.known.forget(SessionName.ofKey(sessionOp(Kind.sessionGet, S)));
  model.stubs.get(stubKey(slot, S))!.promisedUntil = clock.now() - 1_000;
}
