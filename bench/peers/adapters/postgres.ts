/**
 * Two locks on PostgreSQL over `pg`: advisory locks, which live in the server's
 * memory and end with the session; and a row for each lock, written with
 * synchronous_commit, with a fence and an end of its time.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chown, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePorts } from '../../../src/cli/etcd-server.ts';
import { works } from '../../../src/cli/provide.ts';
import type { LockClient, Peer, Shape, Standing } from '../peer.ts';
import { providePackage, startProgram } from '../program.ts';

const run = promisify(execFile);
const VERSIONS = '/usr/lib/postgresql';
const USER = 'postgres';
/** In the open model. */
const CONNECTIONS_MIN = 8;
const TTL_SECONDS = 30;

const TABLE = `CREATE TABLE IF NOT EXISTS locks
  (name text PRIMARY KEY, token text NOT NULL, fence bigint NOT NULL, until timestamptz NOT NULL);
  CREATE SEQUENCE IF NOT EXISTS fences`;
const TAKE = `INSERT INTO locks VALUES ($1, $2, nextval('fences'), now() + interval '${TTL_SECONDS} s')
  ON CONFLICT (name) DO UPDATE SET token = $2, fence = nextval('fences'), until = EXCLUDED.until
  WHERE locks.until < now() RETURNING fence`;
const GIVE_BACK = 'DELETE FROM locks WHERE name = $1 AND token = $2';

interface Target {
  readonly port: number;
}

const COMMON = { locksPerBlock: 1, concurrencies: [1, 8, 32, 128], start } as const;

export const POSTGRES: readonly Peer[] = [
  {
    ...COMMON,
    key: 'postgres-advisory',
    name: 'PostgreSQL advisory locks',
    how: 'pg_try_advisory_lock and unlock, pg, prepared, one query at a time on each connection',
    durable: 'no: in memory, bound to the session',
    fencing: 'no',
    nodeLoss: 'no',
    expiry: 'end of the session',
    client: 'postgres-advisory',
  },
  {
    ...COMMON,
    key: 'postgres-rows',
    name: 'PostgreSQL, a row a lock',
    how: 'INSERT … ON CONFLICT and DELETE, pg, prepared, one query at a time on each connection',
    durable: 'yes: synchronous_commit, fsync',
    fencing: 'yes (a sequence)',
    nodeLoss: 'only with a synchronous standby',
    expiry: 'a time in the row',
    client: 'postgres-rows',
  },
];

async function start(folder: string): Promise<Standing> {
  const programs = await providePostgres();
  const data = join(folder, 'data');
  await mkdir(data, { mode: 0o700 });
  const user = process.getuid?.() === 0 ? await idsOf(USER) : undefined;
  if (user !== undefined) {
    await chown(data, user.uid, user.gid);
    await chown(folder, user.uid, user.gid);
  }
  const initialize = ['-D', data, '-U', USER, '--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C'];
  await run(join(programs, 'initdb'), initialize, { ...user, cwd: folder });
  const [port] = await freePorts(1);
  const settings = {
    port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    fsync: 'on',
    synchronous_commit: 'on',
    max_connections: 300,
    shared_buffers: '256MB',
    wal_level: 'minimal',
    max_wal_senders: 0,
    max_wal_size: '4GB',
  };
  const args = [
    '-D',
    data,
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
  const program = await startProgram({
    ...{ command: join(programs, 'postgres'), args, folder, port, stopSignal: 'SIGINT' },
    ...(user === undefined ? {} : { user }),
  });
  const target: Target = { port };
  return { pids: new Map([['postgres', program.pid]]), target, stop: () => program.stop() };
}

/** The folder with initdb and postgres of the newest version that is installed. */
async function providePostgres(): Promise<string> {
  const newest = async (): Promise<string | undefined> => {
    const versions = (await readdir(VERSIONS).catch((): string[] => [])).toSorted(
      (a, b) => Number(b) - Number(a),
    );
    for (const version of versions) {
      const programs = join(VERSIONS, version, 'bin');
      if (await works(join(programs, 'postgres'), ['--version'])) return programs;
    }
    return undefined;
  };
  await providePackage('postgresql', async () => (await newest()) !== undefined);
  return (await newest())!;
}

/** PostgreSQL refuses to run as root. */
async function idsOf(user: string): Promise<{ uid: number; gid: number }> {
  const id = async (flag: string): Promise<number> => Number((await run('id', [flag, user])).stdout);
  return { uid: await id('-u'), gid: await id('-g') };
}

/** As many connections as blocks are in flight; a block keeps its connection, as a session's lock must. */
async function connectAll(target: unknown, shape: Shape): Promise<Client[]> {
  const { port } = target as Target;
  const count = Math.max(CONNECTIONS_MIN, shape.concurrency);
  const clients = Array.from(
    { length: count },
    () => new Client({ port, host: '127.0.0.1', user: USER, database: USER }),
  );
  await Promise.all(clients.map((client) => client.connect()));
  return clients;
}

export async function connectAdvisory(target: unknown, shape: Shape): Promise<LockClient> {
  const clients = await connectAll(target, shape);
  const ask = async (name: string, block: number): Promise<void> => {
    const text =
      name === 'take' ? 'SELECT pg_try_advisory_lock($1) AS done' : 'SELECT pg_advisory_unlock($1) AS done';
    const values = [keyOf(shape.nameOf(block))];
    const { rows } = await clients[block % clients.length].query<{ done: boolean }>({ name, text, values });
    if (!rows[0].done) throw new Error(`${name}: not done`);
  };
  return {
    acquire: (block) => ask('take', block),
    release: (block) => ask('give back', block),
    close: () => closeAll(clients),
  };
}

/** Advisory locks have 64-bit numbers for names. */
function keyOf(name: string): string {
  return createHash('sha1').update(name).digest().readBigInt64LE(0).toString();
}

export async function connectRows(target: unknown, shape: Shape): Promise<LockClient> {
  const clients = await connectAll(target, shape);
  await clients[0].query(TABLE);
  const tokens = new Map<number, string>();
  let claims = 0;
  const ask = async (name: string, text: string, block: number): Promise<void> => {
    const values = [shape.nameOf(block), tokens.get(block)];
    const { rowCount } = await clients[block % clients.length].query({ name, text, values });
    if (rowCount !== 1) throw new Error(`${name}: ${rowCount} rows`);
  };
  return {
    async acquire(block) {
      tokens.set(block, `token-${++claims}`);
      await ask('take', TAKE, block);
    },
    release: (block) => ask('give back', GIVE_BACK, block),
    close: () => closeAll(clients),
  };
}

async function closeAll(clients: readonly Client[]): Promise<void> {
  await Promise.all(clients.map((client) => client.end()));
}
