/** TLS with client certificates, users with passwords, and what a full store says. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Etcd3 } from 'etcd3';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { ConfigError } from '../../../src/config/error.ts';
import type { ShardSettings } from '../../../src/config/shards.ts';
import { openEtcdStore } from '../../../src/shard/etcd/store.ts';
import { COMMIT_HEADROOM, ShardError } from '../../../src/shard/store.ts';
import type { Commit, CommitResult, WatchEvent } from '../../../src/shard/store.ts';
import { failureOf } from '../../conformance/scene.ts';
import { PROVISION_MS, shardOn, startTestEtcd } from '../../servers/etcd.ts';
import type { EtcdCluster } from '../../servers/etcd.ts';
import { etcdMissing } from '../../servers/etcd-missing.ts';

const value = new TextEncoder().encode('v');

function commitOn(termKey: string, expectedRevision: number, bytes = 100): Commit {
  const buffer = new Uint8Array(COMMIT_HEADROOM + bytes);
  const journalKey = `${termKey.replace('term', 'journal')}/${expectedRevision}`;
  const place = { buffer, entryAt: COMMIT_HEADROOM, entryEnd: buffer.length };
  return { termKey, expectedRevision, termValue: value, journalKey, ...place, changes: [] };
}

/** Both ways into a store once: the own connection, etcd3's calls, a watch. */
async function exercise(settings: ShardSettings): Promise<void> {
  const store = openEtcdStore(settings);
  try {
    const term = `holdfast/term/${Math.random()}`;
    const { revision } = await store.txn({ compares: [], changes: [{ put: term, value }] });
    const seen: WatchEvent[] = [];
    store.watch(
      term,
      `${term}~`,
      revision,
      (events) => seen.push(...events),
      () => undefined,
    );
    const done = await store.commit(commitOn(term, revision));
    expect(done.succeeded).toBe(true);
    expect(await store.confirm(term)).toBe(done.revision);
    await expect
      .poll(() => seen.map((event) => event.modRevision), { timeout: 5_000 })
      .toEqual([done.revision]);
    expect((await store.status()).version).toMatch(/^3\./);
  } finally {
    await store.close();
  }
}

function makeCertificates(folder: string): { ca: string; cert: string; key: string } {
  const at = (name: string) => join(folder, name);
  const openssl = (...parameters: string[]) => execFileSync('openssl', parameters, { stdio: 'ignore' });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
    '-days',
    '2',
    '-subj',
    '/CN=test ca',
  );
  openssl('req', ...newKey, '-keyout', at('key.pem'), '-out', at('csr.pem'), '-subj', '/CN=holdfast');
  writeFileSync(
    at('ext'),
    'subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n',
  );
  const signed = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at('ext')];
  openssl('x509', '-req', '-in', at('csr.pem'), '-out', at('cert.pem'), '-days', '2', ...signed);
  return { ca: at('ca.pem'), cert: at('cert.pem'), key: at('key.pem') };
}

describe.skipIf(etcdMissing)('TLS', () => {
  let folder: string;
  let cluster: EtcdCluster;
  let tls: { ca: string; cert: string; key: string };
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-test-tls-'));
    tls = makeCertificates(folder);
    cluster = await startTestEtcd({ tls });
  }, PROVISION_MS);
  afterAll(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it('with a client certificate everything works', async () => {
    await exercise({ ...shardOn(cluster), tls });
  });

  it('without one, or with a CA that is not the server’s, every call is refused in time', async () => {
    for (const wrong of [{ ca: tls.ca }, {}]) {
      const store = openEtcdStore({ ...shardOn(cluster), tls: wrong });
      expect((await failureOf(store.commit(commitOn('holdfast/term/x', 1)))).outcome).toBe('refused');
      await failureOf(store.get('holdfast/term/x'));
      await store.close();
    }
  }, 30_000);

  it('a file that is not there is a setting that is wrong', () => {
    const settings = { ...shardOn(cluster), tls: { ca: join(folder, 'absent.pem') } };
    expect(() => openEtcdStore(settings)).toThrow(ConfigError);
    expect(() => openEtcdStore(settings)).toThrow(/tls\.ca.*absent\.pem/);
  });
});

describe.skipIf(etcdMissing)('users', () => {
  let folder: string;
  let cluster: EtcdCluster;
  let admin: Etcd3;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-test-auth-'));
    writeFileSync(join(folder, 'password'), 'open sesame\n');
    writeFileSync(join(folder, 'wrong'), 'open barley\n');
    cluster = await startTestEtcd({ settings: [['auth-token-ttl', '2']] });
    admin = new Etcd3({ hosts: [...cluster.endpoints] });
    await admin.role('root').create();
    const user = await admin.user('root').create('open sesame');
    await user.addRole('root');
    await admin.auth.authEnable();
    admin.close();
  }, PROVISION_MS);
  afterAll(async () => {
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });
  const as = (file: string) => ({
    ...shardOn(cluster),
    auth: { username: 'root', passwordFile: join(folder, file) },
  });

  it('with the password everything works', async () => {
    await exercise(as('password'));
  });

  it('a token that has expired is replaced without anybody noticing', async () => {
    const store = openEtcdStore(as('password'));
    const term = 'holdfast/term/expiring';
    let { revision } = await store.txn({ compares: [], changes: [{ put: term, value }] });
    revision = (await store.commit(commitOn(term, revision))).revision;
    await new Promise((resolve) => setTimeout(resolve, 4_500));
    revision = (await store.commit(commitOn(term, revision))).revision;
    expect(await store.confirm(term)).toBe(revision);
    expect((await store.get(term))?.modRevision).toBe(revision);
    await store.close();
  }, 30_000);

  it('with a wrong password, none, or no file every call is refused', async () => {
    for (const settings of [as('wrong'), shardOn(cluster), as('absent')]) {
      const store = openEtcdStore(settings);
      expect((await failureOf(store.commit(commitOn('holdfast/term/x', 1)))).outcome).toBe('refused');
      expect((await failureOf(store.txn({ compares: [], changes: [{ put: 'x', value }] }))).outcome).toBe(
        'refused',
      );
      const watch = store.watch(
        'a',
        'b',
        0,
        () => undefined,
        () => undefined,
      );
      watch.close();
      await store.close();
    }
  }, 30_000);
});

describe.skipIf(etcdMissing)('a full store', () => {
  it('the commit that crosses the quota is applied and says so, those after it are refused; deletions still work', async () => {
    const cluster = await startTestEtcd({ settings: [['quota-backend-bytes', String(8 * 1024 * 1024)]] });
    onTestFinished(() => cluster.stop());
    const store = openEtcdStore(shardOn(cluster));
    onTestFinished(() => store.close());
    const term = 'holdfast/term/full';
    let { revision } = await store.txn({ compares: [], changes: [{ put: term, value }] });
    const acknowledged: string[] = [];
    for (let seq = 1; ; seq++) {
      const commit = {
        ...commitOn(term, revision, 1_000_000),
        termValue: new TextEncoder().encode(`seq ${seq}`),
      };
      const outcome = await store.commit(commit).catch((error: unknown) => error);
      if (outcome instanceof ShardError) {
        expect([outcome.outcome, outcome.noSpace]).toEqual(['refused', true]);
        break;
      }
      expect(outcome).toMatchObject({ succeeded: true });
      expect(seq).toBeLessThan(200);
      acknowledged.push(commit.journalKey);
      revision = (outcome as CommitResult).revision;
    }
    expect(await store.confirm(term)).toBe(revision);
    const page = await store.range('holdfast/journal/', 'holdfast/journal0', { limit: 100, keysOnly: true });
    expect(page.entries.map((entry) => entry.key).sort()).toEqual(acknowledged.sort());
    const failure = await failureOf(store.txn({ compares: [], changes: [{ put: 'x', value }] }));
    expect(failure.noSpace).toBe(true);
    await expect(failureOf(store.grantLease(4_000))).resolves.toMatchObject({ noSpace: true });
    const gone = await store.txn({
      compares: [],
      changes: [{ delete: 'holdfast/journal/', upTo: 'holdfast/journal0' }],
    });
    expect(gone.succeeded).toBe(true);
    const status = await store.status();
    expect(status.quotaBytes === 0 || status.quotaBytes === 8 * 1024 * 1024).toBe(true);
  }, 60_000);
});
