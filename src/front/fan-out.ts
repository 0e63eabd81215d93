/**
 * Calls to many slots for one request: at most LIMITS.fanOutMax under way at
 * once, so that a large session does not crowd out what others ask.
 *
 *   running ─ the last is answered ─► over
 *      └ its time is up ─► over for who waits, while the calls go on
 */
import type { Clock, Timer } from '../clock.ts';
import { LIMITS } from '../limits.ts';
import type { Done, Reply } from './calls.ts';

export interface FanOutSettings<Item> {
  readonly items: readonly Item[];
  /** Sends the call of one item; `done` must get its answer, not within this call. */
  send(item: Item, done: Done): void;
  answered(item: Item, reply: Reply): void;
  /** Once: after all answers, or when the time is up. Perhaps within `fanOut`. */
  finished(): void;
  /** How long the answers are waited for; none: as long as it takes. */
  readonly time?: { readonly clock: Clock; readonly until: number };
}

export function fanOut<Item>(settings: FanOutSettings<Item>): void {
  new FanOut(settings).start();
}

class FanOut<Item> {
  private readonly settings: FanOutSettings<Item>;
  private next = 0;
  private open = 0;
  private isOver = false;
  private timer: Timer | undefined;

  constructor(settings: FanOutSettings<Item>) {
    this.settings = settings;
  }

  start(): void {
    const { items, time } = this.settings;
    if (time !== undefined && items.length > 0) {
      this.timer = time.clock.after(Math.max(0, time.until - time.clock.now()), () => this.finish());
    }
    this.proceed();
  }

  private proceed(): void {
    const { items, send } = this.settings;
    while (this.open < LIMITS.fanOutMax && this.next < items.length) {
      const item = items[this.next++];
      this.open++;
      send(item, (reply) => {
        this.open--;
        this.settings.answered(item, reply);
        this.proceed();
      });
    }
    if (this.open === 0) this.finish();
  }

  private finish(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.timer?.cancel();
    this.settings.finished();
  }
}
