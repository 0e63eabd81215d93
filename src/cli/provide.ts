/**
 * What every program that is fetched or built for people needs: a folder
 * outside the source tree to keep it in, one maker at a time, and the output of
 * the tools that make it where people see it.
 */
import { execFile, spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const MAKER_WAIT_MS = 15 * 60_000;
const LOOK_AGAIN_MS = 500;

/** Told what is going on, one line each. */
export type Say = (line: string) => void;

export const sayOnStderr: Say = (line) => process.stderr.write(`${line}\n`);

/** `$XDG_CACHE_HOME/holdfast/<name>`. */
export function cacheFolder(name: string): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'holdfast', name);
}

export async function works(name: string, parameters: string[]): Promise<boolean> {
  try {
    await run(name, parameters, { timeout: 30_000 });
    return true;
  } catch {
    return false;
  }
}

/** Runs it with its output on stderr; undefined = it succeeded, else what went wrong. */
export function command(name: string, parameters: string[], cwd?: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(name, parameters, {
      stdio: ['ignore', process.stderr, process.stderr],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      ...(cwd === undefined ? {} : { cwd }),
    });
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (code) =>
      resolve(code === 0 ? undefined : `${name} ${parameters[0]} ended with ${code}`),
    );
  });
}

/** Runs `make` while holding the file `lock`: one maker at a time, the others wait for it. */
export async function oneAtATime<T>(
  lock: string,
  what: string,
  say: Say,
  make: () => Promise<T>,
): Promise<T> {
  const until = Date.now() + MAKER_WAIT_MS;
  for (let told = false; !(await takeLock(lock)); told = true) {
    if (!told) say(`another process is ${what}: waiting for it`);
    if (Date.now() > until)
      throw new Error(`${lock} is held for more than ${MAKER_WAIT_MS / 60_000} minutes`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
  try {
    return await make();
  } finally {
    await rm(lock, { force: true });
  }
}

/** The lock is a file with its holder's pid; that of a dead holder is removed. */
async function takeLock(lock: string): Promise<boolean> {
  try {
    await writeFile(lock, String(process.pid), { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const holder = Number(await readFile(lock, 'utf8').catch(() => ''));
  if (holder > 0 && !isAlive(holder)) await rm(lock, { force: true });
  return false;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
