/** Cores used by each server with all processes below it: PostgreSQL has one for every connection. */
import { readFileSync } from 'node:fs';
import { TickSampler, ticksOf } from '../cpu.ts';

export class CoresSampler {
  readonly #ticks: TickSampler;

  /** @param roots pids by label */
  constructor(roots: ReadonlyMap<string, number>) {
    this.#ticks = new TickSampler(
      () => new Map([...roots].map(([label, pid]) => [label, ticksBelow(pid)] as const)),
    );
  }

  stop(): void {
    this.#ticks.stop();
  }

  /** Cores by label between two wall-clock times. */
  between(fromWallMs: number, toWallMs: number): Record<string, number> {
    const used = this.#ticks.between(fromWallMs, toWallMs);
    // Less than before: a process below it has ended.
    return Object.fromEntries([...used].map(([label, cores]) => [label, Math.max(0, cores)]));
  }
}

/** User and system time of a process and of all that live below it. */
function ticksBelow(pid: number): number {
  const own = ticksOf(`/proc/${pid}/stat`);
  return own === undefined ? 0 : own + childrenOf(pid).reduce((sum, child) => sum + ticksBelow(child), 0);
}

function childrenOf(pid: number): number[] {
  try {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ');
    return children.filter((child) => child !== '').map(Number);
  } catch {
    return [];
  }
}
