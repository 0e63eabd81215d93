/** What a dimension lists, and what measuring one of its points gives. */
import type { ThreadUse } from './threads.ts';

/** How the system is built. Points of one dimension with the same system share one start. */
export interface System {
  readonly store: 'etcd' | 'embedded';
  /** One etcd member each. */
  readonly shards: number;
  readonly processes: number;
  /** Of each process. */
  readonly lanes: number;
  /** Added to each round trip to etcd, ms. */
  readonly distanceMs: number;
  /** Of etcd, instead of what `holdfast up` gives it. */
  readonly etcd?: EtcdVariant;
}

export interface EtcdVariant {
  /** Go's GOGC; its own default is 100. */
  readonly gogc?: number;
  readonly settings?: readonly (readonly [name: string, value: string])[];
}

export interface Load {
  /** One that comes with the load driver. */
  readonly workload: string;
  /** How uneven names are asked for: the n-th n^−zipf times as often as the first; 0: all alike. */
  readonly zipf?: number;
  readonly rate: number;
  readonly sockets: number;
  readonly opsPerFrame: number;
  readonly names: number;
  /** Whose slots the names of a process's frames are in: its own, those of others, or anybody's. */
  readonly owner: 'own' | 'others' | 'any';
}

interface PointBase {
  /** On the dimension's axis. */
  readonly x: number;
  /** Points with the same series are joined in the plot. */
  readonly series: string;
  readonly system: System;
}

/** Open-model load for as long as was asked. */
export interface LoadPoint extends PointBase {
  readonly kind: 'load';
  readonly load: Load;
  /** Names that are held by others all the time. */
  readonly held?: number;
}

/** Nothing is asked of it, and so many sockets are open. */
export interface IdlePoint extends PointBase {
  readonly kind: 'idle';
  readonly sockets: number;
}

/** So many clients stand in one name's queue, and each holds it for a moment. */
export interface QueuePoint extends PointBase {
  readonly kind: 'queue';
  readonly waiters: number;
  readonly holdMs: number;
}

export type Point = LoadPoint | IdlePoint | QueuePoint;

export interface Settings {
  /** Measured time of a point, s. */
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** Few points and low rates: to see that it works. */
  readonly isQuick: boolean;
  /** The largest number of held names. */
  readonly heldMax: number;
}

export interface Dimension {
  readonly name: string;
  readonly title: string;
  /** What its points have in common, for the report. */
  readonly about: string;
  readonly axis: { readonly label: string; readonly isLog: boolean };
  points(settings: Settings): Point[];
}

export interface Memory {
  /** Resident bytes of all processes of Holdfast, and of all etcd members. */
  readonly holdfast: number;
  readonly etcd: number;
}

export interface CoresByPart {
  /** Main threads of Holdfast, its lanes, its other threads. */
  readonly front: number;
  readonly lanes: number;
  readonly other: number;
  readonly etcd: number;
  readonly load: number;
  /** What adds the distance, where the kernel can't. */
  readonly relay: number;
}

interface SampleBase {
  readonly dimension: string;
  readonly run: number;
  readonly memory: Memory;
  readonly cores: CoresByPart;
}

export interface LoadSample extends SampleBase {
  readonly point: LoadPoint;
  readonly offered: number;
  readonly achieved: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How late the driver itself was. */
  readonly sendLagP50Ms: number;
  /** Of all lanes and shards together. */
  readonly commitsPerSecond: number;
  /** Mean round trip of a commit. */
  readonly commitMs: number;
  /** As measured on the way to etcd; 0 where nothing was added. */
  readonly distanceMs: number;
  /** Errors, unanswered, cut and unsent ops, and falling fencing tokens. */
  readonly failed: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Part of the answers that are refusals, where those belong to the workload. */
  readonly refused: number;
}

export interface IdleSample extends SampleBase {
  readonly point: IdlePoint;
  /** Of one process, busiest first. */
  readonly threads: readonly ThreadUse[];
  /** Resident bytes of one process before its sockets were opened. */
  readonly before: number;
}

export interface QueueSample extends SampleBase {
  readonly point: QueuePoint;
  readonly handOffsPerSecond: number;
  /** From the release being sent to the next grant being heard. */
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly isInOrder: boolean;
  /** Clients that were not served, or held it at the same time as another. */
  readonly failed: number;
}

export type Sample = LoadSample | IdleSample | QueueSample;

export function isLoadSample(sample: Sample): sample is LoadSample {
  return sample.point.kind === 'load';
}

export function isIdleSample(sample: Sample): sample is IdleSample {
  return sample.point.kind === 'idle';
}

export function isQueueSample(sample: Sample): sample is QueueSample {
  return sample.point.kind === 'queue';
}
