import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/error.ts';
import { defaultShards, readShardsFile } from '../../src/config/shards.ts';

let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-shards-'));
  file = join(folder, 'shards.yaml');
  for (const name of ['ca.pem', 'cert.pem', 'key.pem', 'password']) writeFileSync(join(folder, name), 'x');
});
afterAll(() => rmSync(folder, { recursive: true }));

function read(yaml: string) {
  writeFileSync(file, yaml);
  return readShardsFile(file);
}

/** What the file is refused with, without the file's own path in front. */
function refusal(yaml: string): string {
  try {
    read(yaml);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const { message } = error as Error;
    expect(message).not.toMatch(/[\r\n]/);
    expect(message.startsWith(`${file}: `)).toBe(true);
    return message.slice(file.length + 2);
  }
  throw new Error('was accepted');
}

const S0 = '{name: s0, engine: etcd, endpoints: ["http://127.0.0.1:2379"]}';
const shard = (text: string): string => `shards: [${text}]`;

describe('readShardsFile', () => {
  it('reads the file of the documentation', () => {
    const yaml = `
slots: 4096                     # fixed for the life of a cluster
shards:
  - name: s0
    engine: etcd                # etcd | embedded
    endpoints: ["http://127.0.0.1:2379"]
    weight: 1
  - name: s1
    engine: etcd
    endpoints: ["http://127.0.0.1:12379"]
    weight: 1
`;
    expect(read(yaml)).toEqual({
      slots: 4096,
      shards: [
        { name: 's0', engine: 'etcd', endpoints: ['http://127.0.0.1:2379'], weight: 1 },
        { name: 's1', engine: 'etcd', endpoints: ['http://127.0.0.1:12379'], weight: 1 },
      ],
    });
  });

  it('fills in defaults, resolves paths against the file, and keeps the origin of an address', () => {
    const yaml = `shards:
  - {name: local, engine: embedded}
  - name: far
    engine: etcd
    weight: 0
    endpoints: ["https://etcd-1.example:2379/", "https://[::1]:2379"]
    tls: {ca: ca.pem, cert: ./cert.pem, key: ${folder}/key.pem}
    auth: {username: holdfast, passwordFile: password}
`;
    expect(read(yaml)).toEqual({
      slots: 4096,
      shards: [
        { name: 'local', engine: 'embedded', endpoints: [], weight: 1 },
        {
          name: 'far',
          engine: 'etcd',
          weight: 0,
          endpoints: ['https://etcd-1.example:2379', 'https://[::1]:2379'],
          tls: {
            ca: join(folder, 'ca.pem'),
            cert: join(folder, 'cert.pem'),
            key: join(folder, 'key.pem'),
          },
          auth: { username: 'holdfast', passwordFile: join(folder, 'password') },
        },
      ],
    });
  });

  it.each([
    ['', 'the content is null; allowed: settings slots, shards'],
    ['[]', 'the content is []; allowed: settings slots, shards'],
    ['slots: 4096', 'shards is missing; allowed: a list of 1–64 shards'],
    ['shards: []', 'shards is []; allowed: a list of 1–64 shards'],
    [`shards: [${'{name: a, engine: embedded}, '.repeat(65)}]`, 'a list of 1–64 shards'],
    [`{slots: 1024, ${shard(S0)}}`, 'slots is 1024; allowed: 4096, the only number this version has'],
    [`{slots: "4096", ${shard(S0)}}`, 'slots is "4096"; allowed: 4096'],
    [`{slot: 4096, ${shard(S0)}}`, 'slot is not a setting; allowed: slots, shards'],
    [shard('s0'), 'shards[0] is "s0"; allowed: settings name, engine, endpoints, weight, tls, auth'],
    [shard(`${S0}, {engine: embedded}`), 'shards[1].name is missing; allowed: a name of 1–32 characters'],
    [shard('{name: S0, engine: embedded}'), 'shards[0].name is "S0"; allowed: a name of 1–32 characters'],
    [shard('{name: "../x", engine: embedded}'), 'shards[0].name is "../x"; allowed'],
    [
      shard(`{name: ${'n'.repeat(33)}, engine: embedded}`),
      'allowed: a name of 1–32 characters a–z, 0–9 and -',
    ],
    [
      shard(`${S0}, {name: s0, engine: embedded}`),
      'shards[1].name is "s0"; allowed: a name that no other shard',
    ],
    [shard('{name: s0}'), 'shards[0].engine is missing; allowed: etcd or embedded'],
    [shard('{name: s0, engine: redis}'), 'shards[0].engine is "redis"; allowed: etcd or embedded'],
    [shard('{name: s0, engine: embedded, weight: -1}'), 'shards[0].weight is -1; allowed: an integer 0–1000'],
    [shard('{name: s0, engine: embedded, weight: 1001}'), 'shards[0].weight is 1001; allowed'],
    [shard('{name: s0, engine: embedded, weight: 1.5}'), 'shards[0].weight is 1.5; allowed'],
    [shard('{name: s0, engine: embedded, weight: .nan}'), 'shards[0].weight is NaN; allowed'],
    [shard('{name: s0, engine: embedded, weight: 0}'), 'allowed: at least one above 0'],
    [
      shard('{name: s0, engine: embedded, colour: red}'),
      'shards[0].colour is not a setting; allowed: name, engine',
    ],
    [shard('{name: s0, engine: etcd}'), 'shards[0].endpoints is missing; allowed: 1–16 addresses'],
    [shard('{name: s0, engine: etcd, endpoints: []}'), 'shards[0].endpoints is []; allowed: 1–16 addresses'],
    [shard('{name: s0, engine: etcd, endpoints: "http://a"}'), 'shards[0].endpoints is "http://a"; allowed'],
    [
      shard('{name: s0, engine: etcd, endpoints: ["127.0.0.1:2379"]}'),
      'allowed: an http:// or https:// address',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["tcp://a:1"]}'),
      'shards[0].endpoints[0] is "tcp://a:1"; allowed',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["http://a:99999"]}'),
      'allowed: an http:// or https:// address',
    ],
    [shard('{name: s0, engine: etcd, endpoints: ["http://a:1/v3"]}'), 'allowed: an address without a path'],
    [
      shard('{name: s0, engine: etcd, endpoints: ["http://a:1", "https://b:1"]}'),
      'allowed: either only http://',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["http://a:1", "http://A:1/"]}'),
      'that shard s0 does not have already',
    ],
    [
      shard(`${S0}, {name: s1, engine: etcd, endpoints: ["http://127.0.0.1:2379"]}`),
      'shards[1].endpoints[0] is',
    ],
    [
      shard('{name: s0, engine: embedded, endpoints: ["http://a:1"]}'),
      'shards[0].endpoints is ["http://a:1"]; allowed: nothing',
    ],
    [shard('{name: s0, engine: embedded, tls: {}}'), 'shards[0].tls is "set"; allowed: nothing'],
    [
      shard('{name: s0, engine: etcd, endpoints: ["http://a:1"], tls: {}}'),
      'shards[0].tls is "set"; allowed: tls only with https',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["https://a:1"], tls: {cert: cert.pem}}'),
      'shards[0].tls.key is missing; allowed: cert and key together',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["https://a:1"], tls: {ca: none.pem}}'),
      'shards[0].tls.ca is "',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["https://a:1"], tls: {verify: false}}'),
      'shards[0].tls.verify is not a setting; allowed: ca, cert, key',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["http://a:1"], auth: {username: u}}'),
      'shards[0].auth.passwordFile is missing; allowed',
    ],
    [
      shard('{name: s0, engine: etcd, endpoints: ["http://a:1"], auth: {username: u, passwordFile: .}}'),
      'which is not a file; allowed: a readable file',
    ],
    ['shards: [', 'the shards file is not valid YAML'],
    ['shards: 1\nshards: 2', 'the shards file is not valid YAML: Map keys must be unique at line 2'],
    ['a: &a [x]\nb: *b', 'the shards file is not valid YAML: Unresolved alias'],
  ])('refuses %j', (yaml, message) => expect(refusal(yaml)).toContain(message));

  it('does not repeat a password that was put into an address', () => {
    const message = refusal(shard('{name: s0, engine: etcd, endpoints: ["http://root:hunter2@a:1"]}'));
    expect(message).toContain(
      'shards[0].endpoints[0] is "http://***@a:1"; allowed: an address without a user',
    );
    expect(message).not.toContain('hunter2');
  });

  it('refuses what is not a file, is missing or far too large', () => {
    expect(() => readShardsFile(folder)).toThrow(/: the shards file is a folder; allowed: a YAML file$/);
    expect(() => readShardsFile(join(folder, 'none.yaml'))).toThrow(/the shards file cannot be read: ENOENT/);
    expect(refusal(`# ${'x'.repeat(1024 * 1024)}`)).toContain('allowed: at most 1048576');
  });

  it('refuses an alias bomb quickly', () => {
    const levels = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(12)}]`);
    expect(refusal(`l0: &l0 x\n${levels.join('\n')}`)).toContain('not valid YAML');
  });

  it('answers anything at all with a file or one line', () => {
    const value = fc.jsonValue({ maxDepth: 4 });
    const near = fc.record(
      {
        slots: fc.oneof(fc.constant(4096), value),
        shards: fc.oneof(
          value,
          fc.array(
            fc.record(
              {
                name: fc.oneof(fc.constantFrom('a', 'b'), value),
                engine: fc.oneof(fc.constantFrom('etcd', 'embedded'), value),
                endpoints: fc.oneof(fc.array(fc.oneof(fc.webUrl(), fc.string())), value),
                weight: fc.oneof(fc.integer(), value),
                tls: value,
              },
              { requiredKeys: [] },
            ),
          ),
        ),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(value, near), (content) => {
        try {
          read(JSON.stringify(content));
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          expect((error as Error).message).not.toMatch(/[\r\n]/);
          expect((error as Error).message.length).toBeLessThan(600);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('defaultShards', () => {
  it('are embedded', () => {
    const { slots, shards } = defaultShards();
    expect(slots).toBe(4096);
    expect(shards.map((s) => s.engine)).toEqual(shards.map(() => 'embedded'));
  });
});
