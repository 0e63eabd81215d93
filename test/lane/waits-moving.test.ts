/** Waits whose slot gets another owner: by plan, and because the owner was killed. */
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { LaneRig, type RigLane, SLOTS, SOON_MS } from './rig.ts';
import { claim, release, wait, Wait } from './standing-rig.ts';

/** A lock that is held in a slot of `a`, with waiters w0, w1 … whose front is that of the test. */
async function queue(
  count: number,
  ...processes: readonly string[]
): Promise<{ rig: LaneRig; lanes: RigLane[]; slot: number; waits: Wait[] }> {
  const { rig, lanes } = await LaneRig.settled(...processes);
  const [slot] = lanes[0].served;
  expect(await lanes[0].ask(claim('first', { slot }))).toMatchObject({ status: 201 });
  const waits = Array.from({ length: count }, (_, i) => new Wait(rig, wait(`w${i}`, { slot })));
  for (const one of waits) one.send();
  await rig.run(20);
  expect(waits.map(({ positions }) => positions[0])).toEqual(waits.map((_, i) => i + 1));
  return { rig, lanes, slot, waits };
}

function statuses(waits: readonly Wait[]): (number | undefined)[] {
  return waits.map(({ said }) => said?.status);
}

/** Releases claim by claim and looks that exactly the next one got the lock each time. */
async function serveInOrder(
  rig: LaneRig,
  lane: RigLane,
  slot: number,
  waits: readonly Wait[],
): Promise<void> {
  let holder = 'first';
  for (const [i, one] of waits.entries()) {
    expect(await lane.ask(release(holder, { slot }))).toMatchObject({ status: 204 });
    await rig.run(20);
    expect(statuses(waits)).toEqual(waits.map((_, at) => (at <= i ? 201 : undefined)));
    holder = `w${i}`;
    expect(one.said!.expiresInMs).toBeGreaterThan(29_000);
  }
}

describe('waits in a slot that is handed over', () => {
  it('hear that it moves when that is committed, and go on in their order at the next owner', async () => {
    const { rig, lanes, slot, waits } = await queue(20, 'a', 'b');
    const [a, b] = lanes;
    a.lane.reach(false);
    expect(await rig.until(() => b.served.has(slot), SOON_MS)).toBe(true);
    await rig.run(200);
    for (const { codes } of waits) expect(codes).toEqual(['moving']);
    expect(waits.map(({ positions }) => positions)).toEqual(waits.map((_, i) => [i + 1, i + 1]));
    await serveInOrder(rig, b, slot, waits);
    rig.checkRun();
  });

  it('keep their order also when they come back the other way round', async () => {
    const { rig, lanes, slot, waits } = await queue(5, 'a', 'b');
    const [a, b] = lanes;
    for (const [i, one] of waits.entries()) one.delayMs = (waits.length - i) * 100;
    a.lane.reach(false);
    await rig.run(SOON_MS + 600);
    expect(b.served.size).toBe(SLOTS);
    await serveInOrder(rig, b, slot, waits);
    rig.checkRun();
  });
});

describe('waits in a slot whose owner is killed', () => {
  it('go on in their order at its heir', async () => {
    const { rig, lanes, slot, waits } = await queue(20, 'a', 'b');
    const [a, b] = lanes;
    a.killWithLease();
    for (const one of waits) one.sendAgain();
    expect(await rig.until(() => b.served.has(slot), LIMITS.termPollMs + SOON_MS)).toBe(true);
    await rig.run(100);
    await serveInOrder(rig, b, slot, waits);
    rig.checkRun();
  });

  it('that do not come back are withdrawn after the grace, and hold up the others only so long', async () => {
    const { rig, lanes, slot, waits } = await queue(4, 'a', 'b');
    const [a, b] = lanes;
    a.killWithLease();
    const back = [waits[1], waits[3]];
    for (const one of back) one.sendAgain();
    await rig.until(() => b.served.has(slot), LIMITS.termPollMs + SOON_MS);
    const servedAt = rig.now;
    await rig.run(50);
    expect(back.map(({ positions }) => positions.at(-1))).toEqual([2, 4]);
    await b.ask(release('first', { slot }));
    await rig.run(servedAt + LIMITS.reattachMs - 50 - rig.now);
    // The head is not there: it keeps its place, and is not granted.
    expect(statuses(back)).toEqual([undefined, undefined]);
    await rig.run(50 + 5 * LIMITS.laneTickMs);
    expect(statuses(back)).toEqual([201, undefined]);
    await b.ask(release('w1', { slot }));
    await rig.run(20);
    expect(statuses(back)).toEqual([201, 201]);
    // A late one begins anew.
    waits[0].sendAgain();
    await rig.run(20);
    expect(waits[0].positions.at(-1)).toBe(1);
    rig.checkRun();
  });

  it('whose grant was committed before it was told are told so', async () => {
    const { rig, lanes, slot, waits } = await queue(2, 'a', 'b');
    const [a, b] = lanes;
    a.connection.deaf = true;
    a.send([release('first', { slot })]);
    await rig.run(20);
    expect(statuses(waits)).toEqual([undefined, undefined]);
    a.killWithLease();
    for (const one of waits) one.sendAgain();
    await rig.until(() => b.served.has(slot), LIMITS.termPollMs + SOON_MS);
    await rig.run(100);
    expect(statuses(waits)).toEqual([200, undefined]);
    expect(waits[0].said!.expiresInMs).toBeGreaterThan(29_000);
    expect(waits[1].positions.at(-1)).toBe(1);
    rig.checkRun();
  });
});

it('a process that stops ends its waits', async () => {
  const { rig, lanes, slot, waits } = await queue(3, 'a', 'b');
  const [a, b] = lanes;
  const watch = a.send([{ kind: 'watch', slot, name: 'lock', attempt: 4_000_000 }])[0];
  await rig.run(20);
  const stopped = a.lane.leave().then(() => a.lane.stop());
  await rig.run(2_000);
  await stopped;
  a.isDead = true;
  expect(a.answers.get(watch)).toMatchObject({ code: 'moving' });
  for (const { codes } of waits) expect(codes).toEqual(['moving']);
  await serveInOrder(rig, b, slot, waits);
  rig.checkRun();
});
