/** What every dimension starts from, and changes one thing of. */
import type { Load, System } from './point.ts';

export const BASE_SYSTEM: System = { store: 'etcd', shards: 1, processes: 1, lanes: 1, distanceMs: 0 };

/** The rate of the published design: 66,667 lock ops a second. */
export const BASE_RATE = 66_667;
/** Well above it, and still within what two cores hold. */
export const HIGH_RATE = 200_000;
/** To see that it works. */
export const QUICK_RATE = 4_000;

export const BASE_LOAD: Load = {
  workload: 'acquire-release',
  rate: BASE_RATE,
  sockets: 8,
  opsPerFrame: 64,
  names: 131_072,
  owner: 'any',
};

export function perSecond(rate: number): string {
  return `${rate.toLocaleString('en-US')} ops/s`;
}

/** Rates that a dimension is measured at: one series each. */
export function ratesOf({ isQuick }: { readonly isQuick: boolean }): number[] {
  return isQuick ? [QUICK_RATE] : [BASE_RATE, HIGH_RATE];
}
