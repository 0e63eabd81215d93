/**
 * What must never happen, whatever the machine's rules are: looked for in the
 * journal alone, and in the promises that were made.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type ClaimDescription, describeEntry, type EffectDescription } from '../../src/lock/dump.ts';
import { fingerprintText } from '../../src/lock/ended-tokens.ts';
import { richHistory, runStep, type Step } from './histories.ts';
import { hashOf, type OpWords, tokenBytes } from './op-words.ts';
import { SlotRig } from './slot-rig.ts';
import { rowsOf } from './slot-state.ts';

interface Member {
  readonly claim: ClaimDescription;
  readonly lock: Lock;
  pending: boolean;
}

class Lock {
  readonly holders = new Map<number, Member>();
  readonly waiters = new Map<number, Member>();
  /** Nobody gets it before. */
  closedUntil = 0;

  /** Who holds it and, of those who came before `number`, who waits. */
  mayBeHeld(claim: ClaimDescription, number: number): boolean {
    const holders = [...this.holders.values()];
    const ahead = [...this.waiters].filter(([other]) => other < number).map(([, member]) => member);
    const modes = [...holders, ...ahead].map((member) => member.claim.mode ?? 'exclusive');
    if (claim.mode === 'shared') return modes.every((mode) => mode === 'shared');
    if (claim.mode !== 'semaphore') return modes.length === 0;
    return modes.every((mode) => mode === 'semaphore') && modes.length < claim.limit!;
  }
}

/** Reads the journal while the machine writes it. */
class Watch {
  readonly rig = new SlotRig();
  private readonly locks = new Map<string, Lock>();
  /** Number → how long a client may believe in it, as it was told last. */
  private readonly promises = new Map<number, number>();
  private seen = 0;
  private highest = 0;
  granted = 0;

  step(step: Step): void {
    const { rig } = this;
    runStep(rig, step);
    if (step.do === 'land') {
      for (const { fencingToken, promisedUntil } of rowsOf(rig.slot))
        this.promises.set(fencingToken, Math.max(promisedUntil, this.promises.get(fencingToken) ?? 0));
    }
    rig.seal();
    for (; this.seen < rig.entries.length; this.seen++) {
      for (const effect of describeEntry(rig.entries[this.seen]))
        this.look(effect, step.do === 'op' ? step.op : undefined);
    }
  }

  private look(effect: EffectDescription, op: OpWords | undefined): void {
    expect(effect.number).toBe(++this.highest);
    switch (effect.effect) {
      case 'granted':
      case 'queued': {
        const member: Member = {
          claim: effect,
          lock: this.lockOf(effect),
          pending: effect.batch !== undefined,
        };
        this.expectOnlyOneOf(member);
        if (effect.effect === 'granted') this.hold(effect.number, member, effect.number);
        else member.lock.waiters.set(effect.number, member);
        return;
      }
      case 'promoted': {
        const member = this.find(effect.fencingToken)!;
        member.lock.waiters.delete(effect.fencingToken);
        this.hold(effect.number, member, effect.fencingToken);
        return;
      }
      case 'renewed':
        this.expectToken(this.find(effect.fencingToken), op);
        return;
      case 'withdrawn':
        this.find(effect.fencingToken)!.lock.waiters.delete(effect.fencingToken);
        return;
      case 'ended':
        return this.ended(effect.fencingToken, effect.reason, op);
      case 'cleared':
        return this.cleared(effect.fencingToken, effect.all);
      case 'closed':
        return this.closed(effect.fencingToken, effect.reason);
      case 'confirmed':
        for (const member of this.members())
          if (member.claim.batch === effect.fencingToken) member.pending = false;
        return;
      default:
    }
  }

  /** At most one exclusive holder, at most N, never both; nobody overtaken; nobody before a delay is over. */
  private hold(number: number, member: Member, place: number): void {
    const { lock, claim } = member;
    expect(lock.mayBeHeld(claim, place)).toBe(true);
    expect(this.rig.now).toBeGreaterThanOrEqual(lock.closedUntil);
    for (const other of lock.holders.keys()) expect(number).toBeGreaterThan(other);
    lock.holders.set(number, member);
    this.granted++;
  }

  private ended(number: number, reason: string, op: OpWords | undefined): void {
    const member = this.find(number);
    // A delay that is over.
    if (member === undefined) return;
    if (reason === 'released') {
      expect(op?.kind).toBe('release');
      this.expectToken(member, op);
    } else {
      expect(this.rig.now).toBeGreaterThanOrEqual(this.promises.get(number) ?? 0);
    }
    this.free(number, member, reason !== 'released');
  }

  private cleared(number: number, all: boolean): void {
    const { lock } = this.find(number)!;
    for (const [holder, member] of lock.holders)
      if (all ? !member.pending : holder === number) this.free(holder, member, true);
  }

  private closed(stub: number, reason: string): void {
    if (reason === 'expired') expect(this.rig.now).toBeGreaterThanOrEqual(this.promises.get(stub) ?? 0);
    for (const lock of this.locks.values()) {
      for (const [number, member] of lock.holders)
        if (member.claim.session === stub || (member.pending && member.claim.batch === stub))
          this.free(number, member, !member.pending);
      for (const [number, member] of lock.waiters)
        if (member.claim.session === stub) lock.waiters.delete(number);
    }
  }

  private free(number: number, member: Member, mayDelay: boolean): void {
    const { lock, claim } = member;
    lock.holders.delete(number);
    if (mayDelay)
      lock.closedUntil = Math.max(
        lock.closedUntil,
        claim.lockDelayMs === undefined ? 0 : this.rig.now + claim.lockDelayMs,
      );
  }

  /** A repeated request has one effect: no two of a lock have one token. */
  private expectOnlyOneOf(member: Member): void {
    const { lock, claim } = member;
    for (const other of [...lock.holders.values(), ...lock.waiters.values()])
      expect(other.claim.tokenFingerprint).not.toBe(claim.tokenFingerprint);
  }

  private expectToken(member: Member | undefined, op: OpWords | undefined): void {
    // A stub is renewed without a token.
    if (member === undefined || op === undefined || op.kind === 'stubRenew') return;
    const bytes = tokenBytes(op.token!);
    expect(member.claim.tokenFingerprint).toBe(fingerprintText(hashOf(op.name), bytes, 0, bytes.length));
    expect(member.claim.principal ?? '').toBe(op.principal ?? '');
  }

  private members(): Member[] {
    return [...this.locks.values()].flatMap((lock) => [...lock.holders.values(), ...lock.waiters.values()]);
  }

  private find(number: number): Member | undefined {
    for (const lock of this.locks.values()) {
      const member = lock.holders.get(number) ?? lock.waiters.get(number);
      if (member !== undefined) return member;
    }
    return undefined;
  }

  private lockOf({ name, namespace = '' }: ClaimDescription): Lock {
    const key = `${namespace}\0${name}`;
    let lock = this.locks.get(key);
    if (lock === undefined) this.locks.set(key, (lock = new Lock()));
    return lock;
  }
}

it('never in any history does a lock have who must not hold it, or lose who may believe in it', () => {
  let granted = 0;
  fc.assert(
    fc.property(richHistory(true), (steps) => {
      const watch = new Watch();
      for (const step of steps) watch.step(step);
      granted += watch.granted;
    }),
    { numRuns: 500 },
  );
  // Enough of them for this to mean something.
  expect(granted).toBeGreaterThan(2_000);
}, 120_000);
