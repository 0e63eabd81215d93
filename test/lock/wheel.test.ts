import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Wheel } from '../../src/lock/wheel.ts';

const TICK_MS = 10;
const HOUR_MS = 3_600_000;

/** A wheel whose entries are their own times. */
class TimedWheel {
  readonly wheel: Wheel;
  now: number;
  private readonly times = new Map<number, number>();
  private next = 1;

  constructor(now: number) {
    this.now = now;
    this.wheel = new Wheel(now);
  }

  add(at: number): void {
    this.times.set(this.next, at);
    this.wheel.schedule(this.next % 4_096, this.next, at);
    this.next++;
  }

  /** Fires what is due; what is more than a tick late then was lost. */
  advance(to: number, budget = Infinity): boolean {
    this.now = to;
    const more = this.wheel.advance(to, budget, (table, row) => {
      const at = this.times.get(row);
      if (at === undefined) throw new Error(`row ${row} fired twice, or was never there`);
      if (at > to) throw new Error(`row ${row} fired at ${to}, before ${at}`);
      if (table !== row % 4_096) throw new Error(`row ${row} fired with table ${table}`);
      this.times.delete(row);
    });
    if (this.wheel.count !== this.times.size)
      throw new Error(`${this.wheel.count} are not ${this.times.size} entries`);
    if (more) return true;
    for (const at of this.times.values()) {
      if (at <= to - TICK_MS) throw new Error(`the entry of ${at} did not fire by ${to}`);
    }
    return false;
  }

  get left(): number {
    return this.times.size;
  }
}

describe('the wheel', () => {
  it('fires at the time, at most a tick late, never early', () => {
    const timed = new TimedWheel(1_000.3);
    for (const at of [1_005, 1_010, 1_010.01, 1_640, 42_000, 50_000_000]) timed.add(at);
    timed.advance(1_009.9);
    expect(timed.left).toBe(6);
    timed.advance(1_010);
    expect(timed.left).toBe(4);
    timed.advance(1_019.9);
    expect(timed.left).toBe(4);
    timed.advance(1_020);
    expect(timed.left).toBe(3);
    timed.advance(49_999_999.9);
    expect(timed.left).toBe(1);
    timed.advance(50_000_000);
    expect(timed.left).toBe(0);
  });

  it('fires at once what is scheduled for the past, also from within a firing', () => {
    const wheel = new Wheel(0);
    const fired: number[] = [];
    wheel.schedule(0, 1, 500);
    wheel.advance(1_000, 100, (_, row) => {
      fired.push(row);
      if (row < 5) wheel.schedule(0, row + 1, 700);
    });
    expect(fired).toEqual([1, 2, 3, 4, 5]);
    expect(wheel.nextAt()).toBe(Infinity);
  });

  it('is not caught by a firing that always schedules for the past', () => {
    const wheel = new Wheel(0);
    let fired = 0;
    wheel.schedule(0, 1, 500);
    const more = wheel.advance(1_000, 50, () => {
      fired++;
      wheel.schedule(0, 1, 0);
    });
    expect([more, fired]).toEqual([true, 50]);
  });

  it('loses nothing and fires nothing early, whatever the times', () => {
    const delay = fc.oneof(
      fc.integer({ min: -100, max: 1_000 }),
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 0, max: 30 * HOUR_MS }),
      // Farther than the wheel turns.
      fc.integer({ min: 0, max: 400 * HOUR_MS }),
      fc.constantFrom(640, 40_960, 2_621_440, 167_772_160, 165_150_720),
    );
    const step = fc.record({
      add: fc.array(delay, { maxLength: 8 }),
      wait: fc.oneof(fc.double({ min: 0, max: 50, noNaN: true }), fc.nat(100_000), fc.nat(20 * HOUR_MS)),
      budget: fc.constantFrom(1, 3, 1_000, Infinity),
    });
    // Also where ticks leave 32 bits behind.
    const start = fc.constantFrom(0, 5, 167_772_150, 42_949_672_900, 21_474_836_400, 9e12);
    fc.assert(
      fc.property(start, fc.array(step, { maxLength: 40, size: 'max' }), (now, steps) => {
        const timed = new TimedWheel(now);
        for (const { add, wait, budget } of steps) {
          for (const after of add) timed.add(timed.now + after);
          timed.advance(timed.now + wait, budget);
        }
        while (timed.advance(timed.now, 7));
        const last = timed.now + 500 * HOUR_MS;
        while (timed.wheel.nextAt() < Infinity) {
          const next = timed.wheel.nextAt();
          expect(next).toBeLessThanOrEqual(last);
          timed.advance(Math.max(next, timed.now));
        }
        expect(timed.left).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('says when to wake up: waking then, and only then, is enough', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(200_000), { minLength: 1, maxLength: 50 }), (delays) => {
        const timed = new TimedWheel(3);
        for (const after of delays) timed.add(3 + after);
        let wakes = 0;
        for (let next = timed.wheel.nextAt(); next < Infinity; next = timed.wheel.nextAt()) {
          expect(next).toBeGreaterThanOrEqual(timed.now - TICK_MS);
          timed.advance(Math.max(next, timed.now));
          wakes++;
        }
        expect(timed.left).toBe(0);
        expect(wakes).toBeLessThanOrEqual(4 * delays.length);
      }),
    );
  });

  it('takes many entries of one moment in bites', () => {
    const count = 300_000;
    const wheel = new Wheel(0);
    for (let row = 1; row <= count; row++) wheel.schedule(1, row, 60_000 + (row % 1_000));
    const seen = new Uint8Array(count + 1);
    let bites = 0;
    for (let more = true; more; bites++) {
      let fired = 0;
      more = wheel.advance(61_000, 1_000, (_, row) => {
        fired++;
        seen[row]++;
      });
      expect(fired).toBeLessThanOrEqual(1_000);
    }
    expect(seen.subarray(1).every((times) => times === 1)).toBe(true);
    // Every entry is moved down at most twice on its way.
    expect(bites).toBeLessThanOrEqual((3 * count) / 1_000 + 2);
  });

  it('takes little more than 12 bytes an entry, and gives the memory of emptied buckets back', () => {
    const wheel = new Wheel(0);
    const buckets = () =>
      (wheel as unknown as { buckets: ({ chunks: Uint32Array[] } | undefined)[] }).buckets;
    const bytes = () =>
      buckets().reduce((sum, bucket) => (bucket?.chunks ?? []).reduce((s, c) => s + c.byteLength, sum), 0);
    for (let row = 1; row <= 1_000_000; row++) wheel.schedule(1, row, 10_000 + row / 10);
    expect(bytes() / 1e6).toBeLessThan(14);
    wheel.advance(200_000, Infinity, () => {});
    expect(wheel.count).toBe(0);
    expect(buckets().filter((bucket) => bucket !== undefined)).toEqual([]);
  });
});
