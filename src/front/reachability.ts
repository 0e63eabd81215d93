/**
 * Whether the other processes reach this one. An owner that its store reaches
 * but its peers don't would hold its slots and serve nobody else's clients:
 * after a while its lanes are told, and hand over.
 *
 *   reached ─ fewer than half of the others have a live link here ─► doubtful
 *      ▲ └─────────── again half of them or more ◄─────────────────────┘ │ isolatedAfterMs
 *      └──────────────── half of them or more ─────────── isolated ◄─────┘
 */
import { LIMITS } from '../limits.ts';

/**
 * While this process stood still it heard nothing, and that says nothing about
 * the others: of the time between two looks only so much counts.
 */
const STEP_MS_MAX = 250;

export class Reachability {
  private readonly tell: (reachable: boolean) => void;
  private doubtfulMs = 0;
  private updatedAt = -Infinity;
  private told = true;

  constructor(tell: (reachable: boolean) => void) {
    this.tell = tell;
  }

  /** `others`: processes that live; `linked`: those of them with a live link to this one. */
  update(others: number, linked: number, now: number): void {
    const passedMs = Math.min(now - this.updatedAt, STEP_MS_MAX);
    this.updatedAt = now;
    if (linked * 2 >= others) {
      this.doubtfulMs = 0;
      return this.say(true);
    }
    this.doubtfulMs += passedMs;
    if (this.doubtfulMs >= LIMITS.isolatedAfterMs) this.say(false);
  }

  private say(reachable: boolean): void {
    if (reachable === this.told) return;
    this.told = reachable;
    this.tell(reachable);
  }
}
