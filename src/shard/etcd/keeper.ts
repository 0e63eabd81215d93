/**
 * The two ends of the lease keeper's thread: `startKeeperThread` for the main
 * thread, `PortKeeper` for a lane. Leases have a thread of their own because a
 * lane may be busy for longer than a lease lasts (reading a journal back).
 */
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import type { ShardSettings } from '../../config/shards.ts';
import type { KeeperMessage } from '../../lane/messages.ts';
import type { LeaseKeeper } from '../store.ts';
import type { KeeperReport, KeeperTask, KeeperThreadData } from './keeper-thread.ts';

const STOP_MS = 1_000;

export interface KeeperThread {
  /** Transfers the keeper's end of a lane's keeper port. When the other end closes, that lane's leases are dropped. */
  addLane(lane: number, port: MessagePort): void;
  /** Leases are not revoked: they run out. */
  stop(): Promise<void>;
}

export interface KeeperThreadOptions {
  readonly shards: readonly ShardSettings[];
  /** LaneStart.progress. */
  readonly progress: SharedArrayBuffer;
  readonly onLog: (report: KeeperReport) => void;
  /** The thread died: leases will run out. A defect; the process should end so that another takes over. */
  readonly onFailure: (error: Error) => void;
}

/** How often this thread shows that it gets on. */
const BEAT_MS = 400;

/** The calling thread raises its own element of `progress` from now on, as long as its event loop turns. */
export function startKeeperThread(options: KeeperThreadOptions): KeeperThread {
  const data: KeeperThreadData = { shards: options.shards, progress: options.progress };
  const entry = new URL(`./keeper-thread${extname(import.meta.url)}`, import.meta.url);
  const worker = new Worker(entry, { workerData: data, name: 'keeper' });
  let stopping = false;
  const progress = new Int32Array(options.progress);
  const beat = setInterval(() => Atomics.add(progress, progress.length - 1, 1), BEAT_MS);
  worker.on('message', options.onLog);
  worker.on('error', options.onFailure);
  worker.on('exit', (code) => {
    if (!stopping) options.onFailure(new Error(`the keeper thread ended with ${code}`));
  });
  const send = (task: KeeperTask, transfer: MessagePort[] = []) => worker.postMessage(task, transfer);
  return {
    addLane: (lane, port) => send({ kind: 'lane', lane, port }, [port]),
    async stop() {
      if (stopping) return;
      stopping = true;
      const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
      send({ kind: 'stop' });
      const timer = setTimeout(() => void worker.terminate(), STOP_MS);
      await ended;
      clearTimeout(timer);
      clearInterval(beat);
    },
  };
}

/** A lane's keeper: everything it does is say so to the thread. */
export class PortKeeper implements LeaseKeeper {
  readonly #port: MessagePort;
  readonly #lane: number;

  constructor(port: MessagePort, lane: number) {
    this.#port = port;
    this.#lane = lane;
    // It is only written to: it must not keep the lane's thread alive.
    port.unref();
  }

  keep(shard: string, lease: string): void {
    this.#port.postMessage({ kind: 'keep', lane: this.#lane, shard, lease } satisfies KeeperMessage);
  }

  drop(shard: string, lease: string): void {
    this.#port.postMessage({ kind: 'drop', lane: this.#lane, shard, lease } satisfies KeeperMessage);
  }
}
