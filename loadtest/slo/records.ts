/** What a run of the gate keeps of each thing it ran; all of it goes into slo.json. */
import type { CeilingResult } from '../../bench/ceiling.ts';
import type { ProcessCpu } from '../../bench/cpu.ts';
import type { LoadResult } from '../result.ts';
import type { Profile } from './config.ts';

/** Bytes of etcd's data folder, and of memory. */
export interface Footprint {
  readonly databaseBytes: number;
  readonly logBytes: number;
  readonly etcdMemoryBytes: number;
  /** The most that Holdfast's process had; undefined: it did not run. */
  readonly holdfastMemoryBytes?: number;
}

/** From the servers' own metrics, over warm-up and measured time. */
export interface Counters {
  readonly commitsPerSecond: number;
  /** Mean of the fsyncs of etcd's log. */
  readonly fsyncMs: number;
  /** Of Holdfast's main thread: collections, and how long they stopped it in all. */
  readonly collections: number;
  readonly collectionMs: number;
}

interface RunOf {
  /** From 1. */
  readonly run: number;
  readonly startedAt: string;
}

export interface Failure extends RunOf {
  readonly failure: string;
}

export interface Measurement extends RunOf {
  readonly failure?: undefined;
  readonly result: LoadResult;
  readonly cpu: Readonly<Record<string, ProcessCpu>>;
  readonly footprint: Footprint;
  readonly counters: Counters;
}

export interface CeilingMeasurement extends RunOf {
  readonly failure?: undefined;
  readonly result: CeilingResult;
  readonly cpu: Readonly<Record<string, ProcessCpu>>;
  readonly footprint: Footprint;
}

/** All runs of a profile. */
export interface ProfileRuns {
  readonly profile: Profile;
  readonly runs: readonly (Measurement | Failure)[];
  readonly ceilings: readonly (CeilingMeasurement | Failure)[];
}

export function isMeasured<T extends Measurement | CeilingMeasurement>(run: T | Failure): run is T {
  return run.failure === undefined;
}
