import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/error.ts';
import {
  hashOfKey,
  idOfKey,
  type KeyEntry,
  makeKey,
  readKeysFile,
  withoutKeys,
} from '../../src/config/keys.ts';
import { LIMITS } from '../../src/limits.ts';

let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-keys-'));
  file = join(folder, 'keys.yaml');
});

afterAll(() => rmSync(folder, { recursive: true }));

const SECRET = 'hf_abcd_0123456789012345678901234567890123456789abc';
const HASH = `sha256:${createHash('sha256').update(SECRET).digest('hex')}`;
const GOOD = { id: 'abcd', hash: HASH, principal: 'p', rights: ['lock'] };

/** YAML takes JSON. */
function read(...keys: readonly object[]): readonly KeyEntry[] {
  return readText(JSON.stringify({ keys }));
}

function readText(text: string): readonly KeyEntry[] {
  writeFileSync(file, text);
  return readKeysFile(file);
}

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as Error).message;
  }
  throw new Error('was accepted');
}

describe('a key', () => {
  it('has an id, 256 random bits, and a hash of all of it', () => {
    const keys = Array.from({ length: 200 }, makeKey);
    for (const { key, id, hash } of keys) {
      expect(key).toMatch(/^hf_[a-z0-9]{10}_[\w-]{43}$/);
      expect(idOfKey(key)).toBe(id);
      expect(hash).toBe(`sha256:${createHash('sha256').update(key).digest('hex')}`);
      expect(Buffer.from(hashOfKey(key)).toString('hex')).toBe(hash.slice(7));
      expect(read({ ...GOOD, id, hash })[0].hash).toEqual(hashOfKey(key));
    }
    expect(new Set(keys.map(({ key }) => key.slice(-43))).size).toBe(200);
    expect(new Set(keys.map(({ id }) => id)).size).toBe(200);
  });

  it.each([
    '',
    'hf_',
    'hf_abcd_',
    SECRET.slice(0, -1),
    `${SECRET}x`,
    SECRET.toUpperCase(),
    ` ${SECRET}`,
    `${SECRET}\n`,
  ])('is not %j', (text) => expect(idOfKey(text)).toBe(undefined));

  it('is taken out of texts, whole or cut off', () => {
    expect(withoutKeys(`a ${SECRET} b ${SECRET.slice(0, 20)}`)).toBe('a hf_*** b hf_***');
    fc.assert(
      fc.property(fc.string(), fc.string(), (before, after) => {
        const { key } = makeKey();
        expect(withoutKeys(`${before}${key}${after}`)).not.toContain(key.slice(-43));
      }),
    );
  });
});

describe('readKeysFile', () => {
  it('takes the least there may be', () => {
    expect(read()).toEqual([]);
    expect(read(GOOD)).toEqual([
      {
        id: 'abcd',
        hash: hashOfKey(SECRET),
        principal: 'p',
        namespace: 'default',
        prefixes: undefined,
        rights: ['lock'],
        created: undefined,
        expires: undefined,
        expiresAt: Infinity,
        comment: undefined,
      },
    ]);
  });

  it('takes all there may be, as people write it', () => {
    const text = `# who may do what
keys:
  - id: abcd
    hash: ${HASH}
    principal: größe # bytes count
    namespace: team a
    prefixes: [billing/, "{x}"]
    rights: [read, admin]
    created: 2026-01-31
    expires: 2027-01-31T12:00:00+02:00
    comment: |
      two
      lines
`;
    expect(readText(text)).toMatchObject([
      {
        principal: 'größe',
        namespace: 'team a',
        prefixes: ['billing/', '{x}'],
        rights: ['read', 'admin'],
        created: '2026-01-31',
        expiresAt: Date.UTC(2027, 0, 31, 10),
        comment: 'two\nlines\n',
      },
    ]);
    expect(read({ ...GOOD, expires: '2027-01-31' })[0].expiresAt).toBe(Date.UTC(2027, 0, 31));
  });

  it.each<[string, object, string]>([
    ['id', { id: 'abc' }, 'keys[0].id is "abc"; allowed: an id of 4–32 characters a–z and 0–9'],
    ['id', { id: 'a_bcd' }, 'keys[0].id is "a_bcd"; allowed: an id of'],
    ['id', { id: 1234 }, 'keys[0].id is 1234; allowed: an id of'],
    ['hash', { hash: 'sha256:ab' }, 'keys[0].hash is "***"; allowed: sha256: and 64 hex digits'],
    ['hash', { hash: SECRET }, 'keys[0].hash is "***"; allowed: sha256: and 64 hex digits'],
    ['hash', { hash: undefined }, 'keys[0].hash is missing; allowed: sha256: and 64 hex digits'],
    ['principal', { principal: undefined }, 'keys[0].principal is missing; allowed: a name of 1–64 bytes'],
    ['principal', { principal: '' }, 'keys[0].principal is ""; allowed: a name of 1–64 bytes'],
    ['principal', { principal: 'é'.repeat(33) }, 'allowed: a name of 1–64 bytes without control characters'],
    ['principal', { principal: 'a\nb' }, 'keys[0].principal is "a\\nb"; allowed: a name of'],
    ['namespace', { namespace: 'a\0b' }, 'keys[0].namespace is "a\\u0000b"; allowed: a name of 1–64 bytes'],
    ['namespace', { namespace: 'a\x85' }, 'keys[0].namespace is "a?"; allowed: a name of 1–64 bytes'],
    ['namespace', { namespace: 'x'.repeat(65) }, 'allowed: a name of 1–64 bytes'],
    ['namespace', { namespace: '\ud800' }, 'keys[0].namespace is "\\ud800"; allowed: a name of'],
    ['prefixes', { prefixes: [] }, 'keys[0].prefixes is []; allowed: a list of 1–64 prefixes, or none'],
    ['prefixes', { prefixes: 'a' }, 'keys[0].prefixes is "a"; allowed: a list of 1–64 prefixes'],
    ['prefixes', { prefixes: ['a', ''] }, 'keys[0].prefixes[1] is ""; allowed: a prefix of 1–512 bytes'],
    ['prefixes', { prefixes: ['x'.repeat(513)] }, 'allowed: a prefix of 1–512 bytes'],
    ['prefixes', { prefixes: new Array(65).fill('a') }, 'allowed: a list of 1–64 prefixes'],
    ['rights', { rights: [] }, 'keys[0].rights is []; allowed: a list of one or more of lock, read, admin'],
    ['rights', { rights: ['lock', 'write'] }, 'keys[0].rights[1] is "write"; allowed: a list of one or more'],
    ['rights', { rights: ['lock', 'lock'] }, 'keys[0].rights is ["lock","lock"]; allowed: a list of one'],
    ['rights', { rights: 'lock' }, 'keys[0].rights is "lock"; allowed: a list of one or more'],
    ['rights', { rights: undefined }, 'keys[0].rights is missing; allowed: a list of one or more'],
    ['expires', { expires: 'soon' }, 'keys[0].expires is "soon"; allowed: a time such as 2027-01-31'],
    ['expires', { expires: '2027-02-30' }, 'keys[0].expires is "2027-02-30"; allowed: a time'],
    [
      'expires',
      { expires: '2027-01-31T12:00:00' },
      'keys[0].expires is "2027-01-31T12:00:00"; allowed: a time',
    ],
    ['created', { created: 5 }, 'keys[0].created is 5; allowed: a time such as'],
    ['comment', { comment: [] }, 'keys[0].comment is []; allowed: a text'],
    ['more', { scopes: ['a'] }, 'keys[0].scopes is not a setting; allowed: id, hash, principal, namespace'],
    ['more', { key: SECRET }, 'keys[0].key is not a setting; allowed: id, hash, principal, namespace'],
  ])('refuses a wrong %s: %j', (_, change, message) => {
    const told = refusal(() => read({ ...GOOD, ...change }));
    expect(told).toContain(`${file}: `);
    expect(told).toContain(message);
    expect(told).not.toContain(SECRET.slice(8));
    expect(told).not.toContain(HASH.slice(7));
  });

  it('names the entry that is wrong, and an id that is there twice', () => {
    expect(refusal(() => read(GOOD, { ...GOOD, id: 'efgh', rights: [] }))).toContain('keys[1].rights');
    expect(refusal(() => read(GOOD, { ...GOOD, principal: 'q' }))).toBe(
      `${file}: keys[1].id is "abcd"; allowed: an id that no other key has`,
    );
  });

  it.each([
    ['', 'the content is null; allowed: settings keys'],
    ['[]', 'the content is []; allowed: settings keys'],
    ['keys:', 'keys is null; allowed: a list of at most 1000 keys'],
    ['keys: {}', 'keys is {}; allowed: a list of'],
    ['keys: [1]', 'keys[0] is 1; allowed: settings id, hash,'],
    ['keys: []\nmore: 1', 'more is not a setting; allowed: keys'],
    ['keys: [', 'the keys file is not valid YAML'],
    ['keys: []\nkeys: []', 'the keys file is not valid YAML: Map keys must be unique'],
  ])('refuses %j', (text, message) => {
    expect(refusal(() => readText(text))).toContain(`${file}: ${message}`);
  });

  it('shows no key, wherever it was pasted', () => {
    for (const text of [
      SECRET,
      `keys: ${SECRET}`,
      `keys:\n  - ${SECRET}`,
      `keys: [{id: ${SECRET}}]`,
      `keys: [{id: abcd, hash: ${HASH}, principal: p, rights: [${SECRET}]}]`,
      `keys: [{id: abcd, ${SECRET}: 1}]`,
      `keys: *${SECRET}`,
      `keys: []\n${SECRET}: [`,
    ]) {
      const told = refusal(() => readText(text));
      expect(told, text).not.toContain(SECRET.slice(8));
    }
  });

  it('says when it cannot be read', () => {
    expect(refusal(() => readKeysFile(join(folder, 'none')))).toMatch(
      /none: the keys file cannot be read: ENOENT/,
    );
    expect(refusal(() => readKeysFile(folder))).toContain('is a folder');
  });

  it('takes as many keys as there may be, and not one more', () => {
    const keys = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ ...GOOD, id: `id${String(i).padStart(6, '0')}` }));
    expect(read(...keys(LIMITS.keysMax))).toHaveLength(LIMITS.keysMax);
    expect(refusal(() => read(...keys(LIMITS.keysMax + 1)))).toContain(
      'allowed: a list of at most 1000 keys',
    );
  });
});
