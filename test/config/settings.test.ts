import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/config/error.ts';
import {
  environmentName,
  readSettings,
  SETTINGS,
  workersDefault,
  type Flags,
  type Settings,
} from '../../src/config/settings.ts';

let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-settings-'));
  file = join(folder, 'holdfast.yaml');
});
afterAll(() => rmSync(folder, { recursive: true }));

function withFile(yaml: string, flags: Flags = {}, environment = {}): Settings {
  writeFileSync(file, yaml);
  return readSettings({ config: file, ...flags }, environment);
}

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message).not.toMatch(/[\r\n\u2028]/);
    return (error as Error).message;
  }
  throw new Error('was accepted');
}

/** For each setting two good values, as given and as understood. */
const GOOD: readonly [
  name: string,
  key: keyof Settings,
  given: [string, unknown],
  other: [string, unknown],
][] = [
  ['port', 'port', ['7421', 7421], ['0', 0]],
  ['host', 'host', ['127.0.0.2', '127.0.0.2'], ['[::1]', '::1']],
  ['shards', 'shards', ['/etc/shards.yaml', '/etc/shards.yaml'], ['/other.yaml', '/other.yaml']],
  ['data', 'data', ['/var/lib/holdfast', '/var/lib/holdfast'], ['/x y', '/x y']],
  ['workers', 'workers', ['3', 3], ['64', 64]],
  ['keys', 'keys', ['/etc/keys.yaml', '/etc/keys.yaml'], ['/other.yaml', '/other.yaml']],
  [
    'allow-origin',
    'allowOrigin',
    ['https://App.Example:443', ['https://app.example']],
    ['http://a:1, http://b', ['http://a:1', 'http://b']],
  ],
  ['log', 'log', ['json', 'json'], ['pretty', 'pretty']],
  ['request-timeout-ms', 'requestTimeoutMs', ['100', 100], ['60000', 60_000]],
  ['advertise', 'advertise', ['127.0.0.1:7421', '127.0.0.1:7421'], ['[::1]:1', '[::1]:1']],
];

const KEY = 'a secret that several processes share';

describe('readSettings', () => {
  it('has defaults for all', () => {
    const { workers, ...rest } = readSettings({}, {});
    expect(rest).toEqual({
      port: 7420,
      host: '127.0.0.1',
      shards: undefined,
      data: resolve('data'),
      keys: undefined,
      allowOrigin: [],
      log: 'pretty',
      requestTimeoutMs: 8_000,
      advertise: undefined,
      clusterKey: undefined,
    });
    expect(workers).toBeGreaterThanOrEqual(1);
  });

  it('covers every setting of this version in this test', () => {
    const elsewhere = ['cluster-key'];
    expect(
      SETTINGS.map((row) => row.name)
        .filter((name) => !elsewhere.includes(name))
        .sort(),
    ).toEqual(GOOD.map(([name]) => name).sort());
  });

  it.each(GOOD)(
    '%s: flag beats environment beats file beats default',
    (name, key, [one, first], [two, second]) => {
      const variable = environmentName(name);
      const inFile = `${name}: ${JSON.stringify(one)}`;
      expect(withFile(inFile)[key]).toEqual(first);
      expect(withFile(inFile, {}, { [variable]: two })[key]).toEqual(second);
      expect(withFile(inFile, { [name]: one }, { [variable]: two })[key]).toEqual(first);
      expect(readSettings({}, { [variable]: one })[key]).toEqual(first);
      expect(readSettings({ [name]: two }, {})[key]).toEqual(second);
    },
  );

  it('names the variables plainly', () => {
    expect(environmentName('request-timeout-ms')).toBe('HOLDFAST_REQUEST_TIMEOUT_MS');
    expect(environmentName('config')).toBe('HOLDFAST_CONFIG');
  });

  it('takes the file from the environment too, the flag first', () => {
    writeFileSync(file, 'port: 1234');
    expect(readSettings({}, { HOLDFAST_CONFIG: file }).port).toBe(1234);
    expect(
      refusal(() => readSettings({ config: join(folder, 'none') }, { HOLDFAST_CONFIG: file })),
    ).toContain('none: the configuration file cannot be read: ENOENT');
  });

  it('takes numbers and lists as YAML has them, and an empty file', () => {
    const settings = withFile(
      'port: 0x10\nworkers: 2\nallow-origin: [http://a, "https://b:8443"]\nlog: json',
    );
    expect(settings).toMatchObject({ port: 16, workers: 2, log: 'json' });
    expect(settings.allowOrigin).toEqual(['http://a', 'https://b:8443']);
    expect(withFile('# nothing').port).toBe(7420);
    expect(readSettings({ 'allow-origin': ['http://a', 'http://b'] }, {}).allowOrigin).toEqual([
      'http://a',
      'http://b',
    ]);
  });

  it('relates paths of the file to the file, others to the working directory', () => {
    expect(withFile('data: ./d\nshards: shards.yaml\nkeys: keys.yaml')).toMatchObject({
      data: join(folder, 'd'),
      keys: join(folder, 'keys.yaml'),
      shards: join(folder, 'shards.yaml'),
    });
    expect(readSettings({ data: 'd' }, { HOLDFAST_SHARDS: 's' })).toMatchObject({
      data: resolve('d'),
      shards: resolve('s'),
    });
  });

  it('leaves out variables that are empty, and those of other programs', () => {
    const environment = {
      HOLDFAST_PORT: '',
      HOLDFAST_CONFIG: '',
      HOLDFAST_URL: 'http://a',
      HOLDFAST_API_KEY: 'k',
    };
    expect(readSettings({}, environment).port).toBe(7420);
  });

  it.each(['127.0.0.1', '127.255.0.9', '::1', '[::1]', 'localhost', 'LOCALHOST', '::ffff:127.0.0.1'])(
    'may listen on %s',
    (host) => expect(readSettings({ host }, {}).host).toBe(host.replace(/[[\]]/g, '')),
  );

  it.each([
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '128.0.0.1',
    'example.org',
    'localhost.example',
    '127.1',
    '2130706433',
    '',
    ' ',
  ])('may not listen on %j without keys', (host) => {
    expect(refusal(() => readSettings({ host }, {}))).toBe(
      `--host is ${JSON.stringify(host)}; allowed: a loopback address (127.0.0.0/8, ::1, localhost), or with keys any address or host name`,
    );
  });

  it.each(['0.0.0.0', '::', '[::]', '10.0.0.1', 'example.org', 'fe80::1'])(
    'may listen on %s with keys, whatever order they are set in',
    (host) => {
      expect(readSettings({ host, keys: 'k' }, {}).host).toBe(host.replace(/[[\]]/g, ''));
      expect(readSettings({ host }, { HOLDFAST_KEYS: 'k' }).host).toBe(host.replace(/[[\]]/g, ''));
    },
  );

  it.each(['', ' ', '127.1', '2130706433', '-a', 'a b', 'a..b', 'http://a', 'a:1', '::g', 'x'.repeat(254)])(
    'may not listen on %j, with keys either',
    (host) => {
      const allowed = ' or with keys any address or host name';
      expect(refusal(() => readSettings({ host, keys: 'k' }, {}))).toContain(allowed);
    },
  );

  it('has to be told where other processes reach it when it listens everywhere, with a cluster key', () => {
    const path = join(folder, 'key');
    writeFileSync(path, KEY);
    const flags = { 'cluster-key': path, keys: 'k' };
    for (const host of ['0.0.0.0', '::', '0:0::0'])
      expect(refusal(() => readSettings({ ...flags, host }, {}))).toBe(
        'advertise is missing; allowed: HOST:PORT at which other processes reach this one, which a host that means all addresses does not tell',
      );
    const given = { ...flags, host: '0.0.0.0', advertise: '10.0.0.1:7420' };
    expect(readSettings(given, {}).advertise).toBe('10.0.0.1:7420');
    expect(readSettings({ ...flags, host: '10.0.0.1' }, {}).advertise).toBe(undefined);
    expect(readSettings({ host: '0.0.0.0', keys: 'k' }, {}).advertise).toBe(undefined);
  });

  it.each([
    ['port', '65536', 'an integer 0–65535'],
    ['port', '-1', 'an integer 0–65535'],
    ['port', '7420.5', 'an integer 0–65535'],
    ['port', '7e3', 'an integer 0–65535'],
    ['port', ' 7420', 'an integer 0–65535'],
    ['port', 'http', 'an integer 0–65535'],
    ['workers', '0', 'an integer 1–64'],
    ['workers', '65', 'an integer 1–64'],
    ['log', 'xml', 'pretty or json'],
    ['log', 'JSON', 'pretty or json'],
    ['request-timeout-ms', '99', 'an integer 100–60000'],
    ['request-timeout-ms', '60001', 'an integer 100–60000'],
    ['request-timeout-ms', '8s', 'an integer 100–60000'],
    ['data', '/a\0b', 'the path of a folder'],
    ['shards', '/a\nb', 'the path of a shards file'],
    ['allow-origin', '*', 'at most 64 origins such as https://app.example, with commas between them'],
    ['allow-origin', 'null', 'at most 64 origins'],
    ['allow-origin', 'https://a/path', 'at most 64 origins'],
    ['allow-origin', 'https://a?b', 'at most 64 origins'],
    ['allow-origin', 'https://u:p@a', 'at most 64 origins'],
    ['allow-origin', 'ftp://a', 'at most 64 origins'],
    ['allow-origin', 'http://a,', 'at most 64 origins'],
    ['keys', '/a\nb', 'the path of a keys file'],
    ['advertise', 'http://10.0.0.1:7420', 'HOST:PORT with a port 1–65535'],
    ['advertise', '10.0.0.1', 'HOST:PORT with a port 1–65535'],
    ['advertise', '10.0.0.1:0', 'HOST:PORT with a port 1–65535'],
    ['advertise', '10.0.0.1:65536', 'HOST:PORT with a port 1–65535'],
    ['advertise', '10.0.0:1', 'HOST:PORT with a port 1–65535'],
    ['advertise', '::1:7420', 'HOST:PORT with a port 1–65535'],
    ['advertise', '[::1]', 'HOST:PORT with a port 1–65535'],
    ['advertise', '[::g]:1', 'HOST:PORT with a port 1–65535'],
    ['advertise', '[127.0.0.1]:1', 'HOST:PORT with a port 1–65535'],
    ['advertise', 'a b:1', 'HOST:PORT with a port 1–65535'],
    ['advertise', '-a:1', 'HOST:PORT with a port 1–65535'],
    ['advertise', 'a..b:1', 'HOST:PORT with a port 1–65535'],
    ['advertise', ':1', 'HOST:PORT with a port 1–65535'],
    ['advertise', 'a:1/x', 'HOST:PORT with a port 1–65535'],
    [
      'advertise',
      '10.0.0.1:7420',
      'a loopback address (127.0.0.0/8, ::1, localhost) and a port, or any with',
    ],
    ['advertise', 'holdfast-0.holdfast:7420', 'a loopback address'],
    ['advertise', '[fe80::1]:7420', 'a loopback address'],
  ])('refuses %s %j, from every source', (name, value, allowed) => {
    const end = ` is ${JSON.stringify(value)}; allowed: ${allowed}`;
    expect(refusal(() => readSettings({ [name]: value }, {}))).toContain(`--${name}${end}`);
    const variable = environmentName(name);
    expect(refusal(() => readSettings({}, { [variable]: value }))).toContain(`${variable}${end}`);
    expect(refusal(() => withFile(`${name}: ${JSON.stringify(value)}`))).toContain(`${file}: ${name}${end}`);
  });

  describe('the cluster key', () => {
    const withKey = (content: string | Uint8Array, flags: Flags = {}): Settings => {
      const path = join(folder, 'key');
      writeFileSync(path, content);
      return readSettings({ 'cluster-key': path, ...flags }, {});
    };
    const text = (settings: Settings): string => Buffer.from(settings.clusterKey!).toString();

    it('comes from a file, without the white space around it', () => {
      expect(text(withKey(KEY))).toBe(KEY);
      expect(text(withKey(` \t${KEY}\r\n\n`))).toBe(KEY);
      expect([...withKey(new Uint8Array(16).fill(0x80)).clusterKey!]).toEqual(new Array(16).fill(0x80));
      expect(withKey('k'.repeat(1_024)).clusterKey).toHaveLength(1_024);
    });

    it('has a path that is relative to the file that names it, and the usual sources', () => {
      writeFileSync(join(folder, 'key'), KEY);
      expect(text(withFile('cluster-key: ./key'))).toBe(KEY);
      writeFileSync(join(folder, 'other'), `other ${KEY}`);
      const environment = { HOLDFAST_CLUSTER_KEY: join(folder, 'other') };
      expect(text(withFile('cluster-key: ./key', {}, environment))).toBe(`other ${KEY}`);
      expect(text(withFile('', { 'cluster-key': join(folder, 'key') }, environment))).toBe(KEY);
    });

    it.each([
      ['', 'has 0 bytes beside white space'],
      ['fifteen bytes..\n\n\n', 'has 15 bytes beside white space'],
      ['k'.repeat(1_025), 'has 1025 bytes beside white space'],
      [' '.repeat(20_000) + KEY, 'has 20037 bytes'],
    ])('is refused when it is too short or too long (%#)', (content, wrong) => {
      const path = join(folder, 'key');
      expect(refusal(() => withKey(content))).toBe(
        `--cluster-key is ${JSON.stringify(path)}, which ${wrong}; allowed: a readable file with a secret of 16–1024 bytes`,
      );
    });

    it('is refused when it is no readable file, and never shown', () => {
      const path = join(folder, 'none');
      expect(refusal(() => readSettings({ 'cluster-key': path }, {}))).toContain(
        `--cluster-key is ${JSON.stringify(path)}, which cannot be read: ENOENT; allowed: a readable file`,
      );
      expect(refusal(() => withFile(`cluster-key: ${JSON.stringify(folder)}`))).toContain('is not a file');
      expect(refusal(() => withKey('very secret'))).not.toContain('very');
    });

    it.each(['10.0.0.1:7420', 'holdfast-0.holdfast:7420', '[fe80::1]:7420', 'localhost:7420'])(
      'lets others than loopback addresses be advertised: %s',
      (advertise) => expect(withKey(KEY, { advertise }).advertise).toBe(advertise),
    );
  });

  it.each([
    ['prot: 1', '"prot" is not a setting; allowed: port, host, shards,'],
    ['config: other.yaml', '"config" is not a setting'],
    ['requestTimeoutMs: 5', '"requestTimeoutMs" is not a setting'],
    ['__proto__: {port: 1}', '"__proto__" is not a setting'],
    ['- port', 'the content is ["port"]; allowed: settings port'],
    ['7420', 'the content is 7420; allowed: settings port'],
    ['port: [7420]', 'port is [7420]; allowed: an integer'],
    ['port: null', 'port is null; allowed: an integer'],
    ['data:', 'data is null; allowed: the path of a folder'],
    ['data: 5', 'data is 5; allowed: the path of a folder'],
    ['log: true', 'log is true; allowed: pretty or json'],
    ['allow-origin: {a: b}', 'allow-origin is {"a":"b"}; allowed: at most 64 origins'],
    ['port: 1\nport: 2', 'the configuration file is not valid YAML: Map keys must be unique'],
    ['port: "1', 'the configuration file is not valid YAML'],
  ])('refuses a file with %j', (yaml, message) =>
    expect(refusal(() => withFile(yaml))).toContain(`${file}: ${message}`),
  );

  it('checks only the source that counts', () => {
    expect(withFile('port: wrong', { port: '1' }).port).toBe(1);
  });

  it('gives settings or one line, whatever it is given', () => {
    const value = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.integer().map(String));
    const names = SETTINGS.map((row) => row.name);
    fc.assert(
      fc.property(fc.constantFrom(...names), value, fc.boolean(), (name, text, asFlag) => {
        try {
          readSettings(asFlag ? { [name]: text } : {}, asFlag ? {} : { [environmentName(name)]: text });
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          expect((error as Error).message).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('workersDefault', () => {
  it.each([
    [1, 1],
    [2, 1],
    [3, 2],
    [9, 8],
    [128, 8],
  ])('of %i processors is %i', (processors, workers) => expect(workersDefault(processors)).toBe(workers));
});
