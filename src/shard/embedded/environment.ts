/**
 * The LMDB environment of one embedded shard, as one thread sees it: opening,
 * writing with a deadline, revisions.
 *
 * Durability. lmdb-js by default lets a write promise resolve when the write is
 * visible, and flushes later (`overlappingSync`); `db.flushed` does not cover
 * every kind of transaction, and after a crash of the process pages of an
 * unflushed state could be reused. So that mode is off: LMDB then works as its
 * authors wrote it, pages written and flushed (fdatasync), then the meta page
 * written through (O_DSYNC), and only then does the promise resolve or any
 * reader see the change. (Measured, 30 KB entries: the other mode saves nothing
 * with one lane, a quarter of the latency with two.)
 *
 * Threads. Every lane's thread opens the folder; lmdb-js gives all of them one
 * LMDB environment, whose writer lock puts their transactions in one order. A
 * transaction's function runs on the thread that asked for it while a thread of
 * libuv's pool holds the lock and then does the writing and flushing. So each
 * write under way takes one thread of that pool (4 for the process unless
 * UV_THREADPOOL_SIZE says more), and a thread of ours that is ended by force in
 * the middle of a write leaves the lock held: the process must end then.
 *
 * Revisions. The reserved keys sort behind all others, which are UTF-8 text:
 *   FF 'revision'  its LMDB version is the store's revision; its value names the format
 *   FF 'shape'     its version is the revision of the last change that was more
 *                  than a plain commit: what watches look at
 * Each key's LMDB version is its mod revision.
 */
import { Buffer } from 'node:buffer';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, statfsSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, resolve } from 'node:path';
import { getLastVersion, open, type RootDatabase, type RootDatabaseOptionsWithPath } from 'lmdb';
import { LIMITS } from '../../limits.ts';
import { ShardError, type ShardOutcome } from '../store.ts';

const REVISION_KEY = reserved('revision');
const SHAPE_KEY = reserved('shape');
const FORMAT = Buffer.from('holdfast 1');

/** LMDB allows 1978 bytes. */
const KEY_BYTES_MAX = 1_024;

/** Address space, not memory or disk: LMDB grows beyond it by itself, but each time maps anew. */
const MAP_BYTES = 1024 * 1024 * 1024;

function reserved(name: string): Buffer {
  return Buffer.concat([Buffer.of(0xff), Buffer.from(name)]);
}

/** @throws ShardError refused, for a key that cannot be stored */
export function encodeKey(key: string): Buffer {
  const bytes = Buffer.from(key, 'utf8');
  if (bytes.length === 0 || bytes.length > KEY_BYTES_MAX) {
    throw new ShardError('refused', `a key has 1–${KEY_BYTES_MAX} bytes, not ${bytes.length}`);
  }
  return bytes;
}

/** The end of a range need not be a key. */
export function encodeBound(bound: string): Buffer {
  return bound === '' ? FIRST : Buffer.from(bound, 'utf8');
}

const FIRST = Buffer.of(0);

/** Environments that this thread has open, by folder: a second LMDB handle in one thread could wait for itself. */
const opened = new Map<string, Environment>();

export class Environment {
  readonly folder: string;
  readonly db: RootDatabase<Uint8Array, Buffer>;
  #users = 1;
  #lastBytes = 0;

  /** Opens the folder, making it where needed, or joins the one this thread has open. */
  static open(folder: string): Environment {
    const path = resolve(folder);
    const present = opened.get(path);
    if (present !== undefined) {
      present.#users++;
      return present;
    }
    const environment = new Environment(path);
    opened.set(path, environment);
    return environment;
  }

  private constructor(folder: string) {
    this.folder = folder;
    const isNew = !existsSync(`${folder}/data.mdb`);
    if (isNew) mkdirSync(folder, { recursive: true });
    const options: RootDatabaseOptionsWithPath = {
      path: folder,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      useVersions: true,
      maxDbs: 1,
      mapSize: MAP_BYTES,
      overlappingSync: false,
      // Each write is a transaction of its own: nothing to gather in a turn, and 0.1 ms less.
      eventTurnBatching: false,
    };
    this.db = open<Uint8Array, Buffer>(options);
    if (isNew) flushFolders(folder);
    this.#checkFormat();
  }

  #checkFormat(): void {
    const format = this.db.getBinary(REVISION_KEY);
    if (format === undefined ? this.db.getKeysCount({ limit: 1 }) === 0 : FORMAT.equals(format)) return;
    void this.db.close();
    throw new Error(`${this.folder} holds data of another program or of another version of Holdfast`);
  }

  /** Closes when nobody in this thread uses it any more. */
  async close(): Promise<void> {
    if (--this.#users > 0) return;
    opened.delete(this.folder);
    await this.db.close();
  }

  /**
   * Runs `run` within a write transaction; resolves with its result when that
   * is durable. `run` must not throw once it has changed something: the library
   * would commit what was done. It may run at any time until the promise
   * settles, never after.
   */
  write<T>(run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      let phase: 'waiting' | 'written' | 'over' = 'waiting';
      const timer = setTimeout(() => {
        const outcome = phase === 'written' ? 'unknown' : 'refused';
        phase = 'over';
        reject(new ShardError(outcome, `the disk took more than ${LIMITS.commitTimeoutMs} ms`));
      }, LIMITS.commitTimeoutMs);
      const transaction = this.db.transaction(() => {
        if (phase === 'over') return undefined;
        phase = 'written';
        return run();
      });
      transaction.then(
        (result) => {
          clearTimeout(timer);
          resolve(result as T);
        },
        async (error: unknown) => {
          const fault = await this.#faultOf(error);
          clearTimeout(timer);
          reject(fault);
        },
      );
    });
  }

  /**
   * A transaction that failed while its pages were written or flushed is off for
   * good: the meta page that would make them count was not touched. When that
   * page itself failed, LMDB refuses all further work, reads too: then what a
   * next process will find can't be told.
   */
  async #faultOf(error: unknown): Promise<ShardError> {
    if (error instanceof ShardError) return error;
    // lmdb-js tells the reason of a failed commit through a promise of its own.
    const { commitError } = error as { commitError?: Promise<never> };
    const cause = commitError === undefined ? error : await commitError.catch((reason: unknown) => reason);
    const { message, code } = cause as { message?: string; code?: number };
    let outcome: ShardOutcome = 'refused';
    try {
      this.refresh();
      this.revision();
    } catch {
      outcome = 'unknown';
    }
    const noSpace = isFull(code, this.folder);
    const detail = `${this.folder} ${noSpace ? 'has no room left' : 'could not be written'}: ${message ?? String(cause)}`;
    return new ShardError(outcome, detail, { noSpace, cause });
  }

  /** Makes the next read see all that is committed by now, whichever thread did it. */
  refresh(): void {
    this.db.resetReadTxn();
  }

  /** The mod revision of a key; 0 = absent. */
  modRevision(key: Buffer): number {
    const value = this.db.getBinaryFast(key);
    this.#lastBytes = value?.length ?? 0;
    return value === undefined ? 0 : getLastVersion();
  }

  /** Bytes of the value that `modRevision` last looked at. */
  lastBytes(): number {
    return this.#lastBytes;
  }

  revision(): number {
    return this.modRevision(REVISION_KEY);
  }

  /** The revision of the last change that was more than a plain commit. */
  shapeRevision(): number {
    return this.modRevision(SHAPE_KEY);
  }

  /** Within a transaction: it is the store's next revision. */
  advance(revision: number, changesShape: boolean): void {
    void this.db.put(REVISION_KEY, FORMAT, revision);
    if (changesShape) void this.db.put(SHAPE_KEY, FORMAT, revision);
  }
}

/** A new file is only durable when the folders that lead to it are. */
function flushFolders(folder: string): void {
  for (const path of [folder, dirname(folder), dirname(dirname(folder))]) {
    const handle = openSync(path, 'r');
    try {
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
  }
}

const MDB_MAP_FULL = -30792;

/** With less than this left, a write that the disk cut short was cut for want of room. */
const FULL_BYTES = 64 * 1024 * 1024;

function isFull(code: number | undefined, folder: string): boolean {
  if (code === MDB_MAP_FULL || code === constants.errno.ENOSPC || code === constants.errno.EDQUOT)
    return true;
  if (code !== constants.errno.EIO) return false;
  // What LMDB calls a write of which only a part went through.
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize < FULL_BYTES;
}
