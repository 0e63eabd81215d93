/**
 * What this process knows of sessions that pass through it. All of it is a
 * guess about what the slots say, or a bound that stays true:
 *
 *   active slots   the session's home counts on its stub there, so an acquire
 *                  goes straight to the lock; a slot that has no such stub says
 *                  so, and it is forgotten here
 *   promised until every stub of the session lives until then: what is told
 *                  when one of them cannot be asked
 *   full           as many locks as a session may have hung on it when it was
 *                  last renewed through this process. So the bound is met with
 *                  what was taken since then, and by other processes, on top.
 *
 * Bounded: the sessions that were used last are kept.
 */
import { LIMITS } from '../limits.ts';
import type { SessionName } from './session-name.ts';

interface Known {
  readonly active: Set<number>;
  promisedUntil: number;
  full: boolean;
}

export class KnownSessions {
  private readonly slotsMax: number;
  /** In the order of their last use. */
  private readonly sessions = new Map<string, Known>();
  /** Each session, and each slot of one. */
  private count = 0;

  constructor(slotsMax: number = LIMITS.knownSessionSlotsMax) {
    this.slotsMax = slotsMax;
  }

  get size(): number {
    return this.count;
  }

  isActive(name: SessionName, slot: number): boolean {
    return this.use(name)?.active.has(slot) ?? false;
  }

  isFull(name: SessionName): boolean {
    return this.use(name)?.full ?? false;
  }

  /** On the monotonic clock; 0 = not known. */
  promisedUntil(name: SessionName): number {
    return this.use(name)?.promisedUntil ?? 0;
  }

  activated(name: SessionName, slot: number): void {
    const { active } = this.make(name);
    if (active.has(slot)) return;
    active.add(slot);
    this.count++;
    this.evict();
  }

  /** The session is open, or was renewed everywhere: it and all its stubs live until then. */
  promised(name: SessionName, until: number): void {
    this.make(name).promisedUntil = until;
    this.evict();
  }

  counted(name: SessionName, locks: number): void {
    this.make(name).full = locks >= LIMITS.sessionLocksMax;
    this.evict();
  }

  forgetSlot(name: SessionName, slot: number): void {
    if (this.sessions.get(name.text)?.active.delete(slot)) this.count--;
  }

  forget(name: SessionName): void {
    this.drop(name.text);
  }

  private use(name: SessionName): Known | undefined {
    const known = this.sessions.get(name.text);
    if (known === undefined) return undefined;
    this.sessions.delete(name.text);
    this.sessions.set(name.text, known);
    return known;
  }

  private make(name: SessionName): Known {
    let known = this.use(name);
    if (known === undefined) {
      known = { active: new Set(), promisedUntil: 0, full: false };
      this.sessions.set(name.text, known);
      this.count++;
    }
    return known;
  }

  private evict(): void {
    for (const text of this.sessions.keys()) {
      if (this.count <= this.slotsMax) return;
      this.drop(text);
    }
  }

  private drop(text: string): void {
    const known = this.sessions.get(text);
    if (known === undefined) return;
    this.sessions.delete(text);
    this.count -= 1 + known.active.size;
  }
}
