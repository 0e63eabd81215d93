import { BASE_LOAD, BASE_SYSTEM, perSecond, ratesOf } from './base.ts';
import type { Dimension } from './point.ts';

export const distance: Dimension = {
  name: 'distance',
  title: 'Distance to etcd',
  about:
    'so much is added to each round trip between Holdfast and etcd; one shard, one process with one lane',
  axis: { label: 'ms added to a round trip', isLog: false },
  points: (settings) =>
    ratesOf(settings).flatMap((rate) =>
      (settings.isQuick ? [0, 5] : [0, 1, 5, 20]).map((distanceMs) => ({
        ...{ kind: 'load', x: distanceMs, series: perSecond(rate) },
        system: { ...BASE_SYSTEM, distanceMs },
        load: { ...BASE_LOAD, rate },
      })),
    ),
};
