/**
 * A lock on a key-value bucket of NATS JetStream: create the key, delete it at
 * the revision that the create told. Its file store answers before the fsync
 * unless `sync_interval` is `always`.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Kvm } from '@nats-io/kv';
import { connect as connectTo } from '@nats-io/transport-node';
import { freePorts } from '../../../src/cli/etcd-server.ts';
import type { LockClient, Peer, Shape, Standing } from '../peer.ts';
import { startProgram } from '../program.ts';
import { provideNats } from './nats-binary.ts';

const TTL_MS = 60_000;

type SyncInterval = 'always' | '2m';

interface Target {
  readonly port: number;
}

function nats(sync: SyncInterval): Peer {
  return {
    key: `nats-${sync}`,
    name: `NATS KV create, ${sync === 'always' ? 'sync always' : 'sync every 2 min'}`,
    how: 'create and delete at its revision, @nats-io/kv over one connection, file store, fresh names',
    durable: sync === 'always' ? 'yes: sync_interval always' : 'no: sync_interval 2m (its default)',
    fencing: 'yes (revision)',
    nodeLoss: 'yes: 3 replicas',
    expiry: 'TTL of the bucket',
    client: 'nats',
    locksPerBlock: 1,
    concurrencies: [1, 8, 64, 256],
    // A create of a name that was deleted needs three round trips instead of one.
    names: 4_000_000,
    start: (folder) => start(folder, sync),
  };
}

export const NATS: readonly Peer[] = [nats('always'), nats('2m')];

async function start(folder: string, sync: SyncInterval): Promise<Standing> {
  const command = await provideNats();
  const [port] = await freePorts(1);
  const configuration = join(folder, 'nats.conf');
  const store = JSON.stringify(join(folder, 'store'));
  await writeFile(
    configuration,
    `listen: "127.0.0.1:${port}"\njetstream {\n  store_dir: ${store}\n  sync_interval: "${sync}"\n}\n`,
  );
  const program = await startProgram({ command, args: ['-c', configuration], folder, port });
  const target: Target = { port };
  return { pids: new Map([['nats', program.pid]]), target, stop: () => program.stop() };
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const connection = await connectTo({ servers: `127.0.0.1:${(target as Target).port}` });
  const bucket = await new Kvm(connection).create('locks', { history: 1, replicas: 1, ttl: TTL_MS });
  const held = new Map<number, number>();
  return {
    async acquire(block) {
      held.set(block, await bucket.create(shape.nameOf(block), 'holder'));
    },
    async release(block) {
      await bucket.delete(shape.nameOf(block), { previousSeq: held.get(block)! });
      held.delete(block);
    },
    async close() {
      await connection.close();
    },
  };
}
