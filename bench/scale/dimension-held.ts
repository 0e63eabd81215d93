import { BASE_LOAD, BASE_RATE, BASE_SYSTEM, QUICK_RATE } from './base.ts';
import type { Dimension } from './point.ts';

const HELD = [0, 10_000, 100_000, 1_000_000, 10_000_000];

export const held: Dimension = {
  name: 'held',
  title: 'Names held',
  about: 'so many locks are held for a day while others are taken and released; one etcd shard, one process',
  axis: { label: 'names held', isLog: false },
  points: ({ isQuick, heldMax }) =>
    (isQuick ? [0, 5_000] : HELD.filter((names) => names <= heldMax)).map((names) => ({
      ...{ kind: 'load', x: names, series: 'beside names that are held', system: BASE_SYSTEM, held: names },
      load: { ...BASE_LOAD, rate: isQuick ? QUICK_RATE : BASE_RATE },
    })),
};
