/**
 * A lock with more than one row: several holders, or somebody who waits, or a
 * delay. Nearly all locks have one holder and no Crowd.
 *
 * A set keeps the order in which rows came: that of the grants, and of the queue.
 */
export class Crowd {
  readonly holders = new Set<number>();
  readonly waiters = new Set<number>();
  /** The row of its lock delay, 0 = there is none. */
  delay = 0;
  /** The one row that is found by the lock's key. */
  first: number;
  /** Token (latin1) → row, once a look at every row would take too long. */
  byToken: Map<string, number> | undefined;

  constructor(first: number) {
    this.first = first;
  }

  get size(): number {
    return this.holders.size + this.waiters.size + (this.delay === 0 ? 0 : 1);
  }
}
