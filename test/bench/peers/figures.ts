/** Made-up runs for the tests of tables and reports. */
import type { Measured } from '../../../bench/peers/child.ts';
import { PEERS } from '../../../bench/peers/list.ts';
import type { PeerRuns } from '../../../bench/peers/session.ts';

/** A run as a load process tells it. */
export function measured(opsPerSecond: number, extra: Partial<Measured> = {}): Measured {
  const latency = { count: 1, p50Ms: 1, p95Ms: 2, p99Ms: 3, p999Ms: 4, maxMs: 5 };
  const window = { fromWallMs: 0, toWallMs: 1_000 };
  const cores = { server: 0.5, load: 0.25 };
  const common = { offeredPerSecond: opsPerSecond, failures: {}, unanswered: 0, cores };
  return { opsPerSecond, latency, ...window, ...common, ...extra };
}

/** The runs of a real peer with made-up rates. */
export function runs(key: string, rates: readonly number[], extra: Partial<PeerRuns> = {}): PeerRuns {
  return {
    peer: PEERS.find((peer) => peer.key === key)!,
    sweep: [{ concurrency: 8, opsPerSecond: 10 }],
    saturated: rates.map((rate) => measured(rate)),
    paced: rates.map(() => measured(500)),
    missing: undefined,
    ...extra,
  };
}
