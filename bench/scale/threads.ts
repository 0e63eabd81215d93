/** What each thread of a process uses, read from /proc: for a process that does next to nothing, where 10 ms ticks are too coarse. */
import { readdirSync, readFileSync } from 'node:fs';

export interface ThreadUse {
  /** «main», or what the kernel calls it. */
  readonly name: string;
  readonly cores: number;
  /** How often a second it went to sleep and was woken. */
  readonly wakes: number;
}

interface Reading {
  readonly name: string;
  readonly runNs: number;
  readonly wakes: number;
}

export class Threads {
  readonly #pid: number;
  readonly #before: ReadonlyMap<string, Reading>;
  readonly #startedAt = performance.now();

  /** Counts from now on. */
  constructor(pid: number) {
    this.#pid = pid;
    this.#before = readThreads(pid);
  }

  /** Since it was made, busiest first. */
  use(): ThreadUse[] {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const used = [...readThreads(this.#pid)].map(([id, { name, runNs, wakes }]): ThreadUse => {
      const before = this.#before.get(id) ?? { runNs: 0, wakes: 0 };
      return { name, cores: (runNs - before.runNs) / 1e9 / seconds, wakes: (wakes - before.wakes) / seconds };
    });
    return used.sort((a, b) => b.cores - a.cores);
  }
}

function readThreads(pid: number): Map<string, Reading> {
  const readings = new Map<string, Reading>();
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    const reading = readThread(pid, id);
    if (reading !== undefined) readings.set(id, reading);
  }
  return readings;
}

/** undefined: it ended meanwhile. */
function readThread(pid: number, id: string): Reading | undefined {
  const path = `/proc/${pid}/task/${id}`;
  try {
    const status = readFileSync(`${path}/status`, 'latin1');
    return {
      name: id === String(pid) ? 'main' : readFileSync(`${path}/comm`, 'utf8').trim(),
      runNs: Number(readFileSync(`${path}/schedstat`, 'latin1').split(' ')[0]),
      wakes: Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1] ?? 0),
    };
  } catch {
    return undefined;
  }
}
