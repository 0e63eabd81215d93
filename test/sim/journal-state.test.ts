/** What the audit makes of a journal: it knows who may be granted what, on its own. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Rule } from './history.ts';
import type { JournalEffect, JournalRow } from './journal-reader.ts';
import { JournalState } from './journal-state.ts';

const MODES = { exclusive: 0, shared: 1, semaphore: 2 } as const;
const RELEASED = 1;
const EXPIRED = 2;
const TIMED_OUT = 3;

let state: JournalState;
let rules: Rule[];
let number: number;
beforeEach(() => {
  rules = [];
  state = new JournalState((rule) => void rules.push(rule));
  number = 0;
});

/** Returns its number. */
function write(effect: Record<string, unknown>, at = number): number {
  number++;
  const whole = { slot: 7, number, hash: 1, of: number, ...effect };
  state.apply(whole as JournalEffect, { at, term: 't', since: 0 });
  return number;
}

function enters(
  kind: 'granted' | 'queued',
  mode: keyof typeof MODES = 'exclusive',
  more: Partial<JournalRow> = {},
): number {
  const fields = {
    name: 'n',
    token: `t${number}`,
    owner: '',
    ttlMs: 1_000,
    lockDelayMs: 0,
    stub: 0,
    batch: 0,
  };
  const limit = mode === 'semaphore' ? 2 : 0;
  return write({ kind, ...fields, mode: MODES[mode], limit, ...more });
}

const ends = (of: number, reason = RELEASED, at?: number) => write({ kind: 'ended', of, reason }, at);
const promotes = (of: number, at?: number) => write({ kind: 'promoted', of }, at);

describe('who holds', () => {
  it('holds alone, or with others of its kind as far as there is room', () => {
    enters('granted', 'shared');
    enters('granted', 'shared');
    expect(rules).toEqual([]);
    enters('granted');
    expect(rules).toContain('exclusion');
  });

  it('has one of the places that a semaphore has', () => {
    enters('granted', 'semaphore');
    enters('granted', 'semaphore');
    expect(rules).toEqual([]);
    enters('granted', 'semaphore');
    expect(rules).toEqual(['exclusion']);
  });

  it('is of the mode of those who are there', () => {
    enters('granted', 'semaphore');
    enters('queued', 'semaphore', { limit: 3 });
    expect(rules).toEqual(['exclusion']);
  });

  it('ends alone, with all others by force, or with its session', () => {
    const stub = write({ kind: 'opened', name: 's', ttlMs: 1_000 });
    enters('granted', 'shared', { stub });
    const last = enters('granted', 'shared');
    write({ kind: 'closed', of: stub, reason: EXPIRED });
    write({ kind: 'cleared', of: last, onlyOne: false });
    enters('granted');
    expect(rules).toEqual([]);
    expect(state.grants.map(({ reason }) => reason)).toEqual(['session', 'forced', '']);
    ends(last);
    expect(rules).toEqual(['durability']);
  });
});

describe('who waits', () => {
  it('is granted in turn, with the number of that effect', () => {
    const first = enters('granted');
    const waiter = enters('queued');
    ends(first);
    const fencingToken = promotes(waiter);
    expect(state.grants.at(-1)).toMatchObject({ fencingToken, wait: { number: waiter, end: 'granted' } });
    ends(fencingToken);
    expect(rules).toEqual([]);
  });

  it('is not overtaken, by a try or by who came later', () => {
    const first = enters('granted');
    enters('queued');
    const second = enters('queued');
    ends(first);
    promotes(second);
    expect(rules).toEqual(['queue']);
    ends(number);
    enters('granted');
    expect(rules).toEqual(['queue', 'queue']);
  });

  it('is not overtaken by readers when it wants to write, but reads with those that came later', () => {
    const first = enters('granted', 'shared');
    const waiter = enters('queued', 'shared');
    const later = enters('queued', 'shared');
    promotes(later);
    promotes(waiter);
    expect(rules).toEqual([]);
    enters('queued');
    enters('granted', 'shared');
    expect(rules).toEqual(['queue']);
    ends(first);
  });

  it('has its place of a semaphore kept', () => {
    const holder = enters('granted', 'semaphore');
    enters('granted', 'semaphore');
    enters('queued', 'semaphore');
    const later = enters('queued', 'semaphore');
    ends(holder);
    promotes(later);
    expect(rules).toEqual(['queue']);
  });

  it('is idle while its lock is free, and no longer', () => {
    const first = enters('granted');
    const waiter = enters('queued');
    ends(first, EXPIRED, 100);
    expect(state.idles).toMatchObject([{ wait: { number: waiter }, from: 100, to: Infinity }]);
    state.takenOver(7, 150, false);
    promotes(waiter, 200);
    expect(state.idles).toMatchObject([{ from: 100, to: 200, graceFrom: 150 }]);
    expect(state.idles).toHaveLength(1);
  });

  it('may leave', () => {
    enters('granted');
    const waiter = enters('queued');
    write({ kind: 'withdrawn', of: waiter, reason: TIMED_OUT });
    expect(state.waits).toMatchObject([{ number: waiter, end: 'timed out' }]);
    expect(state.waiting).toEqual([]);
    promotes(waiter);
    expect(rules).toEqual(['durability']);
  });
});

describe('a lock delay', () => {
  it('keeps everybody away until it ends, unless its claim was released', () => {
    const first = enters('granted', 'exclusive', { lockDelayMs: 500 });
    ends(first, EXPIRED, 1_000);
    enters('granted');
    expect(rules).toEqual(['delay']);
    ends(number);
    ends(first, EXPIRED, 1_600);
    expect(state.delays).toMatchObject([{ ms: 500, lastedMs: 600 }]);
    const released = enters('granted', 'exclusive', { lockDelayMs: 500 });
    ends(released);
    enters('granted');
    expect(rules).toEqual(['delay']);
  });
});
