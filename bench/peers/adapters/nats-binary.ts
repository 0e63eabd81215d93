/**
 * Where to get a NATS server from: what the environment names, what is
 * installed, what was built before, else it is built with Go.
 *
 *   HOLDFAST_NATS ─► PATH (≥ 2.10) ─► cache ─► go install ─► Unavailable
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder, oneAtATime, sayOnStderr, works } from '../../../src/cli/provide.ts';
import { Unavailable } from '../peer.ts';

const run = promisify(execFile);
const VERSION = '2.14.9';
const PROGRAM = 'nats-server';
/** sync_interval «always» came with it. */
const VERSION_MIN = [2, 10] as const;

/** The path of a NATS server that runs; built in about a minute, once. Throws Unavailable. */
export async function provideNats(): Promise<string> {
  const named = process.env['HOLDFAST_NATS'];
  if (named !== undefined && named !== '') {
    if (await isUsable(named)) return named;
    throw new Unavailable(`HOLDFAST_NATS names ${named}, which is no NATS server that can be run`);
  }
  if (await isUsable(PROGRAM)) return PROGRAM;
  const folder = cacheFolder(`nats-${VERSION}`);
  const cached = join(folder, PROGRAM);
  if (existsSync(cached) && (await isUsable(cached))) return cached;
  if (!(await works('go', ['version'])))
    throw new Unavailable('there is no NATS server, and no Go to build one');
  await mkdir(folder, { recursive: true });
  await oneAtATime(`${cached}.lock`, 'building the NATS server', sayOnStderr, async () => {
    if (!existsSync(cached)) await build(folder);
  });
  if (!(await isUsable(cached))) throw new Unavailable('the NATS server that was built does not run');
  return cached;
}

async function build(folder: string): Promise<void> {
  sayOnStderr(`building NATS server ${VERSION} with Go: about a minute, once; it is kept in ${folder}`);
  const source = `github.com/nats-io/nats-server/v2@v${VERSION}`;
  try {
    await run('go', ['install', '-trimpath', '-ldflags=-s -w', source], {
      cwd: folder,
      env: { ...process.env, GOWORK: 'off', GOBIN: folder },
      maxBuffer: 16 * 1024 * 1024,
    });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    const words = (stderr || message).trim().split('\n').slice(-3).join(' · ');
    throw new Unavailable(`the NATS server could not be built: ${words}`, error);
  }
}

async function isUsable(path: string): Promise<boolean> {
  try {
    const { stdout } = await run(path, ['--version'], { timeout: 10_000 });
    const [major, minor] = (/v(\d+)\.(\d+)\./.exec(stdout) ?? []).slice(1).map(Number);
    return major > VERSION_MIN[0] || (major === VERSION_MIN[0] && minor >= VERSION_MIN[1]);
  } catch {
    return false;
  }
}
