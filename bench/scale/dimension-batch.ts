import { BASE_LOAD, BASE_RATE, BASE_SYSTEM, perSecond, QUICK_RATE } from './base.ts';
import type { Dimension } from './point.ts';

export const batch: Dimension = {
  name: 'batch',
  title: 'Ops in a frame',
  about: 'one etcd shard, one process with one lane, 8 sockets',
  axis: { label: 'ops in a frame', isLog: true },
  points: ({ isQuick }) => {
    const rate = isQuick ? QUICK_RATE : BASE_RATE;
    return (isQuick ? [1, 64] : [1, 4, 16, 64, 256]).map((opsPerFrame) => ({
      ...{ kind: 'load', x: opsPerFrame, series: perSecond(rate), system: BASE_SYSTEM },
      load: { ...BASE_LOAD, opsPerFrame, rate },
    }));
  },
};
