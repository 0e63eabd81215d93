/**
 * One process, one data folder. LMDB would let a second process in, and two
 * processes without leases between them would both own every slot.
 *
 * The lock is `flock` on a file in the folder, held through a descriptor of
 * this process for as long as it lives. The kernel keeps it: it is gone the
 * moment the process is, also after `kill -9`; a process id that was given to
 * somebody else means nothing to it; and it holds between containers that share
 * the folder, whatever their namespaces, as long as they share the kernel.
 *
 * Node cannot call flock. On Linux the program `flock` (util-linux, busybox)
 * does it on the descriptor that it inherits: such a lock belongs to the open
 * file, not to the process that asked, so it stays with us when that program
 * ends. On macOS and the BSDs `open` itself can take it.
 *
 * What was considered instead: a file with the pid (stale after a kill, wrong
 * after the pid's reuse or in another container), an abstract socket (another
 * network namespace does not see it), a socket in the folder (cleaning up a
 * stale one races), fcntl locks as LMDB's own (lost when any descriptor of the
 * file is closed, which lmdb-js does for each thread).
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';

export interface FolderLock {
  /** Lets another process have the folder. Only after all stores in it are closed. */
  release(): void;
}

/** The folder cannot be had. The message is one line, fit to be shown. */
export class FolderLockError extends Error {
  override readonly name = 'FolderLockError';
}

/** No shard's folder can have this name: it has a dot. */
const FILE = 'holdfast.lock';

/** Of macOS and the BSDs; Node passes numbers it has no name for through to `open`. */
const O_EXLOCK = 0x20;

/** What `flock -n` exits with when another holds the lock. */
const HELD = 1;

/**
 * Takes the folder, making it where needed. Call it once, on the main thread,
 * before any store in the folder is opened; the lock stays until `release` or
 * the end of the process.
 *
 * @throws FolderLockError naming the process that has it, or why it can't be had
 */
export function lockFolder(folder: string): FolderLock {
  const path = join(folder, FILE);
  const descriptor = open(folder, path);
  try {
    if (!hasExlock && !flock(descriptor, path)) throw heldError(folder, path);
    // Some network file systems agree to every lock: so see that a second one is refused.
    if (canLockAgain(path)) {
      throw new FolderLockError(
        `${folder}: its file system does not keep locks; allowed: a folder on a local disk`,
      );
    }
    writeHolder(descriptor);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
  return { release: () => closeSync(descriptor) };
}

const hasExlock = process.platform === 'darwin' || process.platform.endsWith('bsd');

/** Not truncated: until the lock is ours, what the file says is the holder's. */
function open(folder: string, path: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT;
  try {
    mkdirSync(folder, { recursive: true });
    return openSync(path, hasExlock ? flags | O_EXLOCK | constants.O_NONBLOCK : flags, 0o644);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (hasExlock && code === 'EAGAIN') throw heldError(folder, path);
    throw new FolderLockError(`${folder}: the data folder cannot be used: ${message}`);
  }
}

/** False when somebody else holds it. */
function flock(descriptor: number, path: string): boolean {
  const child = spawnSync('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'pipe', descriptor] });
  if (child.status === 0) return true;
  if (child.status === HELD && child.stderr.length === 0) return false;
  const missing = (child.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
  const reason = missing
    ? 'the program flock is not installed (package util-linux)'
    : child.stderr.toString().trim() ||
      (child.error?.message ?? `flock ended with ${child.status ?? child.signal}`);
  throw new FolderLockError(`${path}: cannot be locked: ${reason}`);
}

function canLockAgain(path: string): boolean {
  if (hasExlock) return false;
  const second = openSync(path, constants.O_RDWR);
  try {
    return flock(second, path);
  } finally {
    closeSync(second);
  }
}

function writeHolder(descriptor: number): void {
  ftruncateSync(descriptor, 0);
  writeSync(descriptor, `${JSON.stringify({ pid: process.pid, host: hostname() })}\n`, 0);
  fsyncSync(descriptor);
}

function heldError(folder: string, path: string): FolderLockError {
  let holder = 'another process';
  try {
    const { pid, host } = JSON.parse(readFileSync(path, 'utf8')) as { pid: unknown; host: unknown };
    holder = `process ${String(pid)} on ${String(host)}`;
  } catch {
    // It has the lock but has not written its name yet.
  }
  return new FolderLockError(
    `${folder}: the data folder is in use by ${holder}; allowed: one process for a folder`,
  );
}
