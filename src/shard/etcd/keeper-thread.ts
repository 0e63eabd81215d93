/** The keeper thread's entry: see keeper.ts, which starts it. */
import { parentPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import type { ShardSettings } from '../../config/shards.ts';
import type { KeeperMessage } from '../../lane/messages.ts';
import { KeeperLoop } from './keeper-loop.ts';

export interface KeeperThreadData {
  readonly shards: readonly ShardSettings[];
  readonly progress: SharedArrayBuffer;
}

/** main → keeper thread. */
export type KeeperTask =
  { readonly kind: 'lane'; readonly lane: number; readonly port: MessagePort } | { readonly kind: 'stop' };

/** keeper thread → main. */
export interface KeeperReport {
  readonly level: 'info' | 'warn';
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

function serve(main: MessagePort, data: KeeperThreadData): void {
  const ports = new Set<MessagePort>();
  const loop = new KeeperLoop(data.shards, new Int32Array(data.progress), (level, message, fields) => {
    main.postMessage({ level, message, fields } satisfies KeeperReport);
  });
  main.on('message', (task: KeeperTask) => {
    if (task.kind === 'stop') {
      loop.close();
      for (const port of ports) port.close();
      main.close();
      return;
    }
    const { lane, port } = task;
    ports.add(port);
    port.on('message', (message: KeeperMessage) => loop.handle(message));
    port.on('close', () => {
      ports.delete(port);
      loop.dropLane(lane);
    });
  });
}

if (parentPort !== null) serve(parentPort, workerData as KeeperThreadData);
