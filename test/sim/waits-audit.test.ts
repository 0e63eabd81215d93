/** What the audit of queues finds: one fault each, and nothing where there is none. */
import { Buffer } from 'node:buffer';
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import type { AuditOptions } from './audit-options.ts';
import { History, type OpRecord, PLAIN, type Rule, type Seen, type Violation } from './history.ts';
import type { Grant, Idle, Wait } from './journal-state.ts';
import { checkWaits } from './waits-audit.ts';

const NAME = 'order-1';
const LONG_MS = LIMITS.reattachMs + 5_000;

let closedAt: Map<number, number>;
let killedAt: Map<number, number>;
let history: History;
beforeEach(() => {
  closedAt = new Map();
  killedAt = new Map();
  history = new History(closedAt, killedAt);
});

/** A request to wait for a minute, over connection 1. */
function asks(token: string, sentAt: number, more: Partial<OpRecord> = {}): OpRecord {
  const record: OpRecord = {
    id: history.ops.length + 1,
    client: 'c',
    name: NAME,
    op: 'acquire',
    token,
    fencingToken: 0,
    wish: { ...PLAIN, waitMs: 60_000 },
    sentAt,
    patienceMs: Infinity,
    endedAt: Infinity,
    seen: undefined,
    after: 0,
    wire: 1,
    copies: 0,
    unheardAt: Infinity,
    queuedAt: Infinity,
    cancelledAt: Infinity,
    ...more,
  };
  history.ops.push(record);
  return record;
}

function told(endedAt: number, seen: Partial<Seen>): Partial<OpRecord> {
  const rest: Seen = { status: 409, code: '', fencingToken: 0, yes: false, holders: [], released: 0 };
  return { endedAt, seen: { ...rest, ...seen } };
}

function place(token: string, queuedAt: number, more: Partial<Wait> = {}): Wait {
  const bytes = Buffer.from(token).toString('hex');
  return { name: NAME, token: bytes, number: 1, queuedAt, endedAt: Infinity, end: '', ...more };
}

function grantOf(wait: Wait, grantedAt: number, bySince: number): Grant {
  const { name, token } = wait;
  const who = { name, token, fencingToken: 9, mode: 0, by: 't', bySince, wait };
  return { ...who, grantedAt, ttlMs: 1_000, takenOverAt: -Infinity, endedAt: Infinity, reason: '' };
}

function rules(
  { waits = [], idles = [], grants = [] }: { waits?: Wait[]; idles?: Idle[]; grants?: Grant[] },
  options: Partial<AuditOptions> = {},
): Rule[] {
  const violations: Violation[] = [];
  const all = { honestClocks: true, prompt: false, attentive: true, wellFrom: 1_000, ...options };
  checkWaits(waits, idles, grants, history, all, violations);
  return violations.map(({ rule }) => rule);
}

describe('a place in a queue', () => {
  it('is written before it is told', () => {
    asks('a', 0, { queuedAt: 10 });
    expect(rules({ waits: [place('a', 9)] })).toEqual([]);
    expect(rules({ waits: [place('a', 11)] })).toEqual(['durability']);
    expect(rules({})).toEqual(['durability']);
  });

  it('is kept while its client waits and all is well', () => {
    asks('a', 0);
    const lost = place('a', 5, { end: 'lost', endedAt: 9_000 });
    expect(rules({ waits: [lost] })).toEqual(['liveness']);
    expect(rules({ waits: [lost] }, { wellFrom: 8_500 })).toEqual([]);
    closedAt.set(1, 7_500);
    expect(rules({ waits: [lost] })).toEqual([]);
  });
});

describe('a grant after a wait', () => {
  it('is for somebody who is there', () => {
    const wait = place('a', 5);
    asks('a', 0);
    const grants = [grantOf(wait, 20_000, 0)];
    expect(rules({ grants })).toEqual([]);
    closedAt.set(1, 19_900);
    expect(rules({ grants })).toEqual([]);
    closedAt.set(1, 1_000);
    expect(rules({ grants })).toEqual(['live client']);
    expect(rules({ grants }, { attentive: false })).toEqual([]);
    asks('a', 2_000, { wire: 2 });
    expect(rules({ grants })).toEqual([]);
  });

  it('is never for the clients of a process that was dead before its owner came', () => {
    const wait = place('a', 5);
    asks('a', 0, { queuedAt: 10 });
    closedAt.set(1, 1_000);
    killedAt.set(1, 1_000);
    expect(rules({ waits: [wait], grants: [grantOf(wait, 1_200, 900)] }, { attentive: false })).toEqual([]);
    expect(rules({ waits: [wait], grants: [grantOf(wait, 1_200, 1_100)] }, { attentive: false })).toEqual([
      'live client',
    ]);
  });

  it('may be for them when their requests waited at its owner, until that hears of their end', () => {
    const wait = place('a', 1_100);
    asks('a', 0);
    closedAt.set(1, 1_000);
    killedAt.set(1, 1_000);
    expect(rules({ grants: [grantOf(wait, 1_200, 1_100)] }, { attentive: false })).toEqual([]);
    expect(rules({ grants: [grantOf(wait, 9_000, 1_100)] }, { attentive: false })).toEqual(['live client']);
  });
});

describe('a free lock', () => {
  it('goes to who waits for it, once all is well', () => {
    const wait = place('a', 5);
    asks('a', 0);
    const idle = (from: number, to: number): Idle => ({ wait, from, to, graceFrom: from });
    expect(rules({ idles: [idle(0, 2_000)] })).toEqual([]);
    expect(rules({ idles: [idle(2_000, 9_000)] })).toEqual(['liveness']);
    expect(rules({ idles: [idle(0, 2_900)] }, { prompt: true })).toEqual(['liveness']);
    expect(rules({ idles: [idle(0, 100)] }, { prompt: true, still: true })).toEqual(['liveness']);
  });

  it('is kept for who is gone no longer than the grace from the last change of owners', () => {
    const wait = place('a', 5);
    asks('a', 0);
    closedAt.set(1, 10);
    const idle: Idle = { wait, from: 2_000, to: 2_000 + LONG_MS, graceFrom: 2_000 };
    expect(rules({ idles: [idle] })).toEqual(['liveness']);
    expect(rules({ idles: [{ ...idle, graceFrom: 6_000 }] })).toEqual([]);
  });
});

describe('a wait', () => {
  it('is over when its time is', () => {
    asks('a', 0, told(60_010, { code: 'wait_timeout' }));
    asks('b', 0, told(30_000, { code: 'lock_held' }));
    expect(rules({})).toEqual([]);
    asks('c', 0, told(30_000, { code: 'wait_timeout' }));
    expect(rules({})).toEqual(['queue']);
    expect(rules({}, { honestClocks: false })).toEqual([]);
    asks('d', 0, told(61_000, { code: 'wait_timeout' }));
    expect(rules({}, { prompt: true })).toEqual(['queue', 'queue']);
  });

  it('is cancelled by its client, or by a later request for the same claim', () => {
    asks('a', 0, { ...told(500, { code: 'cancelled' }), cancelledAt: 400 });
    asks('b', 0, told(500, { code: 'cancelled' }));
    asks('b', 300);
    expect(rules({}, { still: true })).toEqual([]);
    asks('c', 0, told(500, { code: 'cancelled' }));
    expect(rules({}, { still: true })).toEqual(['queue']);
    asks('d', 0);
    asks('d', 300, told(500, { code: 'cancelled' }));
    expect(rules({}, { still: true })).toEqual(['queue', 'queue']);
    // Its owner may have been lost, and the earlier request taken up again behind it.
    expect(rules({})).toEqual(['queue']);
  });

  it('outlives its owner', () => {
    asks('a', 0, told(100, { status: 503, code: 'moving' }));
    expect(rules({})).toEqual([]);
    expect(rules({}, { prompt: true })).toEqual(['queue']);
  });
});
