/** Measures the points of dimensions, one after another, and starts a system only when the next point wants another one. */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fill, measureLoad } from './measure-load.ts';
import { measureIdle } from './measure-idle.ts';
import { measureQueue } from './measure-queue.ts';
import type { Dimension, Point, Sample, Settings } from './point.ts';
import { RunningSystem } from './system.ts';

export interface Failure {
  readonly dimension: string;
  readonly point: Point;
  readonly run: number;
  readonly reason: string;
}

export interface RunnerOptions {
  readonly settings: Settings;
  readonly runs: number;
  /** For all data; each system's is removed when it is stopped. */
  readonly folder: string;
  readonly say: (line: string) => void;
}

export class Runner {
  readonly samples: Sample[] = [];
  readonly failures: Failure[] = [];
  readonly #options: RunnerOptions;
  #running: RunningSystem | undefined;
  #folder = '';
  /** Names that are held in the one that runs. */
  #held = 0;
  #started = 0;

  constructor(options: RunnerOptions) {
    this.#options = options;
  }

  /** All points once, then all again: what changes on the machine meanwhile meets all of them. */
  async run(dimensions: readonly Dimension[]): Promise<void> {
    for (let run = 0; run < this.#options.runs; run++) {
      for (const dimension of dimensions) {
        for (const point of dimension.points(this.#options.settings)) await this.#try(dimension, point, run);
        await this.stop();
      }
    }
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.stop();
    if (this.#folder !== '') rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /** A point that can't be measured is told, and the others are measured none the less. */
  async #try(dimension: Dimension, point: Point, run: number): Promise<void> {
    const { say } = this.#options;
    say(`${dimension.title}: ${point.x} ${dimension.axis.label}, ${point.series} (run ${run + 1})`);
    try {
      const sample = await this.#measure(dimension.name, point, run);
      this.samples.push(sample);
      say(`  ${summaryOf(sample)}`);
    } catch (error) {
      const reason = (error as Error).message;
      this.failures.push({ dimension: dimension.name, point, run, reason });
      say(`  NOT MEASURED: ${reason}`);
      await this.stop().catch(() => {});
    }
  }

  async #measure(dimension: string, point: Point, run: number): Promise<Sample> {
    const { settings } = this.#options;
    const running = await this.#systemFor(point);
    switch (point.kind) {
      case 'idle':
        return { dimension, run, ...(await measureIdle(running, point, settings)) };
      case 'queue':
        return { dimension, run, ...(await measureQueue(running, point, settings)) };
      case 'load':
        await this.#fillUp(running, point.held ?? 0);
        return { dimension, run, ...(await measureLoad(running, point, settings, this.#folder)) };
    }
  }

  async #systemFor(point: Point): Promise<RunningSystem> {
    const isSame = JSON.stringify(this.#running?.system) === JSON.stringify(point.system);
    const held = point.kind === 'load' ? (point.held ?? 0) : 0;
    // Idle is what it is after a start, not after load.
    const isFresh = point.kind !== 'idle' || point.sockets > 0;
    if (this.#running !== undefined && isSame && isFresh && this.#held <= held) return this.#running;
    await this.stop();
    this.#folder = join(this.#options.folder, `system-${this.#started++}`);
    mkdirSync(this.#folder, { recursive: true });
    this.#held = 0;
    this.#running = await RunningSystem.start(point.system, this.#folder);
    return this.#running;
  }

  async #fillUp(running: RunningSystem, held: number): Promise<void> {
    if (held > this.#held) await fill(running, held - this.#held);
    this.#held = held;
  }
}

function summaryOf(sample: Sample): string {
  const memory = `${(sample.memory.holdfast / 1e6).toFixed(0)} MB`;
  if ('threads' in sample) {
    return `${(100 * (sample.cores.front + sample.cores.other)).toFixed(2)} % of a core, ${memory}`;
  }
  const times = `P50 ${sample.p50Ms.toFixed(2)}, P95 ${sample.p95Ms.toFixed(2)} ms`;
  const failed = sample.failed === 0 ? '' : `, FAILED ${sample.failed}`;
  if ('handOffsPerSecond' in sample) {
    return `${sample.handOffsPerSecond.toFixed(0)} hand-offs/s, ${times}${failed}`;
  }
  return `${sample.achieved.toFixed(0)} of ${sample.offered.toFixed(0)} ops/s, ${times}, ${memory}${failed}`;
}
