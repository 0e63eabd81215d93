/** Times from the release of a lock that somebody waits for to the next grant. */
import type { Recorder } from '../recorder.ts';

export class HandOffs {
  readonly #recorder: Recorder;
  /** By name: when its release was sent; 0 when it was followed by a grant. */
  readonly #releasedAt: Float64Array;
  /** By name: acquires that may wait, without answer. */
  readonly #waiting: Int32Array;

  constructor(names: number, recorder: Recorder) {
    this.#recorder = recorder;
    this.#releasedAt = new Float64Array(names);
    this.#waiting = new Int32Array(names);
  }

  asked(name: number): void {
    this.#waiting[name]++;
  }

  released(name: number, now: number): void {
    this.#releasedAt[name] = this.#waiting[name] > 0 ? now : 0;
  }

  /** The acquire of `askedAt` has its last answer. Returns whether the lock was passed on to it. */
  answered(name: number, askedAt: number, now: number, isGranted: boolean): boolean {
    this.#waiting[name]--;
    const releasedAt = this.#releasedAt[name];
    if (!isGranted || releasedAt <= askedAt) return false;
    this.#releasedAt[name] = 0;
    this.#recorder.handedOff(releasedAt, now);
    return true;
  }
}
