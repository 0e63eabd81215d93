/** HAProxy as a child of this process, with the configuration of deploy/haproxy/haproxy.cfg. */
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Child } from './children.ts';
import type { HaproxyBinary } from './haproxy-binary.ts';

const TEMPLATE = new URL('../../deploy/haproxy/haproxy.cfg', import.meta.url);
const READY_MS = 30_000;
const LOOK_AGAIN_MS = 50;
/** It cuts what is still open: whoever stops it has stopped the processes behind it. */
const STOP_MS = 2_000;

export interface Backend {
  readonly name: string;
  readonly port: number;
}

/** The text of deploy/haproxy/haproxy.cfg with other addresses: its one `bind` line, its `server` lines. */
export function haproxyConfig(port: number, backends: readonly Backend[]): string {
  const lines = readFileSync(TEMPLATE, 'utf8').split('\n');
  const isServer = (line: string): boolean => /^\s+server /.test(line);
  const servers = backends.map((backend) => `    server ${backend.name} 127.0.0.1:${backend.port}`);
  const firstServer = lines.findIndex(isServer);
  const made = lines
    .flatMap((line, i) => (i === firstServer ? servers : isServer(line) ? [] : [line]))
    .map((line) => line.replace(/^(\s+bind ).*$/, `$1127.0.0.1:${port}`));
  return `# Written by holdfast up, from deploy/haproxy/haproxy.cfg.\n${made.join('\n')}`;
}

export interface HaproxyOptions {
  readonly binary: HaproxyBinary;
  /** haproxy.cfg and haproxy.log lie there. */
  readonly folder: string;
  readonly port: number;
  readonly backends: readonly Backend[];
}

export class Haproxy {
  readonly url: string;
  readonly child: Child;
  /** What starts it again, for a shell. */
  readonly commandLine: readonly string[];
  readonly #logPath: string;

  private constructor(options: HaproxyOptions) {
    const config = join(options.folder, 'haproxy.cfg');
    writeFileSync(config, haproxyConfig(options.port, options.backends));
    this.url = `http://127.0.0.1:${options.port}`;
    this.#logPath = join(options.folder, 'haproxy.log');
    const args = ['-db', '-f', config];
    this.commandLine = [options.binary.path, ...args];
    const log = openSync(this.#logPath, 'w');
    this.child = new Child({ command: options.binary.path, args, stdio: ['ignore', log, log] });
    closeSync(log);
  }

  /** Starts it; resolves once a process answers through it. Throws with the end of its log otherwise. */
  static async start(options: HaproxyOptions): Promise<Haproxy> {
    const haproxy = new Haproxy(options);
    const until = Date.now() + READY_MS;
    while (!(await isReady(haproxy.url))) {
      if (!haproxy.child.isRunning) throw new Error(`HAProxy ended. ${haproxy.#lastWords()}`);
      if (Date.now() > until) {
        await haproxy.stop();
        throw new Error(`no process answers through HAProxy. ${haproxy.#lastWords()}`);
      }
      await pause(LOOK_AGAIN_MS);
    }
    return haproxy;
  }

  stop(): Promise<void> {
    return this.child.stop(STOP_MS);
  }

  #lastWords(): string {
    const lines = readFileSync(this.#logPath, 'utf8').trim().split('\n');
    return `Its log (${this.#logPath}) ends with: ${lines.slice(-3).join(' · ')}`;
  }
}

/** Whether the process behind `url` says that it serves. */
export async function isReady(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(2_000) });
    await answer.body?.cancel();
    return answer.status === 200;
  } catch {
    return false;
  }
}
