/**
 * The order of one client's requests on one lock, and that each is answered
 * once, while slots wander between lanes and processes.
 */
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SLOTS } from './model-process.ts';
import { World } from './model-world.ts';

const PROCESSES = 3;

/** Decides what happens. */
class Tape {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 1;
  }

  /** xorshift32. */
  below(count: number): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) % count;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

async function step(world: World, tape: Tape): Promise<void> {
  const process = tape.of(world.processes);
  const lane = tape.of(process.lanes);
  const slot = tape.below(SLOTS);
  const action = tape.below(100);
  if (action < 22) return process.ask(slot);
  if (action < 32) return void (await turn());
  if (action < 44) return lane.takeBatch();
  if (action < 52) return lane.decide();
  if (action < 64) return process.hear(lane.lane);
  if (action < 68) return process.look();
  if (action < 76) return tape.of([...process.links.values()])?.arrive();
  if (action < 84) return tape.of([...process.links.values()])?.answerArrives();
  if (action < 88) return world.handOver(slot, lane);
  if (action < 93) return world.claim(slot);
  if (action < 94) return world.takeOver(slot, lane);
  if (action < 95) return world.endTerm(lane);
  if (action < 97) return world.connect(process, tape.of(world.processes));
  if (action < 98) return world.disconnect(process, tape.of(world.processes));
  if (action < 99) return world.clock.advance(tape.below(50));
  world.clock.advance(tape.below(600));
  process.sweep();
}

/** Everything arrives, every slot gets an owner, all links stand: what is not answered then never will be. */
async function settle(world: World): Promise<void> {
  for (const process of world.processes) {
    for (const other of world.processes) world.connect(process, other);
  }
  for (let round = 0; round < 60; round++) {
    for (const [slot] of world.slots.entries()) {
      world.claim(slot);
      world.takeOver(slot, world.lanes[slot]);
    }
    for (const process of world.processes) {
      while (process.watch.length > 0) process.look();
      for (const lane of process.lanes) {
        while (lane.inbox.length > 0) lane.takeBatch();
        lane.decide();
        while (lane.outbox.length > 0) process.hear(lane.lane);
      }
    }
    for (const link of world.allLinks) while (link.wire.length > 0) link.arrive();
    for (const link of world.allLinks) while (link.back.length > 0) link.answerArrives();
    await turn();
    world.clock.advance(5);
  }
}

function check(world: World): void {
  const effectsOf = new Map<number, number>();
  for (const id of world.effects) effectsOf.set(id, (effectsOf.get(id) ?? 0) + 1);
  for (const { id, answers } of world.asked) {
    expect(answers.length, `request ${id}: ${answers.join(' ')}`).toBe(1);
    const effects = effectsOf.get(id) ?? 0;
    if (answers[0] === 'ok') expect(effects).toBe(1);
    else if (answers[0] === 'unknown') expect(effects).toBeLessThanOrEqual(1);
    else expect(effects, `request ${id}: ${answers[0]}`).toBe(0);
  }
  const asked = new Map(world.asked.map((one) => [one.id, one]));
  const last = new Map<string, number>();
  for (const id of world.effects) {
    const { process, slot, answers } = asked.get(id)!;
    // What was given up with its link may take effect at any time.
    if (answers[0] !== 'ok') continue;
    const line = `p${process}, slot ${slot}`;
    expect(id, `${line}: after ${last.get(line)} came ${id}`).toBeGreaterThan(last.get(line) ?? 0);
    last.set(line, id);
  }
  for (const { routing } of world.processes) expect([...routing.wanted()]).toEqual([]);
}

/** A world in which every slot has an owner and everybody reaches everybody. */
async function begin(): Promise<World> {
  const world = new World(PROCESSES);
  for (let slot = 0; slot < SLOTS; slot++) world.takeOver(slot, world.lanes[slot]);
  await settle(world);
  return world;
}

test('requests on one lock take effect in their order, each is answered once, none is forgotten', async () => {
  const outcomes = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer({ min: 1, max: 1_200 }), async (seed, steps) => {
      const world = await begin();
      const tape = new Tape(seed);
      for (let i = 0; i < steps; i++) await step(world, tape);
      await settle(world);
      check(world);
      for (const { answers } of world.asked) outcomes.set(answers[0], (outcomes.get(answers[0]) ?? 0) + 1);
    }),
    { numRuns: Number(process.env['ORDER_RUNS'] ?? 150) },
  );
  // Or it would prove little.
  for (const outcome of ['ok', 'moving', 'unknown']) expect(outcomes.get(outcome)).toBeGreaterThan(0);
});
