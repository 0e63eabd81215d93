/**
 * The shards file (`shards.yaml`): which stores hold the truth, and how much
 * of it each should hold. It is a wish: where a slot lives is what its record
 * in a shard says, once the cluster is born.
 */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { ConfigError, shown } from './error.ts';
import { checkReadable, configErrorOf, readYaml } from './yaml.ts';

export interface ShardSettings {
  readonly name: string;
  readonly engine: 'etcd' | 'embedded';
  /** Origins such as `http://127.0.0.1:2379`; empty for embedded shards. */
  readonly endpoints: readonly string[];
  /** Share of the slots, relative to the other shards; 0 = wants none. */
  readonly weight: number;
  /** Absolute paths of PEM files. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
  /** `passwordFile` is an absolute path. */
  readonly auth?: { readonly username: string; readonly passwordFile: string };
}

export interface ShardsFile {
  readonly slots: number;
  readonly shards: readonly ShardSettings[];
}

const SHARDS_MAX = 64;
const ENDPOINTS_MAX = 16;
const WEIGHT_MAX = 1_000;

const WHAT = 'the shards file';

/** Every message says what is allowed: `configErrorOf` puts the rest in front of it. */
function text(allowed: string) {
  return z.string(allowed).min(1, allowed).max(1_024, allowed);
}

function strict<T extends z.ZodRawShape>(shape: T) {
  const settings = Object.keys(shape).join(', ');
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? settings : `settings ${settings}`),
  });
}

const NAME = 'a name of 1–32 characters a–z, 0–9 and -';
const ENGINE = 'etcd or embedded';
const ENDPOINTS = `1–${ENDPOINTS_MAX} addresses such as http://127.0.0.1:2379`;
const WEIGHT = `an integer 0–${WEIGHT_MAX}`;
const SHARDS = `a list of 1–${SHARDS_MAX} shards`;
/** Records, keys and tables are laid out for this number of slots; the setting is there to be compared. */
const SLOTS = `${LIMITS.slots}, the only number this version has`;

const shardSchema = strict({
  name: z.string(NAME).regex(/^[a-z0-9-]{1,32}$/, NAME),
  engine: z.enum(['etcd', 'embedded'], ENGINE),
  endpoints: z.array(text(ENDPOINTS), ENDPOINTS).min(1, ENDPOINTS).max(ENDPOINTS_MAX, ENDPOINTS).optional(),
  weight: z.int(WEIGHT).min(0, WEIGHT).max(WEIGHT_MAX, WEIGHT).default(1),
  tls: strict({
    ca: text('the path of a PEM file').optional(),
    cert: text('the path of a PEM file').optional(),
    key: text('the path of a PEM file').optional(),
  }).optional(),
  auth: strict({
    username: text('the name of an etcd user'),
    passwordFile: text('the path of a file that holds the password'),
  }).optional(),
});

const fileSchema = strict({
  slots: z.literal(LIMITS.slots, SLOTS).default(LIMITS.slots),
  shards: z.array(shardSchema, SHARDS).min(1, SHARDS).max(SHARDS_MAX, SHARDS),
});

type ShardInput = z.infer<typeof shardSchema>;

/**
 * Reads and checks a shards file. Relative paths in it are relative to its folder.
 *
 * @throws ConfigError with one line: file, setting, value, what is allowed
 */
export function readShardsFile(path: string): ShardsFile {
  const content = readYaml(path, WHAT);
  const parsed = fileSchema.safeParse(content);
  if (!parsed.success) throw configErrorOf(parsed.error, path, content);
  const reader = new ShardReader(path);
  const shards = parsed.data.shards.map((shard, index) => reader.shard(shard, `shards[${index}]`));
  if (shards.every((shard) => shard.weight === 0)) {
    throw new ConfigError(`${path}: shards[0].weight is 0 like all others; allowed: at least one above 0`);
  }
  return { slots: parsed.data.slots, shards };
}

/** What holds between settings, and between shards. */
class ShardReader {
  readonly #path: string;
  readonly #folder: string;
  readonly #names = new Set<string>();
  readonly #owners = new Map<string, string>();

  constructor(path: string) {
    this.#path = path;
    this.#folder = dirname(resolve(path));
  }

  shard(input: ShardInput, at: string): ShardSettings {
    const { name, engine, weight } = input;
    if (this.#names.has(name)) this.#refuse(`${at}.name`, name, 'a name that no other shard has');
    this.#names.add(name);
    if (engine === 'embedded') return this.#embedded(input, at);
    if (input.endpoints === undefined) this.#refuse(`${at}.endpoints`, undefined, ENDPOINTS);
    const endpoints = input.endpoints.map((one, i) => this.#endpoint(one, `${at}.endpoints[${i}]`, name));
    const https = endpoints.filter((one) => one.startsWith('https:')).length;
    if (https !== 0 && https !== endpoints.length) {
      this.#refuse(`${at}.endpoints`, endpoints, 'either only http:// or only https:// addresses');
    }
    const tls = this.#tls(input.tls, https !== 0, `${at}.tls`);
    const auth = this.#auth(input.auth, `${at}.auth`);
    return { name, engine, endpoints, weight, ...(tls && { tls }), ...(auth && { auth }) };
  }

  #embedded(input: ShardInput, at: string): ShardSettings {
    for (const setting of ['endpoints', 'tls', 'auth'] as const) {
      if (input[setting] === undefined) continue;
      const value = setting === 'endpoints' ? input.endpoints!.map(withoutPassword) : 'set';
      this.#refuse(`${at}.${setting}`, value, 'nothing, an embedded shard is a folder under the data folder');
    }
    return { name: input.name, engine: 'embedded', endpoints: [], weight: input.weight };
  }

  /** The same address in two shards would be one store with two homes for its keys. */
  #endpoint(address: string, at: string, shard: string): string {
    const url = URL.canParse(address) ? new URL(address) : undefined;
    if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
      this.#refuse(at, withoutPassword(address), 'an http:// or https:// address');
    }
    if (url.username !== '' || url.password !== '') {
      this.#refuse(at, withoutPassword(address), 'an address without a user name or password: use auth');
    }
    if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
      this.#refuse(at, address, 'an address without a path, such as http://127.0.0.1:2379');
    }
    const owner = this.#owners.get(url.host);
    if (owner !== undefined)
      this.#refuse(at, address, `an address that shard ${owner} does not have already`);
    this.#owners.set(url.host, shard);
    return url.origin;
  }

  #tls(input: ShardInput['tls'], https: boolean, at: string): ShardSettings['tls'] {
    if (input === undefined) return undefined;
    if (!https) this.#refuse(at, 'set', 'tls only with https:// endpoints');
    if ((input.cert === undefined) !== (input.key === undefined)) {
      const missing = input.cert === undefined ? 'cert' : 'key';
      this.#refuse(`${at}.${missing}`, undefined, 'cert and key together, or neither');
    }
    const tls: { ca?: string; cert?: string; key?: string } = {};
    for (const setting of ['ca', 'cert', 'key'] as const) {
      const file = input[setting];
      if (file !== undefined) tls[setting] = this.#file(file, `${at}.${setting}`);
    }
    return tls;
  }

  #auth(input: ShardInput['auth'], at: string): ShardSettings['auth'] {
    if (input === undefined) return undefined;
    return { username: input.username, passwordFile: this.#file(input.passwordFile, `${at}.passwordFile`) };
  }

  #file(path: string, at: string): string {
    const absolute = resolve(this.#folder, path);
    checkReadable(absolute, `${this.#path}: ${at}`);
    return absolute;
  }

  #refuse(setting: string, value: unknown, allowed: string): never {
    throw new ConfigError(`${this.#path}: ${setting} is ${shown(value)}; allowed: ${allowed}`);
  }
}

/** Passwords that were put into an address by mistake do not belong into a log. */
function withoutPassword(address: string): string {
  return address.replace(/\/\/[^/]*@/, '//***@');
}

/**
 * The shards of a process that was given no file: two embedded ones in its
 * data folder.
 *
 * Two, though one lane alone is a little faster on one (measured, 67,000 ops/s:
 * P50 0.55 ms on one, 0.79 on two): the number stays for the life of the
 * cluster, and the same folder must also serve a larger machine, where LMDB's
 * one writer at a time would make every lane wait for every other.
 */
export function defaultShards(): ShardsFile {
  const shard = (name: string): ShardSettings => ({ name, engine: 'embedded', endpoints: [], weight: 1 });
  return { slots: LIMITS.slots, shards: [shard('s0'), shard('s1')] };
}
