/**
 * Waits and watches that another process forwarded over one socket, by their
 * ids: they count as answered from their first answer on, and stand with lanes
 * of this process until their last one.
 */
import { LIMITS } from '../limits.ts';
import { Event, FINAL_STATUS_MIN } from '../protocol/answer.ts';

export class StandingForwards {
  /** Those that have had no answer: of a wait whose lane does not know whether its place was written that takes long. */
  unanswered = 0;
  /** Whether each has had an answer. */
  private readonly answered = new Map<number, boolean>();

  get size(): number {
    return this.answered.size;
  }

  /** False: there are too many. */
  add(id: number): boolean {
    if (this.answered.size >= LIMITS.standingMax) return false;
    this.answered.set(id, false);
    this.unanswered++;
    return true;
  }

  forget(id: number): void {
    if (this.answered.get(id) === false) this.unanswered--;
    this.answered.delete(id);
  }

  clear(): void {
    this.unanswered = 0;
    this.answered.clear();
  }

  /** An answer with this status leaves, or word of a claim. True when it is the first one to a request. */
  settles(id: number, status: number): boolean {
    // Its id is no forward's.
    if (status > Event.changed && status < FINAL_STATUS_MIN) return false;
    const answered = this.answered.get(id);
    // Its place may come behind its last answer, when that was given for want of time.
    if (answered === undefined) return status >= FINAL_STATUS_MIN;
    if (status >= FINAL_STATUS_MIN) this.answered.delete(id);
    else this.answered.set(id, true);
    if (!answered) this.unanswered--;
    return !answered;
  }
}
