import { BASE_LOAD, BASE_SYSTEM } from './base.ts';
import type { Dimension } from './point.ts';

const RATES = [10_000, 33_333, 66_667, 133_333, 200_000, 300_000, 450_000, 600_000];

export const rate: Dimension = {
  name: 'rate',
  title: 'Offered rate',
  about: 'one etcd shard, one process with one lane; frames of 64 ops, 8 sockets',
  axis: { label: 'offered ops/s', isLog: true },
  points: ({ isQuick }) =>
    (isQuick ? [2_000, 8_000] : RATES).map((offered) => ({
      ...{ kind: 'load', x: offered, series: 'one shard, one lane', system: BASE_SYSTEM },
      load: { ...BASE_LOAD, rate: offered },
    })),
};
