import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePorts } from '../../src/cli/etcd-server.ts';
import { etcdMissing } from '../servers/etcd-missing.ts';
import { temporaryFolder } from '../servers/holdfast.ts';
import { holdfast } from './command.ts';
import { Up } from './up.ts';

describe.skipIf(etcdMissing)('holdfast up', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let up: Up | undefined;
  let url = '';

  beforeAll(async () => {
    folder = await temporaryFolder();
  });

  afterAll(async () => {
    await up?.stop();
    await folder.remove();
  });

  async function start(): Promise<Up> {
    const [port] = await freePorts(1);
    url = `http://127.0.0.1:${port}`;
    up = new Up(folder.path, port);
    await up.says(`holdfast listening on ${url}\n`);
    return up;
  }

  const headers = { 'content-type': 'application/json' };
  const acquire = (name: string) =>
    fetch(`${url}/v1/locks/${name}`, { method: 'POST', headers, body: JSON.stringify({ ttlMs: 600_000 }) });

  it('starts two etcd shards and the service, says so, and ends them all', async () => {
    const first = await start();
    expect(first.output).toMatch(/etcd \d+\.\d+\.\d+ .*\nshard s0: etcd on (\S+)\nshard s1: etcd on (\S+)\n/);
    expect((await acquire('kept')).status).toBe(201);
    const endpoints = [...first.output.matchAll(/etcd on (\S+)/g)].map((match) => match[1]);
    for (const endpoint of endpoints) expect((await fetch(`${endpoint}/health`)).status).toBe(200);
    expect(await first.stop()).toBe(0);
    for (const endpoint of endpoints) await expect(fetch(`${endpoint}/health`)).rejects.toThrow();
    const shards = readFileSync(join(folder.path, 'up', 'shards.yaml'), 'utf8');
    for (const endpoint of endpoints) expect(shards).toContain(endpoint);
  });

  it('finds its shards and locks again', async () => {
    const second = await start();
    expect((await acquire('kept')).status).toBe(409);
    expect(await second.stop()).toBe(0);
  });

  it('refuses another number of shards on the same folder', async () => {
    const ran = await holdfast(['up', '--shards', '3', '--data', 'up'], folder.path);
    expect(ran.code).toBe(78);
    expect(ran.stderr).toMatch(/^holdfast: --shards is 3; allowed: 2,.*\n$/);
    expect(existsSync(join(folder.path, 'up', 's2'))).toBe(false);
  });
});
