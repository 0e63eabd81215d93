/**
 * The safety check over several processes that share names: each streams its
 * events to the one that started them, which puts them in the order of their
 * times before one checker sees them. The clock is CLOCK_MONOTONIC, which is
 * one for all processes of a machine.
 *
 * A message says up to which time it is complete, so that what waits for the
 * other processes is at most what they did since their last messages.
 */
import type { ClaimObserver } from './safety.ts';

/** at, what, claim, and three numbers that depend on what it is. */
const NUMBERS_EACH = 6;
const ASKED = 1;
const GRANTED = 2;
const RENEWED = 3;
const ENDED = 4;

export interface ClaimEvents {
  /** There is no earlier event that was not sent. */
  readonly upTo: number;
  readonly events: Float64Array;
}

/** `performance.now` of this process plus this is the clock of all. */
export function sharedClockOffset(): number {
  return Number(process.hrtime.bigint()) / 1e6 - performance.now();
}

/** Collects events until they are taken. */
export class ClaimEventWriter implements ClaimObserver {
  readonly #offset = sharedClockOffset();
  #numbers: number[] = [];

  asked(at: number, claim: number, name: number, mode: number, limit: number): void {
    this.#numbers.push(at + this.#offset, ASKED, claim, name, mode, limit);
  }

  granted(at: number, claim: number, until: number, fencingToken: number): void {
    this.#numbers.push(at + this.#offset, GRANTED, claim, until + this.#offset, fencingToken, 0);
  }

  renewed(at: number, claim: number, until: number, fencingToken: number): void {
    this.#numbers.push(at + this.#offset, RENEWED, claim, until + this.#offset, fencingToken, 0);
  }

  ended(at: number, claim: number): void {
    this.#numbers.push(at + this.#offset, ENDED, claim, 0, 0, 0);
  }

  take(): ClaimEvents {
    const events = Float64Array.from(this.#numbers);
    this.#numbers = [];
    return { upTo: performance.now() + this.#offset, events };
  }
}

interface Stream {
  readonly parts: Float64Array[];
  /** Number of the next event in the first part. */
  next: number;
  upTo: number;
}

export class ClaimEventMerge {
  readonly #observer: ClaimObserver;
  readonly #streams: Stream[];

  constructor(processes: number, observer: ClaimObserver) {
    this.#observer = observer;
    this.#streams = Array.from({ length: processes }, () => ({ parts: [], next: 0, upTo: -Infinity }));
  }

  add(process: number, { upTo, events }: ClaimEvents): void {
    const stream = this.#streams[process];
    if (events.length > 0) stream.parts.push(events);
    stream.upTo = upTo;
    this.#flush();
  }

  /** The process has ended: nobody waits for it any more. */
  end(process: number): void {
    this.#streams[process].upTo = Infinity;
    this.#flush();
  }

  #flush(): void {
    const until = Math.min(...this.#streams.map((stream) => stream.upTo));
    for (let first = this.#earliest(); first !== undefined; first = this.#earliest()) {
      const [events] = first.parts;
      const at = first.next * NUMBERS_EACH;
      if (events[at] > until) return;
      this.#tell(events, at);
      if (++first.next * NUMBERS_EACH >= events.length) {
        first.parts.shift();
        first.next = 0;
      }
    }
  }

  #earliest(): Stream | undefined {
    let earliest: Stream | undefined;
    let at = Infinity;
    for (const stream of this.#streams) {
      const nextAt = stream.parts[0]?.[stream.next * NUMBERS_EACH] ?? Infinity;
      if (nextAt < at) {
        at = nextAt;
        earliest = stream;
      }
    }
    return earliest;
  }

  #tell(events: Float64Array, i: number): void {
    const [at, what, claim, a, b, c] = events.subarray(i, i + NUMBERS_EACH);
    if (what === ASKED) this.#observer.asked(at, claim, a, b, c);
    else if (what === GRANTED) this.#observer.granted(at, claim, a, b);
    else if (what === RENEWED) this.#observer.renewed(at, claim, a, b);
    else this.#observer.ended(at, claim);
  }
}
