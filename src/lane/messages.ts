/**
 * Everything that crosses between the main thread, the lanes' worker threads
 * and the lease keeper's thread, in one place.
 *
 *   main → lane   piscina tasks: start, batch, wanted, reach, gone, leave, stop
 *   lane → main   messages on the lane's port: answers, ownership, the map of owners, shard state, logs
 *   lane → keeper messages on the lane's keeper port: keep, drop
 */
import type { MessagePort } from 'node:worker_threads';
import type { ShardSettings } from '../config/shards.ts';
import type { TermState } from '../slots/records.ts';

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
  /** Int32Array(lanes + 1): each lane raises its own element while it makes progress, the main thread the last. */
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
  /**
   * Number of the last announcement of this lane that the front had processed
   * when it sealed the batch. Ops on slots that were adopted later were routed
   * without knowing it: the lane sends them back, so that none overtakes an
   * older one that is on its way back.
   */
  readonly seen: number;
}

/** Requests wait for these slots: take them over before others. */
export interface LaneWanted {
  readonly kind: 'wanted';
  readonly slots: Uint16Array;
}

/** Whether other processes reach this one: an owner that they don't reach hands over. */
export interface LaneReach {
  readonly kind: 'reach';
  readonly reachable: boolean;
}

/** Nobody is at this connection any more: a client that comes back has another. Whoever waits behind it is not granted. */
export interface LaneGone {
  readonly kind: 'gone';
  readonly connection: number;
}

/** Hands all slots over to other processes, if there are any; done when they are (bounded). */
export interface LaneLeave {
  readonly kind: 'leave';
}

/** Finishes what is in flight (bounded), gives up its terms, closes its stores. */
export interface LaneStop {
  readonly kind: 'stop';
}

export type LaneTask = LaneStart | LaneBatch | LaneWanted | LaneReach | LaneGone | LaneLeave | LaneStop;

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
  /** 1, 2, 3 … for each lane. */
  readonly announcement: number;
  readonly shard: string;
  readonly term: string;
  readonly slots: Uint16Array;
}

/**
 * Every batch that was sealed before the front knew of the losses up to this
 * announcement has been dealt with: nothing of theirs will come back any more.
 */
export interface LaneSettled {
  readonly kind: 'settled';
  readonly announcement: number;
}

/** A living term as its record says. */
export interface TermInfo {
  readonly id: string;
  readonly process: string;
  /** HOST:PORT at which peers reach the process. */
  readonly address: string;
  readonly version: string;
  readonly lane: number;
  readonly state: TermState;
}

/** All living terms of a shard, whenever that changed. Only the process's lane 0 says it. */
export interface LaneTerms {
  readonly kind: 'terms';
  readonly shard: string;
  readonly terms: readonly TermInfo[];
}

/** Who owns slots of a shard, or has just been given them; what changed only. Only lane 0 says it. */
export interface LaneOwners {
  readonly kind: 'owners';
  readonly shard: string;
  readonly slots: Uint16Array;
  /** By slot: place of its term in `terms`; NO_TERM = nobody's. */
  readonly owners: Uint16Array;
  readonly terms: readonly string[];
}

export const NO_TERM = 0xffff;

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

export type LaneMessage =
  LaneAnswers | LaneOwnership | LaneSettled | LaneTerms | LaneOwners | LaneBounced | LaneShardState | LaneLog;

export interface KeeperMessage {
  readonly kind: 'keep' | 'drop';
  readonly lane: number;
  readonly shard: string;
  readonly lease: string;
}
