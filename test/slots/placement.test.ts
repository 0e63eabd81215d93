import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { candidates, Placement, servingElsewhere } from '../../src/slots/placement.ts';
import type { TermRecord, TermState } from '../../src/slots/records.ts';
import { heirOf, ownerOf } from '../../src/slots/rendezvous.ts';

const SLOTS = 512;
const A = 'a'.repeat(16);
const B = 'b'.repeat(16);
const C = 'c'.repeat(16);

/** Terms by id: `process state`. */
function living(terms: Readonly<Record<string, readonly [string, TermState]>>): Map<string, TermRecord> {
  const records = Object.entries(terms).map(([id, [process, state]]): [string, TermRecord] => {
    return [id, { process, address: `${process}:1`, version: 'test', lane: 0, born: 1, state, seq: 0 }];
  });
  return new Map(records);
}

function ownersOf(placement: Placement): (string | undefined)[] {
  return Array.from({ length: SLOTS }, (_, slot) => placement.ownerOf(slot));
}

describe('a placement', () => {
  it('is that of the terms it was told last', () => {
    const placement = new Placement();
    expect(placement.ownerOf(3)).toBeUndefined();
    expect(placement.heirOf(C)).toBeUndefined();
    for (const terms of [[A], [A, B], [B], [C, B, A]]) {
      placement.update(terms, 1);
      expect(ownersOf(placement)).toEqual(Array.from({ length: SLOTS }, (_, slot) => ownerOf(slot, terms)));
      expect(placement.heirOf('d'.repeat(16))).toBe(heirOf('d'.repeat(16), terms));
    }
    placement.update([], 1);
    expect(ownersOf(placement)).toEqual(Array(SLOTS).fill(undefined));
  });

  it('is settled once the terms have been the same for a while', () => {
    const placement = new Placement();
    placement.update([A, B], 1_000);
    expect(placement.settled(1_000 + LIMITS.settleMs - 1)).toBe(false);
    expect(placement.settled(1_000 + LIMITS.settleMs)).toBe(true);
    placement.update([B, A], 5_000);
    expect(placement.settled(5_000)).toBe(true);
    // Another one in the place of one that left: as many as before.
    placement.update([B, C], 6_000);
    expect(placement.settled(6_000 + LIMITS.settleMs - 1)).toBe(false);
    placement.update([C, B], 6_000 + LIMITS.settleMs - 1);
    expect(placement.settled(6_000 + LIMITS.settleMs)).toBe(true);
    placement.update([B], 20_000);
    expect(placement.settled(20_000)).toBe(false);
  });

  it('starts anew for a term that came back', () => {
    const placement = new Placement();
    placement.update([A, B], 0);
    placement.update([A], 100);
    placement.update([A, B], 200);
    expect(placement.settled(LIMITS.settleMs + 100)).toBe(false);
    expect(placement.settled(LIMITS.settleMs + 200)).toBe(true);
  });

  it('leaves the list that it was given alone', () => {
    const terms = [C, A, B];
    new Placement().update(terms, 0);
    expect(terms).toEqual([C, A, B]);
  });
});

describe('slots may be given', () => {
  it('to terms that serve', () => {
    const terms = living({ [A]: ['p', 'serving'], [B]: ['q', 'leaving'], [C]: ['r', 'isolated'] });
    expect(candidates(terms)).toEqual([A]);
    expect(servingElsewhere(terms, 'q')).toEqual([A]);
    expect(servingElsewhere(terms, 'p')).toEqual([]);
  });

  it('to all terms where none serves, rather than to nobody', () => {
    const terms = living({ [B]: ['q', 'leaving'], [C]: ['r', 'isolated'] });
    expect(candidates(terms)).toEqual([B, C]);
    expect(servingElsewhere(terms, 'q')).toEqual([]);
    expect(candidates(new Map())).toEqual([]);
  });

  it('by a process that should not own any to other processes only, not to its own other lanes', () => {
    const terms = living({ [A]: ['p', 'serving'], [B]: ['p', 'serving'], [C]: ['q', 'serving'] });
    expect(candidates(terms)).toEqual([A, B, C]);
    expect(servingElsewhere(terms, 'p')).toEqual([C]);
  });
});
