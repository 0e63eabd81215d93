/**
 * The lanes' worker threads: a piscina pool with exactly one worker a lane,
 * and every task of a lane on its own worker.
 *
 *   starting ─► running ─► stopping ─► stopped
 *                  │
 *                  └─► failed: a worker died. Its locks are safe in the shard,
 *                      its open requests are not known any more: the process
 *                      ends, another takes over (or a restart does).
 *
 * A task carries its lane in piscina's queue options, where the load balancer
 * finds it. Atomics are off: with them a worker sleeps between tasks and its
 * I/O with it.
 */
import { MessageChannel, type MessagePort, type TransferListItem } from 'node:worker_threads';
import { Piscina, queueOptionsSymbol } from 'piscina';
import type { LaneMessage, LaneStart, LaneTask } from '../lane/messages.ts';
import type { LaneGate } from './collector.ts';

export interface LanesSettings {
  readonly lanes: number;
  /** File of the worker: its default export takes LaneTasks. */
  readonly worker: string;
  onMessage(lane: number, message: LaneMessage): void;
  /** A worker died or threw. Called once. */
  onFailure(error: Error): void;
}

/** What a lane is started with; the pool adds the port. */
export type LaneSetup = Omit<LaneStart, 'kind' | 'lane' | 'lanes' | 'port'>;

/** More than can ever be under way: a batch is refused by the front's own bounds, never by the pool. */
const TASKS_PER_WORKER = 1_000_000;
/** A lane takes up to the request time-out to hand over or to stop; how much longer it is waited for. */
const TASK_SLACK_MS = 7_000;

interface LaneOption {
  readonly lane: number;
}

export class Lanes implements LaneGate {
  private readonly settings: LanesSettings;
  private readonly pool: Piscina;
  private readonly ports: MessagePort[] = [];
  /** Thread id of each lane's worker. */
  private readonly threads: number[];
  private readonly options: { readonly [queueOptionsSymbol]: LaneOption }[] = [];
  private taskTimeoutMs = TASK_SLACK_MS;
  private ending = false;
  private readonly fail = (error: unknown): void => {
    if (this.ending) return;
    this.ending = true;
    this.settings.onFailure(error instanceof Error ? error : new Error(String(error)));
  };

  constructor(settings: LanesSettings) {
    this.settings = settings;
    this.pool = new Piscina({
      filename: settings.worker,
      minThreads: settings.lanes,
      maxThreads: settings.lanes,
      concurrentTasksPerWorker: TASKS_PER_WORKER,
      maxQueue: TASKS_PER_WORKER,
      idleTimeout: Infinity,
      atomics: 'disabled',
      recordTiming: false,
      loadBalancer: (task, workers) => {
        const { lane } = task[queueOptionsSymbol] as LaneOption;
        return workers.find((worker) => worker.id === this.threads[lane]) ?? null;
      },
    });
    this.threads = this.pool.threads.map((worker) => worker.threadId);
    for (let lane = 0; lane < settings.lanes; lane++) {
      this.options.push({ [queueOptionsSymbol]: { lane } });
      this.pool.threads[lane].on('exit', (code) =>
        this.fail(new Error(`lane ${lane}: its thread ended with ${code}`)),
      );
    }
    this.pool.on('error', this.fail);
  }

  /** Starts a lane; resolves when it works. `keeperPort` is transferred. */
  async start(lane: number, setup: LaneSetup): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    this.ports[lane] = port1;
    this.taskTimeoutMs = setup.requestTimeoutMs + TASK_SLACK_MS;
    port1.on('message', (message: LaneMessage) => this.settings.onMessage(lane, message));
    const task: LaneStart = { kind: 'start', lane, lanes: this.settings.lanes, port: port2, ...setup };
    await this.run(lane, task, [port2, setup.keeperPort]);
  }

  send(lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void {
    this.run(lane, { kind: 'batch', buffer, length, seen }, [buffer]).then(taken, this.fail);
  }

  /** Requests wait for these slots. */
  want(slots: Uint16Array): void {
    this.tell({ kind: 'wanted', slots });
  }

  gone(connection: number): void {
    this.tell({ kind: 'gone', connection });
  }

  /** Whether other processes reach this one. */
  reach(reachable: boolean): void {
    this.tell({ kind: 'reach', reachable });
  }

  /** Lets every lane hand its slots over to other processes, if there are any (bounded). Ops go on. */
  async leave(): Promise<void> {
    if (!this.ending) await this.bounded(this.ports.map((_, lane) => this.run(lane, { kind: 'leave' }, [])));
  }

  /** Lets every lane finish (bounded) and ends the threads. Answers arrive until then. */
  async stop(): Promise<void> {
    if (!this.ending) await this.finish();
    this.ending = true;
    for (const port of this.ports) port.close();
    await this.pool.destroy();
  }

  private async finish(): Promise<void> {
    await this.bounded(this.ports.map((_, lane) => this.run(lane, { kind: 'stop' }, [])));
    // Last answers lie in ports of their own: one more turn, and they are read.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** The lanes bound what they do themselves; one that does not answer at all is not waited for. */
  private async bounded(tasks: readonly Promise<unknown>[]): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, this.taskTimeoutMs);
    });
    await Promise.race([Promise.allSettled(tasks), late]);
    clearTimeout(timer);
  }

  /** A word to all lanes. */
  private tell(task: LaneTask): void {
    if (this.ending) return;
    for (let lane = 0; lane < this.ports.length; lane++) {
      this.run(lane, { ...task }, []).catch(this.fail);
    }
  }

  private run(lane: number, task: LaneTask, transferList: TransferListItem[]): Promise<unknown> {
    return this.pool.run(Object.assign(task, this.options[lane]), { transferList });
  }
}
