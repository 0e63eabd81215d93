/**
 * Who used how many cores, read from /proc: each process's main thread, and
 * its other threads, busiest first. Samples are taken all the time and the
 * measured window is cut out afterwards.
 */
import { readdirSync, readFileSync } from 'node:fs';

const SAMPLE_MS = 250;
/** Of nearly every Linux; the kernel reports times in these whatever its own tick is. */
const TICKS_PER_SECOND = 100;

interface Sample {
  readonly wallMs: number;
  /** By whatever is told apart. */
  readonly ticks: ReadonlyMap<string, number>;
}

/** Reads processor times again and again, until it is stopped. */
export class TickSampler {
  readonly #read: () => Map<string, number>;
  readonly #samples: Sample[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(read: () => Map<string, number>) {
    this.#read = read;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#sample();
  }

  /** Cores used between two wall-clock times, by the keys of what was read at the end. */
  between(fromWallMs: number, toWallMs: number): Map<string, number> {
    const from = this.#samples.findLast((sample) => sample.wallMs <= fromWallMs) ?? this.#samples[0];
    // Not the first one after it: the load driver may have ended by then.
    const to = this.#samples.findLast((sample) => sample.wallMs <= toWallMs) ?? this.#samples.at(-1)!;
    const seconds = Math.max(SAMPLE_MS, to.wallMs - from.wallMs) / 1000;
    const cores = new Map<string, number>();
    for (const [key, ticks] of to.ticks)
      cores.set(key, (ticks - (from.ticks.get(key) ?? 0)) / TICKS_PER_SECOND / seconds);
    return cores;
  }

  #sample(): void {
    this.#samples.push({ wallMs: performance.timeOrigin + performance.now(), ticks: this.#read() });
  }
}

export interface ProcessCpu {
  readonly total: number;
  readonly main: number;
  /** Cores of its other threads, busiest first. */
  readonly others: readonly number[];
}

export class CpuSampler {
  readonly #pids: ReadonlyMap<string, number>;
  readonly #ticks: TickSampler;

  /** @param pids by label */
  constructor(pids: ReadonlyMap<string, number>) {
    this.#pids = pids;
    this.#ticks = new TickSampler(() => this.#read());
  }

  stop(): void {
    this.#ticks.stop();
  }

  /** Cores used between two wall-clock times. */
  between(fromWallMs: number, toWallMs: number): Map<string, ProcessCpu> {
    const used = this.#ticks.between(fromWallMs, toWallMs);
    const usage = new Map<string, ProcessCpu>();
    for (const [label, pid] of this.#pids) {
      let main = 0;
      const others: number[] = [];
      for (const [key, cores] of used) {
        if (!key.startsWith(`${label} `)) continue;
        if (key === `${label} ${pid}`) main = cores;
        else others.push(cores);
      }
      others.sort((a, b) => b - a);
      usage.set(label, { total: main + others.reduce((sum, cores) => sum + cores, 0), main, others });
    }
    return usage;
  }

  /** By «label thread id». */
  #read(): Map<string, number> {
    const ticks = new Map<string, number>();
    for (const [label, pid] of this.#pids) {
      for (const thread of threadsOf(pid)) {
        const used = ticksOf(`/proc/${pid}/task/${thread}/stat`);
        if (used !== undefined) ticks.set(`${label} ${thread}`, used);
      }
    }
    return ticks;
  }
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** User and system time in a stat file of /proc; undefined: whoever it was of has ended. */
export function ticksOf(path: string): number | undefined {
  try {
    const stat = readFileSync(path, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return undefined;
  }
}

/** Resident memory of a process, in bytes. */
export function residentBytes(pid: number): number {
  return statusBytes(pid, 'VmRSS');
}

/** The most it has had so far, in bytes. */
export function peakResidentBytes(pid: number): number {
  return statusBytes(pid, 'VmHWM');
}

function statusBytes(pid: number, field: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) * 1024;
}
