/** Where HAProxy comes from, with stand-ins for haproxy, apt-get and dpkg in PATH. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { execFile } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { provideHaproxy } from '../../src/cli/haproxy-binary.ts';

let folder: string;
let said: string[];
const before = { ...process.env };
const realGetuid = process.getuid!;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-test-provide-'));
  mkdirSync(join(folder, 'bin'));
  said = [];
  process.env['PATH'] = `${join(folder, 'bin')}:/usr/bin:/bin`;
  process.env['XDG_CACHE_HOME'] = join(folder, 'cache');
  delete process.env['HOLDFAST_HAPROXY'];
});
afterEach(() => {
  for (const name of ['PATH', 'XDG_CACHE_HOME', 'HOLDFAST_HAPROXY']) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  process.getuid = realGetuid;
  rmSync(folder, { recursive: true, force: true });
});

function script(name: string, ...lines: string[]): string {
  const path = join(folder, 'bin', name);
  writeFileSync(path, ['#!/bin/sh', ...lines, ''].join('\n'));
  chmodSync(path, 0o755);
  return path;
}

const haproxy = (version: string) => `echo "HAProxy version ${version} 2026/01/01 - https://haproxy.org/"`;
/** Only PATH is looked at: this machine may have a real one elsewhere. */
const provide = () => provideHaproxy((line) => said.push(line), ['haproxy']);

function runAs(user: 'root' | 'somebody'): void {
  process.getuid = () => (user === 'root' ? 0 : 1_000);
}

/** An apt-get that simulates and downloads, and a dpkg whose -x makes a haproxy that shows its library path. */
function scriptPackages(): void {
  script(
    'apt-get',
    `echo "$*" >> ${join(folder, 'calls')}`,
    'case "$1" in',
    '  install) echo "Inst libone0 (1)"; echo "Inst haproxy (2.6.12)";;',
    '  download) shift; for name; do touch "${name}_1_amd64.deb"; done;;',
    'esac',
  );
  script(
    'dpkg',
    'sleep 0.1',
    'mkdir -p "$3/usr/sbin" "$3/usr/lib/anywhere"',
    `printf '#!/bin/sh\\necho "HAProxy version 2.6.12"\\necho "$LD_LIBRARY_PATH"\\n' > "$3/usr/sbin/haproxy"`,
    'chmod +x "$3/usr/sbin/haproxy"',
  );
}

describe('HAProxy is taken', () => {
  it('from HOLDFAST_HAPROXY before anything else', async () => {
    script('haproxy', haproxy('2.9.1'));
    process.env['HOLDFAST_HAPROXY'] = script('other', haproxy('2.4.0'));
    expect(await provide()).toEqual({ path: join(folder, 'bin/other'), version: '2.4.0' });
    process.env['HOLDFAST_HAPROXY'] = script('old', haproxy('1.8.30'));
    await expect(provide()).rejects.toThrow(/HOLDFAST_HAPROXY names .*old, which is not an HAProxy 2\.4/);
  });

  it('from PATH when it is new enough', async () => {
    script('haproxy', haproxy('3.0.5-1ppa1'));
    expect(await provide()).toEqual({ path: 'haproxy', version: '3.0.5' });
    expect(said).toEqual([]);
  });

  it('from the system’s packages, which root installs', async () => {
    runAs('root');
    const made = join(folder, 'bin/haproxy');
    const install = `[ "$1" = install ] && printf '#!/bin/sh\\n%s\\n' '${haproxy('2.6.12')}' > ${made} && chmod +x ${made}`;
    script('apt-get', install, 'exit 0');
    expect(await provide()).toEqual({ path: 'haproxy', version: '2.6.12' });
    expect(said).toEqual(['installing the package haproxy']);
  });

  it('from the packages, which anybody else unpacks once, with their libraries', async () => {
    runAs('somebody');
    scriptPackages();
    const cache = join(folder, 'cache/holdfast/haproxy');
    const all = await Promise.all([provide(), provide()]);
    expect(all).toEqual([1, 2].map(() => ({ path: join(cache, 'haproxy'), version: '2.6.12' })));
    expect(said.filter((line) => line.startsWith('unpacking the packages libone0, haproxy'))).toHaveLength(1);
    const { stdout } = await promisify(execFile)(all[0].path, ['-v']);
    expect(stdout).toContain(join(cache, 'root/usr/lib/anywhere'));
    const calls = readFileSync(join(folder, 'calls'), 'utf8');
    expect(calls).not.toMatch(/^install (?!--simulate)|^update/m);
    said = [];
    expect((await provide()).path).toBe(join(cache, 'haproxy'));
    expect(said).toEqual([]);
  });

  it('from nowhere: the error says what was tried', async () => {
    script('apt-get', '[ "$1" = --version ] || exit 100');
    for (const user of ['root', 'somebody'] as const) {
      runAs(user);
      await expect(provide()).rejects.toThrow(/HOLDFAST_HAPROXY\. Tried: installing the package haproxy: /);
    }
  });
});
