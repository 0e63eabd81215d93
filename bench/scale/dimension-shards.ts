import { BASE_LOAD, BASE_SYSTEM, perSecond, ratesOf } from './base.ts';
import type { Dimension } from './point.ts';

export const shards: Dimension = {
  name: 'shards',
  title: 'Etcd shards',
  about: 'one member each, all on this machine; one process with one lane, which commits to every shard',
  axis: { label: 'shards', isLog: false },
  points: (settings) =>
    ratesOf(settings).flatMap((rate) =>
      (settings.isQuick ? [1, 2] : [1, 2, 4]).map((count) => ({
        ...{ kind: 'load', x: count, series: perSecond(rate) },
        system: { ...BASE_SYSTEM, shards: count },
        load: { ...BASE_LOAD, rate },
      })),
    ),
};
