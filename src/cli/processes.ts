/**
 * `holdfast up --processes N`: N processes on the shards, as children of this
 * one, and HAProxy in front of them.
 *
 *   starting ─► serving ─ SIGINT, SIGTERM ─► stopping: processes, HAProxy, shards ─► exit 0
 *                  │                             └─ a second signal ─► exit 1
 *                  └─ a child ended: said, with the line that starts it again; the others go on
 *
 * A process that died is not started again by itself: this is the place to try
 * what a `kill -9` does.
 */
import { mkdirSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';
import { announceListening, openLog, type LogFormat } from '../log.ts';
import { Child } from './children.ts';
import { CommandError, Exit } from './exit.ts';
import { Haproxy, isReady, type Backend } from './haproxy.ts';
import type { HaproxyBinary } from './haproxy-binary.ts';
import type { Say } from './provide.ts';

const READY_MS = 60_000;
const LOOK_AGAIN_MS = 100;
/** Longer than a process takes to answer what is in flight. */
const STOP_MS = 15_000;
const EXIT_FAILED = 1;
/** This very program: dist/cli/main.js. */
const MAIN = fileURLToPath(new URL(`./main${extname(import.meta.url)}`, import.meta.url));

export interface ProcessesOptions {
  readonly shardsFile: string;
  /** A folder for each process, and HAProxy's, lie in it. */
  readonly folder: string;
  /** HAProxy's. */
  readonly port: number;
  readonly backends: readonly Backend[];
  readonly haproxy: HaproxyBinary;
  readonly log: LogFormat;
  readonly say: Say;
  /** Called when processes and HAProxy have ended. */
  readonly stopShards: () => Promise<void>;
}

/** Resolves once all serve; from then on a signal ends this process. Throws CommandError. */
export async function runProcesses(options: ProcessesOptions): Promise<void> {
  const processes = new Processes(options);
  let stopping = false;
  const end = (code: number): Promise<never> => processes.stop().then(() => process.exit(code));
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping) return process.exit(EXIT_FAILED);
    stopping = true;
    options.say(`${signal}: stopping the processes, then HAProxy, then the shards`);
    void end(0);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  try {
    await processes.start();
  } catch (error) {
    if (stopping) return;
    await processes.stop();
    throw new CommandError(Exit.unavailable, (error as Error).message, { cause: error });
  }
  if (!stopping) processes.announce();
}

class Processes {
  readonly #options: ProcessesOptions;
  readonly #children: Child[] = [];
  #haproxy: Haproxy | undefined;
  #isStopping = false;

  constructor(options: ProcessesOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { backends, folder, port, haproxy } = this.#options;
    // The first one alone: on new shards it is the one that makes their records.
    await this.#ready(backends[0], this.#spawn(backends[0]));
    const others = backends.slice(1).map((backend) => [backend, this.#spawn(backend)] as const);
    for (const [backend, child] of others) await this.#ready(backend, child);
    this.#haproxy = await Haproxy.start({ binary: haproxy, folder, port, backends });
    const { commandLine, child } = this.#haproxy;
    this.#watch('HAProxy', child, commandLine, 'nothing leads to the processes but their own ports');
  }

  announce(): void {
    const { say, log, backends } = this.#options;
    say(`HAProxy ${this.#options.haproxy.version} in front: its configuration is in ${this.#options.folder}`);
    for (const [i, backend] of backends.entries()) {
      say(`process ${backend.name}: ${urlOf(backend)}, pid ${this.#children[i].pid}`);
    }
    const first = this.#children[0]!;
    say(`try kill -9 ${first.pid}: the others take over. What starts it again in another terminal:`);
    say(`  ${shellLine(this.#commandLine(backends[0]))}`);
    announceListening(openLog(log), log, this.#haproxy!.url);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#children.map((child) => child.stop(STOP_MS)));
    await this.#haproxy?.stop();
    await this.#options.stopShards();
  }

  #commandLine({ name, port }: Backend): string[] {
    const { shardsFile, folder, log } = this.#options;
    const flags = [
      '--port',
      String(port),
      '--shards',
      shardsFile,
      '--data',
      join(folder, name),
      '--log',
      log,
    ];
    return [process.execPath, MAIN, 'serve', ...flags];
  }

  #spawn(backend: Backend): Child {
    const folder = join(this.#options.folder, backend.name);
    mkdirSync(folder, { recursive: true });
    const commandLine = this.#commandLine(backend);
    const [command, ...args] = commandLine;
    const child = new Child({ command, args, cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.push(child);
    const prefix = this.#options.log === 'json' ? '' : `${backend.name} `;
    copyLines(child.process.stdout!, this.#options.log === 'json' ? process.stdout : process.stderr, prefix);
    copyLines(child.process.stderr!, process.stderr, prefix);
    this.#watch(
      `process ${backend.name}`,
      child,
      commandLine,
      'its locks stay, and the others take them over',
    );
    return child;
  }

  #watch(what: string, child: Child, commandLine: readonly string[], then: string): void {
    void child.ended.then((how) => {
      if (this.#isStopping) return;
      this.#options.say(`\n!! ${what} (pid ${child.pid}) ended: ${how}; ${then}. What starts it again:`);
      this.#options.say(`!!   ${shellLine(commandLine)}\n`);
    });
  }

  async #ready(backend: Backend, child: Child): Promise<void> {
    const until = Date.now() + READY_MS;
    while (!(await isReady(urlOf(backend)))) {
      if (!child.isRunning) throw new Error(`process ${backend.name} ended while starting`);
      if (Date.now() > until) throw new Error(`process ${backend.name} is not ready`);
      await pause(LOOK_AGAIN_MS);
    }
  }
}

function urlOf(backend: Backend): string {
  return `http://127.0.0.1:${backend.port}`;
}

/** Whole lines, so that those of several processes don't mix. */
function copyLines(from: Readable, to: NodeJS.WriteStream, prefix: string): void {
  let rest = '';
  from.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) to.write(`${prefix}${line}\n`);
  });
  from.on('end', () => {
    if (rest !== '') to.write(`${prefix}${rest}\n`);
  });
}

/** For a shell: quoted where it must be. */
function shellLine(words: readonly string[]): string {
  return words
    .map((word) => (/^[\w./:=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(' ');
}
