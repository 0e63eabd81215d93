/**
 * Where to get an HAProxy from, for `holdfast up --processes N` and its tests:
 * what the environment names, what is installed, what was unpacked before, else
 * the system's package: installed by root, only unpacked by anybody else.
 *
 *   HOLDFAST_HAPROXY ─► PATH, sbin (≥ 2.4) ─► cache ─┬─► root: apt-get install ─► error
 *                                                    └─► apt-get download, dpkg -x ─► error
 *
 * The cache lies outside the source tree: `$XDG_CACHE_HOME/holdfast/haproxy/`.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, command, oneAtATime, sayOnStderr, works, type Say } from './provide.ts';

const run = promisify(execFile);

/** What the configuration needs of it: retries by status came with 2.0, the form of its checks with 2.2. */
const VERSION_MIN = [2, 4] as const;

export interface HaproxyBinary {
  readonly path: string;
  /** «2.6.12» */
  readonly version: string;
}

/** Distributions put it where the PATH of most people does not lead. */
const PLACES = ['haproxy', '/usr/sbin/haproxy', '/usr/local/sbin/haproxy'];

/**
 * Finds an HAProxy or makes one. Throws an Error that says what was tried.
 *
 * @param places where an installed one is looked for; a name without `/`: in PATH
 */
export async function provideHaproxy(
  say: Say = sayOnStderr,
  places: readonly string[] = PLACES,
): Promise<HaproxyBinary> {
  const named = process.env['HOLDFAST_HAPROXY'];
  if (named !== undefined && named !== '') {
    const binary = await inspect(named);
    if (binary === undefined)
      throw new Error(
        `HOLDFAST_HAPROXY names ${named}, which is not an HAProxy ${VERSION_MIN.join('.')} or newer that can be run`,
      );
    return binary;
  }
  const installed = await findInstalled(places);
  if (installed !== undefined) return installed;
  const cached = join(cacheFolder('haproxy'), 'haproxy');
  const before = existsSync(cached) ? await inspect(cached) : undefined;
  if (before !== undefined) return before;
  const what = 'installing the package haproxy';
  const tried: string[] = [];
  try {
    if (!(await works('apt-get', ['--version']))) throw new Error('no apt-get');
    const binary =
      process.getuid?.() === 0 ? await installPackage(say, places) : await unpackOnce(cached, say);
    if (binary !== undefined) return binary;
    tried.push(`${what}: it has no HAProxy ${VERSION_MIN.join('.')} or newer that can be run`);
  } catch (error) {
    tried.push(`${what}: ${(error as Error).message}`);
  }
  throw new Error(
    `no HAProxy could be had. Install HAProxy ${VERSION_MIN.join('.')} or newer, or name one in HOLDFAST_HAPROXY. ` +
      `Tried: ${tried.join('; ')}`,
  );
}

async function findInstalled(places: readonly string[]): Promise<HaproxyBinary | undefined> {
  for (const path of places) {
    const binary = await inspect(path);
    if (binary !== undefined) return binary;
  }
  return undefined;
}

/** undefined: it can't be run, or is too old. */
async function inspect(path: string): Promise<HaproxyBinary | undefined> {
  try {
    const { stdout } = await run(path, ['-v'], { timeout: 10_000 });
    const match = /HA-?Proxy version ((\d+)\.(\d+)[\w.]*)/.exec(stdout);
    if (match === null) return undefined;
    const [major, minor] = [Number(match[2]), Number(match[3])];
    const isNewEnough = major > VERSION_MIN[0] || (major === VERSION_MIN[0] && minor >= VERSION_MIN[1]);
    return isNewEnough ? { path, version: match[1] } : undefined;
  } catch {
    return undefined;
  }
}

async function installPackage(say: Say, places: readonly string[]): Promise<HaproxyBinary | undefined> {
  say('installing the package haproxy');
  await mustDo('apt-get', ['update']);
  await mustDo('apt-get', ['install', '-y', '--no-install-recommends', 'haproxy']);
  return findInstalled(places);
}

/** One at a time; the others wait for its result. */
async function unpackOnce(target: string, say: Say): Promise<HaproxyBinary | undefined> {
  const folder = cacheFolder('haproxy');
  await mkdir(folder, { recursive: true });
  return oneAtATime(`${target}.lock`, 'unpacking HAProxy', say, async () => {
    const ready = existsSync(target) ? await inspect(target) : undefined;
    if (ready !== undefined) return ready;
    const packages = await missingPackages();
    say(`unpacking the packages ${packages.join(', ')} into ${folder}: nothing is installed`);
    const work = await mkdtemp(join(folder, 'unpack-'));
    try {
      await mustDo('apt-get', ['download', ...packages], work);
      for (const name of await readdir(work)) {
        if (name.endsWith('.deb')) await mustDo('dpkg', ['-x', name, 'root'], work);
      }
      const root = join(folder, 'root');
      await rm(root, { recursive: true, force: true });
      await rename(join(work, 'root'), root);
      await writeStarter(target, root);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
    return inspect(target);
  });
}

/** HAProxy, and the libraries it needs that this machine has not: what an installation would install. */
async function missingPackages(): Promise<string[]> {
  const { stdout } = await run(
    'apt-get',
    ['install', '--simulate', '-y', '--no-install-recommends', 'haproxy'],
    { env: { ...process.env, LC_ALL: 'C' } },
  );
  const packages = [...stdout.matchAll(/^Inst (\S+)/gm)].map((match) => match[1]);
  if (!packages.includes('haproxy')) throw new Error('apt-get knows no package haproxy');
  return packages;
}

/** A script that starts the unpacked program with the unpacked libraries. */
async function writeStarter(target: string, root: string): Promise<void> {
  const folders: string[] = [];
  for (const above of ['usr/lib', 'lib']) {
    for (const name of await readdir(join(root, above)).catch(() => []))
      folders.push(join(root, above, name));
  }
  const quoted = (path: string): string => `'${path.replaceAll("'", `'\\''`)}'`;
  const lines = [
    '#!/bin/sh',
    `LD_LIBRARY_PATH=${folders.map(quoted).join(':')} exec ${quoted(join(root, 'usr/sbin/haproxy'))} "$@"`,
  ];
  await writeFile(target, `${lines.join('\n')}\n`);
  await chmod(target, 0o755);
}

async function mustDo(name: string, parameters: string[], cwd?: string): Promise<void> {
  const failed = await command(name, parameters, cwd);
  if (failed !== undefined) throw new Error(failed);
}
