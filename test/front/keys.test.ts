/** A front with API keys, over HTTP and both WebSocket protocols. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkKeys, type KeyEntry, type KeyInput, makeKey } from '../../src/config/keys.ts';
import { Authenticator } from '../../src/front/auth.ts';
import { Kind } from '../../src/op.ts';
import { call as callRig, expectProblem, expectQuiet, type Reply, TOKEN } from './calls.ts';
import { type Rig, startRig } from './rig.ts';
import { binaryAnswers, Client, frameOf, jsonAnswers } from './sockets.ts';

const ENTRIES = {
  team: { principal: 'team', prefixes: ['team/', '{x}'], rights: ['lock'] },
  reader: { principal: 'reader', rights: ['read'] },
  admin: { principal: 'admin', rights: ['admin'] },
  tenant: { principal: 'team', namespace: 'tenant', rights: ['lock'] },
  brief: { principal: 'brief', rights: ['lock'], expires: '2027-01-31' },
} as const satisfies Record<string, Omit<KeyInput, 'id' | 'hash'>>;
type Who = keyof typeof ENTRIES;
const WHO = Object.keys(ENTRIES) as Who[];
const MADE = Object.fromEntries(WHO.map((who) => [who, makeKey()])) as Record<
  Who,
  ReturnType<typeof makeKey>
>;
const EXPIRY = Date.UTC(2027, 0, 31);

const bearer = (who: Who): Record<string, string> => ({ authorization: `Bearer ${MADE[who].key}` });

/** The keys of `who`, with what is changed of them. */
function entries(
  who: readonly Who[] = WHO,
  change: Partial<Record<Who, Partial<KeyInput>>> = {},
): readonly KeyEntry[] {
  const keys = who.map((one) => {
    const { id, hash } = MADE[one];
    return { id, hash, ...structuredClone(ENTRIES[one]), ...change[one] };
  });
  return checkKeys({ keys }, 'keys.yaml');
}

let rig: Rig;
let auth: Authenticator;
let wallNow: number;

beforeEach(async () => {
  wallNow = EXPIRY - 1;
  auth = new Authenticator(entries(), () => wallNow);
  rig = await startRig({ allowOrigins: ['https://app.example'], auth });
});

afterEach(() => {
  expectQuiet(rig);
  rig.stop();
});

const call = (who: Who | undefined, method: string, path: string, body?: unknown): Promise<Reply> =>
  callRig(rig, method, path, body, who === undefined ? {} : bearer(who));

const lock = (name: string): string => `/v1/locks/${encodeURIComponent(name)}`;

describe('who is nobody', () => {
  test.each([
    ['GET', lock('a')],
    ['POST', lock('a')],
    ['PUT', lock('a')],
    ['DELETE', lock('a')],
    ['POST', `${lock('a')}/verify`],
    ['POST', '/v1/batch'],
    ['GET', '/v1/locks'],
    ['GET', '/v1/cluster'],
    ['GET', '/metrics'],
    ['GET', '/openapi.json'],
    ['GET', '/v1/ws'],
    ['GET', '/nowhere'],
    ['PATCH', lock('a')],
  ])('%s %s: 401', async (method, path) => {
    const reply = await call(undefined, method, path);
    expectProblem(reply, 'unauthenticated');
    expect(reply.headers.get('www-authenticate')).toBe('Bearer');
    for (const authorization of ['Bearer', `Bearer ${makeKey().key}`, 'Basic dTpw', MADE.admin.key]) {
      expectProblem(await callRig(rig, method, path, undefined, { authorization }), 'unauthenticated');
    }
    expect(rig.lane.ops).toBe(0);
  });

  test('is told that the process lives, and is ready', async () => {
    expect((await call(undefined, 'GET', '/healthz')).status).toBe(200);
    expect((await call(undefined, 'GET', '/readyz')).status).toBe(200);
    expectProblem(await call(undefined, 'POST', '/readyz'), 'method_not_allowed');
  });

  test('gets its preflight answered, for browsers send no key with it', async () => {
    const origin = { origin: 'https://app.example' };
    expect((await callRig(rig, 'OPTIONS', lock('a'), undefined, origin)).status).toBe(204);
    expectProblem(await callRig(rig, 'POST', lock('a'), {}, origin), 'unauthenticated');
    expectProblem(
      await callRig(rig, 'POST', lock('a'), {}, { origin: 'https://evil.example', ...bearer('admin') }),
      'forbidden',
    );
    expect((await callRig(rig, 'POST', lock('a'), {}, { ...origin, ...bearer('admin') })).status).toBe(201);
  });

  test('gets no WebSocket, and nor does a wrong origin', async () => {
    const refused = async (headers: Record<string, string>): Promise<number | undefined> => {
      const client = new Client(`${rig.url}/v1/ws`, ['holdfast.v1.bin'], headers);
      const status = await new Promise<number | undefined>((resolve) => {
        client.ws.once('unexpected-response', (_, response) => {
          response.resume();
          resolve(response.statusCode);
        });
        client.ws.once('open', () => resolve(undefined));
      });
      client.ws.terminate();
      await client.until(() => client.ws.readyState === client.ws.CLOSED && rig.front.sockets === 0);
      return status;
    };
    expect(await refused({})).toBe(401);
    expect(await refused({ authorization: `Bearer ${makeKey().key}` })).toBe(401);
    expect(await refused({ ...bearer('admin'), origin: 'https://evil.example' })).toBe(403);
    expect(await refused({ ...bearer('admin'), origin: 'https://app.example' })).toBe(undefined);
  });
});

describe('rights, over HTTP', () => {
  test('lock: takes, renews, releases and looks, within its prefixes', async () => {
    const taken = await call('team', 'POST', lock('team/a'), {});
    expect(taken.status).toBe(201);
    const headers = { 'holdfast-lock-token': taken.body.lockToken as string, ...bearer('team') };
    expect((await callRig(rig, 'PUT', lock('team/a'), {}, headers)).status).toBe(200);
    expect((await call('team', 'GET', lock('team/a'))).body.held).toBe(true);
    const { fencingToken } = taken.body;
    expect((await call('team', 'POST', `${lock('team/a')}/verify`, { fencingToken })).status).toBe(200);
    expect((await callRig(rig, 'DELETE', lock('team/a'), undefined, headers)).status).toBe(204);
    expect((await call('team', 'POST', lock('{x}y'), {})).status).toBe(201);
    const before = rig.lane.ops;
    for (const name of ['team', 'tea', 'teams/a', 'other', 'x{x}']) {
      expectProblem(await call('team', 'POST', lock(name), {}), 'forbidden');
      expectProblem(await call('team', 'GET', lock(name)), 'forbidden');
      expectProblem(await call('team', 'POST', `${lock(name)}/verify`, { fencingToken: 1 }), 'forbidden');
      expectProblem(await callRig(rig, 'PUT', lock(name), {}, headers), 'forbidden');
      expectProblem(await callRig(rig, 'DELETE', lock(name), undefined, headers), 'forbidden');
    }
    expect(rig.lane.ops).toBe(before);
  });

  test('read: only looks', async () => {
    const { body } = await call('admin', 'POST', lock('a'), {});
    expect((await call('reader', 'GET', lock('a'))).body.held).toBe(true);
    expect((await call('reader', 'GET', '/v1/locks')).body.locks).toHaveLength(1);
    expectProblem(await call('reader', 'POST', lock('b'), {}), 'forbidden');
    const headers = { 'holdfast-lock-token': body.lockToken as string, ...bearer('reader') };
    expectProblem(await callRig(rig, 'PUT', lock('a'), {}, headers), 'forbidden');
    expectProblem(await callRig(rig, 'DELETE', lock('a'), undefined, headers), 'forbidden');
  });

  test('the cluster and the metrics are for read and admin, the document for any key', async () => {
    for (const path of ['/v1/cluster', '/metrics']) {
      expectProblem(await call('team', 'GET', path), 'forbidden');
      expect((await call('reader', 'GET', path)).status).toBe(200);
      expect((await call('admin', 'GET', path)).status).toBe(200);
    }
    expect((await call('team', 'GET', '/openapi.json')).status).toBe(200);
  });

  test('each item of a batch is judged by itself', async () => {
    const ops = ['team/a', 'other', '{x}', 'team'].map((name) => ({ op: 'acquire', name }));
    const { status, body } = await call('team', 'POST', '/v1/batch', { ops });
    expect(status).toBe(200);
    const results = body.results as Record<string, unknown>[];
    expect(results.map((result) => result.status)).toEqual([201, 403, 201, 403]);
    expect(results[1]).toEqual({
      status: 403,
      code: 'forbidden',
      retryable: false,
      detail: expect.any(String),
    });
    const none = await call('reader', 'POST', '/v1/batch', { ops });
    expect((none.body.results as { status: number }[]).map((result) => result.status)).toEqual([
      403, 403, 403, 403,
    ]);
  });
});

describe('namespaces', () => {
  test('the same name is another lock in another namespace', async () => {
    const [one, two] = [
      await call('admin', 'POST', lock('a'), {}),
      await call('tenant', 'POST', lock('a'), {}),
    ];
    expect([one.status, two.status, two.body.name]).toEqual([201, 201, 'a']);
    const headers = { 'holdfast-lock-token': one.body.lockToken as string, ...bearer('tenant') };
    expectProblem(await callRig(rig, 'DELETE', lock('a'), undefined, headers), 'not_held');
    expectProblem(await call('tenant', 'POST', lock('a'), {}), 'lock_held');
  });

  test('nor do they meet over sockets of either protocol', async () => {
    const [json, binary] = [
      await open('tenant', 'holdfast.v1.json'),
      await open('tenant', 'holdfast.v1.bin'),
    ];
    expect((await call('admin', 'POST', lock('a'), {})).status).toBe(201);
    binary.ws.send(frameOf({ name: 'a', token: TOKEN }));
    expect((await binaryAnswers(binary, 1))[0].status).toBe(201);
    json.ws.send(JSON.stringify({ id: 1, op: 'verify', name: 'a', lockToken: TOKEN }));
    expect((await jsonAnswers(json, 1))[0]).toMatchObject({ status: 200, current: true });
    json.ws.send(JSON.stringify({ id: 1, op: 'release', name: 'a', lockToken: TOKEN }));
    expect((await jsonAnswers(json, 1))[0]).toMatchObject({ status: 204 });
    expect((await call('admin', 'GET', lock('a'))).body.held).toBe(true);
    await close(json);
    await close(binary);
  });

  test('an op carries its principal, over every way', async () => {
    const seen: string[] = [];
    rig.lane.onOp = (op) => {
      const { bytes, principalAt: at, principalLength } = op;
      seen.push(Buffer.from(bytes.slice(at, at + principalLength)).toString());
    };
    const [json, binary] = [await open('team', 'holdfast.v1.json'), await open('team', 'holdfast.v1.bin')];
    await call('team', 'POST', lock('team/a'), {});
    await call('reader', 'GET', lock('team/a'));
    await call('tenant', 'POST', '/v1/batch', { ops: [{ op: 'acquire', name: 'team/a' }] });
    json.ws.send(JSON.stringify({ id: 1, op: 'acquire', name: 'team/b' }));
    await jsonAnswers(json, 1);
    binary.ws.send(frameOf({ name: 'team/c' }));
    await binaryAnswers(binary, 1);
    expect(seen).toEqual(['team', 'reader', 'team', 'team', 'team']);
    await close(json);
    await close(binary);
  });

  test('lists show the own namespace, by the own prefixes', async () => {
    for (const [who, name] of [
      ['admin', 'a'],
      ['admin', 'team/a'],
      ['admin', '{x}1'],
      ['admin', 'tenant'],
      ['tenant', 'a'],
      ['tenant', 'b'],
    ] as const) {
      expect((await call(who, 'POST', lock(name), {})).status).toBe(201);
    }
    const list = async (who: Who, query = ''): Promise<string[]> => {
      const names: string[] = [];
      for (let cursor = ''; ;) {
        const { body } = await call(who, 'GET', `/v1/locks?limit=1${query}${cursor}`);
        names.push(...(body.locks as { name: string }[]).map(({ name }) => name));
        if (body.nextCursor === undefined) return names.sort();
        cursor = `&cursor=${body.nextCursor as string}`;
      }
    };
    expect(await list('admin')).toEqual(['a', 'team/a', 'tenant', '{x}1']);
    expect(await list('admin', '&prefix=tenant')).toEqual(['tenant']);
    expect(await list('tenant')).toEqual(['a', 'b']);
    expect(await list('team')).toEqual(['team/a', '{x}1']);
    expect(await list('team', '&prefix=te')).toEqual(['team/a']);
    expect(await list('team', '&prefix=team%2Fx')).toEqual([]);
    expectProblem(await call('team', 'GET', '/v1/locks?prefix=other'), 'forbidden');
    expectProblem(await call('team', 'GET', '/v1/locks?prefix=teams'), 'forbidden');
  });
});

async function open(who: Who, protocol: string): Promise<Client> {
  const client = new Client(`${rig.url}/v1/ws`, [protocol], bearer(who));
  await new Promise((resolve, reject) => client.ws.once('open', resolve).once('error', reject));
  return client;
}

async function close(client: Client): Promise<void> {
  client.ws.close();
  await client.end();
}

describe('sockets', () => {
  test('JSON: each request of a frame is judged by itself', async () => {
    const client = await open('team', 'holdfast.v1.json');
    const names = ['team/a', 'other', 'team/b'];
    client.ws.send(JSON.stringify(names.map((name, id) => ({ id, op: 'acquire', name }))));
    const answers = await jsonAnswers(client, 3);
    const statuses = answers.sort((a, b) => Number(a.id) - Number(b.id)).map(({ status }) => status);
    expect(statuses).toEqual([201, 403, 201]);
    expect(answers[1]).toMatchObject({ id: 1, code: 'forbidden', retryable: false });
    client.ws.send(JSON.stringify({ id: 9, op: 'ping' }));
    expect(await jsonAnswers(client, 1)).toEqual([{ id: 9, status: 200 }]);
    await close(client);
  });

  test('binary: each request of a frame is judged by itself', async () => {
    const client = await open('team', 'holdfast.v1.bin');
    client.ws.send(frameOf(...['team/a', 'other', 'team/b'].map((name, id) => ({ id, name }))));
    const answers = await binaryAnswers(client, 3);
    const statuses = answers.sort((a, b) => a.id - b.id).map(({ status }) => status);
    expect(statuses).toEqual([201, 403, 201]);
    client.ws.send(
      frameOf({ kind: Kind.get, id: 7, name: 'other' }, { kind: Kind.get, id: 8, name: 'team/a' }),
    );
    const looks = await binaryAnswers(client, 2);
    expect(looks.sort((a, b) => a.id - b.id).map(({ status }) => status)).toEqual([403, 200]);
    await close(client);
  });

  test.each(['holdfast.v1.json', 'holdfast.v1.bin'])(
    '%s: of a key that is revoked or changed are closed, the others stay',
    async (protocol) => {
      const [gone, less, same] = await Promise.all([
        open('team', protocol),
        open('reader', protocol),
        open('admin', protocol),
      ]);
      const kept = WHO.filter((who) => who !== 'team');
      const changes = rig.front.replaceKeys(
        entries(kept, { reader: { prefixes: ['a'] }, admin: { comment: 'x' } }),
      );
      expect(changes).toEqual({ keys: 4, added: 0, changed: 1, removed: 1 });
      const closed = { code: 1008, reason: 'the API key is not valid any more' };
      expect([await gone.end(), await less.end()]).toEqual([closed, closed]);
      expectProblem(await call('team', 'GET', lock('team/a')), 'unauthenticated');
      expectProblem(await call('reader', 'GET', lock('b')), 'forbidden');
      await new Promise((resolve) => same.ws.ping(undefined, undefined, resolve));
      expect(same.closed).toBe(undefined);
      await close(same);
    },
  );

  test.each(['holdfast.v1.json', 'holdfast.v1.bin'])(
    '%s: no frame is taken from who is revoked, closed or not',
    async (protocol) => {
      const client = await open('team', protocol);
      auth.replace([]);
      const json = JSON.stringify({ id: 1, op: 'acquire', name: 'team/a' });
      client.ws.send(protocol === 'holdfast.v1.bin' ? frameOf({ name: 'team/a' }) : json);
      expect((await client.end()).code).toBe(1008);
      expect(rig.lane.ops).toBe(0);
    },
  );

  test('of a key whose time is over are closed', async () => {
    const client = await open('brief', 'holdfast.v1.json');
    client.ws.send(JSON.stringify({ id: 1, op: 'acquire', name: 'a' }));
    expect(await jsonAnswers(client, 1)).toMatchObject([{ id: 1, status: 201 }]);
    wallNow = EXPIRY;
    expect((await client.end()).code).toBe(1008);
    expectProblem(await call('brief', 'GET', lock('a')), 'unauthenticated');
  });

  test('what was asked for before the key went is done, what comes after it is not', async () => {
    rig.lane.silent = true;
    const client = await open('team', 'holdfast.v1.bin');
    client.ws.send(frameOf({ name: 'team/a' }));
    await client.until(() => rig.front.connections.open === 1);
    rig.front.replaceKeys([]);
    client.ws.send(frameOf({ id: 2, name: 'team/b' }));
    expect((await client.end()).code).toBe(1008);
    rig.lane.speak();
    expect([...rig.lane.claims.keys()]).toEqual([Buffer.from('team/a').toString('hex')]);
  });
});
