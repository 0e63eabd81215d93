/**
 * The named steps in which a Holdfast process starts and stops, and the only
 * place where its parts meet.
 *
 *   lock the data folder ─► open the cluster ─► keeper thread ─► front ─► lanes
 *
 * The front listens before the lanes start: their terms tell other processes
 * where this one is reached. It is said to listen when the lanes have started.
 *
 *   clients refused ─► slots handed over ─► all answered ─► lanes ─► links ─► front
 */
import { randomBytes, randomFillSync, randomUUID } from 'node:crypto';
import { extname } from 'node:path';
import { MessageChannel } from 'node:worker_threads';
import type { Logger } from 'pino';
import { Collector } from './batch/collector.ts';
import { Lanes, type LaneSetup } from './batch/lanes.ts';
import { Routing } from './batch/routing.ts';
import { sleep, systemClock } from './clock.ts';
import { isWildcard } from './config/address.ts';
import { ConfigError } from './config/error.ts';
import type { Settings } from './config/settings.ts';
import { readKeysFile } from './config/keys.ts';
import { defaultShards, readShardsFile, type ShardSettings, type ShardsFile } from './config/shards.ts';
import { Authenticator } from './front/auth.ts';
import { Demand } from './front/demand.ts';
import { Front, type FrontNetwork } from './front/front.ts';
import { Buffers } from './lane/buffers.ts';
import type { LaneLog, ProcessIdentity } from './lane/messages.ts';
import { LIMITS } from './limits.ts';
import { LaneCounters } from './metrics/counters.ts';
import { Metrics } from './metrics/registry.ts';
import type { PeerIdentity } from './peers/handshake.ts';
import { Peers } from './peers/peers.ts';
import type { Deliver } from './peers/runs.ts';
import { openWebSocket } from './peers/wire.ts';
import { KeyedTokens } from './protocol/keyed-token.ts';
import { lockFolder, type FolderLock } from './shard/embedded/folder-lock.ts';
import { startKeeperThread, type KeeperThread } from './shard/etcd/keeper.ts';
import { versionWarning } from './shard/etcd/version.ts';
import { openStore } from './shard/open.ts';
import { prefixEnd, type ShardStore } from './shard/store.ts';
import { ClusterUnreachable, openCluster } from './slots/birth.ts';
import { parseHashKey } from './slots/hash.ts';
import { TERM_PREFIX, type ClusterRecord } from './slots/records.ts';
import { VERSION } from './version.ts';

export interface Server {
  readonly url: string;
  /** Reads the API keys again: what can't be read leaves the old ones as they are, which is logged. */
  reloadKeys(): void;
  /** Drains: refuses new work, hands its slots over, answers what is in flight, gives its terms back. Locks stay. */
  stop(): Promise<void>;
}

const OPEN_AGAIN_MS = 1_000;

/**
 * Starts a process; resolves when it listens.
 * `failed` is called when it can't go on: it should exit, so that another takes over.
 * @throws ConfigError, FolderLockError, ClusterMismatch, and what listening throws
 */
export async function serve(
  settings: Settings,
  log: Logger,
  failed: (error: Error) => void,
): Promise<Server> {
  const wish = settings.shards === undefined ? defaultShards() : readShardsFile(settings.shards);
  const auth = new Authenticator(settings.keys === undefined ? undefined : readKeysFile(settings.keys));
  warnOfOpenPeers(settings, wish, log);
  sizeThreadPool(settings.workers, wish);
  const lock = lockData(settings, wish);
  try {
    const cluster = await openShards(settings, wish, log);
    return await startParts(settings, wish, cluster, auth, log, lock, failed);
  } catch (error) {
    lock?.release();
    throw error;
  }
}

/**
 * A write to an embedded shard holds a thread of libuv's pool until it is on
 * disk, and the pool is one for the whole process. It has no size before its
 * first use, so this comes first.
 */
function sizeThreadPool(lanes: number, wish: ShardsFile): void {
  const embedded = wish.shards.filter((shard) => shard.engine === 'embedded').length;
  process.env['UV_THREADPOOL_SIZE'] ??= String(Math.min(1_024, lanes * embedded + 4));
}

/** What another process forwards is not authorised again: it has to be one. */
function warnOfOpenPeers(settings: Settings, { shards }: ShardsFile, log: Logger): void {
  if (settings.keys === undefined || settings.clusterKey !== undefined) return;
  if (shards.every(({ engine }) => engine === 'embedded')) return;
  log.warn('keys without cluster-key: whoever connects from a loopback address can pass for another process');
}

function lockData(settings: Settings, wish: ShardsFile): FolderLock | undefined {
  return wish.shards.some((shard) => shard.engine === 'embedded') ? lockFolder(settings.data) : undefined;
}

/** Opens every shard once, to see that they are one cluster; waits for shards that don't answer. */
async function openShards(settings: Settings, wish: ShardsFile, log: Logger): Promise<ClusterRecord> {
  const stores = wish.shards.map((shard) => openStore(shard, settings.data));
  try {
    for (const store of stores) await forgetTerms(store);
    for (;;) {
      try {
        const cluster = await openCluster(stores, wish, (bytes) => randomBytes(bytes).toString('hex'));
        await warnOfVersions(stores, log);
        return cluster;
      } catch (error) {
        if (!(error instanceof ClusterUnreachable)) throw error;
        log.warn(`waiting for the cluster: ${error.message}`);
        await sleep(systemClock, OPEN_AGAIN_MS);
      }
    }
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

/** We hold the folder's lock, so whoever left terms in an embedded shard is gone: no lease has to run out. */
async function forgetTerms(store: ShardStore): Promise<void> {
  if (store.engine !== 'embedded') return;
  await store.txn({ compares: [], changes: [{ delete: TERM_PREFIX, upTo: prefixEnd(TERM_PREFIX) }] });
}

async function warnOfVersions(stores: readonly ShardStore[], log: Logger): Promise<void> {
  for (const store of stores) {
    if (store.engine !== 'etcd') continue;
    try {
      const warning = versionWarning((await store.status()).version);
      if (warning !== undefined) log.warn({ shard: store.name }, warning);
    } catch (error) {
      log.debug({ shard: store.name, err: error }, 'its version could not be read');
    }
  }
}

/** What is told to other processes; the address is known once the front listens. */
type Identity = { -readonly [K in keyof ProcessIdentity]: ProcessIdentity[K] };

interface Parts {
  readonly identity: Identity;
  readonly keeper: KeeperThread;
  readonly pool: Lanes;
  readonly front: Front;
  /** undefined: no shard can have another process. */
  readonly peers: Peers | undefined;
}

async function startParts(
  settings: Settings,
  wish: ShardsFile,
  cluster: ClusterRecord,
  auth: Authenticator,
  log: Logger,
  lock: FolderLock | undefined,
  failed: (error: Error) => void,
): Promise<Server> {
  const { shards } = wish;
  const lanes = settings.workers;
  const names = shards.map((shard) => shard.name);
  const progress = new SharedArrayBuffer((lanes + 1) * Int32Array.BYTES_PER_ELEMENT);
  const counters = Array.from(
    { length: lanes },
    () => new SharedArrayBuffer(LaneCounters.bytes(shards.length)),
  );
  const keeper = startKeeperThread({
    shards: shards.filter((shard) => shard.engine === 'etcd'),
    progress,
    onLog: (report) => log[report.level](report.fields, report.message),
    onFailure: failed,
  });
  const metrics = new Metrics({
    writers: counters.map((buffer) => new LaneCounters(buffer, names)),
    shardNames: names,
    sockets: () => parts.front.sockets,
  });
  const parts: Parts = {
    ...createFront(settings, shards, cluster, auth, () => metrics.metricsText(), log, failed),
    keeper,
  };
  const { identity, pool, front } = parts;
  try {
    const port = await front.listen();
    const place = hostAndPort(settings.host, port);
    identity.address = settings.advertise ?? hostAndPort(reachedAt(settings.host), port);
    const { requestTimeoutMs, data: dataFolder } = settings;
    const setup = { process: identity, shards, slots: cluster.slots, dataFolder, progress, requestTimeoutMs };
    await startLanes(pool, keeper, counters, setup);
    return {
      url: `http://${place}`,
      reloadKeys: () => reloadKeys(settings.keys, front, log),
      stop: stopper(settings, parts, lock),
    };
  } catch (error) {
    await stopParts(parts);
    throw error;
  }
}

/** The front and what it works with. */
function createFront(
  settings: Settings,
  shards: readonly ShardSettings[],
  cluster: ClusterRecord,
  auth: Authenticator,
  metrics: () => Promise<string>,
  log: Logger,
  failed: (error: Error) => void,
): Pick<Parts, 'identity' | 'pool' | 'front' | 'peers'> {
  const { requestTimeoutMs, workers: lanes } = settings;
  const identity: Identity = { id: randomUUID(), address: '', version: VERSION };
  const pool = new Lanes({
    lanes,
    worker: new URL(`./lane/worker${extname(import.meta.url)}`, import.meta.url).href,
    onMessage: (lane, message) =>
      message.kind === 'log' ? logLane(log, message) : front.laneMessage(lane, message),
    onFailure: failed,
  });
  const buffers = new Buffers();
  const routing = new Routing(new Collector(lanes, pool, buffers), {
    slots: cluster.slots,
    hashKey: parseHashKey(cluster.hashKey),
    shards: shards.map((shard) => shard.name),
    requestTimeoutMs,
    process: identity.id,
    clock: systemClock,
  });
  const demand = new Demand(cluster.slots, (slots) => pool.want(slots));
  routing.tellWanted((slots) => {
    demand.update(identity.id, slots);
    network?.links.want(slots);
  });
  const network = shards.some((shard) => shard.engine === 'etcd')
    ? networkOf(
        settings,
        { cluster: cluster.id, process: identity.id, key: settings.clusterKey },
        routing,
        {
          reach: (reachable) => pool.reach(reachable),
          peerWants: (process, slots) => demand.update(process, slots),
        },
        log,
        (...answers) => front.connections.deliver(...answers),
      )
    : undefined;
  const front = new Front({
    settings: {
      host: settings.host,
      port: settings.port,
      requestTimeoutMs,
      allowOrigins: settings.allowOrigin,
    },
    auth,
    keyedTokens: new KeyedTokens(Buffer.from(cluster.secret, 'hex')),
    routing,
    lanes,
    clock: systemClock,
    buffers,
    identity,
    shards,
    metrics,
    log,
    ...(network && { network }),
  });
  return { identity, pool, front, peers: network?.links };
}

/** Links to the other processes of the cluster. */
function networkOf(
  settings: Settings,
  identity: PeerIdentity,
  routing: Routing,
  heard: Pick<FrontNetwork, 'reach' | 'peerWants'>,
  log: Logger,
  deliver: Deliver,
): FrontNetwork & { readonly links: Peers } {
  const randomBytesInto = (bytes: Uint8Array): void => void randomFillSync(bytes);
  const links = new Peers({
    identity,
    requestTimeoutMs: settings.requestTimeoutMs,
    clock: systemClock,
    open: openWebSocket,
    routing,
    deliver,
    defer: (run) => void setImmediate(run),
    random: Math.random,
    randomBytes: randomBytesInto,
    log,
  });
  routing.forwardTo(links);
  return { links, identity, randomBytes: randomBytesInto, ...heard };
}

async function startLanes(
  pool: Lanes,
  keeper: KeeperThread,
  counters: readonly SharedArrayBuffer[],
  setup: Omit<LaneSetup, 'keeperPort' | 'counters'>,
): Promise<void> {
  for (let lane = 0; lane < counters.length; lane++) {
    const { port1, port2 } = new MessageChannel();
    keeper.addLane(lane, port1);
    await pool.start(lane, { ...setup, keeperPort: port2, counters: counters[lane] });
  }
}

function reloadKeys(path: string | undefined, front: Front, log: Logger): void {
  if (path === undefined) return;
  try {
    log.info(front.replaceKeys(readKeysFile(path)), 'the API keys were read again');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    log.error(`the API keys stay as they were: ${error.message}`);
  }
}

/** Once, however often it is asked. */
function stopper(settings: Settings, parts: Parts, lock: FolderLock | undefined): () => Promise<void> {
  const { front, pool } = parts;
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    front.refuseClients();
    await pool.leave();
    await front.drain(settings.requestTimeoutMs + LIMITS.stallMs);
    await stopParts(parts);
    lock?.release();
  };
  return () => (stopped ??= stop());
}

async function stopParts({ pool, peers, front, keeper }: Parts): Promise<void> {
  await pool.stop();
  peers?.close();
  front.close();
  await keeper.stop();
}

function logLane(log: Logger, message: LaneLog): void {
  log[message.level](message.fields, message.message);
}

/** For other processes that were told no address. Without a cluster key they are on this machine. */
function reachedAt(host: string): string {
  if (!isWildcard(host)) return host;
  return host.includes(':') ? '::1' : '127.0.0.1';
}

function hostAndPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
