/** A file that holds one secret, as people and tools write it: perhaps with a line feed at its end. */
import { readFileSync, statSync } from 'node:fs';
import { ConfigError, shown } from './error.ts';

/** More than any secret, also with the white space around it. */
const FILE_BYTES_MAX = 16 * 1024;

/**
 * Its bytes without the white space around them. They appear in no message.
 *
 * @param setting who names the file, for messages («--cluster-key»)
 * @param bytes how many there may be
 * @throws ConfigError: it can't be read, or is too short or too long
 */
export function readSecret(path: string, setting: string, bytes: { min: number; max: number }): Uint8Array {
  const allowed = `a readable file with a secret of ${bytes.min}–${bytes.max} bytes`;
  let secret: Uint8Array;
  let wrong = '';
  try {
    const stat = statSync(path);
    if (!stat.isFile()) wrong = 'is not a file';
    else if (stat.size > FILE_BYTES_MAX) wrong = `has ${stat.size} bytes`;
    secret = wrong === '' ? trimmed(readFileSync(path)) : new Uint8Array(0);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new ConfigError(`${setting} is ${shown(path)}, which cannot be read: ${code}; allowed: ${allowed}`);
  }
  if (wrong === '' && (secret.length < bytes.min || secret.length > bytes.max)) {
    wrong = `has ${secret.length} bytes beside white space`;
  }
  if (wrong !== '')
    throw new ConfigError(`${setting} is ${shown(path)}, which ${wrong}; allowed: ${allowed}`);
  return secret;
}

function trimmed(bytes: Uint8Array): Uint8Array {
  const isSpace = (byte: number): boolean => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
  let start = 0;
  let end = bytes.length;
  while (start < end && isSpace(bytes[start])) start++;
  while (end > start && isSpace(bytes[end - 1])) end--;
  return bytes.slice(start, end);
}
