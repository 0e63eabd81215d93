/**
 * The checker judges the simulation, so it is tested on histories that are
 * wrong in one known way each: it has to find the fault, and nothing in a
 * history without one.
 */
import { describe, expect, it } from 'vitest';
import { checkHistory } from './checker.ts';
import { History, type Claim, type OpName, type Rule, type Seen } from './history.ts';
import { linearize } from './linearize.ts';

const NAME = 'order-1';
const SEEN: Seen = { status: 200, code: '', fencingToken: 0, yes: false, holder: undefined };
const HELD: Partial<Seen> = { status: 409, code: 'lock_held' };
const NOT_HELD: Partial<Seen> = { status: 410, code: 'not_held' };

/** A history of one lock, written down line by line. */
class Script {
  readonly history = new History();

  claim(token: string, more: Partial<Claim> = {}): Claim {
    const claim: Claim = {
      token,
      owner: `owner of ${token}`,
      name: NAME,
      client: 'c',
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
  op(op: OpName, token: string, sentAt: number, endedAt: number, seen?: Partial<Seen>, copies = 0): this {
    this.history.ops.push({
      id: this.history.ops.length + 1,
      client: 'c',
      name: NAME,
      op,
      token,
      fencingToken: 0,
      sentAt,
      patienceMs: Infinity,
      endedAt: seen === undefined ? Infinity : endedAt,
      seen: seen === undefined ? undefined : { ...SEEN, ...seen },
      after: 0,
      copies,
    });
    return this;
  }

  /** A grant that is answered at once, promised for `ttl`. */
  granted(token: string, at: number, fencingToken: number, ttl = 1_000): this {
    if (!this.history.claims.has(token)) {
      const until = at + ttl;
      const beliefs = [{ from: at + 1, until }];
      this.claim(token, { fencingToken, promisedUntil: until, ownedUntilAtLeast: until, beliefs });
    }
    return this.op('acquire', token, at, at + 1, { status: 201, fencingToken });
  }

  released(token: string, at: number): this {
    const claim = this.history.claims.get(token)!;
    claim.releaseSentAt = at;
    for (const belief of claim.beliefs) belief.until = Math.min(belief.until, at);
    return this.op('release', token, at, at + 1, { status: 204 });
  }

  holder(token: string): Seen['holder'] {
    const { owner, fencingToken } = this.history.claims.get(token)!;
    return { owner, fencingToken };
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
    script.op('get', '', 1_700, 1_701, { yes: true, holder: script.holder('c') });
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
    script.op('acquire', 'c', 600, 601, { ...HELD, holder: { owner: 'owner of b', fencingToken: 3 } });
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

  it('accepts a late end: nobody is owed the lock at once', () => {
    const script = new Script().granted('a', 0, 1);
    script.claim('b');
    script.op('acquire', 'b', 5_000, 5_001, { ...HELD, holder: script.holder('a') });
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
    script.op('get', '', 100, 101, { yes: true, holder: { owner: 'x', fencingToken: 9 } });
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
      .op('acquire', 'a', 0, 1, { status: 201, fencingToken: 1 }, 1)
      .op('release', 'a', 100, 101, { status: 204 });
    script.claim('b');
    script.op('acquire', 'b', 200, 201, { ...HELD, holder: { owner: 'owner of a', fencingToken: 3 } });
    expect(script.rules()).toContain('repeat');
  });

  it('finds a refusal that did take effect', () => {
    const script = new Script();
    script.claim('a', { ownedUntilAtLeast: 0 });
    script.op('acquire', 'a', 0, 1, { status: 503, code: 'shard_unavailable' });
    script.op('get', '', 10, 11, { yes: true, holder: { owner: 'owner of a', fencingToken: 1 } });
    expect(script.rules()).toEqual(new Set(['linearizability']));
  });

  it('finds a read of the past', () => {
    const script = new Script().granted('a', 0, 1).released('a', 100).granted('b', 200, 3);
    script.op('get', '', 300, 301, { yes: true, holder: script.holder('a') });
    expect(script.rules()).toContain('linearizability');
  });

  it('does not hold an owner to times when its clock jumped, but to everything else', () => {
    expect(new Script().granted('a', 0, 1).granted('b', 500, 2).rules(false)).toEqual(new Set());
    expect(new Script().granted('a', 0, 2).granted('b', 500, 1).rules(false)).toContain('fencing');
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
