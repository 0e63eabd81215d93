/**
 * The worker thread's entry: piscina calls the default function with each task.
 * The first one starts the lane, the others feed it.
 */
import { randomBytes } from 'node:crypto';
import { systemClock } from '../clock.ts';
import { LaneCounters } from '../metrics/counters.ts';
import { openStore } from '../shard/open.ts';
import { PortKeeper } from '../shard/etcd/keeper.ts';
import type { ShardStore } from '../shard/store.ts';
import { Lane } from './lane.ts';
import type { LaneMessage, LaneStart, LaneTask } from './messages.ts';

let lane: Lane | undefined;
let stores: ShardStore[] = [];

function start(task: LaneStart): void {
  const { port } = task;
  const progress = new Int32Array(task.progress);
  stores = task.shards.map((shard) => openStore(shard, task.dataFolder));
  lane = new Lane({
    lane: task.lane,
    lanes: task.lanes,
    process: task.process,
    stores,
    slots: task.slots,
    clock: systemClock,
    keeper: new PortKeeper(task.keeperPort, task.lane),
    counters: new LaneCounters(
      task.counters,
      task.shards.map((shard) => shard.name),
    ),
    requestTimeoutMs: task.requestTimeoutMs,
    randomHex: (bytes) => randomBytes(bytes).toString('hex'),
    emit: (message: LaneMessage, transfer?: ArrayBuffer[]) => port.postMessage(message, transfer),
    onProgress: () => Atomics.add(progress, task.lane, 1),
    mainBeats: () => Atomics.load(progress, task.lanes),
  });
  lane.start();
}

async function stop(): Promise<void> {
  await lane?.stop();
  lane = undefined;
  await Promise.all(stores.map((store) => store.close()));
}

export default function run(task: LaneTask): Promise<void> | null {
  switch (task.kind) {
    case 'batch':
      lane?.submit(task.buffer, task.length, task.seen);
      return null;
    case 'wanted':
      lane?.want(task.slots);
      return null;
    case 'reach':
      lane?.reach(task.reachable);
      return null;
    case 'gone':
      lane?.gone(task.connection);
      return null;
    case 'leave':
      return lane?.leave() ?? null;
    case 'start':
      start(task);
      return null;
    case 'stop':
      return stop();
  }
}
