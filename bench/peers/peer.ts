/**
 * What every lock service that `npm run bench:peers` compares looks like to it.
 * An adapter has two halves. `Peer` runs in the process of the benchmark and
 * starts the servers; `LockClient` runs in the process of the load, so that
 * what the client library costs is seen apart.
 *
 *   benchmark: start ─► standing ─┬─ load process: connect ─► acquire, release … ─► close
 *                                 └─ stop
 *
 * Names are taken and released a block at a time: a block is one name for most
 * peers, one frame, pipeline or transaction for those that can do several.
 */

/** The clients: clients.ts knows where each is. */
export type ClientName =
  | 'holdfast-binary'
  | 'holdfast-http'
  | 'journal'
  | 'nested-txn'
  | 'etcd-lock'
  | 'etcd3'
  | 'redlock'
  | 'redis-pipeline'
  | 'zookeeper'
  | 'nats'
  | 'postgres-advisory'
  | 'postgres-rows';

/** Why a peer can't be measured on this machine: a loud line of the table, and a failure in CI. */
export class Unavailable extends Error {
  constructor(why: string, cause?: unknown) {
    super(why, { cause });
    this.name = 'Unavailable';
  }
}

export interface Promises {
  /** What is on disk when a client is told that it holds the lock. */
  readonly durable: string;
  /** A number that rises with every holder, for the protected resource to check. */
  readonly fencing: string;
  /** Whether a lock that was granted survives the loss of a node, deployed as its makers advise. */
  readonly nodeLoss: string;
  /** What ends the lock of a client that died. */
  readonly expiry: string;
}

export interface Peer extends Promises {
  /** For --only, and in JSON. */
  readonly key: string;
  readonly name: string;
  /** How it is driven and tuned, one sentence. */
  readonly how: string;
  readonly client: ClientName;
  /** Names in one block while the saturation is measured; at the common rate it is one for everybody. */
  readonly locksPerBlock: number;
  /** Blocks in flight that are tried, ascending. */
  readonly concurrencies: readonly number[];
  /** Different names; left out: NAMES. */
  readonly names?: number;
  /** Holdfast must be at least so many times as fast. */
  readonly target?: number;
  /** Starts the servers with their data in `folder`, which is there and empty. */
  start(folder: string): Promise<Standing>;
}

/** A peer whose servers run. */
export interface Standing {
  /** By label; processes below these count as theirs. */
  readonly pids: ReadonlyMap<string, number>;
  /** What its client needs to connect; passed on as JSON. */
  readonly target: unknown;
  stop(): Promise<void>;
}

/** Different names of a run: taken in turns, so a name comes again only when all others were taken. */
export const NAMES = 131_072;

/** What a load process is going to do, so that the client can prepare itself. */
export interface Shape {
  readonly blocks: number;
  readonly locksPerBlock: number;
  /** Blocks in flight at most; block b is only used by worker b % concurrency while saturation is measured. */
  readonly concurrency: number;
  /** Unlike those of any other run; all have NAME_BYTES characters, letters, digits and `-`. */
  nameOf(index: number): string;
}

export const NAME_BYTES = 20;

/** Rejects when a lock that nobody holds can't be taken, or the own one can't be released. */
export interface LockClient {
  /** Takes every name of a block. */
  acquire(block: number): Promise<void>;
  release(block: number): Promise<void>;
  close(): Promise<void>;
}

export type Connect = (target: unknown, shape: Shape) => Promise<LockClient>;
