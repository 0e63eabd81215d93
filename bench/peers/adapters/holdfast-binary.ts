/** Holdfast's binary WebSocket with prepared frames, as the load driver uses it: a block is one frame. */
import { randomBytes } from 'node:crypto';
import { Connection } from '../../../loadtest/connection.ts';
import { Frames } from '../../../loadtest/frames/frames.ts';
import { codeOfWire } from '../../../src/errors.ts';
import { ANSWER_HEAD_BYTES } from '../../../src/protocol/answer.ts';
import { readU64 } from '../../../src/protocol/bytes.ts';
import { NAME_BYTES, type LockClient, type Shape } from '../peer.ts';

const SOCKETS = 8;
const TTL_MS = 30_000;
const GRANTED = 201;
const RELEASED = 204;

/** A block whose frame is open. */
interface Open {
  left: number;
  expected: number;
  wrong: string;
  resolve(): void;
  reject(error: Error): void;
}

class HoldfastClient implements LockClient {
  readonly #locks: number;
  readonly #acquires: Frames;
  readonly #releases: Frames;
  readonly #connections: Connection[] = [];
  readonly #open = new Map<number, Open>();
  /** The last fencing token of each name. */
  readonly #fences: Float64Array;
  #claims = 0;
  #flushing = false;

  constructor(shape: Shape) {
    const { blocks, locksPerBlock, nameOf } = shape;
    const names = { nameBytes: NAME_BYTES, nameOf };
    const settings = { blocks, opsPerFrame: locksPerBlock, ttlMs: TTL_MS, names, firstId: 0 };
    this.#locks = locksPerBlock;
    this.#acquires = new Frames('acquire', settings);
    this.#releases = new Frames('release', settings);
    this.#fences = new Float64Array(blocks * locksPerBlock);
    for (let block = 0; block < blocks; block++) this.#seedTokens(block);
  }

  async connect(url: string): Promise<void> {
    const opened = Array.from({ length: SOCKETS }, () => {
      return new Promise<void>((resolve) => {
        const connection = new Connection(new URL(url), {
          onAnswers: (view, at, end) => this.#answers(view, at, end),
          onOpen: resolve,
          onCut: (reason) => this.#cut(reason),
        });
        this.#connections.push(connection);
      });
    });
    await Promise.all(opened);
  }

  acquire(block: number): Promise<void> {
    const claim = ++this.#claims;
    this.#acquires.countTokens(block, this.#locks, claim);
    this.#releases.countTokens(block, this.#locks, claim);
    return this.#send(block, this.#acquires, GRANTED);
  }

  release(block: number): Promise<void> {
    return this.#send(block, this.#releases, RELEASED);
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.end();
  }

  #seedTokens(block: number): void {
    const seeds = randomBytes(12 * this.#locks);
    for (let i = 0; i < this.#locks; i++) {
      const seed = seeds.subarray(12 * i, 12 * (i + 1));
      this.#acquires.setToken(block, i, seed, 0);
      this.#releases.setToken(block, i, seed, 0);
    }
  }

  #send(block: number, frames: Frames, expected: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#open.set(block, { left: this.#locks, expected, wrong: '', resolve, reject });
      this.#connections[block % SOCKETS].send(frames.of(block));
      if (this.#flushing) return;
      this.#flushing = true;
      setImmediate(() => this.#flush());
    });
  }

  /** One write a socket and turn, whatever the number of frames. */
  #flush(): void {
    this.#flushing = false;
    for (const connection of this.#connections) connection.flush();
  }

  #answers(view: DataView, at: number, end: number): void {
    for (; at < end; at += view.getUint32(at, true)) {
      const id = view.getUint32(at + 4, true);
      const block = Math.floor(id / this.#locks);
      const open = this.#open.get(block);
      if (open === undefined) throw new Error(`an answer to request ${id}, which is not open`);
      this.#check(view, at, id, open);
      if (--open.left > 0) continue;
      this.#open.delete(block);
      if (open.wrong === '') open.resolve();
      else open.reject(new Error(open.wrong));
    }
  }

  #check(view: DataView, at: number, id: number, open: Open): void {
    const status = view.getUint16(at + 8, true);
    if (status !== open.expected) {
      open.wrong = codeOfWire(view.getUint8(at + 10)) ?? `status ${status}`;
    } else if (status === GRANTED) {
      const fence = readU64(view, at + ANSWER_HEAD_BYTES);
      if (fence <= this.#fences[id]) open.wrong = 'a fencing token that did not rise';
      this.#fences[id] = fence;
    }
  }

  #cut(reason: string): void {
    for (const open of this.#open.values()) open.reject(new Error(reason));
    this.#open.clear();
  }
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const client = new HoldfastClient(shape);
  await client.connect((target as { wsUrl: string }).wsUrl);
  return client;
}
