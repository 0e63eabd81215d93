import { BASE_LOAD, BASE_SYSTEM, perSecond, ratesOf } from './base.ts';
import type { Dimension } from './point.ts';

export const lanes: Dimension = {
  name: 'lanes',
  title: 'Lanes of a process',
  about: 'one etcd shard, one process; each lane commits for itself',
  axis: { label: 'lanes', isLog: false },
  points: (settings) =>
    ratesOf(settings).flatMap((rate) =>
      [1, 2].map((count) => ({
        ...{ kind: 'load', x: count, series: perSecond(rate) },
        system: { ...BASE_SYSTEM, lanes: count },
        load: { ...BASE_LOAD, rate },
      })),
    ),
};
