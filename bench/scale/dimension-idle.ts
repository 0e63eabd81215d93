import { BASE_SYSTEM } from './base.ts';
import type { Dimension } from './point.ts';

export const idle: Dimension = {
  name: 'idle',
  title: 'Idle',
  about:
    'nothing is asked of one process with one lane; wanted: < 1 % of a core, < 150 MB, and < 300 MB with 10,000 sockets',
  axis: { label: 'open sockets', isLog: false },
  points: ({ isQuick }) =>
    (['etcd', 'embedded'] as const).flatMap((store) =>
      (isQuick ? [0, 200] : [0, 10_000]).map((sockets) => ({
        ...{ kind: 'idle', x: sockets, series: store, sockets },
        system: { ...BASE_SYSTEM, store },
      })),
    ),
};
