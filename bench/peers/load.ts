/**
 * One load of one peer, as a process of its own.
 *
 *   node load.js '{"client": "redlock", "target": …, "concurrency": 8, …}'
 *
 * prints its LoopResult as one line of JSON.
 */
import { randomBytes } from 'node:crypto';
import { CLIENTS } from './clients.ts';
import { closedLoop, openModel, type LoopResult, type LoopTime } from './measure.ts';
import { NAME_BYTES, type ClientName, type Shape } from './peer.ts';

export interface LoadOrder extends LoopTime {
  readonly client: ClientName;
  readonly target: unknown;
  readonly names: number;
  readonly locksPerBlock: number;
  readonly concurrency: number;
  /** Lock ops a second of the open model; left out: the closed loop. */
  readonly opsPerSecond?: number;
}

const DIGITS = 7;

/** Names that no other run has. */
function shapeOf({ names, locksPerBlock, concurrency }: LoadOrder): Shape {
  const prefix = `lock-${randomBytes(4)
    .toString('hex')
    .slice(0, NAME_BYTES - DIGITS - 6)}-`;
  return {
    blocks: Math.max(concurrency, Math.floor(names / locksPerBlock)),
    locksPerBlock,
    concurrency,
    nameOf: (index) => prefix + String(index).padStart(DIGITS, '0'),
  };
}

async function run(order: LoadOrder): Promise<LoopResult> {
  const connect = await CLIENTS[order.client]();
  const shape = shapeOf(order);
  const client = await connect(order.target, shape);
  const result =
    order.opsPerSecond === undefined
      ? await closedLoop(client, shape, order)
      : await openModel(client, shape, order, order.opsPerSecond);
  process.stdout.write(`${JSON.stringify(result)}\n`);
  await client.close();
  return result;
}

await run(JSON.parse(process.argv[2]) as LoadOrder);
// Some client libraries keep timers that would keep the process.
process.exit(0);
