/**
 * The settings of `holdfast serve`. One table says everything about each: its
 * name, what is allowed, its default and its help. The name gives all sources:
 *
 *   flag `--request-timeout-ms` > environment `HOLDFAST_REQUEST_TIMEOUT_MS`
 *     > `request-timeout-ms:` in the file of `--config`/`HOLDFAST_CONFIG` > default
 *
 * A relative path in the file is relative to the file, elsewhere to the working
 * directory. An empty variable of the environment counts as not set.
 */
import { availableParallelism } from 'node:os';
import { dirname, resolve } from 'node:path';
import { z, type ZodType } from 'zod';
import { LIMITS } from '../limits.ts';
import {
  isHost,
  isLoopback,
  isLoopbackAddress,
  isWildcard,
  parseAddress,
  withoutBrackets,
} from './address.ts';
import { ConfigError, shown } from './error.ts';
import { readSecret } from './secret.ts';
import { readYaml } from './yaml.ts';

export interface Settings {
  /** 0 = any free one. */
  readonly port: number;
  readonly host: string;
  /** Absolute path of the shards file; undefined: embedded shards under `data`. */
  readonly shards: string | undefined;
  /** Absolute path. */
  readonly data: string;
  /** Absolute path of the keys file; undefined: no keys, so everybody may do everything. */
  readonly keys: string | undefined;
  /** Lanes, each a worker thread. */
  readonly workers: number;
  /** Origins, normalised, whose pages may call. */
  readonly allowOrigin: readonly string[];
  readonly log: 'pretty' | 'json';
  readonly requestTimeoutMs: number;
  /** HOST:PORT at which other processes reach this one; undefined: where it listens. */
  readonly advertise: string | undefined;
  /** What the processes of a cluster share; undefined: they trust loopback addresses. */
  readonly clusterKey: Uint8Array | undefined;
}

/** A row of the table, as the command line shows it. */
export interface SettingRow {
  readonly name: string;
  /** What stands behind the flag: `<port>`. */
  readonly value: string;
  readonly help: string;
  /** The default, for people. */
  readonly fallback: string;
  /** May be given more than once. */
  readonly repeatable: boolean;
}

/** Flags as parsed, by setting name (`config` too); repeated ones as an array. */
export type Flags = Readonly<Record<string, string | readonly string[] | undefined>>;

type Environment = Readonly<Record<string, string | undefined>>;

interface Setting extends SettingRow {
  /** Checks a value of any source; its message says what is allowed. */
  readonly schema: ZodType;
  /** A path: made absolute. */
  readonly isPath: boolean;
}

const WORKERS_DEFAULT_MAX = 8;
const ORIGINS_MAX = 64;

const ORIGINS = `at most ${ORIGINS_MAX} origins such as https://app.example, with commas between them`;
const HOSTS = 'a loopback address (127.0.0.0/8, ::1, localhost), or with keys any address or host name';

function integer(min: number, max: number): ZodType {
  const allowed = `an integer ${min}–${max}`;
  const digits = (value: unknown): unknown =>
    typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
  return z.preprocess(digits, z.int(allowed).min(min, allowed).max(max, allowed));
}

/** Without control characters: they end up in log lines. */
function text(allowed: string): z.ZodString {
  return z.string(allowed).regex(/^[^\p{Cc}]{1,1024}$/u, allowed);
}

const origins = z.preprocess(
  (value) => (typeof value === 'string' ? value.split(',').map((one) => one.trim()) : value),
  z
    .array(
      z
        .string(ORIGINS)
        .refine(isOrigin, ORIGINS)
        .transform((one) => new URL(one).origin),
      ORIGINS,
    )
    .max(ORIGINS_MAX, ORIGINS),
);

function isOrigin(value: string): boolean {
  if (!URL.canParse(value) || /[\p{Cc}\s?#@]/u.test(value)) return false;
  const { protocol, pathname, host } = new URL(value);
  return (protocol === 'http:' || protocol === 'https:') && pathname === '/' && host !== '';
}

const ADVERTISE = 'HOST:PORT with a port 1–65535, an IPv6 address in brackets';
const ADVERTISE_NEEDED =
  'HOST:PORT at which other processes reach this one, which a host that means all addresses does not tell';
const ADVERTISE_LOOPBACK =
  'a loopback address (127.0.0.0/8, ::1, localhost) and a port, or any with cluster-key';

function setting(
  name: string,
  value: string,
  schema: ZodType,
  help: string,
  fallback: string,
  more: { isPath?: boolean; repeatable?: boolean } = {},
): Setting {
  return {
    name,
    value,
    schema,
    help,
    fallback,
    isPath: more.isPath ?? false,
    repeatable: more.repeatable ?? false,
  };
}

const PORT = 7_420;
const HOST = '127.0.0.1';
const DATA = './data';
/** Fewer could be tried out by who has seen one handshake. */
const CLUSTER_KEY_BYTES = { min: 16, max: 1024 } as const;

const TABLE: readonly Setting[] = [
  setting('port', '<port>', integer(0, 65_535), 'port to listen on, 0 for any free one', String(PORT)),
  setting(
    'host',
    '<address>',
    text(HOSTS).refine(isHost, HOSTS),
    'address to listen on; without keys only a loopback address',
    HOST,
  ),
  setting(
    'shards',
    '<file>',
    text('the path of a shards file'),
    'shards file (YAML): the stores that keep the locks',
    'embedded shards under data',
    { isPath: true },
  ),
  setting('data', '<folder>', text('the path of a folder'), 'folder of the embedded shards', DATA, {
    isPath: true,
  }),
  setting(
    'workers',
    '<count>',
    integer(1, LIMITS.workersMax),
    'worker threads that decide and commit',
    `processors − 1, 1–${WORKERS_DEFAULT_MAX}`,
  ),
  setting(
    'keys',
    '<file>',
    text('the path of a keys file'),
    'keys file (YAML): who may do what; read again on SIGHUP',
    'none: everybody may do everything',
    { isPath: true },
  ),
  setting('allow-origin', '<origin>', origins, 'origin whose web pages may call', 'none', {
    repeatable: true,
  }),
  setting(
    'log',
    '<form>',
    z.enum(['pretty', 'json'], 'pretty or json'),
    'form of the log: pretty or json',
    'pretty',
  ),
  setting(
    'request-timeout-ms',
    '<ms>',
    integer(LIMITS.requestTimeoutMsMin, LIMITS.requestTimeoutMsMax),
    'time within which every request is answered',
    String(LIMITS.requestTimeoutMsDefault),
  ),
  setting(
    'advertise',
    '<host:port>',
    text(ADVERTISE).refine((value) => parseAddress(value) !== undefined, ADVERTISE),
    'address at which other processes reach this one',
    'where it listens',
  ),
  setting(
    'cluster-key',
    '<file>',
    text('the path of a file with a secret'),
    'file with the secret that the processes of a cluster share',
    'none: only loopback addresses are trusted',
    { isPath: true },
  ),
];

/** For the command line: its flags are `--<name> <value>`, and `--config <file>`. */
export const SETTINGS: readonly SettingRow[] = TABLE;

/** The variable of the environment for a setting, or for `config`. */
export function environmentName(name: string): string {
  return `HOLDFAST_${name.toUpperCase().replaceAll('-', '_')}`;
}

const NAMES = TABLE.map(({ name }) => name).join(', ');

/**
 * Collects the settings from all sources and checks them.
 *
 * @throws ConfigError: one line with the wrong setting, where it came from, its value, and what is allowed
 */
export function readSettings(flags: Flags, environment: Environment = process.env): Settings {
  const file = readFile(flags, environment);
  const values = new Map<string, unknown>();
  const sources = new Map<string, string>();
  for (const row of TABLE) {
    const given = find(row.name, flags, environment, file);
    if (given === undefined) continue;
    sources.set(row.name, given.source);
    const parsed = row.schema.safeParse(given.value);
    if (!parsed.success) {
      throw new ConfigError(
        `${given.source} is ${shown(given.value)}; allowed: ${parsed.error.issues[0]!.message}`,
      );
    }
    values.set(row.name, row.isPath ? resolve(given.folder, parsed.data as string) : parsed.data);
  }
  const value = <T>(name: string, fallback: T): T => (values.get(name) as T | undefined) ?? fallback;
  checkTogether(values, sources);
  const keyFile = value<string | undefined>('cluster-key', undefined);
  return {
    port: value('port', PORT),
    host: withoutBrackets(value('host', HOST)),
    shards: value<string | undefined>('shards', undefined),
    data: value('data', resolve(DATA)),
    keys: value<string | undefined>('keys', undefined),
    workers: value('workers', workersDefault(availableParallelism())),
    allowOrigin: value<readonly string[]>('allow-origin', []),
    log: value<Settings['log']>('log', 'pretty'),
    requestTimeoutMs: value<number>('request-timeout-ms', LIMITS.requestTimeoutMsDefault),
    advertise: value<string | undefined>('advertise', undefined),
    clusterKey:
      keyFile === undefined ? undefined : readSecret(keyFile, sources.get('cluster-key')!, CLUSTER_KEY_BYTES),
  };
}

/** What must hold between settings: nobody is trusted for being on the network. */
function checkTogether(values: ReadonlyMap<string, unknown>, sources: ReadonlyMap<string, string>): void {
  const refuse = (name: string, allowed: string): never => {
    throw new ConfigError(`${sources.get(name) ?? name} is ${shown(values.get(name))}; allowed: ${allowed}`);
  };
  const host = values.get('host') as string | undefined;
  const advertise = values.get('advertise') as string | undefined;
  if (host !== undefined && !values.has('keys') && !isLoopback(host)) refuse('host', HOSTS);
  if (values.has('cluster-key')) {
    if (advertise === undefined && host !== undefined && isWildcard(host))
      refuse('advertise', ADVERTISE_NEEDED);
  } else if (advertise !== undefined && !isLoopbackAddress(advertise))
    refuse('advertise', ADVERTISE_LOOPBACK);
}

/** One processor is left to the front and the store; many lanes only help with many clients. */
export function workersDefault(processors: number): number {
  return Math.min(WORKERS_DEFAULT_MAX, Math.max(1, processors - 1));
}

interface Given {
  readonly value: unknown;
  /** How a message calls it: `--port`, `HOLDFAST_PORT`, `/etc/holdfast.yaml: port`. */
  readonly source: string;
  /** What a relative path is relative to. */
  readonly folder: string;
}

interface File {
  readonly path: string;
  readonly content: ReadonlyMap<string, unknown>;
}

function find(
  name: string,
  flags: Flags,
  environment: Environment,
  file: File | undefined,
): Given | undefined {
  const flag = flags[name];
  if (flag !== undefined) return { value: flag, source: `--${name}`, folder: '.' };
  const variable = environmentName(name);
  const content = environment[variable];
  if (content !== undefined && content !== '') return { value: content, source: variable, folder: '.' };
  if (file === undefined || !file.content.has(name)) return undefined;
  return { value: file.content.get(name), source: `${file.path}: ${name}`, folder: dirname(file.path) };
}

function readFile(flags: Flags, environment: Environment): File | undefined {
  const given = find('config', flags, environment, undefined);
  if (given === undefined) return undefined;
  const allowed = 'the path of a YAML file';
  const parsed = text(allowed).safeParse(given.value);
  if (!parsed.success) throw new ConfigError(`${given.source} is ${shown(given.value)}; allowed: ${allowed}`);
  const path = resolve(parsed.data);
  const content = readYaml(path, 'the configuration file') ?? {};
  if (typeof content !== 'object' || Array.isArray(content)) {
    throw new ConfigError(`${path}: the content is ${shown(content)}; allowed: settings ${NAMES}`);
  }
  const entries = Object.entries(content);
  const unknown = entries.find(([name]) => !TABLE.some((row) => row.name === name));
  if (unknown !== undefined) {
    throw new ConfigError(`${path}: ${shown(unknown[0])} is not a setting; allowed: ${NAMES}`);
  }
  return { path, content: new Map(entries) };
}
