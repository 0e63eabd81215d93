/**
 * Server programs of peers as children of the benchmark: their output in a file
 * of their folder, ended by pid, killed when the benchmark exits.
 *
 *   starting ─ answers on its port ─► running ─ stop: a signal, later SIGKILL ─► ended
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { killAtExit } from '../../src/cli/children.ts';
import { command, oneAtATime, sayOnStderr, works } from '../../src/cli/provide.ts';
import { Unavailable } from './peer.ts';

const READY_MS = 60_000;
const STOP_MS = 10_000;

export interface ProgramOptions {
  readonly command: string;
  readonly args: readonly string[];
  /** For its output. */
  readonly folder: string;
  /** On 127.0.0.1; it is ready when it takes connections there. */
  readonly port: number;
  readonly user?: { readonly uid: number; readonly gid: number };
  /** What ends it in good order; SIGTERM if left out. */
  readonly stopSignal?: NodeJS.Signals;
}

export interface Program {
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startProgram(options: ProgramOptions): Promise<Program> {
  const { command, args, folder, port, user } = options;
  const logPath = join(folder, 'output.log');
  const log = openSync(logPath, 'a');
  // In a group of its own: Ctrl-C reaches the benchmark, which ends it.
  const child = spawn(command, args, { cwd: folder, stdio: ['ignore', log, log], detached: true, ...user });
  closeSync(log);
  killAtExit(child);
  let ended: string | undefined;
  const end = new Promise<void>((resolve) => {
    const done = (how: string): void => {
      ended = how;
      resolve();
    };
    child.once('error', (error) => done(error.message));
    child.once('exit', (code, signal) => done(signal ?? `exit ${code}`));
  });
  const stop = async (): Promise<void> => {
    if (ended !== undefined) return;
    child.kill(options.stopSignal ?? 'SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await end;
    clearTimeout(timer);
  };
  const until = Date.now() + READY_MS;
  while (!(await takesConnections(port))) {
    if (ended === undefined && Date.now() < until) {
      await pause(20);
      continue;
    }
    await stop();
    const words = (await readFile(logPath, 'utf8').catch(() => '')).trim().split('\n').slice(-5).join(' · ');
    throw new Error(`${command} does not answer on its port (${ended ?? 'in time'}). It said: ${words}`);
  }
  return { pid: child.pid!, stop };
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const done = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => done(true));
    socket.once('error', () => done(false));
  });
}

/**
 * Installs a package of the system unless `isThere`. Throws Unavailable with
 * what was tried.
 */
export async function providePackage(name: string, isThere: () => Promise<boolean>): Promise<void> {
  if (await isThere()) return;
  if (process.getuid?.() !== 0)
    throw new Unavailable(`the package ${name} is not installed, and this is not root`);
  if (!(await works('apt-get', ['--version'])))
    throw new Unavailable(`${name} is not installed, and there is no apt-get`);
  const failed = await oneAtATime(
    join(tmpdir(), `holdfast-apt-${name}.lock`),
    `installing ${name}`,
    sayOnStderr,
    async () => {
      if (await isThere()) return undefined;
      sayOnStderr(`installing the package ${name}`);
      return (
        (await command('apt-get', ['update'])) ??
        command('apt-get', ['install', '-y', '--no-install-recommends', name])
      );
    },
  );
  if (!(await isThere()))
    throw new Unavailable(
      `the package ${name} could not be installed: ${failed ?? 'it has no such program'}`,
    );
}
