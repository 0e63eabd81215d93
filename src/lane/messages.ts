/**
 * Everything that crosses between the main thread, the lanes' worker threads
 * and the lease keeper's thread, in one place.
 *
 *   main → lane   piscina tasks: start, batch, stop
 *   lane → main   messages on the lane's port: answers, ownership, shard state, logs
 *   lane → keeper messages on the lane's keeper port: keep, drop
 */
import type { MessagePort } from 'node:worker_threads';
import type { ShardSettings } from '../config/shards.ts';

export interface LaneStart {
  readonly kind: 'start';
  /** 0-based; the same lane is always the same worker thread. */
  readonly lane: number;
  readonly lanes: number;
  readonly process: ProcessIdentity;
  readonly shards: readonly ShardSettings[];
  /** Slots of the cluster. */
  readonly slots: number;
  /** Folder of the embedded shards. */
  readonly dataFolder: string;
  readonly requestTimeoutMs: number;
  readonly port: MessagePort;
  readonly keeperPort: MessagePort;
  /** metrics/counters.ts lays it out; this lane is its only writer. */
  readonly counters: SharedArrayBuffer;
  /** Int32Array(lanes): each lane raises its own element while it makes progress. */
  readonly progress: SharedArrayBuffer;
}

export interface ProcessIdentity {
  readonly id: string;
  readonly address: string;
  readonly version: string;
}

/** `buffer` is transferred. The task's result is null: answers travel on the port. */
export interface LaneBatch {
  readonly kind: 'batch';
  readonly buffer: ArrayBuffer;
  readonly length: number;
}

/** Finishes what is in flight (bounded), gives up its terms, closes its stores. */
export interface LaneStop {
  readonly kind: 'stop';
}

export type LaneTask = LaneStart | LaneBatch | LaneStop;

/**
 * Answers of one round, grouped by connection:
 *   answers := group*
 *   group   := connection:u32 size:u32 answer*       size = bytes of the answers
 * with the answers in the public grammar of protocol/answer.ts. Transferred.
 */
export interface LaneAnswers {
  readonly kind: 'answers';
  readonly buffer: ArrayBuffer;
  readonly length: number;
  /** Empty buffers that go back to whoever fills batches. Transferred. */
  readonly spare: readonly ArrayBuffer[];
}

/** The lane serves these slots from now on, or no longer does. */
export interface LaneOwnership {
  readonly kind: 'owned' | 'lost';
  readonly shard: string;
  readonly term: string;
  readonly slots: Uint16Array;
}

/** Records of slots whose batch reached a lane that does not own them: to be routed again. Transferred. */
export interface LaneBounced {
  readonly kind: 'bounced';
  readonly buffer: ArrayBuffer;
  readonly length: number;
}

export interface LaneShardState {
  readonly kind: 'shard';
  readonly shard: string;
  readonly up: boolean;
  readonly detail: string;
}

export interface LaneLog {
  readonly kind: 'log';
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export type LaneMessage = LaneAnswers | LaneOwnership | LaneBounced | LaneShardState | LaneLog;

export interface KeeperMessage {
  readonly kind: 'keep' | 'drop';
  readonly lane: number;
  readonly shard: string;
  readonly lease: string;
}
