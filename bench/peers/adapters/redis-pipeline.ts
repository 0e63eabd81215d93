/**
 * The least that a lock on Redis can be: `SET name token NX PX ttl`, and a
 * script that deletes the key if it still has the token; 64 of them in one
 * pipeline. Written by hand with prepared commands, as Holdfast's load is.
 *
 *   acquire: SET ─► +OK | $-1 (held)       release: EVALSHA ─► :1 | :0 (not held)
 */
import { createHash, randomBytes } from 'node:crypto';
import { connect as connectTo, type Socket } from 'node:net';
import { Redis } from 'ioredis';
import type { LockClient, Peer, Shape } from '../peer.ts';
import { DURABLE, startRedises, type Appendfsync, type RedisTarget } from './redis.ts';

const SOCKETS = 8;
const TTL_MS = 30_000;
const TOKEN_CHARACTERS = 22;
const COUNT_CHARACTERS = 8;
const DELETE_IF_OWN =
  "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

function pipeline(appendfsync: Appendfsync): Peer {
  return {
    key: `redis-${appendfsync}`,
    name: `SET NX PX pipeline, ${appendfsync}`,
    how: `raw RESP over ${SOCKETS} sockets, 64 commands a pipeline, delete by script`,
    durable: DURABLE[appendfsync],
    fencing: 'no',
    nodeLoss: 'no: replication is asynchronous',
    expiry: 'TTL of each lock',
    client: 'redis-pipeline',
    locksPerBlock: 64,
    concurrencies: [8, 64, 256, 512],
    ...(appendfsync === 'always' ? { target: 1 } : {}),
    start: (folder) => startRedises(folder, 1, appendfsync),
  };
}

export const REDIS_PIPELINE: readonly Peer[] = [pipeline('always'), pipeline('everysec')];

/** The commands of a block, and where its tokens' counts are. */
interface Prepared {
  readonly bytes: Buffer;
  readonly countsAt: readonly number[];
}

interface Waiting {
  left: number;
  readonly good: number;
  bad: string;
  resolve(): void;
  reject(error: Error): void;
}

const LINE_FEED = 10;

/** Replies come in the order of commands; each of those that are asked for is one line. */
class RedisSocket {
  readonly #socket: Socket;
  #waiting: Waiting[] = [];
  #first = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(port: number) {
    this.#socket = connectTo({ host: '127.0.0.1', port, noDelay: true });
    this.#socket.on('data', (data: Buffer) => this.#data(data));
    this.#socket.on('error', (error) => this.#lost(error));
    this.#socket.on('close', () => this.#lost(new Error('Redis closed the connection')));
  }

  /** @param good the first character of every reply that is expected; `:0` never is */
  send(bytes: Buffer, replies: number, good: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ left: replies, good: good.charCodeAt(0), bad: '', resolve, reject });
      this.#socket.write(bytes);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #data(data: Buffer): void {
    const bytes = this.#rest.length === 0 ? data : Buffer.concat([this.#rest, data]);
    let at = 0;
    for (let end = bytes.indexOf(LINE_FEED); end >= 0; end = bytes.indexOf(LINE_FEED, at)) {
      this.#reply(bytes, at, end - 1);
      at = end + 1;
    }
    this.#rest = bytes.subarray(at);
  }

  #reply(bytes: Buffer, at: number, end: number): void {
    const waiting = this.#waiting[this.#first];
    const isZero = bytes[at + 1] === 0x30 && end - at === 2;
    if (bytes[at] !== waiting.good || isZero) waiting.bad = bytes.toString('latin1', at, end);
    if (--waiting.left > 0) return;
    // Shifting an array of thousands for every pipeline would cost more than the pipeline.
    if (++this.#first === this.#waiting.length) {
      this.#waiting = [];
      this.#first = 0;
    }
    if (waiting.bad === '') waiting.resolve();
    else waiting.reject(new Error(`Redis answered ${waiting.bad}`));
  }

  #lost(error: Error): void {
    for (const waiting of this.#waiting.slice(this.#first)) waiting.reject(error);
    this.#waiting = [];
    this.#first = 0;
  }
}

const SCRIPT_SHA = createHash('sha1').update(DELETE_IF_OWN).digest('hex');

function command(...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`;
}

/** Each token ends with a count that is written into it for every claim. */
function prepare(
  shape: Shape,
  block: number,
  tokens: readonly string[],
  kind: 'acquire' | 'release',
): Prepared {
  let text = '';
  const countsAt: number[] = [];
  for (let i = 0; i < shape.locksPerBlock; i++) {
    const name = shape.nameOf(block * shape.locksPerBlock + i);
    const words =
      kind === 'acquire'
        ? ['SET', name, tokens[i], 'NX', 'PX', String(TTL_MS)]
        : ['EVALSHA', SCRIPT_SHA, '1', name, tokens[i]];
    const one = command(...words);
    countsAt.push(text.length + one.indexOf(tokens[i]) + TOKEN_CHARACTERS - COUNT_CHARACTERS);
    text += one;
  }
  return { bytes: Buffer.from(text, 'latin1'), countsAt };
}

class PipelineClient implements LockClient {
  readonly #locks: number;
  readonly #sockets: RedisSocket[];
  readonly #acquires: Prepared[] = [];
  readonly #releases: Prepared[] = [];
  #claims = 0;

  constructor(port: number, shape: Shape) {
    this.#locks = shape.locksPerBlock;
    this.#sockets = Array.from({ length: SOCKETS }, () => new RedisSocket(port));
    for (let block = 0; block < shape.blocks; block++) {
      const tokens = Array.from({ length: shape.locksPerBlock }, newToken);
      this.#acquires.push(prepare(shape, block, tokens, 'acquire'));
      this.#releases.push(prepare(shape, block, tokens, 'release'));
    }
  }

  acquire(block: number): Promise<void> {
    const count = (++this.#claims).toString(16).padStart(COUNT_CHARACTERS, '0');
    const { bytes, countsAt } = this.#acquires[block];
    for (const at of countsAt) bytes.write(count, at, 'latin1');
    const release = this.#releases[block];
    for (const at of release.countsAt) release.bytes.write(count, at, 'latin1');
    return this.#sockets[block % SOCKETS].send(bytes, this.#locks, '+');
  }

  release(block: number): Promise<void> {
    return this.#sockets[block % SOCKETS].send(this.#releases[block].bytes, this.#locks, ':');
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.close();
  }
}

function newToken(): string {
  return randomBytes(16).toString('hex').slice(0, TOKEN_CHARACTERS);
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const [port] = (target as RedisTarget).ports;
  const redis = new Redis({ port, host: '127.0.0.1' });
  await redis.script('LOAD', DELETE_IF_OWN);
  redis.disconnect();
  return new PipelineClient(port, shape);
}
