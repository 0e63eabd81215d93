/**
 * Virtual time. Whatever happens in a simulation is an event at a time; events
 * run one by one, ordered by (time, order of their making), and all promise
 * reactions of one are over before the next begins. So a run depends on its
 * seed alone, and its trace can be compared by hash.
 *
 * A domain is what stops and dies as one: a process, or a thread of it.
 *   running ─pause─► paused (its events wait) ─resume─► running
 *      └──────kill──────► dead (its events never run) ◄──kill──┘
 */
import type { Random } from './random.ts';

export type EventKind = 'io' | 'timer';

export interface SimEvent {
  at: number;
  order: number;
  readonly kind: EventKind;
  readonly domain: Domain | undefined;
  readonly label: string;
  readonly run: () => void;
  cancelled: boolean;
}

export class Domain {
  readonly name: string;
  readonly parent: Domain | undefined;
  readonly children: Domain[] = [];
  /** Events that came due while it was paused, in order. */
  backlog: SimEvent[] = [];
  #paused = false;
  #dead = false;

  constructor(name: string, parent?: Domain) {
    this.name = name;
    this.parent = parent;
    parent?.children.push(this);
  }

  get dead(): boolean {
    return this.#dead || (this.parent?.dead ?? false);
  }

  get paused(): boolean {
    return this.#paused || (this.parent?.paused ?? false);
  }

  /** For Scheduler.pause and resume only. */
  setPaused(paused: boolean): void {
    this.#paused = paused;
  }

  kill(): void {
    this.#dead = true;
    this.backlog = [];
  }
}

const TRACE_TAIL = Number(process.env.HOLDFAST_SIM_TRACE ?? 400);

export class Scheduler {
  /** True time in ms, which nobody inside the simulation can see. */
  now = 0;
  /** Events run so far. */
  count = 0;
  /** Errors thrown by events: defects. */
  readonly crashes: { at: number; label: string; error: unknown }[] = [];
  #order = 0;
  #queue: SimEvent[] = [];
  #hash = 0x811c9dc5;
  #tail: { readonly at: number; readonly text: string }[] = [];
  #tailAt = 0;
  readonly #stamp = new DataView(new ArrayBuffer(8));
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  after(delayMs: number, label: string, run: () => void, domain?: Domain, kind: EventKind = 'io'): SimEvent {
    const at = this.now + Math.max(0, delayMs);
    const event = { at, order: this.#order++, kind, domain, label, run, cancelled: false };
    this.#push(event);
    return event;
  }

  pause(domain: Domain): void {
    domain.setPaused(true);
  }

  /**
   * What came due meanwhile runs now. A process that wakes up may see its
   * timers first or what its sockets received first: chance decides.
   */
  resume(domain: Domain): void {
    domain.setPaused(false);
    this.#release(domain, this.#random.chance(0.5));
  }

  /** A line of the trace that is no event of its own. */
  note(text: string): void {
    this.#trace(text);
  }

  get hash(): number {
    return this.#hash >>> 0;
  }

  tail(): readonly string[] {
    const lines = [...this.#tail.slice(this.#tailAt), ...this.#tail.slice(0, this.#tailAt)];
    return lines.map(({ at, text }) => `${at.toFixed(3)} ${text}`);
  }

  /** Runs everything up to the time `until`, at most `countMax` events; false when those did not do. */
  run(until: number, countMax = Infinity): Promise<boolean> {
    const last = this.count + countMax;
    return new Promise((resolve) => {
      let over = false;
      let left = 0;
      const turn = (): void => {
        left--;
        if (over) return;
        const done = this.#next(until, last);
        if (done === undefined) {
          if (left === 0) left = immediates(turn);
          return;
        }
        over = true;
        resolve(done);
      };
      left = immediates(turn);
    });
  }

  /** Runs one event; undefined: there may be more. */
  #next(until: number, last: number): boolean | undefined {
    while (this.#queue.length > 0 && this.#queue[0].at <= until) {
      if (this.count >= last) return false;
      const event = this.#pop();
      this.now = Math.max(this.now, event.at);
      if (this.#step(event)) return undefined;
    }
    this.now = Math.max(this.now, until);
    return true;
  }

  #step(event: SimEvent): boolean {
    const { domain } = event;
    if (event.cancelled || domain?.dead) return false;
    if (domain?.paused) {
      domain.backlog.push(event);
      return false;
    }
    this.count++;
    this.#trace(event.label);
    try {
      event.run();
    } catch (error) {
      this.crashes.push({ at: this.now, label: event.label, error });
    }
    return true;
  }

  #release(domain: Domain, timersFirst: boolean): void {
    if (!domain.paused && domain.backlog.length > 0) {
      const backlog = domain.backlog;
      domain.backlog = [];
      if (timersFirst) backlog.sort((a, b) => Number(a.kind === 'io') - Number(b.kind === 'io'));
      for (const event of backlog) {
        event.at = this.now;
        event.order = this.#order++;
        this.#push(event);
      }
    }
    for (const child of domain.children) this.#release(child, timersFirst);
  }

  #trace(text: string): void {
    this.#stamp.setFloat64(0, this.now);
    let hash = this.#hash;
    for (let i = 0; i < 8; i++) hash = Math.imul(hash ^ this.#stamp.getUint8(i), 0x01000193);
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    this.#hash = hash;
    this.#tail[this.#tailAt] = { at: this.now, text };
    this.#tailAt = (this.#tailAt + 1) % TRACE_TAIL;
  }

  /** The queue is a heap by (at, order). */
  #push(entry: SimEvent): void {
    const queue = this.#queue;
    let at = queue.length;
    queue.push(entry);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!before(entry, queue[up])) break;
      queue[at] = queue[up];
      at = up;
    }
    queue[at] = entry;
  }

  #pop(): SimEvent {
    const queue = this.#queue;
    const top = queue[0];
    const last = queue.pop()!;
    const { length } = queue;
    if (length === 0) return top;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= length) break;
      if (down + 1 < length && before(queue[down + 1], queue[down])) down++;
      if (!before(queue[down], last)) break;
      queue[at] = queue[down];
      at = down;
    }
    queue[at] = last;
    return top;
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Events per turn of Node's event loop, each of which costs system calls. */
const IMMEDIATES = 64;

/**
 * Node empties its microtask queue after each immediate, also within one turn of
 * its loop: there, every promise chain that needs no further event has ended.
 */
function immediates(run: () => void): number {
  for (let i = 0; i < IMMEDIATES; i++) setImmediate(run);
  return IMMEDIATES;
}
