/** Where etcd comes from, with stand-ins for etcd, go and apt-get in PATH. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { provideEtcd } from '../../src/cli/etcd-binary.ts';

let folder: string;
let said: string[];
const before = { ...process.env };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-provide-'));
  mkdirSync(join(folder, 'bin'));
  said = [];
  process.env['PATH'] = `${join(folder, 'bin')}:/usr/bin:/bin`;
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  delete process.env['HOLDFAST_ETCD'];
});
afterEach(() => {
  for (const name of ['PATH', 'XDG_CACHE_HOME', 'HOLDFAST_ETCD']) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  rmSync(folder, { recursive: true, force: true });
});

function script(name: string, ...lines: string[]): string {
  const path = join(folder, 'bin', name);
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(path, 0o755);
  return path;
}

const etcd = (version: string) => `echo "etcd Version: ${version}"`;
const provide = () => provideEtcd((line) => said.push(line));

/** A go whose `build -o FILE` makes an etcd of that version, and counts how often. */
function scriptGo(): void {
  script(
    'go',
    '[ "$1" = build ] || exit 0',
    `echo build >> ${join(folder, 'builds')}`,
    'sleep 0.3',
    'while [ "$1" != -o ]; do shift; done',
    `printf '#!/bin/sh\\n%s\\n' '${etcd('3.6.16')}' > "$2"`,
    'chmod +x "$2"',
  );
}

describe('etcd is taken', () => {
  it('from HOLDFAST_ETCD before anything else', async () => {
    script('etcd', etcd('3.5.30'));
    process.env['HOLDFAST_ETCD'] = script('other', etcd('3.4.23'));
    expect(await provide()).toEqual({ path: join(folder, 'bin/other'), version: '3.4.23' });
    process.env['HOLDFAST_ETCD'] = join(folder, 'nowhere');
    await expect(provide()).rejects.toThrow(/HOLDFAST_ETCD names .*nowhere/);
  });

  it('from PATH when it is new enough', async () => {
    script('etcd', etcd('3.5.30'));
    scriptGo();
    expect(await provide()).toEqual({ path: 'etcd', version: '3.5.30' });
    expect(said).toEqual([]);
  });

  it('from a build, made once for any number that want it, then from the cache', async () => {
    script('etcd', etcd('3.4.23'));
    scriptGo();
    const path = join(folder, 'cache/holdfast/etcd-3.6.16/etcd');
    const all = await Promise.all([provide(), provide(), provide()]);
    expect(all).toEqual([1, 2, 3].map(() => ({ path, version: '3.6.16' })));
    expect(said.filter((line) => line.includes('building etcd 3.6.16'))).toHaveLength(1);
    said = [];
    expect(await provide()).toEqual({ path, version: '3.6.16' });
    expect(said).toEqual([]);
  });

  it('from a build although a builder died with the lock in its hands', async () => {
    scriptGo();
    mkdirSync(join(folder, 'cache/holdfast/etcd-3.6.16'), { recursive: true });
    writeFileSync(join(folder, 'cache/holdfast/etcd-3.6.16/etcd.lock'), '999999999');
    expect((await provide()).version).toBe('3.6.16');
  });

  it('from PATH, old as it is, when none can be built', async () => {
    script('etcd', etcd('3.4.23'));
    script('go', '[ "$1" = version ] && exit 0', 'echo "no network" >&2', 'exit 1');
    expect((await provide()).version).toBe('3.4.23');
    expect(said.join()).toMatch(/could not be built: go mod: no network/);
  });

  if (process.getuid?.() === 0)
    it('from the system’s packages', async () => {
      script('go', 'exit 1');
      const made = join(folder, 'bin/etcd');
      const install = `[ "$1" = install ] && printf '#!/bin/sh\\n%s\\n' '${etcd('3.4.23')}' > ${made} && chmod +x ${made}`;
      script('apt-get', install, 'exit 0');
      expect(await provide()).toEqual({ path: 'etcd', version: '3.4.23' });
      expect(said).toEqual(['installing the package etcd-server']);
    });

  it('from nowhere: the error says what was tried', async () => {
    script('go', 'exit 1');
    script('apt-get', '[ "$1" = install ] && exit 100', 'exit 0');
    await expect(provide()).rejects.toThrow(/HOLDFAST_ETCD\. Tried: building it with Go.*etcd-server/);
  });
});
