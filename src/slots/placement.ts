/**
 * Which of the living terms should own a slot. Everybody computes it alike from
 * what they read; that they may have read at different times is harmless, since
 * a Txn decides every change of owner.
 */
import { LIMITS } from '../limits.ts';
import type { TermRecord } from './records.ts';
import { heirOf, ownerOf } from './rendezvous.ts';

export class Placement {
  private terms: readonly string[] = [];
  private changedAt = -Infinity;
  /** By slot, drawn when asked for. */
  private readonly owners = new Map<number, string | undefined>();

  /** `terms` are those that may own slots, at monotonic time `now`. */
  update(terms: readonly string[], now: number): void {
    const sorted = [...terms].sort();
    if (sorted.length === this.terms.length && sorted.every((term, i) => term === this.terms[i])) return;
    this.terms = sorted;
    this.changedAt = now;
    this.owners.clear();
  }

  /** The terms have been the same for a while: slots may be moved by plan. */
  settled(now: number): boolean {
    return now - this.changedAt >= LIMITS.settleMs;
  }

  /** undefined: there is no term. */
  ownerOf(slot: number): string | undefined {
    if (!this.owners.has(slot)) this.owners.set(slot, ownerOf(slot, this.terms));
    return this.owners.get(slot);
  }

  /** The one term that takes over all slots of a dead one. */
  heirOf(dead: string): string | undefined {
    return heirOf(dead, this.terms);
  }
}

/** The terms that slots may be given to: those that serve, and where none does, all. */
export function candidates(living: ReadonlyMap<string, TermRecord>): string[] {
  const serving = servingElsewhere(living, '');
  return serving.length > 0 ? serving : [...living.keys()];
}

/** The serving terms of all processes but one. */
export function servingElsewhere(living: ReadonlyMap<string, TermRecord>, process: string): string[] {
  const terms: string[] = [];
  for (const [id, term] of living) if (term.state === 'serving' && term.process !== process) terms.push(id);
  return terms;
}
