/** Everything that can be measured, in the order in which it is. */
import { batch } from './dimension-batch.ts';
import { clients } from './dimension-clients.ts';
import { contention } from './dimension-contention.ts';
import { distance } from './dimension-distance.ts';
import { etcdSettings } from './dimension-etcd-settings.ts';
import { held } from './dimension-held.ts';
import { hotNames } from './dimension-hot-names.ts';
import { idle } from './dimension-idle.ts';
import { lanes } from './dimension-lanes.ts';
import { processes } from './dimension-processes.ts';
import { rate } from './dimension-rate.ts';
import { shards } from './dimension-shards.ts';
import type { Dimension } from './point.ts';

export const DIMENSIONS: readonly Dimension[] = [
  ...[
    idle,
    rate,
    batch,
    clients,
    shards,
    lanes,
    processes,
    contention,
    hotNames,
    distance,
    etcdSettings,
    held,
  ],
];
