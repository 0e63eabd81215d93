import { BASE_LOAD, BASE_SYSTEM, perSecond } from './base.ts';
import type { Dimension, LoadPoint } from './point.ts';

const TOGETHER = 20_000;
const SOCKETS = [1, 10, 100, 1_000, 10_000];

export const clients: Dimension = {
  name: 'clients',
  title: 'Clients',
  about: 'one etcd shard, one process; frames of one op',
  axis: { label: 'sockets', isLog: true },
  points: ({ isQuick }) => {
    const point = (series: string, sockets: number, rate: number): LoadPoint => ({
      ...{ kind: 'load', x: sockets, series, system: BASE_SYSTEM },
      load: { ...BASE_LOAD, opsPerFrame: 1, sockets, rate },
    });
    const together = isQuick ? 2_000 : TOGETHER;
    const each = isQuick ? [100] : [1_000, 10_000];
    return [
      ...(isQuick ? [1, 100] : SOCKETS).map((sockets) =>
        point(`${perSecond(together)} in all`, sockets, together),
      ),
      ...each.map((sockets) => point('one op a second each', sockets, sockets)),
    ];
  },
};
