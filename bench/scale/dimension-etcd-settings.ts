import { BASE_LOAD, BASE_RATE, BASE_SYSTEM, QUICK_RATE } from './base.ts';
import type { Dimension, EtcdVariant } from './point.ts';

const PAUSES = [
  ['compaction-batch-limit', '1000'],
  ['compaction-sleep-interval', '10ms'],
] as const;

const VARIANTS: readonly { readonly series: string; readonly etcd: EtcdVariant }[] = [
  { series: 'as `holdfast up` sets it', etcd: {} },
  { series: 'GOGC=50', etcd: { gogc: 50 } },
  { series: 'GOGC=400', etcd: { gogc: 400 } },
  { series: 'backend-batch-interval 10 ms', etcd: { settings: [['backend-batch-interval', '10ms']] } },
  { series: 'backend-batch-interval 1 s', etcd: { settings: [['backend-batch-interval', '1s']] } },
  { series: "etcd's own compaction pauses", etcd: { settings: PAUSES } },
];

export const etcdSettings: Dimension = {
  name: 'etcd-settings',
  title: 'Settings of etcd',
  about: 'one etcd shard, one process with one lane; frames of 64 ops, 8 sockets',
  axis: { label: 'shards', isLog: false },
  points: ({ isQuick }) =>
    (isQuick ? VARIANTS.slice(0, 2) : VARIANTS).map(({ series, etcd }) => ({
      ...{ kind: 'load', x: 1, series, system: { ...BASE_SYSTEM, etcd } },
      load: { ...BASE_LOAD, rate: isQuick ? QUICK_RATE : BASE_RATE },
    })),
};
