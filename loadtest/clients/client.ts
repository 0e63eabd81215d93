/** A client of the general engine: where it is in its cycle, and what it holds. */
import type { Part } from '../workload.ts';

export interface Held {
  /** Its own among all claims of all processes. */
  readonly number: number;
  /** Number of the lock's name. */
  readonly name: number;
  readonly token: Buffer;
}

export class Client {
  readonly number: number;
  readonly socket: number;
  /** Names that are its own, and how many of them it has used. */
  readonly firstName: number;
  usedNames = 0;
  part: Part;
  /** Steps to do: of the cycle, or of what comes before and after. */
  steps: Part['cycle'] = [];
  place = 0;
  /** When the step at `place` is due. */
  dueAt = 0;
  /** Calls without answer. */
  pending = 0;
  readonly held = new Map<number, Held>();
  session: Buffer | undefined;
  /** The rest of the cycle makes no sense any more. */
  hasFailed = false;

  constructor(number: number, socket: number, firstName: number, part: Part) {
    this.number = number;
    this.socket = socket;
    this.firstName = firstName;
    this.part = part;
  }
}
