/** API keys with real processes: made by the command line, asked for by the service, revoked while it runs. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test, vi } from 'vitest';
import { holdfast } from '../cli/command.ts';
import { pause, type HoldfastServer } from '../servers/holdfast.ts';
import { HttpClient } from './http.ts';
import { BinarySocket, JsonSocket } from './sockets.ts';
import { onEachStore, type Stage } from './stores.ts';

const START_MS = 60_000;
const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

onEachStore(
  'a service with API keys',
  (stage) => {
    const secrets: string[] = [];
    let file: string;
    let admin: string;
    let team: string;
    let tenant: string;
    const as = (key?: string, server: HoldfastServer = stage.server) => new HttpClient(server.url, key);

    async function create(...args: string[]): Promise<string> {
      const ran = await holdfast(['keys', 'create', '--file', file, ...args], stage.folder);
      expect([ran.stderr, ran.code]).toEqual([expect.stringContaining('is in'), 0]);
      secrets.push(ran.stdout.trim());
      return ran.stdout.trim();
    }

    /** Resolves once the log says that the keys were read, or could not be, once more. */
    async function reload(words: string): Promise<void> {
      const count = (): number => stage.server.output.split(words).length;
      const before = count();
      stage.server.signal('SIGHUP');
      await vi.waitFor(() => expect(count()).toBe(before + 1), { timeout: 10_000, interval: 20 });
    }

    beforeAll(async () => {
      file = join(stage.folder, 'keys.yaml');
      admin = await create('--principal', 'ops', '--right', 'admin');
      team = await create('--principal', 'team', '--prefix', 'team/');
      tenant = await create('--principal', 'team', '--namespace', 'tenant');
      await stage.start(startOptions());
    }, START_MS);

    const startOptions = () => ({
      args: ['--keys', file, '--host', '0.0.0.0', '--log', 'json'],
      apiKey: admin,
    });

    test('asks for them on any address, but for its health', async () => {
      expect(stage.server.output).toContain('0.0.0.0');
      expect(stage.server.output.includes('keys without cluster-key')).toBe(stage.store === 'etcd');
      for (const path of ['/healthz', '/readyz']) expect((await as().call('GET', path)).status).toBe(200);
      for (const path of ['/v1/locks', '/v1/cluster', '/metrics', '/openapi.json', '/v1/locks/a']) {
        const { status, headers, body } = await as().call('GET', path);
        expect([status, headers.get('www-authenticate'), body.code]).toEqual([
          401,
          'Bearer',
          'unauthenticated',
        ]);
        expect((await as(`${team.slice(0, -1)}!`).call('GET', path)).status).toBe(401);
      }
      await expect(JsonSocket.open(stage.server.wsUrl)).rejects.toThrow('refused with 401');
      await expect(BinarySocket.open(stage.server.wsUrl, bearer('hf_x'))).rejects.toThrow('refused with 401');
    });

    test('lets each do what it may: calls, items of a batch, and frames', async () => {
      expect((await as(team).acquire('team/1')).status).toBe(201);
      expect((await as(team).acquire('other')).body).toMatchObject({ status: 403, code: 'forbidden' });
      expect((await as(team).call('GET', '/metrics')).status).toBe(403);
      expect((await as(admin).call('GET', '/metrics')).status).toBe(200);
      const ops = ['team/2', 'other', 'team/3'].map((name) => ({ op: 'acquire', name }));
      const statuses = (answers: { status: number }[]): number[] => answers.map(({ status }) => status);
      expect(statuses((await as(team).batch(ops)).body.results)).toEqual([201, 403, 201]);
      const json = await JsonSocket.open(stage.server.wsUrl, { headers: bearer(team) });
      const binary = await BinarySocket.open(stage.server.wsUrl, bearer(team));
      const names = ['team/4', 'other', 'team/2'];
      expect(statuses(await json.askAll(names.map((name) => ({ op: 'acquire', name }))))).toEqual([
        201, 403, 409,
      ]);
      expect(statuses(await binary.askAll(names.map((name) => ({ op: 'acquire', name }))))).toEqual([
        409, 403, 409,
      ]);
      json.close();
      binary.close();
      const listed = await as(team).call('GET', '/v1/locks');
      expect(listed.body.locks.map(({ name }: { name: string }) => name).sort()).toEqual([
        'team/1',
        'team/2',
        'team/3',
        'team/4',
      ]);
    });

    test(
      'keeps namespaces apart, whichever process is asked',
      async () => {
        const servers = [stage.server, ...(await more(stage, startOptions()))];
        for (let i = 0; i < 20; i++) {
          const name = `team/apart-${i}`;
          const [one, other] = [servers[i % servers.length], servers[(i + 1) % servers.length]];
          const mine = (await as(team, one).acquire(name)).body;
          const theirs = await as(tenant, other).acquire(name);
          expect([theirs.status, theirs.body.name]).toEqual([201, name]);
          expect((await as(tenant, one).release(name, mine.lockToken)).status).toBe(410);
          expect((await as(tenant, one).acquire(name)).status).toBe(409);
          expect((await as(team, other).verify(name, { lockToken: mine.lockToken })).body.current).toBe(true);
        }
        for (const server of servers) {
          const list = async (key: string): Promise<string[]> =>
            (await as(key, server).call('GET', '/v1/locks?limit=1000&prefix=team%2Fapart')).body.locks.map(
              ({ name }: { name: string }) => name,
            );
          expect(await list(tenant)).toHaveLength(20);
          expect((await list(admin)).sort()).toEqual((await list(tenant)).sort());
        }
        await Promise.all(servers.slice(1).map((server) => server.stop()));
      },
      START_MS,
    );

    test(
      'tells nothing of other namespaces, in cursors either',
      async () => {
        // So many that some share a slot, where a page may stop at any; those to be seen come last.
        const namesOf = (word: string) => Array.from({ length: 400 }, (_, i) => `${word}-${i}`).sort();
        for (const [key, word] of [
          [admin, 'visible'],
          [tenant, 'hidden'],
        ]) {
          const ops = namesOf(word).map((name) => ({ op: 'acquire', name }));
          const { body } = await as(key).batch(ops);
          expect(body.results.every(({ status }: { status: number }) => status === 201)).toBe(true);
        }
        const { names, told } = await walk(as(admin), '');
        expect(names.filter((name) => !name.startsWith('team/')).sort()).toEqual(namesOf('visible'));
        expect(told).toContain('visible-');
        expect(told).not.toContain('hidden-');
        expect((await walk(as(tenant), '&prefix=h')).names.sort()).toEqual(namesOf('hidden'));
      },
      START_MS,
    );

    test('SIGHUP: a key that was revoked is none any more, its sockets are closed, a new one is taken', async () => {
      const brief = await create('--principal', 'brief', '--right', 'lock');
      expect((await as(brief).acquire('brief')).status).toBe(401);
      await reload('the API keys were read again');
      expect((await as(brief).acquire('brief')).status).toBe(201);
      const sockets = [
        await JsonSocket.open(stage.server.wsUrl, { headers: bearer(brief) }),
        await BinarySocket.open(stage.server.wsUrl, bearer(brief)),
      ];
      const kept = await JsonSocket.open(stage.server.wsUrl, { headers: bearer(team) });
      const revoked = await holdfast(['keys', 'revoke', brief, '--file', file], stage.folder);
      expect(revoked.code).toBe(0);
      await reload('the API keys were read again');
      for (const socket of sockets) expect(await socket.closed).toEqual({ code: 1008 });
      expect((await as(brief).get('brief')).status).toBe(401);
      expect((await kept.ask({ op: 'ping' })).status).toBe(200);
      kept.close();
      const line = stage.server.output.split('\n').findLast((text) => text.includes('read again'))!;
      expect(JSON.parse(line)).toMatchObject({ keys: 3, added: 0, changed: 0, removed: 1 });
    });

    test('SIGHUP: a file that is broken changes nothing', async () => {
      const good = readFileSync(file, 'utf8');
      for (const broken of [`keys: [${team}`, `keys: [{id: ${team}}]`, `${team}: 1`]) {
        writeFileSync(file, broken);
        await reload('the API keys stay as they were');
        expect((await as(team).acquire('team/1')).status).toBe(409);
      }
      writeFileSync(file, good);
    });

    test('no secret is ever in the log', async () => {
      await as(team).call('POST', '/v1/locks/x', { text: '{' });
      await as(team).call('GET', `/v1/locks/${team}`);
      await pause(50);
      expect(secrets.length).toBeGreaterThan(3);
      for (const secret of secrets) {
        for (const part of [secret, secret.slice(-43), secret.slice(-43, -20)]) {
          expect(stage.server.output).not.toContain(part);
        }
      }
      expect(stage.server.output).not.toContain('sha256:');
    });
  },
  { start: false },
);

/** A whole listing, lock by lock; `told` is what its cursors tell to whoever decodes them. */
async function walk(http: HttpClient, query: string): Promise<{ names: string[]; told: string }> {
  const names: string[] = [];
  let told = '';
  for (let cursor = ''; ;) {
    const { locks, nextCursor } = (await http.call('GET', `/v1/locks?limit=1${query}${cursor}`)).body;
    names.push(...locks.map(({ name }: { name: string }) => name));
    if (nextCursor === undefined) return { names, told };
    told += Buffer.from(nextCursor, 'base64url').toString();
    cursor = `&cursor=${nextCursor}`;
  }
}

/** On etcd one more process, so that some requests are forwarded; the embedded store has only one. */
async function more(stage: Stage, options: object): Promise<HoldfastServer[]> {
  if (stage.store === 'embedded') return [];
  const server = await stage.spawn(options);
  await server.listening();
  const { apiKey } = options as { apiKey: string };
  const owned = async (): Promise<number> => {
    const { body } = await new HttpClient(server.url, apiKey).call('GET', '/metrics');
    const counts = [...String(body).matchAll(/^holdfast_slots_owned\{.*\} (\d+)$/gm)];
    return counts.reduce((sum, [, count]) => sum + Number(count), 0);
  };
  await vi.waitFor(async () => expect(await owned()).toBeGreaterThan(1_000), {
    timeout: 30_000,
    interval: 100,
  });
  return [server];
}
