/**
 * What a shard's settings say about how to reach it, read from disk once: the
 * PEM files; and each time it is needed: the password, so that it can be changed.
 */
import { readFileSync } from 'node:fs';
import { ConfigError } from '../../config/error.ts';
import type { ShardSettings } from '../../config/shards.ts';

export interface Endpoint {
  /** The origin as etcd3 and people write it. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
}

export interface Access {
  readonly shard: string;
  readonly endpoints: readonly Endpoint[];
  /** Encrypted; all endpoints alike. */
  readonly tls: boolean;
  readonly ca: Buffer | undefined;
  readonly cert: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly username: string | undefined;
  readonly password: () => string;
}

/** Throws a ConfigError for a file that can't be read or endpoints that don't fit together. */
export function readAccess(settings: ShardSettings): Access {
  const shard = settings.name;
  const endpoints = settings.endpoints.map(parseEndpoint);
  const secure = endpoints.filter((endpoint) => endpoint.url.startsWith('https:')).length;
  if (endpoints.length === 0 || (secure > 0 && secure < endpoints.length)) {
    throw new ConfigError(`shard ${shard}: endpoints must be one or more addresses, all http or all https`);
  }
  const { tls, auth } = settings;
  return {
    shard,
    endpoints,
    tls: secure > 0,
    ca: readPem(shard, 'tls.ca', tls?.ca),
    cert: readPem(shard, 'tls.cert', tls?.cert),
    key: readPem(shard, 'tls.key', tls?.key),
    username: auth?.username,
    password: () => (auth === undefined ? '' : readFileSync(auth.passwordFile, 'utf8').replace(/\r?\n$/, '')),
  };
}

function parseEndpoint(text: string): Endpoint {
  const url = new URL(text);
  const port = url.port === '' ? 2379 : Number(url.port);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  return { url: `${url.protocol}//${url.hostname}:${port}`, host, port };
}

function readPem(shard: string, setting: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new ConfigError(`shard ${shard}: ${setting} ${path} can't be read: ${(error as Error).message}`);
  }
}
