import { beforeEach, describe, expect, test } from 'vitest';
import { SessionName } from '../../src/front/session-name.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind } from '../../src/op.ts';
import {
  a,
  acquires,
  begin,
  clock,
  held,
  model,
  names,
  restart,
  S,
  slotOf,
  take,
  TTL_MS,
} from './atomic-rig.ts';
import { acquireOp, freshToken, homeKey, lockKey, stubKey } from './coordinator-rig.ts';

beforeEach(() => begin());

describe('an atomic batch in a session', () => {
  beforeEach(() => {
    const opened = a.session(Kind.sessionOpen, S, TTL_MS);
    clock.advance(10);
    expect(opened.told).toHaveLength(1);
  });

  test('its claims hang on it, in slots that are active', () => {
    const of = names(6);
    const asked = take(of, S);
    const got = asked.told[0].held!;
    expect(held(of)).toEqual(of.map(() => true));
    for (const [i, name] of of.entries()) {
      const stub = model.stubs.get(stubKey(slotOf(name), S))!;
      expect(model.claims.get(lockKey(name))!.session).toBe(stub);
      expect(model.sessions.get(homeKey(S))!.slots.get(slotOf(name))).toBe(true);
      expect(got[i].expiresInMs).toBeGreaterThan(TTL_MS - 100);
      expect(got[i].expiresInMs).toBeLessThanOrEqual(stub.promisedUntil - clock.now() + 60);
    }
    const ended = a.session(Kind.sessionEnd, S);
    clock.advance(20);
    expect(ended.told).toMatchObject([{ status: 204 }]);
    expect(model.claims.size).toBe(0);
  });

  test('does not promise more than an older stub has', () => {
    const [name, ...others] = names(3);
    take([name], S);
    clock.advance(5_000);
    const second = Array.from({ length: 500 }, (_, i) => `x-${i}`).find((x) => slotOf(x) === slotOf(name))!;
    const asked = take([second, ...others], S);
    const got = asked.told[0].held!;
    expect(got[0].expiresInMs).toBeLessThanOrEqual(TTL_MS - 5_000);
    expect(got[1].expiresInMs).toBeGreaterThan(TTL_MS - 100);
  });

  test('has ended: nothing is taken', () => {
    model.sessions.clear();
    const asked = take(names(3), S);
    expect(asked.told).toEqual([{ held: undefined, index: 0, code: 'session_ended' }]);
    expect(model.done[Kind.acquire]).toBe(0);
  });

  test('has as many locks as it may: nothing is taken', () => {
    const [name, ...others] = names(3);
    a.known.counted(SessionName.ofClaim(acquireOp(name, freshToken(), S)), LIMITS.sessionLocksMax);
    const ops = [acquireOp(name, freshToken(), '', TTL_MS), ...acquires(others, S)];
    const asked = a.batch(ops);
    clock.advance(60);
    expect(asked.told).toEqual([{ held: undefined, index: 1, code: 'quota_exceeded' }]);
    expect(model.done[Kind.acquire]).toBe(0);
  });

  test('a slot makes no stub for a while: nothing is taken, a repeat may be', () => {
    const of = names(3);
    take([of[0]], S);
    const slot = slotOf(of[0]);
    model.sessions.get(homeKey(S))!.slots.set(slot, false);
    model.stubs.get(stubKey(slot, S))!.promisedUntil = 0;
    restart();
    expect(take(of, S).told).toMatchObject([{ code: 'shard_unavailable' }]);
    expect(model.claims.size).toBe(0);
    clock.advance(4_000);
    expect(take(of, S).told[0].held).toHaveLength(3);
  });

  test('ends meanwhile: nothing is kept', () => {
    model.fate = (op) => {
      if (op.kind === Kind.sessionActivate) model.sessions.clear();
      return { delayMs: 1 };
    };
    const of = names(3);
    const asked = take(of, S);
    expect(asked.told).toMatchObject([{ code: 'session_ended' }]);
    expect(model.claims.size).toBe(0);
  });
});
