/**
 * `holdfast keys create|list|revoke`: the API keys in a keys file. A key is
 * shown once, when it is made; the file has its hash. Services that are running
 * read the file again on SIGHUP.
 */
import type { ZodError } from 'zod';
import { ConfigError, shown } from '../config/error.ts';
import { type KeyEntry, type KeyInput, keySchema, makeKey, readKeysFile } from '../config/keys.ts';
import { CommandError, Exit } from './exit.ts';
import { addEntry, removeEntry } from './key-file.ts';

export interface CreateOptions {
  readonly file: string;
  readonly principal: string;
  readonly namespace?: string;
  readonly prefix?: readonly string[];
  readonly right?: readonly string[];
  /** A time, or `90d`. */
  readonly expires?: string;
  readonly comment?: string;
  readonly json?: boolean;
}

export interface FileOptions {
  readonly file: string;
  readonly json?: boolean;
}

/** Where lines go: results to standard output, what is said about them to standard error. */
export interface Output {
  write(line: string): void;
  say(line: string): void;
}

const DAY_MS = 86_400_000;
const DAYS_MAX = 36_500;
const RELOAD = 'services that are running read it on SIGHUP';

/** How the flags are called whose value stands in an entry under another name. */
const FLAGS: Readonly<Record<string, string>> = { prefixes: 'prefix', rights: 'right' };

/** @throws CommandError, ConfigError */
export function createKey(options: CreateOptions, output: Output, now: number): void {
  const { key, id, hash } = makeKey();
  const { file, principal, namespace, prefix, right, comment, json } = options;
  const expires = options.expires === undefined ? undefined : timeOf(options.expires, now);
  const entry = {
    id,
    hash,
    principal,
    ...(namespace !== undefined && { namespace }),
    ...(prefix !== undefined && { prefixes: prefix }),
    rights: right ?? ['lock'],
    created: new Date(now).toISOString(),
    ...(expires !== undefined && { expires }),
    ...(comment !== undefined && { comment }),
  };
  const parsed = keySchema.safeParse(entry);
  if (!parsed.success) throw wrongFlag(parsed.error, entry);
  if (expires !== undefined && Date.parse(expires) <= now) {
    throw usage('expires', options.expires, 'a time to come');
  }
  addEntry(file, entry as KeyInput);
  output.write(json ? JSON.stringify({ id, key }) : key);
  output.say(`key ${id} is in ${file} (its hash only: it is not shown again); ${RELOAD}`);
}

/** @throws ConfigError */
export function listKeys({ file, json }: FileOptions, output: Output, now: number): void {
  const keys = readKeysFile(file).map((key) => describe(key, now));
  if (json) return output.write(JSON.stringify({ keys }));
  const rows = keys.map(({ id, principal, namespace, rights, prefixes, expires, expired, comment }) => [
    id,
    principal,
    namespace,
    rights.join(','),
    prefixes === undefined ? '(all)' : prefixes.map((prefix) => JSON.stringify(prefix)).join(','),
    expires === undefined ? 'never' : `${expires}${expired ? ' (over)' : ''}`,
    comment ?? '',
  ]);
  const table = [['ID', 'PRINCIPAL', 'NAMESPACE', 'RIGHTS', 'PREFIXES', 'EXPIRES', 'COMMENT'], ...rows];
  const widths = table[0].map((_, i) => Math.max(...table.map((row) => row[i].length)));
  for (const row of table) {
    output.write(
      row
        .map((cell, i) => printable(cell).padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    );
  }
}

/** @throws CommandError, ConfigError */
export function revokeKey(id: string, { file, json }: FileOptions, output: Output): void {
  // Also a whole key that someone pasted is found by its id, and not shown.
  const wanted = /^hf_([a-z0-9]+)_/.exec(id)?.[1] ?? id;
  if (!removeEntry(file, wanted)) {
    throw new CommandError(Exit.usage, `${file} has no key with the id ${shown(wanted)}`);
  }
  if (json) output.write(JSON.stringify({ id: wanted, revoked: true }));
  output.say(`key ${wanted} is out of ${file}; ${RELOAD}`);
}

function describe(key: KeyEntry, now: number) {
  const { hash: _, expiresAt, ...rest } = key;
  return { ...rest, expired: expiresAt <= now };
}

/** Comments may have line feeds and what else a terminal would act on. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, ' ');
}

function timeOf(text: string, now: number): string {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  if (days === undefined) return text;
  if (Number(days) < 1 || Number(days) > DAYS_MAX) throw usage('expires', text, `1d–${DAYS_MAX}d`);
  return new Date(now + Number(days) * DAY_MS).toISOString();
}

function wrongFlag(error: ZodError, entry: Readonly<Record<string, unknown>>): CommandError {
  const [issue] = error.issues;
  const name = String(issue.path[0]);
  return usage(FLAGS[name] ?? name, entry[name], issue.message);
}

function usage(flag: string, value: unknown, allowed: string): CommandError {
  return new CommandError(
    Exit.usage,
    new ConfigError(`--${flag} is ${shown(value)}; allowed: ${allowed}`).message,
  );
}
