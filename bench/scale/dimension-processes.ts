import { BASE_LOAD, BASE_RATE, BASE_SYSTEM, QUICK_RATE } from './base.ts';
import type { Dimension, Load } from './point.ts';

const SERIES: readonly { readonly series: string; readonly owner: Load['owner'] }[] = [
  { series: 'own names', owner: 'own' },
  { series: 'names of others (forwarded)', owner: 'others' },
  { series: 'any names', owner: 'any' },
];

export const processes: Dimension = {
  name: 'processes',
  title: 'Processes',
  about: 'one etcd shard; a driver for each process, whose names it owns, others own, or anybody owns',
  axis: { label: 'processes', isLog: false },
  points: ({ isQuick }) =>
    (isQuick ? [1, 2] : [1, 2, 3]).flatMap((count) =>
      // One process owns everything: the series begin at the same point.
      (count === 1 ? SERIES.slice(0, 1) : SERIES).map(({ series, owner }) => ({
        ...{ kind: 'load', x: count, series },
        system: { ...BASE_SYSTEM, processes: count },
        load: { ...BASE_LOAD, owner, rate: isQuick ? QUICK_RATE : BASE_RATE },
      })),
    ),
};
