/** A real front on a free port over a TinyLane, and clients for it. */
import { randomFillSync } from 'node:crypto';
import { connect } from 'node:net';
import { Collector } from '../../src/batch/collector.ts';
import { Routing } from '../../src/batch/routing.ts';
import { systemClock } from '../../src/clock.ts';
import { Authenticator } from '../../src/front/auth.ts';
import { Demand } from '../../src/front/demand.ts';
import { Front, type FrontSettings } from '../../src/front/front.ts';
import { Buffers } from '../../src/lane/buffers.ts';
import { NO_TERM, type TermInfo } from '../../src/lane/messages.ts';
import type { PeerIdentity, RandomBytes } from '../../src/peers/handshake.ts';
import type { PeerLog } from '../../src/peers/link.ts';
import { Peers } from '../../src/peers/peers.ts';
import type { Deliver } from '../../src/peers/runs.ts';
import { openWebSocket } from '../../src/peers/wire.ts';
import { KeyedTokens } from '../../src/protocol/keyed-token.ts';
import { TinyLane } from './tiny-lane.ts';

export const SLOTS = 4_096;

const SHARDS = [
  { name: 's0', engine: 'embedded', endpoints: [], weight: 1 },
  { name: 's1', engine: 'embedded', endpoints: [], weight: 2 },
] as const;

/** The slots of shard `i`. */
export function slotsOf(i: number): Uint16Array {
  return Uint16Array.from({ length: SLOTS / 2 }, (_, slot) => slot + (i * SLOTS) / 2);
}

export interface Rig {
  readonly front: Front;
  readonly lane: TinyLane;
  readonly routing: Routing;
  readonly port: number;
  readonly url: string;
  readonly logged: string[];
  /** The process's id. */
  readonly id: string;
  /** What the lanes were told of reachability. */
  readonly reached: boolean[];
  /** The wanted slots that its lanes were told, each time. */
  lanesHear: number[][];
  /** Gives all slots to the lane, or takes them. */
  own(owned: boolean): void;
  /** Of the lane that shard `i` is on. */
  announce(i: number, kind: 'owned' | 'lost', slots: Uint16Array): void;
  stop(): void;
}

export interface RigOptions extends Partial<FrontSettings> {
  lanes?: number;
  owned?: boolean;
  metrics?: () => Promise<string>;
  /** Which process of the cluster it is. */
  process?: number;
  key?: Buffer;
  /** Without it there are no keys. */
  auth?: Authenticator;
}

/** The term of a process on shard `i`. */
export function termOf(process: string, i: number): string {
  return `${process.slice(1).padStart(15, '0')}${i}`;
}

export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const { lanes = 1, owned = true, metrics = noMetrics, process = 1, key, auth, ...settings } = options;
  const id = `p${process}`;
  const requestTimeoutMs = settings.requestTimeoutMs ?? 2_000;
  const lane = new TinyLane(SLOTS, systemClock.now);
  const buffers = new Buffers();
  const routing = routingOf(new Collector(lanes, lane, buffers), requestTimeoutMs, id);
  const logged: string[] = [];
  const log = logInto(logged);
  const reached: boolean[] = [];
  const deliver: Deliver = (...answers) => front.connections.deliver(...answers);
  const links = linksOf(routing, { cluster: 'c', process: id, key }, requestTimeoutMs, deliver, log);
  const front: Front = new Front({
    settings: { host: '127.0.0.1', port: 0, allowOrigins: [], ...settings, requestTimeoutMs },
    auth: auth ?? new Authenticator(undefined),
    routing,
    lanes,
    clock: systemClock,
    buffers,
    keyedTokens: new KeyedTokens(Buffer.from('a secret of the cluster')),
    identity: { id, address: '127.0.0.1:1', version: '9.9.9' },
    shards: SHARDS,
    metrics,
    log,
    network: { ...links, reach: (is) => void reached.push(is) },
  });
  lane.onAnswers = (from, message) => front.laneMessage(from, message);
  const announcements: number[] = [0, 0];
  const announce = (i: number, kind: 'owned' | 'lost', slots: Uint16Array): void => {
    if (kind === 'lost') lane.lose(i % lanes, slots);
    const announcement = ++announcements[i % lanes];
    const shard = SHARDS[i].name;
    front.laneMessage(i % lanes, { kind, announcement, shard, term: termOf(id, i), slots });
    if (kind === 'lost') front.laneMessage(i % lanes, { kind: 'settled', announcement });
  };
  const own = (now: boolean): void => {
    for (const [i, shard] of SHARDS.entries()) {
      announce(i, now ? 'owned' : 'lost', slotsOf(i));
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
    id,
    reached,
    lanesHear: links.lanesHear,
    own,
    announce,
    stop: () => {
      links.links.close();
      front.close();
    },
  };
}

function routingOf(collector: Collector, requestTimeoutMs: number, process: string): Routing {
  return new Routing(collector, {
    slots: SLOTS,
    hashKey: { k0: 1, k1: 2 },
    shards: SHARDS.map(({ name }) => name),
    requestTimeoutMs,
    process,
    clock: systemClock,
  });
}

function logInto(logged: string[]) {
  return {
    info() {},
    warn: (_: unknown, message: string) => void logged.push(message),
    error: (fields: Readonly<Record<string, unknown>>, message: string) =>
      void logged.push(`${message}: ${String(fields.err)}`),
  };
}

function linksOf(
  routing: Routing,
  identity: PeerIdentity,
  requestTimeoutMs: number,
  deliver: Deliver,
  log: PeerLog,
): { links: Peers; identity: PeerIdentity; randomBytes: RandomBytes } & WantedShare {
  const randomBytes = (bytes: Uint8Array): void => void randomFillSync(bytes);
  const links = new Peers({
    identity,
    requestTimeoutMs,
    clock: systemClock,
    open: openWebSocket,
    routing,
    deliver,
    defer: (run) => void setImmediate(run),
    random: Math.random,
    randomBytes,
    log,
  });
  routing.forwardTo(links);
  return { links, identity, randomBytes, ...shareWanted(routing, links, identity.process) };
}

interface WantedShare {
  lanesHear: number[][];
  peerWants(process: string, slots: Uint16Array): void;
}

/** As main.ts wires it. */
function shareWanted(routing: Routing, links: Peers, id: string): WantedShare {
  const lanesHear: number[][] = [];
  const demand = new Demand(SLOTS, (slots) => void lanesHear.push([...slots]));
  routing.tellWanted((slots) => {
    demand.update(id, slots);
    links.want(slots);
  });
  return { lanesHear, peerWants: (process, slots) => demand.update(process, slots) };
}

/** Tells every process of `rigs` that these are the living ones. */
export function introduce(...rigs: readonly Rig[]): void {
  for (const [i, shard] of SHARDS.entries()) {
    const terms = rigs.map(({ id, port }): TermInfo => {
      const address = `127.0.0.1:${port}`;
      return { id: termOf(id, i), process: id, address, version: '9.9.9', lane: 0, state: 'serving' };
    });
    for (const { front } of rigs) front.laneMessage(0, { kind: 'terms', shard: shard.name, terms });
  }
}

/** Tells every process of `rigs` that `owner` owns the slots of shard `i`, or only `slots` of them. */
export function give(rigs: readonly Rig[], i: number, owner: Rig | undefined, slots = slotsOf(i)): void {
  const owners = new Uint16Array(slots.length).fill(owner === undefined ? NO_TERM : 0);
  const terms = owner === undefined ? [] : [termOf(owner.id, i)];
  const shard = SHARDS[i].name;
  for (const { front } of rigs) front.laneMessage(0, { kind: 'owners', shard, slots, owners, terms });
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
