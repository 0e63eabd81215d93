import { BASE_SYSTEM } from './base.ts';
import type { Dimension } from './point.ts';

export const contention: Dimension = {
  name: 'contention',
  title: 'Waiters of one name',
  about:
    'each waits its turn, holds the lock for 1 ms and releases it; JSON WebSockets, 10 a process; one etcd shard',
  axis: { label: 'clients that wait', isLog: true },
  points: ({ isQuick }) =>
    [1, 2].flatMap((processes) =>
      (isQuick ? [10] : [10, 100, 900]).map((waiters) => ({
        ...{ kind: 'queue', x: waiters, series: processes === 1 ? 'one process' : `${processes} processes` },
        ...{ waiters, holdMs: 1, system: { ...BASE_SYSTEM, processes } },
      })),
    ),
};
