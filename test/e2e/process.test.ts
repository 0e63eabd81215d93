import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { PROVISION_MS } from '../servers/etcd.ts';
import { HttpClient } from './http.ts';
import { JsonSocket } from './sockets.ts';
import { pause } from '../servers/holdfast.ts';
import { onEachStore, Stage } from './stores.ts';

const START_MS = 60_000;

onEachStore('the process', (stage) => {
  test('tells that it lives, is ready, and what it serves', async () => {
    const { http, server } = stage;
    expect(server.output).toMatch(
      new RegExp(`holdfast listening on http://127\\.0\\.0\\.1:${server.port}\\b`),
    );
    expect((await http.call('GET', '/healthz')).status).toBe(200);
    const ready = await http.call('GET', '/readyz');
    expect(ready.status).toBe(200);
    const shards = stage.store === 'etcd' ? ['s0', 's1'] : ['s0', 's1'];
    for (const shard of shards) expect(JSON.stringify(ready.body)).toContain(`"${shard}"`);
    const cluster = await http.call('GET', '/v1/cluster');
    expect(cluster.status).toBe(200);
    const text = JSON.stringify(cluster.body);
    for (const shard of shards) expect(text).toContain(`"${shard}"`);
    const openapi = await http.call('GET', '/openapi.json');
    expect(openapi.body.openapi).toMatch(/^3\.1/);
    expect(Object.keys(openapi.body.paths)).toContain('/v1/locks/{name}');
  });

  test('has the metrics whose names do not change', async () => {
    const { http } = stage;
    await http.acquire('measured/held');
    const { lockToken } = (await http.acquire('measured')).body;
    await http.acquire('measured');
    await http.release('measured', lockToken);
    // Gauges of the lanes are brought up to date now and then.
    await vi.waitFor(
      async () => {
        const { body } = await http.call('GET', '/metrics');
        expect(body).toMatch(/^holdfast_held [1-9]/m);
        expect(body).toMatch(/^holdfast_hold_seconds_count [1-9]/m);
      },
      { timeout: 5_000, interval: 100 },
    );
    const { body } = await http.call('GET', '/metrics');
    for (const name of [
      'holdfast_op_duration_seconds',
      'holdfast_hold_seconds',
      'holdfast_held',
      'holdfast_commit_duration_seconds',
      'holdfast_commit_ops',
      'holdfast_sockets',
    ]) {
      expect(body).toContain(`# TYPE ${name} `);
    }
    expect(body).toMatch(/^holdfast_ops_total\{[^}]*op="acquire"[^}]*\} [1-9]/m);
    expect(body).toMatch(/^holdfast_ops_total\{[^}]*code="lock_held"[^}]*\} [1-9]/m);
    for (const shard of ['s0', 's1']) {
      expect(body).toMatch(new RegExp(`^holdfast_shard_up\\{shard="${shard}"\\} 1$`, 'm'));
      expect(body).toMatch(new RegExp(`^holdfast_slots_owned\\{shard="${shard}"\\} [1-9]`, 'm'));
    }
    const slots = [...body.matchAll(/^holdfast_slots_owned\{.*\} (\d+)$/gm)].map((match) => Number(match[1]));
    expect(slots.reduce((sum: number, count: number) => sum + count, 0)).toBe(4096);
    expect(body).not.toContain('measured');
  });

  test(
    'SIGTERM drains: in-flight work is answered, it exits with 0, locks stay',
    async () => {
      const { http, server } = stage;
      const { lockToken, fencingToken } = (await http.acquire('stays', { ttlMs: 60_000 })).body;
      const socket = await JsonSocket.open(server.wsUrl);
      const flood = socket.askAll(
        Array.from({ length: 500 }, (_, i) => ({ op: 'acquire', name: `drain/${i}` })),
      );
      await socket.ask({ op: 'ping' });
      server.signal('SIGTERM');
      const statuses = (await flood).map(({ status }) => status);
      expect(new Set([...statuses, 201, 503])).toEqual(new Set([201, 503]));
      expect(await server.ended).toEqual({ code: 0, signal: null });
      expect(await socket.closed).toEqual({ code: 1012 });
      await stage.start();
      expect((await stage.http.verify('stays', { lockToken })).body).toMatchObject({
        current: true,
        fencingToken,
      });
      for (const [i, status] of statuses.entries()) {
        if (status === 201) expect((await stage.http.get(`drain/${i}`)).body.held).toBe(true);
      }
      expect((await stage.http.release('stays', lockToken)).status).toBe(204);
    },
    START_MS,
  );

  test(
    'kill -9 loses no lock, and tokens go on rising',
    async () => {
      const held = await Promise.all(
        Array.from(
          { length: 200 },
          async (_, i) => (await stage.http.acquire(`kept/${i}`, { ttlMs: 120_000 })).body,
        ),
      );
      const gone = (await stage.http.acquire('gone')).body;
      await stage.http.release('gone', gone.lockToken);
      await stage.server.kill();
      await stage.start();
      for (const { name, lockToken, fencingToken } of held) {
        expect((await stage.http.verify(name, { lockToken })).body).toMatchObject({
          current: true,
          fencingToken,
        });
      }
      expect((await stage.http.acquire('gone', { lockToken: gone.lockToken })).status).toBe(410);
      const next = (await stage.http.acquire('gone')).body;
      expect(next.fencingToken).toBeGreaterThan(gone.fencingToken);
      const { name, lockToken, fencingToken } = held[0];
      expect((await stage.http.release(name, lockToken)).status).toBe(204);
      expect((await stage.http.acquire(name)).body.fencingToken).toBeGreaterThan(fencingToken);
    },
    START_MS,
  );
});

describe('a wrong start', () => {
  const stage = new Stage('embedded');
  beforeAll(() => stage.open(), PROVISION_MS);
  afterAll(() => stage.close());

  async function refused(args: string[], env: Record<string, string> = {}) {
    const server = await stage.spawn({ args, env });
    const { code } = await server.ended;
    return { code, lines: server.output.trim().split('\n') };
  }

  test.each([
    ['a port', ['--port', '99999'], {}, /port/],
    ['a time-out', ['--request-timeout-ms', '5'], {}, /request-timeout-ms/],
    ['a log format', ['--log', 'xml'], {}, /log/],
    ['workers by environment', [], { HOLDFAST_WORKERS: 'many' }, /workers/i],
    ['a shards file that is not there', ['--shards', 'nowhere.yaml'], {}, /nowhere\.yaml/],
    ['a host without keys', ['--host', '0.0.0.0'], {}, /host/],
  ])('%s: exit 78 and one line', async (_, args, env, words) => {
    const { code, lines } = await refused(args, env as Record<string, string>);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(words);
    expect(code).toBe(78);
  });

  test('a shards file with a mistake: exit 78, one line with file, setting, value', async () => {
    const path = join(stage.folder, 'wrong.yaml');
    await writeFile(path, 'slots: 4096\nshards:\n  - name: s0\n    engine: floppy\n');
    const { code, lines } = await refused(['--shards', path]);
    expect([code, lines.length]).toEqual([78, 1]);
    expect(lines[0]).toMatch(/engine.*floppy.*etcd/);
  });

  test(
    'a second process on the same embedded data is refused, the first serves on',
    async () => {
      await stage.start();
      const second = await stage.spawn();
      const { code } = await second.ended;
      expect(code).not.toBe(0);
      expect(second.output).toMatch(/data/);
      expect((await stage.http.acquire('alone')).status).toBe(201);
      await stage.server.stop();
    },
    START_MS,
  );

  test(
    'a port that is taken ends it with a line that names it',
    async () => {
      const taken = createServer().listen(0, '127.0.0.1');
      await pause(50);
      const { port } = taken.address() as { port: number };
      const server = await stage.spawn({ port });
      const { code } = await server.ended;
      taken.close();
      expect(code).not.toBe(0);
      expect(server.output).toContain(String(port));
    },
    START_MS,
  );

  test(
    'flag beats environment beats file; the JSON log says that it listens',
    async () => {
      const file = join(stage.folder, 'holdfast.yaml');
      await writeFile(file, 'log: pretty\nrequest-timeout-ms: 3000\n');
      const server = await stage.start({
        args: ['--config', file, '--log', 'json'],
        env: { HOLDFAST_LOG: 'pretty' },
      });
      const line = server.output.split('\n').find((text) => text.includes('listening'))!;
      expect(JSON.parse(line)).toMatchObject({ msg: 'listening' });
      const { status } = await new HttpClient(server.url).call('GET', '/healthz');
      expect(status).toBe(200);
      expect((await server.stop()).code).toBe(0);
    },
    START_MS,
  );
});
