/**
 * Where to get an etcd from, for `npm run up` and for the tests: what the
 * environment names, what is installed, what was built before, else one is
 * built with Go from etcd's own module, else the system's package is installed.
 *
 *   HOLDFAST_ETCD ─► PATH (≥ 3.5) ─► cache ─► build with Go ─► PATH (3.4) ─► apt (root) ─► error
 *
 * The cache lies outside the source tree: `$XDG_CACHE_HOME/holdfast/etcd-<version>/etcd`.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, command, oneAtATime, sayOnStderr, works, type Say } from './provide.ts';

const run = promisify(execFile);

/** What is built: newer ones are no faster here (measured 3.7.3), older ones are slower and lose leases. */
const ETCD_VERSION = '3.6.16';

const MAIN_GO = `package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
`;

export interface EtcdBinary {
  readonly path: string;
  /** «3.6.16» */
  readonly version: string;
}

/** Finds an etcd or makes one (about a minute, once). Throws an Error that says what was tried. */
export async function provideEtcd(say: Say = sayOnStderr): Promise<EtcdBinary> {
  const named = process.env['HOLDFAST_ETCD'];
  if (named !== undefined && named !== '') {
    const binary = await inspect(named);
    if (binary === undefined)
      throw new Error(`HOLDFAST_ETCD names ${named}, which is not an etcd that can be run`);
    return binary;
  }
  const installed = await inspect('etcd');
  if (installed !== undefined && minorOf(installed) >= 5) return installed;
  const cached = join(cache(), 'etcd');
  const before = existsSync(cached) ? await inspect(cached) : undefined;
  if (before !== undefined) return before;
  const tried: string[] = [];
  if (await works('go', ['version'])) {
    try {
      return await buildOnce(cached, say);
    } catch (error) {
      tried.push(`building it with Go: ${(error as Error).message}`);
      say(`etcd could not be built: ${(error as Error).message}`);
    }
  } else tried.push('building it with Go: there is no go in PATH');
  if (installed !== undefined) return installed;
  return installPackage(tried, say);
}

function cache(): string {
  return cacheFolder(`etcd-${ETCD_VERSION}`);
}

async function inspect(path: string): Promise<EtcdBinary | undefined> {
  try {
    const { stdout } = await run(path, ['--version'], { timeout: 10_000 });
    const match = /etcd Version: (\d+\.\d+\.\d+)/.exec(stdout);
    return match === null ? undefined : { path, version: match[1] };
  } catch {
    return undefined;
  }
}

function minorOf(binary: EtcdBinary): number {
  const [major, minor] = binary.version.split('.').map(Number);
  return major > 3 ? Infinity : minor;
}

/** One builder at a time; the others wait for its result. */
async function buildOnce(target: string, say: Say): Promise<EtcdBinary> {
  await mkdir(cache(), { recursive: true });
  return oneAtATime(`${target}.lock`, 'building etcd', say, async () => {
    const ready = existsSync(target) ? await inspect(target) : undefined;
    if (ready !== undefined) return ready;
    await build(target, say);
    const built = await inspect(target);
    if (built === undefined) throw new Error('the etcd that was built does not run');
    return built;
  });
}

async function build(target: string, say: Say): Promise<void> {
  say(`building etcd ${ETCD_VERSION} with Go: about a minute, once; it is kept in ${cache()}`);
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-etcd-'));
  try {
    await writeFile(join(folder, 'main.go'), MAIN_GO);
    await go(folder, ['mod', 'init', 'holdfast.local/etcd']);
    await go(folder, ['get', `go.etcd.io/etcd/server/v3@v${ETCD_VERSION}`]);
    await go(folder, ['mod', 'tidy']);
    const made = `${target}.${process.pid}`;
    await go(folder, ['build', '-trimpath', '-ldflags=-s -w', '-o', made, '.']);
    await rename(made, target);
    say(`etcd ${ETCD_VERSION} is built`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function go(folder: string, parameters: string[]): Promise<void> {
  try {
    await run('go', parameters, {
      cwd: folder,
      env: { ...process.env, GOWORK: 'off' },
      maxBuffer: 16 * 1024 * 1024,
    });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    const lines = (stderr || message).trim().split('\n');
    throw new Error(`go ${parameters[0]}: ${lines.slice(-5).join(' · ')}`, { cause: error });
  }
}

async function installPackage(tried: readonly string[], say: Say): Promise<EtcdBinary> {
  const attempts = [...tried];
  if (process.getuid?.() !== 0) attempts.push('installing the package etcd-server: needs root');
  else if (!(await works('apt-get', ['--version'])))
    attempts.push('installing the package etcd-server: no apt-get');
  else {
    say('installing the package etcd-server');
    const failed =
      (await command('apt-get', ['update'])) ?? (await command('apt-get', ['install', '-y', 'etcd-server']));
    const binary = await inspect('etcd');
    if (binary !== undefined) return binary;
    attempts.push(`installing the package etcd-server: ${failed ?? 'it has no etcd'}`);
  }
  throw new Error(
    `no etcd could be had. Install etcd 3.5 or newer, or name one in HOLDFAST_ETCD. Tried: ${attempts.join('; ')}`,
  );
}
