/**
 * Latencies as histograms, and what is told of them. Microseconds in the
 * histograms, milliseconds in what is told.
 */
import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
} from 'hdr-histogram-js';

const HIGHEST_US = 600_000_000;

export interface Latency {
  readonly count: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** HdrHistogram, compressed, base64. */
  readonly histogram: string;
}

/** @param digits significant decimal digits: 3 for results, 2 where there are many */
export function newHistogram(digits: 2 | 3 = 3): Histogram {
  return build({
    bitBucketSize: 32,
    highestTrackableValue: HIGHEST_US,
    numberOfSignificantValueDigits: digits,
  });
}

/** What a histogram can hold. */
export function microseconds(ms: number): number {
  return Math.min(HIGHEST_US, Math.max(0, Math.round(ms * 1000)));
}

export function millisecondsAt(histogram: Histogram, percentile: number): number {
  return histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile) / 1000;
}

export function latencyOf(histogram: Histogram): Latency {
  return {
    count: histogram.totalCount,
    p50Ms: millisecondsAt(histogram, 50),
    p95Ms: millisecondsAt(histogram, 95),
    p99Ms: millisecondsAt(histogram, 99),
    p999Ms: millisecondsAt(histogram, 99.9),
    maxMs: histogram.maxValue / 1000,
    histogram: encode(histogram),
  };
}

export function mergeLatencies(latencies: readonly Latency[]): Latency {
  return latencyOf(addUp(latencies.map(({ histogram }) => histogram)));
}

export function encode(histogram: Histogram): string {
  return encodeIntoCompressedBase64(histogram);
}

/** All of them in one; each is what `encode` returned, of the same number of digits. */
export function addUp(histograms: readonly string[], digits: 2 | 3 = 3): Histogram {
  const all = newHistogram(digits);
  for (const one of histograms) all.add(decodeFromCompressedBase64(one));
  return all;
}
