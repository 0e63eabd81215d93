/**
 * The machine against a second, plain writing-down of the same rules
 * (reference-*.ts), over random histories. HOLDFAST_MODEL_RUNS asks for more of
 * them than the default.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { holdersOf } from '../../src/lock/lock-view.ts';
import { drive, FEW_TOKENS, history, NAMES, richHistory, type Step, TOKENS } from './histories.ts';
import { hashOf, tokenBytes } from './op-words.ts';
import { Reference } from './reference-ops.ts';
import { clockOf, limitOf, type Member, modeOf } from './reference-rows.ts';
import { ENDED_KEEP_MS, type Heard, SlotRig } from './slot-rig.ts';
import { rowsOf } from './slot-state.ts';

const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 1_500);
const WATCHED = 'ab';

interface Row {
  readonly kind: string;
  readonly number: number;
  readonly text: string;
}

class Pair {
  readonly rig = new SlotRig();
  readonly reference = new Reference(ENDED_KEEP_MS);
  private readonly watches: boolean;

  constructor(watches: boolean) {
    this.watches = watches;
    if (watches) this.rig.slot.aside.watched.set(WATCHED, true);
  }

  step(step: Step): void {
    const { rig, reference } = this;
    const seen = this.watches ? this.shown() : '';
    if (step.do === 'op') same(rig.run(step.op), reference.run(step.op));
    else {
      drive(rig, step);
      drive(reference, step);
      if (this.watches) rig.slot.aside.watched.set(WATCHED, true);
    }
    const changes = rig.heard.filter(({ what }) => what === 'changed');
    if (seen !== (this.watches ? this.shown() : '')) expect(changes).not.toEqual([]);
    same(
      rig.heard.filter(({ what }) => what !== 'changed'),
      reference.heard,
    );
    rig.heard = [];
    reference.heard = [];
    this.compare();
  }

  private compare(): void {
    const { rig, reference } = this;
    same(rig.slot.counter, reference.counter);
    same(rowsOfRig(rig), rowsOfReference(reference));
    for (const [name, lock] of reference.locks) {
      same(
        this.waitersOf(name),
        lock.waiters.map(({ number }) => number),
      );
    }
    const { held, waiting } = rig.slot.claims;
    const locks = [...reference.locks.values()];
    const count = (of: (lock: (typeof locks)[number]) => unknown[]) =>
      locks.reduce((sum, lock) => sum + of(lock).length, 0);
    same({ held, waiting }, { held: count((lock) => lock.shown), waiting: count((lock) => lock.waiters) });
    same(rig.rowsWithoutTimer(), []);
    same([...rig.slot.aside.backlog], []);
  }

  remembered(): void {
    for (const name of NAMES) {
      for (const token of new Set([...TOKENS, ...FEW_TOKENS]))
        expect(this.rig.remembers(name, token)).toBe(this.reference.remembers(name, token));
    }
  }

  private waitersOf(name: string): number[] {
    const { slot } = this.rig;
    const key = new TextEncoder().encode(name);
    const crowd = slot.crowdOf(slot.claims.find(key, 0, key.length, hashOf(name)));
    return [...(crowd?.waiters ?? [])].map((row) => slot.claims.fencingToken(row));
  }

  /** What a get of the watched lock would show, its times left out. */
  private shown(): string {
    const { slot } = this.rig;
    const key = new TextEncoder().encode(WATCHED);
    const row = slot.claims.find(key, 0, key.length, hashOf(WATCHED));
    const rows = rowsOf(slot);
    const holders = [...holdersOf(slot, row)].map((holder) => {
      const number = slot.claims.fencingToken(holder);
      return `${number} ${rows.find(({ fencingToken }) => fencingToken === number)!.metadata}`;
    });
    return `${holders.join()} ${this.waitersOf(WATCHED).length}`;
  }
}

/** The cheap comparison first: there are a hundred thousand of them. */
function same(got: unknown, wanted: unknown): void {
  if (!isDeepStrictEqual(got, wanted)) expect(got).toEqual(wanted);
}

function rowsOfRig(rig: SlotRig): Row[] {
  return rowsOf(rig.slot).map((row) => {
    const { kind, fencingToken: number, ttlMs, principal, promisedUntil, freeAt } = row;
    const isStub = kind === 'session' || kind === 'stub' || kind === 'batch';
    if (isStub) return { kind, number, text: JSON.stringify({ ttlMs, principal, promisedUntil, freeAt }) };
    if (kind === 'delay') return { kind, number, text: JSON.stringify({ ttlMs, freeAt }) };
    const { name, token, owner, metadata, mode, limit, lockDelayMs, keyed, session, batch } = row;
    const promised = kind === 'claim' ? promisedUntil : 0;
    const texts = { name, token, owner, metadata, principal, mode, limit, lockDelayMs, keyed };
    return { kind, number, text: JSON.stringify({ ...texts, session, batch, ttlMs, promised, freeAt }) };
  });
}

function rowsOfReference(reference: Reference): Row[] {
  const rows: Row[] = [];
  for (const { of, number, ttlMs, principal, times } of reference.stubs.values()) {
    const { promisedUntil, freeAt } = times;
    rows.push({ kind: of, number, text: JSON.stringify({ ttlMs, principal, promisedUntil, freeAt }) });
  }
  for (const { holders, waiters, delay } of reference.locks.values()) {
    for (const holder of holders) {
      const { promisedUntil, freeAt } = clockOf(holder);
      rows.push(rowOf('claim', holder, promisedUntil, freeAt));
    }
    for (const waiter of waiters) rows.push(rowOf('waiter', waiter, 0, waiter.until));
    if (delay === undefined) continue;
    const { number, ttlMs, until: freeAt } = delay;
    rows.push({ kind: 'delay', number, text: JSON.stringify({ ttlMs, freeAt }) });
  }
  return rows.sort((a, b) => a.number - b.number);
}

function rowOf(kind: string, member: Member, promised: number, freeAt: number): Row {
  const { op, name, metadata, ttlMs, number } = member;
  const token = Buffer.from(tokenBytes(member.token)).toString('latin1');
  const { owner = '', principal = '', lockDelayMs = 0 } = op;
  const keyed = op.flags?.includes('keyed') ?? false;
  const texts = { name, token, owner, metadata, principal, mode: modeOf(op), limit: limitOf(op) };
  const hangs = { session: member.session?.number ?? 0, batch: member.batch?.number ?? 0 };
  return {
    kind,
    number,
    text: JSON.stringify({ ...texts, lockDelayMs, keyed, ...hangs, ttlMs, promised, freeAt }),
  };
}

function run(steps: readonly Step[], watches: boolean): Heard[] {
  const pair = new Pair(watches);
  for (const step of steps) pair.step(step);
  pair.remembered();
  return pair.rig.heard;
}

describe('random histories of plain claims', () => {
  it('go as the reference model says', () => {
    fc.assert(
      fc.property(history, (steps) => {
        run(steps, false);
      }),
      { numRuns: Math.ceil(RUNS / 10) },
    );
  }, 600_000);
});

describe('random histories of everything that a lock can be', () => {
  it('go as the reference model says, new owners included', () => {
    fc.assert(
      fc.property(richHistory(true), fc.boolean(), (steps, watches) => {
        run(steps, watches);
      }),
      { numRuns: RUNS },
    );
  }, 600_000);
});
