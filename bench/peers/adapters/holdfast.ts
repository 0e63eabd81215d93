/** Holdfast over one etcd shard with fsync, as one process, started as its users start it: the servers of the three Holdfast rows. */
import { startEtcd } from '../../../src/cli/etcd-server.ts';
import { startHoldfast } from '../../../test/servers/holdfast.ts';
import type { Peer, Promises, Standing } from '../peer.ts';

const PROMISES: Promises = {
  durable: 'yes: etcd, fsync before the answer',
  fencing: 'yes',
  nodeLoss: 'yes: etcd of three, any Holdfast process takes over',
  expiry: 'TTL of each claim',
};

async function start(folder: string): Promise<Standing> {
  const etcd = await startEtcd({ dataFolder: folder, ownGroup: true });
  try {
    const server = await startHoldfast({ folder, etcd: [etcd.endpoints] });
    return {
      pids: new Map([
        ['holdfast', server.pid],
        ['etcd', etcd.members[0].pid!],
      ]),
      target: { url: server.url, wsUrl: server.wsUrl },
      async stop() {
        await server.stop();
        await etcd.stop();
      },
    };
  } catch (error) {
    await etcd.stop();
    throw error;
  }
}

const SOCKETS = 'binary WebSocket, 8 sockets';

export const HOLDFAST: readonly Peer[] = [
  {
    ...PROMISES,
    key: 'holdfast',
    name: 'Holdfast, frames of 64',
    how: `${SOCKETS}, 64 ops a frame`,
    client: 'holdfast-binary',
    locksPerBlock: 64,
    concurrencies: [8, 64, 256, 512],
    start,
  },
  {
    ...PROMISES,
    key: 'holdfast-1',
    name: 'Holdfast, one op a frame',
    how: `${SOCKETS}, one op a frame, many frames open`,
    client: 'holdfast-binary',
    locksPerBlock: 1,
    concurrencies: [1, 64, 512, 2_048],
    start,
  },
  {
    ...PROMISES,
    key: 'holdfast-http',
    name: 'Holdfast, HTTP',
    how: 'HTTP/1.1 keep-alive, one request at a time on each connection',
    client: 'holdfast-http',
    locksPerBlock: 1,
    concurrencies: [1, 8, 64, 256],
    start,
  },
];
