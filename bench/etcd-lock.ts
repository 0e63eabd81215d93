/**
 * etcd's own lock service (v3lockpb), called as its Go client calls it:
 *
 *   LockRequest   { name=1 lease=2 }     LockResponse { header=1 key=2 }
 *   UnlockRequest { key=1 }
 */
import type { Etcd3 } from 'etcd3';
import { fieldBytes, varintBytes, WireReader } from '../src/shard/etcd/wire.ts';
import { framed, type GrpcConnection } from './grpc.ts';

const encoder = new TextEncoder();

/** Resolves with the key that unlocks it, once it is held. */
export async function etcdLock(connection: GrpcConnection, name: string, lease: number): Promise<Uint8Array> {
  const bytes = encoder.encode(name);
  const request = framed(fieldBytes(bytes.length) + 1 + varintBytes(lease));
  request.field(0x0a, bytes);
  request.number(0x10, lease);
  const answer = new WireReader(await connection.call('/v3lockpb.Lock/Lock', request.bytes));
  while (answer.next()) {
    const { at, end } = answer.span();
    if (answer.number === 2) return answer.bytes.slice(at, end);
  }
  throw new Error('a lock without a key');
}

export async function etcdUnlock(connection: GrpcConnection, key: Uint8Array): Promise<void> {
  const request = framed(fieldBytes(key.length));
  request.field(0x0a, key);
  await connection.call('/v3lockpb.Lock/Unlock', request.bytes);
}

/** A lease of its own for each client: two waits of one lease for one name would be the same waiter. */
export async function etcdLease(etcd: Etcd3, ttlSeconds: number): Promise<number> {
  const id = Math.floor(Math.random() * 2 ** 40) + 1;
  await etcd.leaseClient.leaseGrant({ ID: String(id), TTL: ttlSeconds });
  return id;
}
