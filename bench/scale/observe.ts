/** Measured points in the model's words. Pure. */
import type { Observation } from './fit.ts';
import type { Setting } from './model.ts';
import type { LoadPoint, LoadSample, Sample } from './point.ts';
import { isLoadSample } from './point.ts';

/** The load driver's timer wakes it so often; what became due meanwhile is sent at once. */
const TICKS_PER_SECOND = 900;
/** Of what was offered: less is a system that is over its limit, where queues grow without end. */
const HELD = 0.97;

export interface ModelPoint extends Observation {
  readonly sample: LoadSample;
}

export function settingOf(point: LoadPoint, cores: number): Setting {
  const { system, load } = point;
  const isLocal = load.owner === 'own' || system.processes === 1;
  const others = (system.processes - 1) / system.processes;
  return {
    ...{ opsPerSecond: load.rate, opsPerFrame: load.opsPerFrame },
    ...{ processes: system.processes, lanes: system.lanes, shards: system.shards },
    forwarded: isLocal ? 0 : load.owner === 'others' ? 1 : others,
    ...{ isLocal, distanceMs: system.distanceMs, sharedCores: cores, extraCores: 0 },
    sendTicks: TICKS_PER_SECOND * (isLocal ? 1 : system.processes),
    // The driver releases as soon as it holds.
    wait: 1,
  };
}

/** Those that the model speaks about: on etcd, acquire and release, and within the limits of the machine. */
export function modelPoints(samples: readonly Sample[], cores: number): ModelPoint[] {
  return samples
    .filter(isLoadSample)
    .filter(({ point }) => point.system.store === 'etcd' && point.system.etcd === undefined)
    .filter(({ point }) => point.load.workload === 'acquire-release' && point.load.zipf === undefined)
    .filter(({ offered, achieved, failed }) => failed === 0 && achieved >= HELD * offered)
    .map((sample) => {
      const { commitsPerSecond, commitMs, p50Ms, p95Ms, distanceMs, offered, cores: used } = sample;
      const setting = {
        ...settingOf(sample.point, cores),
        ...{ opsPerSecond: offered, distanceMs, extraCores: used.relay },
      };
      return { sample, setting, commitsPerSecond, commitMs, p50Ms, p95Ms, cores: used };
    });
}
