/**
 * Answers that came in one frame, on their way to the connections that wait for
 * them: stretches of bytes, chained by connection, so that each connection gets
 * all of its answers with one call.
 */
import { AnswerBytes } from '../protocol/answer.ts';

/** Gives a connection of the front whole answers, back to back in source[at, end). */
export type Deliver = (connection: number, source: AnswerBytes, at: number, end: number) => void;

const NONE = -1;
const FIRST_CAPACITY = 256;

export class AnswerRuns {
  private start = new Uint32Array(FIRST_CAPACITY);
  private end = new Uint32Array(FIRST_CAPACITY);
  private next = new Int32Array(FIRST_CAPACITY);
  private count = 0;
  private lastConnection = NONE;
  private readonly firstOf = new Map<number, number>();
  private readonly lastOf = new Map<number, number>();
  /** The runs of a connection that has several, put together. */
  private readonly joined = new AnswerBytes();

  /** The answer at [start, end) is for `connection`. */
  add(connection: number, start: number, end: number): void {
    if (connection === this.lastConnection && this.end[this.count - 1] === start) {
      this.end[this.count - 1] = end;
      return;
    }
    const run = this.count++;
    if (run === this.start.length) this.grow();
    this.start[run] = start;
    this.end[run] = end;
    this.next[run] = NONE;
    const before = this.lastOf.get(connection);
    if (before === undefined) this.firstOf.set(connection, run);
    else this.next[before] = run;
    this.lastOf.set(connection, run);
    this.lastConnection = connection;
  }

  /** Hands over what was added of `source`, and forgets it. */
  deliver(source: AnswerBytes, deliver: Deliver): void {
    for (const [connection, first] of this.firstOf) {
      if (this.next[first] === NONE) {
        deliver(connection, source, this.start[first], this.end[first]);
        continue;
      }
      const { joined } = this;
      joined.reset();
      for (let run = first; run !== NONE; run = this.next[run]) {
        const size = this.end[run] - this.start[run];
        joined.ensure(size);
        joined.bytes.set(source.bytes.subarray(this.start[run], this.end[run]), joined.length);
        joined.length += size;
      }
      deliver(connection, joined, 0, joined.length);
    }
    this.firstOf.clear();
    this.lastOf.clear();
    this.count = 0;
    this.lastConnection = NONE;
  }

  private grow(): void {
    const capacity = this.start.length * 2;
    const { start, end, next } = this;
    this.start = new Uint32Array(capacity);
    this.start.set(start);
    this.end = new Uint32Array(capacity);
    this.end.set(end);
    this.next = new Int32Array(capacity);
    this.next.set(next);
  }
}
