/** Watches: the state at once, then what changed, once a round, and never what is not committed. */
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { LaneRig, setLimits, SOON_MS } from './rig.ts';
import { alone, claim, holdUp, loseNext, PEER, release, SLOT, wait, watch } from './standing-rig.ts';

const NOBODY = 0xffff_ffff;

describe('a watch', () => {
  it('is told the state at once, and every later one', async () => {
    const { rig, a } = await alone();
    const [id] = a.send([watch()]);
    await rig.run(20);
    expect(a.events).toMatchObject([{ id, status: 101, sections: ['state'], places: [], queueLength: 0 }]);
    await a.ask(claim('first', { metadata: '{"a":1}' }));
    a.send([wait('second')]);
    await rig.run(20);
    await a.ask(release('first'));
    await a.ask(claim('other', { name: 'other lock' }));
    await a.ask(release('second'));
    await rig.run(20);
    const changes = a.events.filter((said) => said.id === id).slice(1);
    expect(changes.map(({ places, queueLength }) => [places.map(({ owner }) => owner), queueLength])).toEqual(
      [
        [['first'], 0],
        [['first'], 1],
        [['second'], 0],
        [[], 0],
      ],
    );
    expect(changes[0].places[0].expiresInMs).toBeGreaterThan(29_900);
    const revisions = a.events.filter((said) => said.id === id).map(({ revision }) => revision);
    expect(revisions).toEqual([...new Set(revisions)].sort((x, y) => x - y));
    expect(a.answers.has(id)).toBe(false);
    rig.checkRun();
  });

  it('is told of many changes in one round once, and of none before the round is committed', async () => {
    const { rig, a } = await alone();
    const ids = a.send([watch(), watch({ connection: 2 })]);
    await rig.run(20);
    a.events.length = 0;
    const go = holdUp(a);
    a.send([claim('first'), wait('second')]);
    a.send([wait('third'), release('first')]);
    await rig.run(200);
    expect(a.events).toEqual([]);
    go();
    await rig.run(20);
    const told = a.events.filter(({ status }) => status === 101);
    expect(told.filter(({ id }) => id === ids[0]).map(({ places }) => places[0].owner)).toEqual([
      'first',
      'second',
    ]);
    expect(told.filter(({ id }) => id === ids[1]).map(({ connection }) => connection)).toEqual([2, 2]);
    rig.checkRun();
  });

  it('ends by its cancel alone, which has an answer of its own', async () => {
    const { rig, a } = await alone();
    const op = watch();
    const [id] = a.send([op]);
    await rig.run(20);
    expect(await a.ask({ ...op, kind: 'cancel', attempt: 9_999_999 })).toMatchObject({ code: 'not_held' });
    expect(await a.ask({ ...op, kind: 'cancel' })).toMatchObject({ status: 200 });
    expect(a.answers.get(id)).toMatchObject({ status: 409, code: 'cancelled' });
    const before = a.events.length;
    await a.ask(claim('first'));
    await rig.run(20);
    expect(a.events).toHaveLength(before);
    rig.checkRun();
  });

  it('of a client that is gone is forgotten', async () => {
    const { rig, a } = await alone();
    a.send([watch({ connection: 9 })]);
    await rig.run(20);
    a.lane.gone(9);
    const before = a.events.length;
    await a.ask(claim('first'));
    await rig.run(20);
    expect(a.events).toHaveLength(before);
    rig.checkRun();
  });

  it('hears that its slot moves, with the round that gives it away, and never of what was lost', async () => {
    const { rig, lanes } = await LaneRig.settled('a', 'b');
    const [a, b] = lanes;
    const [slot] = a.served;
    const [id] = a.send([watch({ slot })]);
    await rig.run(20);
    loseNext(rig, a);
    a.send([claim('first', { slot })]);
    await rig.run(50);
    expect(a.answers.get(id)).toMatchObject({ code: 'moving' });
    expect(a.events.filter((said) => said.id === id)).toHaveLength(1);
    expect(await rig.until(() => a.served.has(slot) || b.served.has(slot), 3_000)).toBe(true);
    const owner = a.served.has(slot) ? a : b;
    const heir = owner === a ? b : a;
    await rig.run(LIMITS.settleMs + 2_000);
    const [second] = owner.send([watch({ slot })]);
    await owner.ask(claim('third', { slot }));
    const { revision } = owner.events.filter((said) => said.id === second).at(-1)!;
    owner.lane.reach(false);
    expect(await rig.until(() => heir.served.has(slot), SOON_MS)).toBe(true);
    expect(owner.answers.get(second)).toMatchObject({ code: 'moving' });
    const [third] = heir.send([watch({ slot, flags: ['resumed'] })]);
    await rig.run(20);
    const first = heir.events.find((said) => said.id === third)!;
    expect(first).toMatchObject({ places: [{ owner: 'third' }] });
    expect(first.revision).toBeGreaterThanOrEqual(revision);
    rig.checkRun();
  });

  it('by many is told bit by bit, everybody the last state', async () => {
    const { rig, a } = await alone();
    setLimits({ roundWatchBytesMax: 500 });
    const ids = Array.from({ length: 100 }, (_, i) => a.send([watch({ connection: i + 10 })])[0]);
    await rig.run(100);
    for (const id of ids) expect(a.events.filter((said) => said.id === id)).toHaveLength(1);
    await a.ask(claim('first'));
    await a.ask(release('first'));
    await a.ask(claim('second'));
    await rig.run(100);
    for (const id of ids) {
      expect(a.events.filter((said) => said.id === id).at(-1)).toMatchObject({
        places: [{ owner: 'second' }],
      });
    }
    rig.checkRun();
  });
});

describe('who holds a claim and wants to hear', () => {
  const OPEN = { flags: ['events'], origin: 12, connection: 12 } as const;

  it('hears that it ran out', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first', { ttlMs: 1_000, ...OPEN }));
    await rig.run(1_200);
    expect(a.events).toMatchObject([{ id: NOBODY, connection: 12, status: 102, detail: 'lock' }]);
    expect(a.events[0].token.startsWith('first')).toBe(true);
    rig.checkRun();
  });

  it('hears that somebody waits, and of a forced end, by way of the process that it is at', async () => {
    const { rig, a } = await alone();
    const forwarded = { flags: ['events', 'forwarded'], origin: 12, connection: PEER } as const;
    await a.ask(claim('first', forwarded));
    a.send([wait('second')]);
    await rig.run(20);
    const contended = a.events.filter(({ status }) => status === 105);
    expect(contended).toMatchObject([{ id: 12, connection: PEER, detail: 'lock', token: '' }]);
    const forced = await a.ask({ kind: 'force', slot: SLOT, name: 'lock', metadata: 'stuck' });
    expect(forced).toMatchObject({ status: 200, sections: ['queue'], queueLength: 1 });
    const lost = a.events.filter(({ status }) => status === 103);
    expect(lost).toMatchObject([{ id: 12, connection: PEER, detail: 'lock' }]);
    rig.checkRun();
  });

  it('hears nothing of a loss that is not committed', async () => {
    const { rig, a } = await alone();
    await a.ask(claim('first', OPEN));
    loseNext(rig, a);
    a.send([{ kind: 'force', slot: SLOT, name: 'lock' }]);
    await rig.run(2_000);
    expect(a.events).toEqual([]);
    expect(await a.ask(claim('first'))).toMatchObject({ status: 200 });
    rig.checkRun();
  });

  it('a name is told without its namespace', async () => {
    const { rig, a } = await alone();
    const name = 'team\0lock';
    await a.ask(claim('first', { ...OPEN, name }));
    await a.ask({ kind: 'force', slot: SLOT, name });
    expect(a.events).toMatchObject([{ status: 103, detail: 'lock' }]);
    rig.checkRun();
  });
});
