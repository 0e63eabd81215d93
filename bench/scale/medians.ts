/** Several runs of a point as one: the median of each figure. Pure. */
import { median } from '../../loadtest/median.ts';
import type { CoresByPart, LoadSample, Memory, QueueSample, Sample, IdleSample } from './point.ts';

/** One sample for each point, in the order in which the points came first. Failures add up. */
export function medians(samples: readonly Sample[]): Sample[] {
  const byPoint = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { series, x } = sample.point;
    const key = JSON.stringify([sample.dimension, series, x]);
    byPoint.set(key, [...(byPoint.get(key) ?? []), sample]);
  }
  return [...byPoint.values()].map(combine);
}

function combine(samples: readonly Sample[]): Sample {
  const [first] = samples;
  if (samples.length === 1) return first;
  const cores = fields(samples.map((sample) => sample.cores)) as CoresByPart;
  const memory = fields(samples.map((sample) => sample.memory)) as Memory;
  const common = { cores, memory };
  if ('threads' in first) {
    const idle = samples as readonly IdleSample[];
    // A thread is not the same one in another run: those of the first run stand for all.
    return { ...first, ...common, before: median(idle.map(({ before }) => before)) };
  }
  const measured = samples as readonly (LoadSample | QueueSample)[];
  const figures = fields(measured.map(numbersOf));
  const failed = measured.reduce((sum, sample) => sum + sample.failed, 0);
  return { ...first, ...figures, ...common, run: first.run, failed } as Sample;
}

function numbersOf(sample: object): Record<string, number> {
  return Object.fromEntries(Object.entries(sample).filter(([, value]) => typeof value === 'number'));
}

function fields(objects: readonly object[]): object {
  const all = objects as readonly Record<string, number>[];
  return Object.fromEntries(
    Object.keys(all[0]).map((name) => [name, median(all.map((object) => object[name]))]),
  );
}
