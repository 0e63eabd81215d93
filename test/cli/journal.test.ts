import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openEmbeddedStore } from '../../src/shard/embedded/store.ts';
import { checkpointKey, journalKey } from '../../src/slots/records.ts';
import { startHoldfast, temporaryFolder, type HoldfastServer } from '../servers/holdfast.ts';
import { holdfast } from './command.ts';

interface Line {
  readonly shard: string;
  readonly key: string;
  readonly kind: string;
  readonly term: string;
  readonly effects: readonly {
    slot: number;
    effect: string;
    name?: string;
    owner?: string;
    reason?: string;
  }[];
}

describe('holdfast journal dump', () => {
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let server: HoldfastServer | undefined;
  const secrets: string[] = [];

  beforeAll(async () => {
    folder = await temporaryFolder();
    server = await startHoldfast({ folder: folder.path });
    for (let i = 0; i < 20; i++) {
      const answer = await call('POST', `order-${i}`, { ttlMs: 60_000, owner: 'tester' });
      secrets.push(((await answer.json()) as { lockToken: string }).lockToken);
    }
    await call('DELETE', 'order-0', undefined, { 'holdfast-lock-token': secrets[0] });
  });

  afterAll(async () => {
    await server?.stop();
    await folder.remove();
  });

  function call(
    method: string,
    name: string,
    body?: object,
    more: Record<string, string> = {},
  ): Promise<Response> {
    const headers = { ...(body && { 'content-type': 'application/json' }), ...more };
    return fetch(`${server!.url}/v1/locks/${name}`, {
      method,
      headers,
      body: body && JSON.stringify(body),
    } as RequestInit);
  }

  const dump = (...args: string[]) => holdfast(['journal', 'dump', '--data', 'data', ...args], folder.path);

  it('refuses while a server runs on the folder, and says which', async () => {
    const ran = await dump();
    expect([ran.code, ran.stdout]).toEqual([69, '']);
    expect(ran.stderr).toMatch(new RegExp(`in use by process ${server!.pid}.*stop it to look`));
    expect(ran.stderr.trim().split('\n')).toHaveLength(1);
    await server!.stop();
    server = undefined;
  });

  it('prints every grant and release once, and no lock token', async () => {
    const ran = await dump('--json');
    expect([ran.code, ran.stderr]).toEqual([0, '']);
    const lines = ran.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    const effects = lines.filter((line) => line.kind === 'entry').flatMap((line) => line.effects);
    const names = effects.filter((one) => one.effect === 'granted').map((one) => one.name);
    expect(names.toSorted()).toEqual(Array.from({ length: 20 }, (_, i) => `order-${i}`).toSorted());
    expect(effects.filter((one) => one.effect === 'ended').map((one) => one.reason)).toEqual(['released']);
    for (const secret of secrets) expect(ran.stdout).not.toContain(secret);
    expect(new Set(lines.map((line) => line.shard))).toEqual(new Set(['s0', 's1']));
  });

  it('prints them for people, of one shard or slot', async () => {
    const all = await dump();
    expect(all.stdout).toMatch(
      /^s[01] holdfast\/journal\/[0-9a-f]{16}\/\d{12} \(revision \d+\)\n {2}slot=\d+ number=1 granted /m,
    );
    const one = await dump('--shard', 's0');
    expect(one.stdout).not.toMatch(/^s1/m);
    const slot = Number(/slot=(\d+) .*name="order-7"/.exec(all.stdout)![1]);
    const ofSlot = await dump('--slot', String(slot));
    expect(ofSlot.stdout).toContain('name="order-7"');
    expect(new Set([...ofSlot.stdout.matchAll(/slot=(\d+)/g)].map((match) => Number(match[1])))).toEqual(
      new Set([slot]),
    );
  });

  it('ends with 65 and goes on behind an entry or a checkpoint that cannot be read', async () => {
    const store = openEmbeddedStore({ name: 's0', folder: join(folder.path, 'data', 's0') });
    const broken = Uint8Array.of(1, 0xff, 0xff);
    const term = '0'.repeat(16);
    await store.txn({
      compares: [],
      changes: [
        { put: journalKey(term, 1), value: broken },
        { put: checkpointKey(7, { term, seq: 1 }, 0), value: broken },
        { put: checkpointKey(7, { term, seq: 1 }, 1), value: broken },
      ],
    });
    await store.close();
    const ran = await dump();
    expect(ran.code).toBe(65);
    expect(ran.stdout.match(/UNREADABLE: /g)).toHaveLength(2);
    expect(ran.stdout).toContain('name="order-19"');
    const json = await dump('--json', '--shard', 's0');
    expect(json.stdout).toContain('"error":"');
  });
});
