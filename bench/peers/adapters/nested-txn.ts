/**
 * The other way to batch on etcd: a key for every lock, and one Txn for a batch
 * of them, with a nested Txn each that takes the key if it is free, or deletes
 * it if it is still one's own.
 *
 *   acquire: version(key) = 0   → put key token
 *   release: value(key) = token → delete key
 *
 *   TxnRequest  { compare=1* success=2* }   Compare { result=1 target=2 key=3 version=4 | value=7 }
 *   RequestOp   { put=2 delete=3 txn=4 }    PutRequest { key=1 value=2 }   DeleteRangeRequest { key=1 }
 *   TxnResponse { header=1 succeeded=2 responses=3* }   ResponseOp { txn=4 }
 *
 * The batches are written straight from the load process, without a front, a
 * lease or anything that would end the lock of a dead client.
 */
import { randomBytes } from 'node:crypto';
import { Etcd3 } from 'etcd3';
import { LIMITS } from '../../../src/limits.ts';
import { fieldBytes, WireReader, WireWriter } from '../../../src/shard/etcd/wire.ts';
import { framed, GrpcConnection } from '../../grpc.ts';
import type { LockClient, Peer, Shape } from '../peer.ts';
import { startOneEtcd } from './journal.ts';

const LOCKS_PER_TXN = 512;
const TOKEN_BYTES = 16;
const VERSION_TARGET = 0;
const VALUE_TARGET = 3;

export const NESTED_TXN: Peer = {
  key: 'nested-txn',
  name: 'nested Txn per batch',
  how: `own writer, ${LOCKS_PER_TXN} ops a Txn with a nested Txn each, --max-txn-ops raised`,
  durable: 'yes: etcd, fsync before the answer',
  fencing: 'yes (revision)',
  nodeLoss: 'yes: etcd of three',
  expiry: 'none here: a lease or a sweep costs more',
  client: 'nested-txn',
  locksPerBlock: LOCKS_PER_TXN,
  concurrencies: [1, 2, 4, 8],
  target: 5,
  start: (folder) => startOneEtcd(folder, [['max-txn-ops', '4096']]),
};

class NestedTxnClient implements LockClient {
  readonly #shape: Shape;
  readonly #connection: GrpcConnection;
  readonly #etcd: Etcd3;
  readonly #names: Uint8Array[];
  readonly #tokens = new Map<number, Uint8Array>();
  readonly #compaction: NodeJS.Timeout;
  #revision = 0;

  constructor(endpoint: string, shape: Shape) {
    this.#shape = shape;
    this.#connection = new GrpcConnection(endpoint);
    this.#etcd = new Etcd3({ hosts: endpoint });
    const names = shape.blocks * shape.locksPerBlock;
    this.#names = Array.from({ length: names }, (_, i) => Buffer.from(`locks/${shape.nameOf(i)}`));
    this.#compaction = setInterval(() => void this.#compact(), LIMITS.compactEveryMs);
  }

  async acquire(block: number): Promise<void> {
    const tokens = randomBytes(TOKEN_BYTES * this.#shape.locksPerBlock);
    this.#tokens.set(block, tokens);
    await this.#commit(block, (out, name, i) => {
      const token = tokens.subarray(i * TOKEN_BYTES, (i + 1) * TOKEN_BYTES);
      // result EQUAL and version 0 are proto3's defaults, but a oneof must be there.
      const compare = 4 + fieldBytes(name.length);
      const put = fieldBytes(name.length) + fieldBytes(TOKEN_BYTES);
      out.head(0x0a, compare);
      out.number(0x10, VERSION_TARGET);
      out.field(0x1a, name);
      out.number(0x20, 0);
      out.head(0x12, fieldBytes(put));
      out.head(0x12, put);
      out.field(0x0a, name);
      out.field(0x12, token);
    });
  }

  async release(block: number): Promise<void> {
    const tokens = this.#tokens.get(block)!;
    await this.#commit(block, (out, name, i) => {
      const token = tokens.subarray(i * TOKEN_BYTES, (i + 1) * TOKEN_BYTES);
      const compare = 2 + fieldBytes(name.length) + fieldBytes(TOKEN_BYTES);
      out.head(0x0a, compare);
      out.number(0x10, VALUE_TARGET);
      out.field(0x1a, name);
      out.field(0x3a, token);
      out.head(0x12, fieldBytes(fieldBytes(name.length)));
      out.head(0x1a, fieldBytes(name.length));
      out.field(0x0a, name);
    });
    this.#tokens.delete(block);
  }

  async close(): Promise<void> {
    clearInterval(this.#compaction);
    this.#connection.close();
    this.#etcd.close();
  }

  async #commit(block: number, write: (out: WireWriter, name: Uint8Array, i: number) => void): Promise<void> {
    const { locksPerBlock } = this.#shape;
    const out = new WireWriter(new Uint8Array(locksPerBlock * 256));
    const scratch = new WireWriter(new Uint8Array(256));
    for (let i = 0; i < locksPerBlock; i++) {
      scratch.at = 0;
      write(scratch, this.#names[block * locksPerBlock + i], i);
      out.head(0x12, fieldBytes(scratch.at));
      out.field(0x22, scratch.bytes.subarray(0, scratch.at));
    }
    const request = framed(out.at);
    request.bytes.set(out.bytes.subarray(0, out.at), request.at);
    const done = this.#succeeded(await this.#connection.call('/etcdserverpb.KV/Txn', request.bytes));
    if (done !== locksPerBlock)
      throw new Error(`${locksPerBlock - done} of ${locksPerBlock} names were not as expected`);
  }

  /** How many of the nested transactions found what they compared with. */
  #succeeded(bytes: Uint8Array): number {
    const answer = new WireReader(bytes);
    let count = 0;
    while (answer.next()) {
      if (answer.number === 1) this.#header(answer.message());
      else if (answer.number === 3) count += this.#nested(answer.message());
      else answer.skip();
    }
    return count;
  }

  #nested(operation: WireReader): number {
    while (operation.next()) {
      if (operation.number !== 4) {
        operation.skip();
        continue;
      }
      const nested = operation.message();
      while (nested.next()) {
        if (nested.number === 2) return nested.int();
        nested.skip();
      }
    }
    return 0;
  }

  #header(header: WireReader): void {
    while (header.next()) {
      if (header.number === 3) this.#revision = header.int();
      else header.skip();
    }
  }

  /** Forgets history as Holdfast does, so that etcd's file stays as small. */
  async #compact(): Promise<void> {
    if (this.#revision === 0) return;
    await this.#etcd.kv.compact({ revision: String(this.#revision) }).catch(() => {});
  }
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  return new NestedTxnClient((target as { endpoint: string }).endpoint, shape);
}
