/** A real front on a free port over a TinyLane, and clients for it. */
import { connect } from 'node:net';
import { Collector } from '../../src/batch/collector.ts';
import { Routing } from '../../src/batch/routing.ts';
import { systemClock } from '../../src/clock.ts';
import { Front, type FrontSettings } from '../../src/front/front.ts';
import { Buffers } from '../../src/lane/buffers.ts';
import { TinyLane } from './tiny-lane.ts';

export const SLOTS = 4_096;

export interface Rig {
  readonly front: Front;
  readonly lane: TinyLane;
  readonly routing: Routing;
  readonly port: number;
  readonly url: string;
  readonly logged: string[];
  /** Gives all slots to the lane, or takes them. */
  own(owned: boolean): void;
  stop(): void;
}

export async function startRig(
  options: Partial<FrontSettings> & { lanes?: number; owned?: boolean; metrics?: () => Promise<string> } = {},
): Promise<Rig> {
  const { lanes = 1, owned = true, metrics = noMetrics, ...settings } = options;
  const requestTimeoutMs = settings.requestTimeoutMs ?? 2_000;
  const lane = new TinyLane(SLOTS, systemClock.now);
  const shards = [
    { name: 's0', engine: 'embedded', endpoints: [], weight: 1 },
    { name: 's1', engine: 'embedded', endpoints: [], weight: 2 },
  ] as const;
  const buffers = new Buffers();
  const routing = new Routing(new Collector(lanes, lane, buffers), {
    slots: SLOTS,
    hashKey: { k0: 1, k1: 2 },
    shards: shards.map(({ name }) => name),
    requestTimeoutMs,
  });
  const logged: string[] = [];
  const log = {
    warn: (_: unknown, message: string) => void logged.push(message),
    error: (fields: Readonly<Record<string, unknown>>, message: string) =>
      void logged.push(`${message}: ${String(fields.err)}`),
  };
  const front = new Front({
    settings: { host: '127.0.0.1', port: 0, allowOrigins: [], ...settings, requestTimeoutMs },
    routing,
    lanes,
    clock: systemClock,
    buffers,
    identity: { id: 'p1', address: 'http://127.0.0.1:1', version: '9.9.9' },
    shards,
    metrics,
    log,
  });
  lane.onAnswers = (from, message) => front.laneMessage(from, message);
  const own = (now: boolean): void => {
    for (const [i, shard] of shards.entries()) {
      const slots = Uint16Array.from({ length: SLOTS / 2 }, (_, slot) => slot + (i * SLOTS) / 2);
      front.laneMessage(i % lanes, { kind: now ? 'owned' : 'lost', shard: shard.name, term: 't', slots });
      front.laneMessage(i % lanes, { kind: 'shard', shard: shard.name, up: now, detail: now ? '' : 'gone' });
    }
  };
  if (owned) own(true);
  const port = await front.listen();
  return {
    front,
    lane,
    routing,
    port,
    url: `http://127.0.0.1:${port}`,
    logged,
    own,
    stop: () => front.close(),
  };
}

const noMetrics = (): Promise<string> => Promise.resolve('holdfast_sockets 0\n');

/** Sends raw bytes and resolves with all that came until the server closed or `waitMs` passed without a byte. */
export function raw(
  port: number,
  bytes: string | Buffer,
  waitMs = 150,
): Promise<{ text: string; closed: boolean }> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    let timer = setTimeout(end, waitMs, false);
    function end(closed: boolean): void {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, closed });
    }
    socket.on('data', (data) => {
      text += data.toString('latin1');
      clearTimeout(timer);
      timer = setTimeout(end, waitMs, false);
    });
    socket.on('close', () => end(true));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' ? end(true) : reject(error),
    );
  });
}
