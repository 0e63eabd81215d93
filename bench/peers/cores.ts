/**
 * Cores used by each server with all processes below it (PostgreSQL has one
 * for every connection). Samples are taken all the time, and the measured
 * window is cut out afterwards.
 */
import { readFileSync } from 'node:fs';

const SAMPLE_MS = 250;
/** Of nearly every Linux; the kernel reports times in these whatever its own tick is. */
const TICKS_PER_SECOND = 100;

interface Sample {
  readonly wallMs: number;
  readonly ticks: ReadonlyMap<string, number>;
}

export class CoresSampler {
  readonly #roots: ReadonlyMap<string, number>;
  readonly #samples: Sample[] = [];
  readonly #timer: NodeJS.Timeout;

  /** @param roots pids by label */
  constructor(roots: ReadonlyMap<string, number>) {
    this.#roots = roots;
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), SAMPLE_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Cores by label between two wall-clock times. */
  between(fromWallMs: number, toWallMs: number): Record<string, number> {
    const at = (wallMs: number): Sample =>
      this.#samples.findLast((sample) => sample.wallMs <= wallMs) ?? this.#samples[0];
    const from = at(fromWallMs);
    const to = at(toWallMs);
    const seconds = Math.max(SAMPLE_MS, to.wallMs - from.wallMs) / 1000;
    const cores: Record<string, number> = {};
    for (const label of this.#roots.keys()) {
      const used = (to.ticks.get(label) ?? 0) - (from.ticks.get(label) ?? 0);
      cores[label] = Math.max(0, used) / TICKS_PER_SECOND / seconds;
    }
    return cores;
  }

  #sample(): void {
    const ticks = new Map([...this.#roots].map(([label, pid]) => [label, ticksBelow(pid)] as const));
    this.#samples.push({ wallMs: performance.timeOrigin + performance.now(), ticks });
  }
}

/** User and system time of a process and of all that live below it. */
function ticksBelow(pid: number): number {
  let ticks = 0;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks = Number(fields[11]) + Number(fields[12]);
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ');
    for (const child of children) if (child !== '') ticks += ticksBelow(Number(child));
  } catch {
    // It has ended.
  }
  return ticks;
}
