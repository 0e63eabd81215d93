import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { EFFECT_BYTES_MAX, EffectKind, EffectWriter, readEffects } from '../../src/lock/effects.ts';
import { EndReason } from '../../src/lock/rows.ts';
import { apply, expire, Outcome } from '../../src/lock/machine.ts';
import { Slot } from '../../src/lock/slot.ts';
import { drive, history } from './histories.ts';
import { ENDED_KEEP_MS, opOf, type OpWords, SlotRig } from './slot-rig.ts';
import { claimsOf } from './slot-state.ts';

const A = 'uuid:a';
const B = 'uuid:b';

let rig: SlotRig;
beforeEach(() => {
  rig = new SlotRig();
});

function held(name: string) {
  return claimsOf(rig.slot).get(name)!;
}

describe('acquire', () => {
  it('grants a free lock, with the number of the effect as fencing token', () => {
    const said = rig.run({
      kind: 'acquire',
      name: 'n',
      token: A,
      ttlMs: 5_000,
      owner: 'me',
      metadata: '{"x":1}',
    });
    expect(said).toMatchObject({
      status: 201,
      code: '',
      fencingToken: 1,
      ttlMs: 5_000,
      armable: true,
      changed: true,
    });
    expect(held('n')).toMatchObject({ owner: 'me', metadata: '{"x":1}', promisedUntil: 0, freeAt: Infinity });
    expect(rig.slot.counter).toBe(1);
  });

  it('takes 30 s where the op names no TTL', () => {
    expect(rig.run({ kind: 'acquire', name: 'n', token: A }).ttlMs).toBe(LIMITS.ttlMsDefault);
  });

  it('refuses a held lock and tells the holder', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A });
    const said = rig.run({ kind: 'acquire', name: 'n', token: B });
    expect(said).toMatchObject({
      status: 409,
      code: 'lock_held',
      fencingToken: 1,
      armable: false,
      changed: false,
    });
  });

  it('repeats for the same token, without extending', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 5_000 });
    rig.trip();
    const before = held('n');
    rig.now += 1_000;
    const said = rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 9_000 });
    expect(said).toMatchObject({
      status: 200,
      fencingToken: 1,
      ttlMs: 5_000,
      armable: false,
      changed: false,
    });
    expect(held('n')).toEqual(before);
  });

  it('says of a claim that has not been answered yet that nothing is promised', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A });
    expect(rig.run({ kind: 'acquire', name: 'n', token: A }).status).toBe(200);
    expect(held('n').promisedUntil).toBe(0);
  });

  it('keeps a lock whose promise is over until its owner frees it', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 1_000 });
    rig.trip();
    const { promisedUntil, freeAt } = held('n');
    expect(freeAt - promisedUntil).toBe(10.5);
    rig.now = freeAt - 0.1;
    expect(rig.run({ kind: 'acquire', name: 'n', token: B }).code).toBe('lock_held');
    rig.now = freeAt;
    expect(rig.run({ kind: 'acquire', name: 'n', token: B })).toMatchObject({ status: 201, fencingToken: 3 });
  });

  it('refuses the token of a claim that ended, for a while', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A });
    rig.run({ kind: 'release', name: 'n', token: A });
    expect(rig.run({ kind: 'acquire', name: 'n', token: A })).toMatchObject({
      status: 410,
      code: 'not_held',
    });
    rig.run({ kind: 'acquire', name: 'n', token: B });
    expect(rig.run({ kind: 'acquire', name: 'n', token: A })).toMatchObject({
      status: 410,
      code: 'not_held',
    });
    expect(rig.run({ kind: 'acquire', name: 'other', token: A }).status).toBe(201);
    rig.now += ENDED_KEEP_MS;
    expect(rig.run({ kind: 'acquire', name: 'n', token: A }).code).toBe('lock_held');
  });

  it('refuses the token of a claim that expired, too', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 1_000 });
    rig.trip();
    rig.now += 2_000;
    expect(rig.run({ kind: 'acquire', name: 'n', token: A })).toMatchObject({ status: 410, changed: true });
  });

  it('sheds when the slot is full, and nothing else', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A });
    Object.defineProperty(rig.slot, 'sizeBytes', { value: LIMITS.slotBytesMax });
    const said = rig.run({ kind: 'acquire', name: 'm', token: B });
    expect(said).toMatchObject({ status: 503, code: 'overloaded', changed: false });
    expect(rig.run({ kind: 'acquire', name: 'n', token: A }).status).toBe(200);
    expect(rig.run({ kind: 'release', name: 'n', token: A }).status).toBe(204);
  });
});

describe('renew', () => {
  it('writes nothing when neither TTL nor metadata change, and disarms', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 5_000 });
    rig.trip();
    const { promisedUntil } = held('n');
    for (const ttlMs of [undefined, 5_000]) {
      const said = rig.run({ kind: 'renew', name: 'n', token: A, ...(ttlMs === undefined ? {} : { ttlMs }) });
      expect(said).toMatchObject({
        status: 200,
        fencingToken: 1,
        ttlMs: 5_000,
        armable: true,
        changed: false,
      });
    }
    expect(held('n')).toMatchObject({ promisedUntil, freeAt: Infinity });
    expect(rig.effects.count).toBe(0);
  });

  it('journals another TTL and other metadata, and keeps the fencing token', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 5_000, metadata: '{"a":1}' });
    const said = rig.run({ kind: 'renew', name: 'n', token: A, ttlMs: 9_000 });
    expect(said).toMatchObject({ fencingToken: 1, ttlMs: 9_000, changed: true });
    expect(held('n')).toMatchObject({ ttlMs: 9_000, metadata: '{"a":1}' });
    rig.run({ kind: 'renew', name: 'n', token: A, metadata: '{"a":2}' });
    expect(held('n')).toMatchObject({ fencingToken: 1, ttlMs: 9_000, metadata: '{"a":2}' });
    expect(rig.slot.counter).toBe(3);
  });

  it('is refused for any other token, and never revives a claim that is over', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 1_000 });
    rig.trip();
    expect(rig.run({ kind: 'renew', name: 'n', token: B })).toMatchObject({ status: 410, code: 'not_held' });
    rig.now = held('n').freeAt;
    expect(rig.run({ kind: 'renew', name: 'n', token: A })).toMatchObject({
      code: 'not_held',
      changed: true,
    });
    expect(rig.slot.claims.count).toBe(0);
  });

  it('is not cut short by an earlier renewal that returns first', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 1_000 });
    rig.send();
    rig.run({ kind: 'renew', name: 'n', token: A, ttlMs: 60_000 });
    rig.land();
    expect(held('n')).toMatchObject({ promisedUntil: 2_000, freeAt: Infinity });
    rig.now += 5_000;
    rig.expireAll();
    rig.send();
    rig.land();
    expect(held('n')).toMatchObject({ promisedUntil: 66_000, freeAt: 66_040 });
  });
});

describe('release', () => {
  it('ends the claim of the token, once', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A });
    expect(rig.run({ kind: 'release', name: 'n', token: B }).code).toBe('not_held');
    expect(rig.run({ kind: 'release', name: 'n', token: A })).toMatchObject({
      status: 204,
      code: '',
      changed: true,
    });
    expect(rig.run({ kind: 'release', name: 'n', token: A })).toMatchObject({
      status: 410,
      code: 'not_held',
    });
  });
});

describe('get and verify', () => {
  it('tell what is so, and change nothing', () => {
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({
      status: 200,
      fencingToken: 0,
      changed: false,
    });
    rig.run({ kind: 'acquire', name: 'n', token: A });
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({ status: 200, fencingToken: 1 });
    expect(rig.run({ kind: 'verify', name: 'n', token: A })).toMatchObject({
      current: true,
      fencingToken: 1,
    });
    expect(rig.run({ kind: 'verify', name: 'n', token: B })).toMatchObject({
      current: false,
      fencingToken: 0,
    });
    expect(rig.run({ kind: 'verify', name: 'n', fencingToken: 1 }).current).toBe(true);
    expect(rig.run({ kind: 'verify', name: 'n', fencingToken: 2 })).toMatchObject({
      status: 200,
      current: false,
    });
    expect(rig.run({ kind: 'verify', name: 'm', fencingToken: 1 }).current).toBe(false);
  });

  it('hold a claim for current until it is freed, not longer', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 1_000 });
    rig.trip();
    rig.now = held('n').promisedUntil + 1;
    expect(rig.run({ kind: 'verify', name: 'n', token: A }).current).toBe(true);
    rig.now = held('n').freeAt;
    expect(rig.run({ kind: 'verify', name: 'n', token: A })).toMatchObject({ current: false, changed: true });
    expect(rig.run({ kind: 'get', name: 'n' })).toMatchObject({ fencingToken: 0, changed: false });
  });
});

describe('expire', () => {
  it('ends what is over, tells when to look again, and knows rows that are gone', () => {
    rig.run({ kind: 'acquire', name: 'n', token: A, ttlMs: 1_000 });
    const [row] = [...rig.slot.claims.rows()];
    expect(expire(rig.slot, row, rig.now + 1e9, rig.effects, rig.witness)).toBe(Infinity);
    rig.trip();
    const { freeAt } = held('n');
    expect(expire(rig.slot, row, freeAt - 0.01, rig.effects, rig.witness)).toBe(freeAt);
    expect(expire(rig.slot, row, freeAt, rig.effects, rig.witness)).toBe(0);
    expect(rig.slot.claims.count).toBe(0);
    expect(expire(rig.slot, row, freeAt, rig.effects, rig.witness)).toBe(0);
    expect(expire(rig.slot, 0, freeAt, rig.effects, rig.witness)).toBe(0);
    expect(expire(rig.slot, 4_000_000, freeAt, rig.effects, rig.witness)).toBe(0);
  });
});

it('never appends more than EFFECT_BYTES_MAX for one op', () => {
  const slot = new Slot(0xffff, ENDED_KEEP_MS);
  slot.counter = Number.MAX_SAFE_INTEGER - 12;
  const effects = new EffectWriter(2 * EFFECT_BYTES_MAX, 0);
  const out = new Outcome();
  // The longest names, keys of stubs included, are those of the longest namespace.
  const namespace = `${'s'.repeat(LIMITS.namespaceBytesMax)}\0`;
  const largest = {
    kind: 'acquire',
    name: namespace + 'n'.repeat(LIMITS.nameBytesMax),
    ttlMs: LIMITS.ttlMsMax,
    owner: 'o'.repeat(LIMITS.ownerBytesMax),
    metadata: 'm'.repeat(LIMITS.metadataBytesMax),
    principal: 'p'.repeat(LIMITS.principalBytesMax),
    mode: 'semaphore',
    limit: LIMITS.holdersMax,
    lockDelayMs: LIMITS.lockDelayMsMax,
    session: 's'.repeat(LIMITS.tokenBytesMax),
    batch: 'uuid:b',
    flags: ['newStub', 'keyed'],
  } as const;
  const run = (words: Partial<OpWords>, now: number) => {
    effects.reset();
    apply(slot, opOf({ ...largest, ...words }), now, effects, out, rig.witness);
    expect(effects.at).toBeLessThanOrEqual(EFFECT_BYTES_MAX);
  };
  run({ token: 't'.repeat(64) }, 1);
  expect(out.status).toBe(201);
  expect(effects.count).toBe(3);
  for (const row of slot.aside.stubs.values()) slot.claims.arm(row, slot.claims.fencingToken(row), 1, 1);
  run({ token: 'u'.repeat(64), session: 'z'.repeat(LIMITS.tokenBytesMax), batch: 'uuid:c' }, 2);
  expect(out.status).toBe(201);
  run({ kind: 'force', metadata: 'r'.repeat(LIMITS.reasonBytesMax) }, 3);
});

describe('random histories', () => {
  it('keep the invariants, as the journal tells them', () => {
    fc.assert(
      fc.property(history, (steps) => {
        const watch = new Watch();
        for (const step of steps) watch.step(step);
      }),
      { numRuns: 500 },
    );
  });
});

/** Looks only at the journal and at the times that the lane set: at most one holder, never freed early. */
class Watch {
  private readonly rig = new SlotRig();
  private readonly holder = new Map<string, number>();
  private readonly promises = new Map<number, number>();
  private readonly unanswered = new Map<number, number>();
  private flying: number[] = [];
  private open: number[] = [];
  private seen = 0;
  private highest = 0;

  step(step: Parameters<typeof drive>[1] | { do: 'op'; op: Parameters<SlotRig['run']>[0] }): void {
    const { rig } = this;
    if (step.do === 'op') {
      const said = rig.run(step.op);
      if (said.armable) {
        this.open.push(said.fencingToken);
        this.unanswered.set(said.fencingToken, (this.unanswered.get(said.fencingToken) ?? 0) + 1);
      }
    } else {
      if (step.do === 'send' && this.flying.length === 0) [this.flying, this.open] = [this.open, []];
      const landing = step.do === 'land';
      drive(rig, step);
      if (landing) this.landed();
    }
    this.readJournal(step.do === 'op' ? step.op : undefined);
  }

  private landed(): void {
    for (const fencingToken of this.flying)
      this.unanswered.set(fencingToken, this.unanswered.get(fencingToken)! - 1);
    this.flying = [];
    for (const claim of claimsOf(this.rig.slot).values())
      this.promises.set(claim.fencingToken, claim.promisedUntil);
  }

  private readJournal(op: { kind: string; token?: string; name: string } | undefined): void {
    const { rig } = this;
    rig.seal();
    for (; this.seen < rig.entries.length; this.seen++) {
      const entry = rig.entries[this.seen];
      readEffects(entry, 0, entry.length, (effect) => {
        expect(effect.number).toBe(++this.highest);
        if (effect.kind === EffectKind.granted) {
          const key = Buffer.from(
            effect.bytes.subarray(effect.keyAt, effect.keyAt + effect.keyLength),
          ).toString();
          expect([...this.holder.keys()]).not.toContain(key);
          this.holder.set(key, effect.number);
        } else if (effect.kind === EffectKind.ended) {
          const name = [...this.holder].find(([, fencingToken]) => fencingToken === effect.fencingToken)![0];
          this.holder.delete(name);
          if (effect.reason === EndReason.expired) {
            expect(this.unanswered.get(effect.fencingToken)).toBe(0);
            expect(rig.now).toBeGreaterThan(this.promises.get(effect.fencingToken)!);
          } else {
            expect(op).toMatchObject({ kind: 'release', name });
          }
        }
      });
    }
  }
}
