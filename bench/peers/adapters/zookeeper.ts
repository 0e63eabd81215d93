/**
 * ZooKeeper's lock recipe: an ephemeral sequential node under the lock's node,
 * held by whoever has the lowest number. The locks' own nodes are made before
 * the clock starts, as those of locks in use are there.
 *
 *   acquire: create /locks/name/lock- ─► children of /locks/name: the own one is the lowest ─► held
 *   release: remove it
 */
import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import zookeeper, { type Client } from 'node-zookeeper-client';
import { freePorts } from '../../../src/cli/etcd-server.ts';
import { works } from '../../../src/cli/provide.ts';
import type { LockClient, Peer, Shape, Standing } from '../peer.ts';
import { providePackage, startProgram } from '../program.ts';

const JAR = '/usr/share/java/zookeeper.jar';
const MAIN = 'org.apache.zookeeper.server.quorum.QuorumPeerMain';
const SESSION_TIMEOUT_MS = 30_000;
/** A session is a connection, and the server works on one request of each at a time. */
const SESSIONS_MAX = 8;
const ROOT = '/locks';

interface Target {
  readonly port: number;
}

export const ZOOKEEPER: Peer = {
  key: 'zookeeper',
  name: "ZooKeeper's lock recipe",
  how: `ephemeral sequential nodes, node-zookeeper-client, up to ${SESSIONS_MAX} sessions, requests pipelined`,
  durable: 'yes: forceSync',
  fencing: 'yes (zxid, if asked for)',
  nodeLoss: 'yes: ensemble of three',
  expiry: 'session of the client',
  client: 'zookeeper',
  locksPerBlock: 1,
  concurrencies: [1, 8, 64, 256],
  names: 2_048,
  start,
};

async function start(folder: string): Promise<Standing> {
  const isThere = async (): Promise<boolean> =>
    (await works('java', ['-version'])) &&
    (await access(JAR).then(
      () => true,
      () => false,
    ));
  await providePackage('zookeeper', isThere);
  const [port] = await freePorts(1);
  const settings = {
    dataDir: join(folder, 'data'),
    clientPort: port,
    clientPortAddress: '127.0.0.1',
    tickTime: 2_000,
    maxClientCnxns: 0,
    forceSync: 'yes',
    'admin.enableServer': false,
  };
  const configuration = join(folder, 'zoo.cfg');
  await writeFile(
    configuration,
    Object.entries(settings)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const java = ['-Xms512m', '-Xmx1g', '-Dzookeeper.admin.enableServer=false', '-Dzookeeper.forceSync=yes'];
  const args = [...java, '-cp', `${folder}:${JAR}`, MAIN, configuration];
  const program = await startProgram({ command: 'java', args, folder, port });
  const target: Target = { port };
  return { pids: new Map([['zookeeper', program.pid]]), target, stop: () => program.stop() };
}

class RecipeClient implements LockClient {
  readonly #shape: Shape;
  readonly #sessions: Client[];
  readonly #held = new Map<number, string>();

  constructor(sessions: Client[], shape: Shape) {
    this.#sessions = sessions;
    this.#shape = shape;
  }

  async prepare(): Promise<void> {
    await this.#create(0, ROOT, zookeeper.CreateMode.PERSISTENT).catch(() => {});
    const made: Promise<string>[] = [];
    for (let block = 0; block < this.#shape.blocks; block++)
      made.push(this.#create(block, this.#folder(block), zookeeper.CreateMode.PERSISTENT));
    await Promise.all(made);
  }

  async acquire(block: number): Promise<void> {
    const folder = this.#folder(block);
    const path = await this.#create(block, `${folder}/lock-`, zookeeper.CreateMode.EPHEMERAL_SEQUENTIAL);
    const children = await new Promise<string[]>((resolve, reject) => {
      this.#session(block).getChildren(folder, (error, names) => (error ? reject(error) : resolve(names)));
    });
    if (children.toSorted()[0] !== path.slice(folder.length + 1))
      throw new Error('a lock that somebody holds');
    this.#held.set(block, path);
  }

  async release(block: number): Promise<void> {
    const path = this.#held.get(block)!;
    this.#held.delete(block);
    await new Promise<void>((resolve, reject) => {
      this.#session(block).remove(path, -1, (error) => (error ? reject(error) : resolve()));
    });
  }

  async close(): Promise<void> {
    for (const session of this.#sessions) session.close();
  }

  #folder(block: number): string {
    return `${ROOT}/${this.#shape.nameOf(block)}`;
  }

  #session(block: number): Client {
    return this.#sessions[block % this.#sessions.length];
  }

  #create(block: number, path: string, mode: number): Promise<string> {
    return new Promise((resolve, reject) => {
      const done = (error: Error | null, made: string): void => (error ? reject(error) : resolve(made));
      this.#session(block).create(path, Buffer.alloc(0), mode, done);
    });
  }
}

async function connected(port: number): Promise<Client> {
  const session = zookeeper.createClient(`127.0.0.1:${port}`, { sessionTimeout: SESSION_TIMEOUT_MS });
  await new Promise<void>((resolve) => {
    session.once('connected', resolve);
    session.connect();
  });
  return session;
}

export async function connect(target: unknown, shape: Shape): Promise<LockClient> {
  const { port } = target as Target;
  const count = Math.min(SESSIONS_MAX, shape.concurrency);
  const sessions = await Promise.all(Array.from({ length: count }, () => connected(port)));
  const client = new RecipeClient(sessions, shape);
  await client.prepare();
  return client;
}
