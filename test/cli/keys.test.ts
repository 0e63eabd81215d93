import {
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
  chmodSync,
  lstatSync,
} from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readKeysFile } from '../../src/config/keys.ts';
import { temporaryFolder } from '../servers/holdfast.ts';
import { holdfast, type Ran } from './command.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let file: string;

beforeEach(async () => {
  folder = await temporaryFolder();
  file = join(folder.path, 'keys.yaml');
});

afterEach(() => folder.remove());

const keys = (...args: string[]): Promise<Ran> => holdfast(['keys', ...args], folder.path);

async function create(...args: string[]): Promise<{ key: string; id: string }> {
  const { code, stdout, stderr } = await keys('create', ...args);
  expect([code, stderr.split('\n').length]).toEqual([0, 2]);
  const [, key, id] = /^(hf_([a-z0-9]{10})_[\w-]{43})\n$/.exec(stdout)!;
  expect(stderr).toContain(id);
  expect(stderr).not.toContain(key.slice(-43));
  return { key, id };
}

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
const mode = (path: string): number => statSync(path).mode & 0o777;

describe('holdfast keys create', () => {
  it('shows the key once and keeps its hash, in a file that only its owner reads', async () => {
    const { key, id } = await create('--principal', 'billing');
    const text = readFileSync(file, 'utf8');
    expect(text).not.toContain(key.slice(-43));
    expect(readKeysFile(file)).toMatchObject([
      {
        id,
        principal: 'billing',
        namespace: 'default',
        prefixes: undefined,
        rights: ['lock'],
        expires: undefined,
      },
    ]);
    expect(readKeysFile(file)[0].hash).toEqual(sha256(key));
    expect(Math.abs(Date.parse(readKeysFile(file)[0].created!) - Date.now())).toBeLessThan(60_000);
    expect(mode(file)).toBe(0o600);
    expect(existsSync(`${file}.new`)).toBe(false);
  });

  it('takes everything that an entry may have', async () => {
    const { id } = await create(
      ...[
        '--file',
        'other.yaml',
        '--principal',
        'größe',
        '--namespace',
        'team a',
        '--comment',
        '# two: "words"',
      ],
      ...[
        '--prefix',
        'a/',
        '--prefix',
        '{x}',
        '--right',
        'read',
        '--right',
        'admin',
        '--expires',
        '2999-01-31',
      ],
    );
    expect(readKeysFile(join(folder.path, 'other.yaml'))).toMatchObject([
      {
        id,
        principal: 'größe',
        namespace: 'team a',
        prefixes: ['a/', '{x}'],
        rights: ['read', 'admin'],
        expires: '2999-01-31',
        comment: '# two: "words"',
      },
    ]);
    await create('--principal', 'p', '--expires', '90d');
    const days = (readKeysFile(file)[0].expiresAt - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(89.99);
    expect(days).toBeLessThanOrEqual(90);
  });

  it('leaves comments and other entries as they are', async () => {
    const first = await create('--principal', 'first');
    const text = readFileSync(file, 'utf8').replace('principal: first', 'principal: first # why');
    const commented = `# ours\n\n${text.replace('    rights', '\n    # above\n    rights')}# end\n`;
    writeFileSync(file, commented);
    chmodSync(file, 0o640);
    const second = await create('--principal', 'second');
    const after = readFileSync(file, 'utf8');
    expect(after.startsWith(commented.slice(0, -'# end\n'.length))).toBe(true);
    expect(after).toMatch(/# end\n$/m);
    expect(after.match(/# API keys of Holdfast/g)).toHaveLength(1);
    expect(readKeysFile(file).map(({ id }) => id)).toEqual([first.id, second.id]);
    expect(mode(file)).toBe(0o640);
  });

  it('follows a link and leaves it there', async () => {
    mkdirSync(join(folder.path, 'real'));
    const real = join(folder.path, 'real', 'k.yaml');
    writeFileSync(real, 'keys: []\n');
    symlinkSync(real, file);
    await create('--principal', 'p');
    expect(lstatSync(file).isSymbolicLink()).toBe(true);
    expect(readKeysFile(real)).toHaveLength(1);
  });

  it('finds the file by HOLDFAST_KEYS, and answers as JSON', async () => {
    const path = join(folder.path, 'env.yaml');
    const env = { HOLDFAST_KEYS: path };
    const { stdout } = await holdfast(['keys', 'create', '--principal', 'p', '--json'], folder.path, env);
    const { id, key } = JSON.parse(stdout) as { id: string; key: string };
    expect(readKeysFile(path)[0]).toMatchObject({ id, hash: sha256(key) });
  });

  it.each([
    [[], /required option '--principal <name>'/],
    [['--principal', ''], /^holdfast: --principal is ""; allowed: a name of 1–64 bytes/],
    [['--principal', 'p', '--namespace', 'a\nb'], /^holdfast: --namespace is "a\\nb"; allowed: a name/],
    [['--principal', 'p', '--right', 'write'], /^holdfast: --right is \["write"\]; allowed: a list of one/],
    [['--principal', 'p', '--prefix', ''], /^holdfast: --prefix is \[""\]; allowed: a prefix of 1–512/],
    [['--principal', 'p', '--expires', 'soon'], /^holdfast: --expires is "soon"; allowed: a time such as/],
    [
      ['--principal', 'p', '--expires', '2020-01-01'],
      /^holdfast: --expires is "2020-01-01"; allowed: a time to come/,
    ],
    [['--principal', 'p', '--expires', '0d'], /^holdfast: --expires is "0d"; allowed: 1d–36500d/],
    [['--principal', 'p', 'more'], /too many arguments/],
  ])('refuses %j (64)', async (args, words) => {
    const { code, stdout, stderr } = await keys('create', ...args);
    expect(stderr).toMatch(words);
    expect([code, stdout, existsSync(file)]).toEqual([64, '', false]);
  });

  it('touches no file that it does not understand (78), nor one that is being changed (69)', async () => {
    for (const text of ['keys: [', 'keys: {}', 'keys: []\nmore: 1', 'keys: [{id: abcd}]', '']) {
      writeFileSync(file, text);
      const { code, stdout, stderr } = await keys('create', '--principal', 'p');
      expect([code, stdout, readFileSync(file, 'utf8'), existsSync(`${file}.new`)]).toEqual([
        78,
        '',
        text,
        false,
      ]);
      expect(stderr).toMatch(/^holdfast: keys\.yaml: .*\n$/);
    }
    writeFileSync(`${file}.new`, 'half');
    const busy = await keys('create', '--principal', 'p');
    expect([busy.code, busy.stdout]).toEqual([69, '']);
    expect(busy.stderr).toContain('keys.yaml.new is there');
    expect(readFileSync(`${file}.new`, 'utf8')).toBe('half');
    const nowhere = await keys('create', '--principal', 'p', '--file', 'no/where.yaml');
    expect([nowhere.code, nowhere.stdout]).toEqual([69, '']);
    expect(nowhere.stderr).toBe('holdfast: no/where.yaml cannot be written: ENOENT\n');
  });
});

describe('holdfast keys list', () => {
  it('shows what there is, without secrets or their hashes', async () => {
    const one = await create('--principal', 'one', '--prefix', 'a/', '--comment', 'two\nlines');
    const two = await create(
      '--principal',
      'two',
      '--namespace',
      'n',
      '--right',
      'admin',
      '--expires',
      '2999-01-31',
    );
    writeFileSync(file, readFileSync(file, 'utf8').replace('2999-01-31', '2020-01-31'));
    const { code, stdout } = await keys('list');
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^ID +PRINCIPAL +NAMESPACE +RIGHTS +PREFIXES +EXPIRES +COMMENT$/);
    expect(lines[1]).toMatch(new RegExp(`^${one.id} +one +default +lock +"a/" +never +two lines$`));
    expect(lines[2]).toMatch(new RegExp(`^${two.id} +two +n +admin +\\(all\\) +2020-01-31 \\(over\\)$`));
    const json = JSON.parse((await keys('list', '--json')).stdout) as { keys: object[] };
    expect(json.keys).toMatchObject([
      { id: one.id, principal: 'one', prefixes: ['a/'], expired: false },
      { id: two.id, namespace: 'n', rights: ['admin'], expires: '2020-01-31', expired: true },
    ]);
    for (const text of [stdout, JSON.stringify(json)]) {
      expect(text).not.toContain('sha256');
      expect(text).not.toContain(sha256(one.key).toString('hex'));
    }
  });

  it('says when there is no file (78)', async () => {
    const { code, stderr } = await keys('list');
    expect([code, stderr]).toEqual([
      78,
      expect.stringMatching(/^holdfast: keys\.yaml: the keys file cannot be read/),
    ]);
  });
});

describe('holdfast keys revoke', () => {
  it('takes one out and leaves the rest', async () => {
    const [one, two, three] = [
      await create('--principal', 'one'),
      await create('--principal', 'two'),
      await create('--principal', 'three'),
    ];
    const revoked = await keys('revoke', two.id);
    expect([revoked.code, revoked.stdout]).toEqual([0, '']);
    expect(revoked.stderr).toContain(two.id);
    expect(readKeysFile(file).map(({ id }) => id)).toEqual([one.id, three.id]);
    const pasted = await keys('revoke', three.key, '--json');
    expect(JSON.parse(pasted.stdout)).toEqual({ id: three.id, revoked: true });
    expect(pasted.stderr).not.toContain(three.key.slice(-43));
    await keys('revoke', one.id);
    expect(readKeysFile(file)).toEqual([]);
    await create('--principal', 'four');
    expect(readKeysFile(file)).toHaveLength(1);
  });

  it('says when there is no such key (64), or no file (78)', async () => {
    await create('--principal', 'one');
    const before = readFileSync(file, 'utf8');
    const { code, stderr } = await keys('revoke', 'zzzz');
    expect([code, stderr]).toEqual([64, 'holdfast: keys.yaml has no key with the id "zzzz"\n']);
    expect([readFileSync(file, 'utf8'), existsSync(`${file}.new`)]).toEqual([before, false]);
    const nowhere = await keys('revoke', 'zzzz', '--file', 'none.yaml');
    expect(nowhere.code).toBe(78);
    expect(existsSync(join(folder.path, 'none.yaml.new'))).toBe(false);
  });
});

it('holdfast serve does not start with a wrong keys file (78)', async () => {
  const key = `hf_abcd_${'s'.repeat(43)}`;
  writeFileSync(file, `keys: [{id: abcd, hash: ${key}, principal: p, rights: [lock]}]`);
  const { code, stdout, stderr } = await holdfast(
    ['serve', '--port', '0', '--keys', 'keys.yaml'],
    folder.path,
  );
  expect([code, stdout]).toEqual([78, '']);
  expect(stderr).toMatch(/^holdfast: .*keys\.yaml: keys\[0\]\.hash is "\*\*\*"; allowed: sha256: .*\n$/);
});
