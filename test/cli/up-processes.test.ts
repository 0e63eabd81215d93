/** `holdfast up --processes 3`: two etcd shards, three processes, and the real HAProxy in front of them. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { freePorts } from '../../src/cli/etcd-server.ts';
import { haproxyConfig } from '../../src/cli/haproxy.ts';
import { BinarySocket, JsonSocket } from '../e2e/sockets.ts';
import { HttpClient } from '../e2e/http.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { haproxyMissing } from '../servers/haproxy-missing.ts';
import { pause, ROOT, temporaryFolder } from '../servers/holdfast.ts';
import { holdfast } from './command.ts';
import { Up } from './up.ts';

const run = promisify(execFile);
const PROCESSES = 3;
/** Lease and fail-over, while the machine does other things too. */
const TAKEOVER_MS = 15_000;

describe('the configuration of HAProxy', () => {
  const template = readFileSync(join(ROOT, 'deploy/haproxy/haproxy.cfg'), 'utf8');

  it('is the one in deploy/, with other addresses', () => {
    const made = haproxyConfig(1234, [
      { name: 'a', port: 5001 },
      { name: 'b', port: 5002 },
    ]);
    expect(made.match(/^ +(bind|server) .*$/gm)).toEqual([
      '    bind 127.0.0.1:1234',
      '    server a 127.0.0.1:5001',
      '    server b 127.0.0.1:5002',
    ]);
    const rest = (text: string) => text.split('\n').filter((line) => !/^ +(bind|server) /.test(line));
    expect(rest(made).slice(1)).toEqual(rest(template));
  });

  it('sends again only what cannot have been done', () => {
    expect(template.match(/^ +retry-on .*$/m)?.[0].trim()).toBe('retry-on conn-failure 503');
  });

  it.skipIf(haproxyMissing)('is valid to HAProxy', async () => {
    const haproxy = process.env['HOLDFAST_HAPROXY']!;
    await run(haproxy, ['-c', '-f', join(ROOT, 'deploy/haproxy/haproxy.cfg')]);
  });
});

describe.skipIf(etcdMissing || haproxyMissing)('holdfast up --processes', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let up: Up | undefined;
  let port = 0;
  let http: HttpClient;

  beforeAll(async () => {
    folder = await temporaryFolder();
    [port] = await freePorts(1);
    http = new HttpClient(`http://127.0.0.1:${port}`);
    await start();
  }, 120_000);

  afterAll(async () => {
    await up?.stop();
    await folder.remove();
  });

  async function start(): Promise<void> {
    up = new Up(folder.path, port, ['--processes', String(PROCESSES)]);
    await up.says(`holdfast listening on ${http.url}\n`);
  }

  const places = () =>
    [...up!.output.matchAll(/^process (p\d): (\S+), pid (\d+)$/gm)].map(([, name, url, pid]) => {
      return { name, url, pid: Number(pid) };
    });

  /** How many slots each process says that it owns. */
  const slotsOwned = () =>
    Promise.all(
      places().map(async ({ url }) => {
        const text: string = (await new HttpClient(url).call('GET', '/metrics')).body;
        const counts = [...text.matchAll(/^holdfast_slots_owned\{.*\} (\d+)$/gm)];
        return counts.reduce((sum, [, count]) => sum + Number(count), 0);
      }),
    );

  it('starts them, and all of them serve', async () => {
    expect(places().map(({ name }) => name)).toEqual(['p0', 'p1', 'p2']);
    await vi.waitFor(
      async () => {
        const owned = await slotsOwned();
        expect(Math.min(...owned)).toBeGreaterThan(500);
        expect(owned.reduce((sum, count) => sum + count, 0)).toBe(4096);
      },
      { timeout: 30_000, interval: 200 },
    );
  }, 60_000);

  it('serves a lock through HAProxy, over HTTP and both WebSockets', async () => {
    const url = `ws://127.0.0.1:${port}/v1/ws`;
    const taken = await http.acquire('job', { ttlMs: 60_000, owner: 'http' });
    expect(taken.status).toBe(201);
    const json = await JsonSocket.open(url);
    expect(await json.ask({ op: 'acquire', name: 'job' })).toMatchObject({ status: 409, code: 'lock_held' });
    const token = Buffer.from(taken.body.lockToken.replaceAll('-', ''), 'hex');
    const binary = await BinarySocket.open(url);
    expect(await binary.ask({ op: 'renew', name: 'job', token })).toMatchObject({
      status: 200,
      fencingToken: taken.body.fencingToken,
    });
    expect(await json.ask({ op: 'release', name: 'job', lockToken: taken.body.lockToken })).toMatchObject({
      status: 204,
    });
    // Whichever process each of these gets, names of all slots are served.
    for (let i = 0; i < 60; i++) expect((await http.acquire(`any/${i}`)).status).toBe(201);
    json.close();
    binary.close();
  });

  it('goes on serving after kill -9 of one process, and says how to start it again', async () => {
    const kept = await http.acquire('kept', { ttlMs: 300_000 });
    const [first] = places();
    process.kill(first.pid, 'SIGKILL');
    const names = Array.from({ length: 100 }, (_, i) => `after/${i}`);
    const startedAt = performance.now();
    const answers = await Promise.all(names.map((name) => http.acquire(name, { ttlMs: 300_000 })));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([201]));
    expect(performance.now() - startedAt).toBeLessThan(TAKEOVER_MS);
    expect((await http.renew('kept', kept.body.lockToken)).status).toBe(200);
    await up!.says('!! process p0');
    expect(up!.output).toMatch(/!! process p0 \(pid \d+\) ended: SIGKILL; .*\n!! {3}\S.* serve --port \d+ /);
  }, 60_000);

  it('starts the process that was killed again with the line it printed', async () => {
    const line = /^!! {3}(\S.*)$/m.exec(up!.output)![1];
    const child = execFile('/bin/sh', ['-c', `exec ${line}`], { cwd: folder.path });
    try {
      await vi.waitFor(async () => expect(Math.min(...(await slotsOwned()))).toBeGreaterThan(500), {
        timeout: 30_000,
        interval: 200,
      });
    } finally {
      child.kill('SIGTERM');
      await new Promise((resolve) => child.once('close', resolve));
    }
  }, 60_000);

  it('shows no HTTP client that a process is stopped orderly', async () => {
    const [, , third] = places();
    let stopped = false;
    const statuses = new Map<number, number>();
    const client = async (number: number): Promise<void> => {
      for (let i = 0; !stopped; i++) {
        const { status } = await http.acquire(`drained/${number}/${i}`);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    const clients = Array.from({ length: 12 }, (_, number) => client(number));
    await pause(300);
    process.kill(third.pid, 'SIGTERM');
    await up!.says('!! process p2');
    await pause(300);
    stopped = true;
    await Promise.all(clients);
    expect(up!.output).toMatch(/!! process p2 \(pid \d+\) ended: exit 0; /);
    expect([...statuses.keys()]).toEqual([201]);
    expect(statuses.get(201)).toBeGreaterThan(100);
  }, 60_000);

  it('ends them all, and finds locks and ports again', async () => {
    const before = places();
    expect(await up!.stop()).toBe(0);
    for (const { pid } of before) expect(() => process.kill(pid, 0)).toThrow();
    await start();
    expect(places().map(({ url }) => url)).toEqual(before.map(({ url }) => url));
    expect((await http.acquire('kept')).status).toBe(409);
  }, 120_000);

  it('refuses a port that is in use, before anything is started', async () => {
    const ran = await holdfast(
      ['up', '--processes', '2', '--port', String(port), '--data', 'x'],
      folder.path,
    );
    expect(ran.code).toBe(69);
    expect(ran.stderr).toMatch(/^holdfast: cannot listen on 127\.0\.0\.1:\d+: the port is in use\n$/);
  });
});
