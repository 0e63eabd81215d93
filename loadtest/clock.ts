/**
 * The open model: arrivals come by the clock, whatever the server does. One
 * that finds no free client waits for one, and its latency counts from the
 * time at which it was due.
 */
import type { Recorder } from './recorder.ts';
import { Arrivals, type Stretch } from './rate.ts';
import { opsOfArrival, type LoadSettings } from './settings.ts';

export interface ClockHandlers {
  /** A client is free for an arrival. */
  hasFree(): boolean;
  arrive(dueAt: number): void;
  /** Each millisecond or so, after the arrivals: what else is due, and what is to be flushed. */
  turn(now: number): void;
}

/** An engine runs from start to end in these steps; `ready` is where the processes of a run wait for each other. */
export interface EngineHooks {
  /** Resolves to when the clock shall start, in ms of `performance.now`. */
  ready(): Promise<number>;
}

export class Clock {
  readonly #settings: LoadSettings;
  readonly #recorder: Recorder;
  /** Ops that start with an arrival: in a frame there are many. */
  readonly #opsAtOnce: number;
  #endAt = Infinity;

  constructor(settings: LoadSettings, recorder: Recorder, opsAtOnce: number) {
    this.#settings = settings;
    this.#recorder = recorder;
    this.#opsAtOnce = opsAtOnce;
  }

  /** The measured time ends now. */
  stop(): void {
    const now = performance.now();
    this.#recorder.stop(now);
    this.#endAt = Math.min(this.#endAt, now);
  }

  /** Resolves when the last arrival is due. */
  run(startAt: number, handlers: ClockHandlers): Promise<void> {
    const { stretches, seconds, warmupSeconds, workload, process, processes, isSpinning } = this.#settings;
    const first = stretches[0].from;
    const warmup: Stretch = { seconds: warmupSeconds, from: first, to: first };
    const all = warmupSeconds > 0 ? [warmup, ...stretches] : stretches;
    const opsEach = this.#opsAtOnce * opsOfArrival(workload);
    const arrivals = new Arrivals(all, opsEach, startAt, process / processes);
    const measuredAt = startAt + warmupSeconds * 1000;
    this.#recorder.start(startAt, measuredAt, measuredAt + seconds * 1000);
    if (this.#endAt !== Infinity) this.#recorder.stop(performance.now());
    this.#endAt = Math.min(this.#endAt, measuredAt + seconds * 1000);
    return new Promise((resolve) => {
      // What was due while every client waited for the server was not late because of the driver.
      let starvedAt = -Infinity;
      const tick = (): void => {
        const now = performance.now();
        this.#recorder.turn(now);
        for (; arrivals.nextAt <= now && handlers.hasFree(); arrivals.shift()) {
          const dueAt = arrivals.nextAt;
          if (dueAt > starvedAt) this.#recorder.lagged(dueAt, now);
          handlers.arrive(dueAt);
        }
        if (!handlers.hasFree()) starvedAt = now;
        handlers.turn(now);
        if (now >= this.#endAt) resolve(this.#unsent(arrivals));
        else if (isSpinning) setImmediate(tick);
        else setTimeout(tick, 1);
      };
      tick();
    });
  }

  /** Arrivals that found no free client to the end are unanswered, not forgotten. */
  #unsent(arrivals: Arrivals): void {
    for (; arrivals.nextAt < this.#endAt; arrivals.shift()) {
      this.#recorder.unsent(arrivals.nextAt, this.#opsAtOnce);
    }
  }
}
