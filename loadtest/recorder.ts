/** What one process notes while it runs, and the result that comes of it. */
import type { Histogram } from 'hdr-histogram-js';
import { latencyOf, microseconds, newHistogram, type Latency } from './latency.ts';
import type { LoadResult, Protocol, Safety } from './result.ts';
import { mergeSeconds, RunningSecond, secondsEach, type Second } from './timeline.ts';

export interface Recorded {
  readonly workload: string;
  readonly protocol: Protocol;
  /** As planned; the result has the time that was really measured. */
  readonly seconds: number;
  readonly sockets: number;
  readonly opsPerFrame: number;
  /** What latencies are told apart by, by the number that the engine calls them; '' is none. */
  readonly labels: readonly string[];
  /** Labels whose latency depends on other clients, such as the time until a lock is passed on: not part of the total. */
  readonly apart?: readonly string[];
}

export class Recorder {
  readonly #what: Recorded;
  readonly #byLabel: (Histogram | undefined)[];
  readonly #isApart: readonly boolean[];
  readonly #handOff = newHistogram();
  readonly #lag = newHistogram();
  readonly #errors = new Map<string, number>();
  readonly #refusals = new Map<string, number>();
  readonly #second = new RunningSecond();
  readonly #timeline: Second[] = [];
  #together: Second[] = [];
  readonly #onSecond: (second: Second) => void;
  #isRunning = false;
  #from = Infinity;
  #to = Infinity;
  #secondEnd = Infinity;
  #cpuAtStart: NodeJS.CpuUsage | undefined;
  #cpu: NodeJS.CpuUsage | undefined;
  #offered = 0;
  #onTime = 0;
  #answered = 0;
  #cut = 0;
  #unsent = 0;
  #failed = 0;

  /** @param onSecond hears of every second as it ends, those of the warm-up included (their `atSeconds` is 0 or less) */
  constructor(what: Recorded, onSecond: (second: Second) => void = () => {}) {
    this.#what = what;
    this.#byLabel = what.labels.map((label) => (label === '' ? undefined : newHistogram()));
    this.#isApart = what.labels.map((label) => what.apart?.includes(label) ?? false);
    this.#onSecond = onSecond;
  }

  /** The clock starts at `startMs`; measured is what is intended in [fromMs, toMs). */
  start(startMs: number, fromMs: number, toMs: number): void {
    this.#from = fromMs;
    this.#to = toMs;
    this.#isRunning = true;
    const secondsBefore = Math.ceil((fromMs - startMs) / 1000 - 1e-6);
    this.#secondEnd = fromMs - (secondsBefore - 1) * 1000;
  }

  /** The measured time ends at `now` already. */
  stop(now: number): void {
    this.turn(now);
    if (now >= this.#to || this.#from === Infinity) return;
    this.#to = Math.max(now, this.#from);
    this.#secondEnd = this.#to;
    this.turn(this.#to);
  }

  /** What follows is not measured. */
  pause(): void {
    this.#isRunning = false;
    this.#from = Infinity;
  }

  /** Ends the seconds that are over; to be called often. */
  turn(now: number): void {
    if (this.#cpuAtStart === undefined && now >= this.#from) this.#cpuAtStart = process.cpuUsage();
    while (now >= this.#secondEnd) {
      const end = this.#secondEnd;
      this.#secondEnd = end < this.#to ? Math.min(end + 1000, this.#to) : Infinity;
      if (end >= this.#to) this.#cpu = process.cpuUsage(this.#cpuAtStart);
      this.#keep(this.#second.end(Math.round(end - this.#from) / 1000), end >= this.#to);
    }
  }

  /** What was due at `dueAt` is sent at `now` only, for no other reason than the driver itself. */
  lagged(dueAt: number, now: number): void {
    if (dueAt >= this.#from) this.#lag.recordValueWithCount(microseconds(now - dueAt), 1);
  }

  /** They are sent now. */
  offered(intendedAt: number, ops: number): void {
    if (!this.#isRunning) return;
    this.#second.sent += ops;
    if (this.#isMeasured(intendedAt)) this.#offered += ops;
  }

  /** Never sent though it was due at `intendedAt`: no client was free until the end. */
  unsent(intendedAt: number, ops: number): void {
    if (!this.#isMeasured(intendedAt)) return;
    this.#offered += ops;
    this.#unsent += ops;
  }

  /** `ops` expected answers came at `now`. */
  answered(label: number, intendedAt: number, now: number, ops: number): void {
    if (!this.#isRunning) return;
    if (now >= this.#secondEnd) this.turn(now);
    if (now >= this.#from && now < this.#to) this.#onTime += ops;
    const us = microseconds(now - intendedAt);
    if (now < this.#to) this.#second.answered(us, ops, this.#isApart[label]);
    if (!this.#isMeasured(intendedAt)) return;
    this.#answered += ops;
    this.#byLabel[label]!.recordValueWithCount(us, ops);
  }

  /** A refusal that the workload expects: an answer like any other, and counted by its code. */
  refused(label: number, code: string, intendedAt: number, now: number): void {
    this.answered(label, intendedAt, now, 1);
    if (this.#isMeasured(intendedAt)) this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1);
  }

  failed(code: string): void {
    this.#second.errors++;
    this.#failed++;
    this.#errors.set(code, (this.#errors.get(code) ?? 0) + 1);
  }

  /** A lock that somebody waited for was passed on: released at `releasedAt`, granted at `now`. */
  handedOff(releasedAt: number, now: number): void {
    if (this.#isMeasured(releasedAt)) this.#handOff.recordValueWithCount(microseconds(now - releasedAt), 1);
  }

  cut(intendedAt: number, ops: number): void {
    if (intendedAt >= this.#from) this.#cut += ops;
  }

  /** Errors so far. */
  get failures(): number {
    return this.#failed;
  }

  result(open: number, safety: Safety): LoadResult {
    const { workload, protocol, sockets, opsPerFrame, labels } = this.#what;
    const all = newHistogram();
    const byOp: Record<string, Latency> = {};
    for (const [i, histogram] of this.#byLabel.entries()) {
      if (histogram === undefined) continue;
      if (!this.#isApart[i]) all.add(histogram);
      byOp[labels[i]] = latencyOf(histogram);
    }
    const cpu = this.#cpu ?? process.cpuUsage(this.#cpuAtStart);
    const seconds = Math.max(1, Math.round(this.#to - this.#from)) / 1000;
    return {
      workload,
      protocol,
      seconds,
      processes: 1,
      sockets,
      opsPerFrame,
      offered: this.#offered / seconds,
      achieved: this.#onTime / seconds,
      answered: this.#answered,
      unanswered: open,
      cut: this.#cut,
      unsent: this.#unsent,
      errors: Object.fromEntries(this.#errors),
      refusals: Object.fromEntries(this.#refusals),
      safety,
      latency: latencyOf(all),
      byOp,
      handOff: latencyOf(this.#handOff),
      sendLag: latencyOf(this.#lag),
      timeline: [...this.#timeline],
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      fromWallMs: performance.timeOrigin + this.#from,
      toWallMs: performance.timeOrigin + this.#to,
    };
  }

  #isMeasured(intendedAt: number): boolean {
    return intendedAt >= this.#from && intendedAt < this.#to;
  }

  #keep(second: Second, isLast: boolean): void {
    this.#onSecond(second);
    if (second.atSeconds <= 0) return;
    this.#together.push(second);
    const { length } = this.#together;
    if (length < secondsEach(this.#what.seconds) && !isLast) return;
    this.#timeline.push(length === 1 ? second : mergeSeconds(this.#together, second.atSeconds));
    this.#together = [];
  }
}
