/**
 * The checker judges the simulation, so it is tested on histories that are
 * wrong in one known way each: it has to find the fault, and nothing in a
 * history without one.
 */
import { describe, expect, it } from 'vitest';
import { checkHistory } from './checker.ts';
import {
  History,
  type Claim,
  type OpName,
  type OpRecord,
  PLAIN,
  type Rule,
  type Seen,
  type Shown,
  type Wish,
} from './history.ts';
import { linearize } from './linearize.ts';

const NAME = 'order-1';
const SEEN: Seen = { status: 200, code: '', fencingToken: 0, yes: false, holders: [], released: 0 };
const HELD: Partial<Seen> = { status: 409, code: 'lock_held' };
const NOT_HELD: Partial<Seen> = { status: 410, code: 'not_held' };
const SHARED: Wish = { ...PLAIN, mode: 'shared' };
const TWO_PLACES: Wish = { ...PLAIN, mode: 'semaphore', limit: 2 };
const WAITS: Wish = { ...PLAIN, waitMs: 5_000 };

/** A history of one lock, written down line by line. */
class Script {
  readonly history = new History();

  claim(token: string, more: Partial<Claim> = {}): Claim {
    const claim: Claim = {
      token,
      owner: `owner of ${token}`,
      name: NAME,
      client: 'c',
      mode: 'exclusive',
      limit: 0,
      session: '',
      isMade: false,
      firstSentAt: 0,
      fencingToken: 0,
      promisedUntil: 0,
      ownedUntilAtLeast: 0,
      releaseSentAt: Infinity,
      beliefs: [],
      ...more,
    };
    this.history.addClaim(claim);
    return claim;
  }

  /** `seen` undefined: no answer. */
  op(
    op: OpName,
    token: string,
    sentAt: number,
    endedAt: number,
    seen?: Partial<Seen>,
    more: Partial<OpRecord> = {},
  ): this {
    this.history.ops.push({
      id: this.history.ops.length + 1,
      client: 'c',
      name: NAME,
      op,
      token,
      fencingToken: 0,
      wish: PLAIN,
      sentAt,
      patienceMs: Infinity,
      endedAt: seen === undefined ? Infinity : endedAt,
      seen: seen === undefined ? undefined : { ...SEEN, ...seen },
      after: 0,
      wire: 1,
      copies: 0,
      unheardAt: Infinity,
      queuedAt: Infinity,
      cancelledAt: Infinity,
      ...more,
    });
    return this;
  }

  /** A grant that is answered at once, promised for `ttl`. */
  granted(token: string, at: number, fencingToken: number, wish: Wish = PLAIN, sentAt = at): this {
    if (!this.history.claims.has(token)) {
      const until = at + 1_000;
      const beliefs = [{ from: at + 1, until }];
      const { mode, limit } = wish;
      const times = { firstSentAt: sentAt, promisedUntil: until, ownedUntilAtLeast: until, beliefs };
      this.claim(token, { fencingToken, mode, limit, ...times });
    }
    return this.op('acquire', token, sentAt, at + 1, { status: 201, fencingToken }, { wish });
  }

  released(token: string, at: number): this {
    const claim = this.history.claims.get(token)!;
    claim.releaseSentAt = at;
    for (const belief of claim.beliefs) belief.until = Math.min(belief.until, at);
    return this.op('release', token, at, at + 1, { status: 204 });
  }

  holders(...tokens: readonly string[]): Shown[] {
    return tokens.map((token) => {
      const { owner, fencingToken } = this.history.claims.get(token)!;
      return { owner, fencingToken };
    });
  }

  rules(honestClocks = true): Set<Rule> {
    return new Set(checkHistory(this.history, { honestClocks }).map(({ rule }) => rule));
  }
}

describe('histories without a fault', () => {
  it('accepts a lock that goes from one to the next', () => {
    const script = new Script()
      .granted('a', 0, 1)
      .released('a', 500)
      .granted('b', 502, 3)
      .granted('c', 1_600, 5);
    script.op('get', '', 1_700, 1_701, { yes: true, holders: script.holders('c') });
    script
      .op('renew', 'b', 1_800, 1_801, NOT_HELD)
      .op('verify', 'c', 1_900, 1_901, { yes: true, fencingToken: 5 });
    expect(script.rules()).toEqual(new Set());
  });

  it('accepts that an acquire without an answer took effect much later', () => {
    const script = new Script().granted('a', 0, 1);
    script.claim('b', { ownedUntilAtLeast: 1_100 });
    script.op('acquire', 'b', 100, 0).released('a', 500);
    script.claim('c').beliefs.length = 0;
    script.op('acquire', 'c', 600, 601, { ...HELD, holders: [{ owner: 'owner of b', fencingToken: 3 }] });
    expect(script.rules()).toEqual(new Set());
  });

  it('accepts that it never did', () => {
    const script = new Script().granted('a', 0, 1).released('a', 500);
    script.claim('b', { ownedUntilAtLeast: 1_100 });
    script.op('acquire', 'b', 100, 0).op('get', '', 600, 601, { yes: false });
    expect(script.rules()).toEqual(new Set());
  });

  it('accepts a repeat that finds its claim, and a release that does not after one without an answer', () => {
    const script = new Script();
    script.claim('a', { fencingToken: 1, ownedUntilAtLeast: 1_000, releaseSentAt: 200 });
    script.op('acquire', 'a', 0, 0).op('acquire', 'a', 100, 101, { status: 200, fencingToken: 1 });
    script.op('release', 'a', 200, 0).op('release', 'a', 300, 301, NOT_HELD);
    expect(script.rules()).toEqual(new Set());
  });

  it('accepts a repeat that waits and finds what its first request got, though later grants were told meanwhile', () => {
    const wish: Wish = { ...WAITS, mode: 'shared' };
    const repeated = (first: boolean): Script => {
      const script = new Script();
      script.claim('a', { fencingToken: 1, mode: 'shared', ownedUntilAtLeast: 1_000 });
      if (first) script.op('acquire', 'a', 0, 0, undefined, { wish });
      return script
        .granted('b', 100, 2, wish)
        .op('acquire', 'a', 300, 301, { status: 201, fencingToken: 1 }, { wish });
    };
    expect(repeated(true).rules()).not.toContain('fencing');
    expect(repeated(false).rules()).toContain('fencing');
  });

  it('accepts a late end: nobody is owed the lock at once', () => {
    const script = new Script().granted('a', 0, 1);
    script.claim('b');
    script.op('acquire', 'b', 5_000, 5_001, { ...HELD, holders: script.holders('a') });
    expect(script.rules()).toEqual(new Set());
  });
});

describe('histories with a fault', () => {
  it('finds two holders at one time', () => {
    expect(new Script().granted('a', 0, 1).granted('b', 500, 2).rules()).toContain('exclusion');
  });

  it('finds two grants at one time though nobody believed in them', () => {
    const script = new Script().granted('a', 0, 1).granted('b', 500, 2);
    for (const claim of script.history.claims.values()) claim.beliefs.length = 0;
    expect(script.rules()).toEqual(new Set(['freed early', 'linearizability']));
  });

  it('finds a fencing token that does not rise', () => {
    const script = new Script().granted('a', 0, 7).released('a', 100).granted('b', 200, 6);
    expect(script.rules()).toContain('fencing');
  });

  it('finds a fencing token lower than one that only a bystander was told', () => {
    const script = new Script().granted('a', 2_000, 3);
    script.claim('x', { owner: 'x' });
    script.op('get', '', 100, 101, { yes: true, holders: [{ owner: 'x', fencingToken: 9 }] });
    expect(script.rules()).toContain('fencing');
  });

  it('finds one fencing token given to two', () => {
    const script = new Script().granted('a', 0, 7).released('a', 100).granted('b', 200, 7);
    expect(script.rules()).toContain('fencing');
  });

  it('finds a lock that was freed before its time and taken by another', () => {
    expect(new Script().granted('a', 0, 1).granted('b', 990, 2).rules()).toContain('freed early');
    expect(new Script().granted('a', 0, 1).granted('b', 1_010, 2).rules()).toEqual(new Set());
  });

  it('finds a lock that was freed before its time and only looked at', () => {
    const script = new Script().granted('a', 0, 1).op('get', '', 500, 501, { yes: false });
    expect(script.rules()).toEqual(new Set(['linearizability']));
  });

  it('finds a lost lock: its holder is told that it does not hold it', () => {
    const script = new Script().granted('a', 0, 1).op('renew', 'a', 500, 501, NOT_HELD);
    expect(script.rules()).toEqual(new Set(['linearizability']));
  });

  it('finds a stale token that renews or releases', () => {
    const renewed = new Script().granted('a', 0, 1).released('a', 100).granted('b', 200, 3);
    renewed.op('renew', 'a', 300, 301, { status: 200, fencingToken: 1 });
    expect(renewed.rules()).toContain('stale token');
    const released = new Script()
      .granted('a', 0, 1)
      .granted('b', 1_200, 3)
      .op('release', 'a', 1_300, 1_301, { status: 204 });
    expect(released.rules()).toContain('stale token');
  });

  it('finds a stale token that ended a newer claim', () => {
    const script = new Script().granted('a', 0, 1).released('a', 100).granted('b', 200, 3);
    script.op('release', 'a', 300, 301, NOT_HELD).op('renew', 'b', 400, 401, NOT_HELD);
    expect(script.rules()).toEqual(new Set(['linearizability']));
  });

  it('finds a repeat that took the lock a second time', () => {
    const script = new Script().granted('a', 0, 1).released('a', 100).granted('a', 200, 3);
    expect(script.rules()).toContain('repeat');
  });

  it('finds a repeat that tells another fencing token', () => {
    const script = new Script()
      .granted('a', 0, 1)
      .op('acquire', 'a', 100, 101, { status: 200, fencingToken: 2 });
    expect(script.rules()).toContain('repeat');
  });

  it('finds a copy on the wire that took the lock again after its release', () => {
    const script = new Script();
    script.claim('a', { fencingToken: 1, ownedUntilAtLeast: 1_000, releaseSentAt: 100 });
    script
      .op('acquire', 'a', 0, 1, { status: 201, fencingToken: 1 }, { copies: 1 })
      .op('release', 'a', 100, 101, { status: 204 });
    script.claim('b');
    script.op('acquire', 'b', 200, 201, { ...HELD, holders: [{ owner: 'owner of a', fencingToken: 3 }] });
    expect(script.rules()).toContain('repeat');
  });

  it('finds a refusal that did take effect', () => {
    const script = new Script();
    script.claim('a', { ownedUntilAtLeast: 0 });
    script.op('acquire', 'a', 0, 1, { status: 503, code: 'shard_unavailable' });
    script.op('get', '', 10, 11, { yes: true, holders: [{ owner: 'owner of a', fencingToken: 1 }] });
    expect(script.rules()).toEqual(new Set(['linearizability']));
  });

  it('finds a read of the past', () => {
    const script = new Script().granted('a', 0, 1).released('a', 100).granted('b', 200, 3);
    script.op('get', '', 300, 301, { yes: true, holders: script.holders('a') });
    expect(script.rules()).toContain('linearizability');
  });

  it('does not hold an owner to times when its clock jumped, but to everything else', () => {
    expect(new Script().granted('a', 0, 1).granted('b', 500, 2).rules(false)).toEqual(new Set());
    expect(new Script().granted('a', 0, 2).granted('b', 500, 1).rules(false)).toContain('fencing');
  });
});

describe('locks that several may hold, or wait for', () => {
  it('are held by readers together, and by as many as a semaphore has places', () => {
    const readers = new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2, SHARED);
    readers.op('get', '', 20, 21, { yes: true, holders: readers.holders('a', 'b') });
    expect(readers.rules()).toEqual(new Set());
    const places = new Script().granted('a', 0, 1, TWO_PLACES).granted('b', 10, 2, TWO_PLACES);
    places.claim('c', { mode: 'semaphore', limit: 2 });
    places.op('acquire', 'c', 20, 21, { ...HELD, holders: places.holders('a') }, { wish: TWO_PLACES });
    places.released('a', 30).granted('d', 40, 4, TWO_PLACES);
    expect(places.rules()).toEqual(new Set());
  });

  it('are not held by a reader and a writer, nor by one more than there are places', () => {
    expect(new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2).rules()).toContain('exclusion');
    expect(new Script().granted('a', 0, 1).granted('b', 10, 2, SHARED).rules()).toContain('freed early');
    const places = new Script().granted('a', 0, 1, TWO_PLACES).granted('b', 10, 2, TWO_PLACES);
    expect(places.granted('c', 20, 3, TWO_PLACES).rules()).toEqual(new Set(['exclusion', 'linearizability']));
  });

  it('show all who hold them, in the order of their grants, and the oldest where they are refused', () => {
    for (const [shown, isRight] of [
      [['a', 'b'], true],
      [['b', 'a'], false],
      [['a'], false],
    ] as const) {
      const script = new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2, SHARED);
      script.op('get', '', 20, 21, { yes: true, holders: script.holders(...shown) });
      expect(script.rules().size === 0).toBe(isRight);
    }
    const refused = new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2, SHARED);
    refused.claim('c');
    refused.op('acquire', 'c', 20, 21, { ...HELD, holders: refused.holders('b') });
    expect(refused.rules()).toEqual(new Set(['linearizability']));
  });

  it('are granted while somebody waits, and refused though nobody holds them', () => {
    const script = new Script().granted('a', 0, 1).released('a', 500).granted('b', 500, 3, WAITS, 10);
    script.claim('c');
    script.op('acquire', 'c', 2_000, 2_001, HELD);
    expect(script.rules()).toEqual(new Set());
  });

  it('may be given up while they are waited for, by the token alone', () => {
    const script = new Script().granted('a', 0, 1);
    script.claim('b');
    const lost = { status: 409, code: 'cancelled' } as const;
    script.op('acquire', 'b', 10, 21, lost, { wish: WAITS }).op('release', 'b', 20, 21, { status: 204 });
    script.op('acquire', 'b', 30, 31, NOT_HELD);
    expect(script.rules()).toEqual(new Set());
    const never = new Script().granted('a', 0, 1);
    never.claim('b');
    expect(never.op('release', 'b', 20, 21, { status: 204 }).rules()).toEqual(new Set(['linearizability']));
  });

  it('are not withdrawn from who holds them, but for a request beside the one that got them', () => {
    const cancelled = { status: 409, code: 'cancelled' } as const;
    const script = new Script().granted('a', 0, 1);
    script.op('acquire', 'a', 10, 20, cancelled, { wish: WAITS });
    expect(script.rules()).toEqual(new Set());
    const alone = new Script();
    alone.claim('a');
    alone.op('acquire', 'a', 10, 20, cancelled, { wish: WAITS }).op('verify', 'a', 0, 1, { yes: true });
    expect(alone.rules()).toEqual(new Set(['linearizability']));
  });

  it('may have been got by a wait that heard too late of it', () => {
    const script = new Script();
    script.claim('a', { ownedUntilAtLeast: 1_000 });
    script.op('acquire', 'a', 0, 3_000, NOT_HELD, { wish: WAITS });
    expect(script.rules()).toEqual(new Set());
  });

  it('are lost by force, to all who hold them', () => {
    const script = new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2, SHARED);
    script.op('force', '', 100, 101, { released: 2 }).granted('c', 102, 5);
    expect(script.rules()).toEqual(new Set());
    const stays = new Script().granted('a', 0, 1).op('force', '', 100, 101, { released: 1 });
    stays.op('renew', 'a', 200, 201, { status: 200, fencingToken: 1 });
    expect(stays.rules()).toEqual(new Set(['linearizability']));
    const fewer = new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2, SHARED);
    expect(fewer.op('force', '', 100, 101, { released: 1 }).rules()).toEqual(new Set(['linearizability']));
  });

  it('keep what others hold when one claim is ended by force', () => {
    const script = new Script().granted('a', 0, 1, SHARED).granted('b', 10, 2, SHARED);
    script.op('force', '', 100, 101, { released: 1 }, { fencingToken: 1 });
    script.op('get', '', 110, 111, { yes: true, holders: script.holders('b') });
    expect(script.rules()).toEqual(new Set());
  });
});

it('decides a history with many ops without an answer', () => {
  const script = new Script();
  for (let i = 0; i < 40; i++) {
    script.claim(`u${i}`, { ownedUntilAtLeast: i * 10 });
    script.op('acquire', `u${i}`, i, 0).op('release', `u${i}`, i + 0.5, 0);
  }
  script.granted('a', 1_000, 50).released('a', 1_100).granted('b', 1_200, 52);
  const { ops, claims } = script.history;
  expect(linearize(ops, [...claims.values()])).toBe('ok');
});
