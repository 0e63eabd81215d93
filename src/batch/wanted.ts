/**
 * Tells which slots requests wait for, whenever these are others than before.
 * Slots come and go within a moment while they change hands: only those that
 * stay for a little are told.
 */
import type { Clock, Timer } from '../clock.ts';

const AFTER_MS = 20;

export class Wanted {
  listener: (slots: Uint16Array) => void = () => {};
  private readonly clock: Clock;
  private readonly now: () => Uint16Array;
  private told: Uint16Array = new Uint16Array(0);
  private timer: Timer | undefined;

  /** @param now the slots that requests wait for, in rising order */
  constructor(clock: Clock, now: () => Uint16Array) {
    this.clock = clock;
    this.now = now;
  }

  /** They may be others than before. */
  changed(): void {
    this.timer ??= this.clock.after(AFTER_MS, () => {
      this.timer = undefined;
      const slots = this.now();
      if (slots.length === this.told.length && slots.every((slot, i) => slot === this.told[i])) return;
      this.told = slots;
      this.listener(slots);
    });
  }
}
