/**
 * A YAML file as a plain object: the one way in which configuration files are
 * read. Whatever is wrong with the file itself is a `ConfigError` that names it.
 */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { parseDocument } from 'yaml';
import type { ZodError } from 'zod';
import { ConfigError, shown } from './error.ts';

/** Settings are written by people: a larger file is not one. */
const FILE_BYTES_MAX = 1024 * 1024;

/**
 * @param what what the file is, for messages («the shards file»)
 * @param from where its path was set («--shards»)
 */
export function readYaml(path: string, what: string): unknown {
  const document = parseDocument(readText(path, what), {
    prettyErrors: true,
    uniqueKeys: true,
    stringKeys: true,
    logLevel: 'silent',
  });
  const mistake = document.errors[0];
  if (mistake !== undefined) {
    // The first line says what and where; the following ones draw it.
    const [line] = mistake.message.split('\n');
    throw new ConfigError(`${path}: ${what} is not valid YAML: ${line!.replace(/:$/, '')}`);
  }
  try {
    return document.toJS({ maxAliasCount: 100 }) as unknown;
  } catch (error) {
    throw new ConfigError(`${path}: ${what} is not valid YAML: ${(error as Error).message}`);
  }
}

/** Its text, when it is of a size that people write. Throws ConfigError. */
export function readText(path: string, what: string): string {
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) throw new ConfigError(`${path}: ${what} is a folder; allowed: a YAML file`);
    if (stat.size > FILE_BYTES_MAX) {
      throw new ConfigError(`${path}: ${what} has ${stat.size} bytes; allowed: at most ${FILE_BYTES_MAX}`);
    }
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${path}: ${what} cannot be read: ${(error as Error).message}`);
  }
}

/** Throws when `path` is not a file that this process can read. `setting` names who asked. */
export function checkReadable(path: string, setting: string): void {
  let reason: string;
  try {
    if (statSync(path).isFile()) {
      accessSync(path, constants.R_OK);
      return;
    }
    reason = 'is not a file';
  } catch (error) {
    reason = `cannot be read: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`;
  }
  throw new ConfigError(`${setting} is ${shown(path)}, which ${reason}; allowed: a readable file`);
}

/**
 * The first mistake zod found, in the one form that all messages have. The
 * schemas' own messages say what is allowed.
 */
export function configErrorOf(error: ZodError, where: string, value: unknown): ConfigError {
  const issue = error.issues[0]!;
  const at = pointer(issue.path);
  if (issue.code === 'unrecognized_keys') {
    const name = pointer([...issue.path, issue.keys[0]!]);
    return new ConfigError(`${where}: ${name} is not a setting; allowed: ${issue.message}`);
  }
  let wrong = value;
  for (const step of issue.path) wrong = (wrong as Record<PropertyKey, unknown> | undefined)?.[step];
  const setting = at === '' ? 'the content' : at;
  return new ConfigError(`${where}: ${setting} is ${shown(wrong)}; allowed: ${issue.message}`);
}

/** `shards[1].weight`; a key that is no plain word is quoted. */
function pointer(path: readonly PropertyKey[]): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else {
      const word = String(step);
      const plain = /^[\w-]{1,40}$/.test(word) ? word : shown(word);
      text += text === '' ? plain : `.${plain}`;
    }
  }
  return text;
}
