/**
 * Changing a keys file: comments, order and the other entries stay as they are.
 *
 * The new content is written beside the file and takes its place in one step,
 * so a service that reads it sees the old or the new one. The new file is also
 * the lock: while it is there nobody else changes the keys.
 */
import {
  chownSync,
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { Document, parseDocument, YAMLMap, YAMLSeq } from 'yaml';
import { ConfigError } from '../config/error.ts';
import { checkKeys, type KeyInput, readKeysFile } from '../config/keys.ts';
import { readText } from '../config/yaml.ts';
import { CommandError, Exit } from './exit.ts';

const WHAT = 'the keys file';
const HEADER = ' API keys of Holdfast: holdfast keys create, list, revoke. Only hashes are kept here.';
const NEW_MODE = 0o600;
/** Of a file that there was: whoever may read it stays so, but only its owner may write it. */
const KEPT_MODE = 0o644;

/** Adds an entry; makes the file when there is none. Throws CommandError, ConfigError. */
export function addEntry(path: string, entry: KeyInput): void {
  change(path, true, (keys, document) => {
    keys.add(document.createNode(entry));
    return true;
  });
}

/** Takes the entry out; false: there is none of this id. Throws CommandError, ConfigError. */
export function removeEntry(path: string, id: string): boolean {
  return change(path, false, (keys) => {
    const at = keys.items.findIndex((item) => item instanceof YAMLMap && item.get('id') === id);
    if (at >= 0) keys.delete(at);
    return at >= 0;
  });
}

/** `edit` tells whether it changed anything. */
function change(
  path: string,
  mayBeNew: boolean,
  edit: (keys: YAMLSeq, document: Document) => boolean,
): boolean {
  const target = realPath(path);
  const isNew = mayBeNew && statSync(target, { throwIfNoEntry: false }) === undefined;
  const fresh = `${target}.new`;
  const file = guarded(path, () => openFresh(fresh));
  let isDone = false;
  try {
    const document = isNew ? emptyDocument() : load(path);
    if (edit(keysOf(document), document)) {
      const text = document.toString({ lineWidth: 0 });
      checkKeys(parseDocument(text).toJS(), path);
      guarded(path, () => replace(file, fresh, target, text, isNew));
      isDone = true;
    }
  } finally {
    closeSync(file);
    if (!isDone) rmSync(fresh, { force: true });
  }
  return isDone;
}

/** Where a link leads: the link stays. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function openFresh(fresh: string): number {
  try {
    return openSync(fresh, 'wx', NEW_MODE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    const message = `${fresh} is there: the keys are being changed, or that was cut off; in that case remove it`;
    throw new CommandError(Exit.unavailable, message, { cause: error });
  }
}

function emptyDocument(): Document {
  const document = new Document({ keys: [] });
  document.commentBefore = HEADER;
  return document;
}

function load(path: string): Document {
  readKeysFile(path);
  return parseDocument(readText(path, WHAT), { uniqueKeys: true, stringKeys: true });
}

function keysOf(document: Document): YAMLSeq {
  const keys = document.get('keys');
  if (!(keys instanceof YAMLSeq)) throw new ConfigError(`${WHAT} has a list of keys that is none of its own`);
  // `keys: []` would keep its form for ever.
  keys.flow = false;
  return keys;
}

function replace(file: number, fresh: string, target: string, text: string, isNew: boolean): void {
  writeFileSync(file, text);
  if (!isNew) keepAccess(file, fresh, target);
  fsyncSync(file);
  renameSync(fresh, target);
  const folder = openSync(dirname(target), 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

/** A service that runs as somebody else can still read it. */
function keepAccess(file: number, fresh: string, target: string): void {
  const { mode, uid, gid } = statSync(target);
  const own = statSync(fresh);
  if (own.uid !== uid || own.gid !== gid) chownSync(fresh, uid, gid);
  fchmodSync(file, mode & KEPT_MODE);
}

/** What the system refuses becomes one line. */
function guarded<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    const { code, syscall, message } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    const isForbidden = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    throw new CommandError(
      isForbidden ? Exit.forbidden : Exit.unavailable,
      `${path} cannot be written: ${code ?? message}`,
      { cause: error },
    );
  }
}
