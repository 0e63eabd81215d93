import { describe, expect, it } from 'vitest';
import { Random } from './random.ts';
import { Domain, Scheduler } from './scheduler.ts';
import { SimClock } from './sim-clock.ts';

function scheduler(): Scheduler {
  return new Scheduler(new Random(1));
}

describe('random', () => {
  it('gives the same numbers for the same seed, others for another', () => {
    const draw = (seed: number) =>
      Array.from(
        { length: 20 },
        (
          (random) => () =>
            random.next()
        )(new Random(seed)),
      );
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
  });

  it('gives forks that do not depend on what was drawn before', () => {
    const one = new Random(3);
    const other = new Random(3);
    other.next();
    expect(one.fork('lane').next()).toBe(other.fork('lane').next());
    expect(one.fork('lane').next()).not.toBe(one.fork('store').next());
  });

  it('spreads evenly enough', () => {
    const random = new Random(11);
    const buckets = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) buckets[random.below(10)]++;
    for (const count of buckets) expect(Math.abs(count - 1_000)).toBeLessThan(150);
  });
});

describe('scheduler', () => {
  it('runs events by time, then by the order of their making', async () => {
    const events = scheduler();
    const seen: string[] = [];
    events.after(2, 'c', () => seen.push('c'));
    events.after(1, 'a', () => seen.push('a'));
    events.after(1, 'b', () => seen.push('b'));
    await events.run(10);
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(events.now).toBe(10);
  });

  it('finishes all promise reactions of an event before the next one', async () => {
    const events = scheduler();
    const seen: string[] = [];
    events.after(1, 'deep', () => {
      void (async () => {
        for (let i = 0; i < 50; i++) await Promise.resolve();
        seen.push('deep');
      })();
    });
    events.after(1, 'next', () => seen.push('next'));
    await events.run(2);
    expect(seen).toEqual(['deep', 'next']);
  });

  it('keeps the events of a paused domain for later and drops those of a dead one', async () => {
    const events = scheduler();
    const process = new Domain('p');
    const thread = new Domain('p.0', process);
    const seen: string[] = [];
    for (const at of [1, 2, 3]) events.after(at, `t${at}`, () => seen.push(`t${at}@${events.now}`), thread);
    const cancelled = events.after(2, 'never', () => seen.push('never'), thread);
    events.pause(process);
    await events.run(5);
    expect(seen).toEqual([]);
    cancelled.cancelled = true;
    events.resume(process);
    await events.run(6);
    expect(seen).toEqual(['t1@5', 't2@5', 't3@5']);
    events.after(1, 'dead', () => seen.push('dead'), thread);
    process.kill();
    await events.run(20);
    expect(seen).toHaveLength(3);
  });

  it('keeps what an event throws', async () => {
    const events = scheduler();
    events.after(1, 'bad', () => {
      throw new Error('no');
    });
    await events.run(2);
    expect(events.crashes).toHaveLength(1);
  });

  it('stops when too many events come', async () => {
    const events = scheduler();
    const again = () => void events.after(0, 'again', again);
    again();
    expect(await events.run(1, 100)).toBe(false);
  });

  it('has the same hash for the same trace, another for another', async () => {
    const hash = async (label: string, at: number) => {
      const events = scheduler();
      events.after(at, label, () => undefined);
      await events.run(5);
      return events.hash;
    };
    expect(await hash('a', 1)).toBe(await hash('a', 1));
    expect(await hash('a', 1)).not.toBe(await hash('b', 1));
    expect(await hash('a', 1)).not.toBe(await hash('a', 2));
  });
});

describe('clock', () => {
  const make = (rate: number) => {
    const events = scheduler();
    const domain = new Domain('p');
    const clock = new SimClock(events, new Random(5), rate);
    return { events, domain, clock, use: clock.for(domain) };
  };

  it('runs at its own rate, and its timers with it: never early, a little late', async () => {
    const { events, clock, use } = make(0.5);
    const start = use.now();
    let firedAt = 0;
    use.after(100, () => (firedAt = use.now() - start));
    await events.run(190);
    expect(firedAt).toBe(0);
    await events.run(210);
    expect(firedAt).toBeGreaterThanOrEqual(100);
    expect(firedAt).toBeLessThan(102);
    expect(clock.trueTimeOf(clock.now() + 50)).toBeCloseTo(310);
  });

  it('stands still, and so do its timers', async () => {
    const { events, clock, use } = make(1);
    const start = use.now();
    let fired = false;
    use.after(10, () => (fired = true));
    await events.run(5);
    clock.stop();
    await events.run(1_000);
    expect(use.now() - start).toBeCloseTo(5);
    expect(fired).toBe(false);
    clock.go();
    await events.run(1_010);
    expect(fired).toBe(true);
  });

  it('jumps, and what became due by that fires', async () => {
    const { events, clock, use } = make(1);
    let fired = false;
    use.after(500, () => (fired = true));
    clock.jump(500);
    await events.run(3);
    expect(fired).toBe(true);
  });

  it('forgets a cancelled timer', async () => {
    const { events, clock, use } = make(1);
    let fired = false;
    const timer = use.after(10, () => (fired = true));
    timer.cancel();
    clock.stop();
    clock.go();
    await events.run(50);
    expect(fired).toBe(false);
  });

  it('jumps its wall clock without its timers', async () => {
    const { clock, use } = make(1);
    const wall = use.wallMs();
    const now = use.now();
    clock.jumpWall(-5_000);
    expect(use.wallMs()).toBe(wall - 5_000);
    expect(use.now()).toBe(now);
  });
});
