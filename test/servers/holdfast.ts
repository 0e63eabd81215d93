/**
 * The real server as a process of its own, for tests and benchmarks: started
 * from dist/ as users start it, on a free port, ended by pid.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../src/cli/etcd-server.ts';

const READY_MS = 30_000;
const OUTPUT_CHARACTERS_MAX = 256 * 1024;

/** The folder that package.json is in; also seen from where this file is compiled to. */
export const ROOT = rootAbove(dirname(fileURLToPath(import.meta.url)));

function rootAbove(folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : rootAbove(dirname(folder));
}

export interface ServerOptions {
  /** One list of endpoints a shard; none: the embedded store in `folder`. */
  readonly etcd?: readonly (readonly string[])[];
  /** For data and shards.yaml; kept when the server ends. */
  readonly folder: string;
  readonly port?: number;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Node's own flags, such as --cpu-prof. */
  readonly nodeArgs?: readonly string[];
  /** What to ask it with whether it serves, when `args` say that it has keys. */
  readonly apiKey?: string;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class HoldfastServer {
  readonly url: string;
  readonly port: number;
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  #output = '';
  #isRunning = true;

  constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    const keep = (text: string) => (this.#output = (this.#output + text).slice(-OUTPUT_CHARACTERS_MAX));
    child.stdout!.setEncoding('utf8').on('data', keep);
    child.stderr!.setEncoding('utf8').on('data', keep);
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => {
        keep(String(error));
        this.#isRunning = false;
        resolve({ code: null, signal: null });
      });
      child.once('close', (code, signal) => {
        this.#isRunning = false;
        resolve({ code, signal });
      });
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get isRunning(): boolean {
    return this.#isRunning;
  }

  get wsUrl(): string {
    return `ws://127.0.0.1:${this.port}/v1/ws`;
  }

  /** What it wrote to standard output and error. */
  get output(): string {
    return this.#output;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** SIGTERM, and SIGKILL when that did not end it within `ms`. */
  async stop(ms = 15_000): Promise<Ended> {
    this.signal('SIGTERM');
    this.signal('SIGCONT');
    const timer = setTimeout(() => this.signal('SIGKILL'), ms);
    const ended = await this.ended;
    clearTimeout(timer);
    return ended;
  }

  /** kill -9. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended;
  }

  /** Resolves once it has printed that it listens. */
  async listening(): Promise<void> {
    const until = Date.now() + READY_MS;
    while (!this.#output.includes('listening')) {
      if (!this.#isRunning) throw new Error(`holdfast ended while starting: ${this.#output}`);
      if (Date.now() > until) throw new Error(`holdfast did not start: ${this.#output}`);
      await pause(10);
    }
  }

  /** Resolves once a lock can be taken, which is when some process owns the slots. */
  async serving(apiKey?: string): Promise<void> {
    const until = Date.now() + READY_MS;
    for (let i = 0; Date.now() < until; i++) {
      const path = `${this.url}/v1/locks/is-it-serving-${i % 64}/verify`;
      const body = JSON.stringify({ fencingToken: 1 });
      const headers = { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` };
      const answer = await fetch(path, { method: 'POST', body, headers }).catch(() => undefined);
      if (answer?.status === 200 && i >= 64) return;
      if (answer?.status !== 200) await pause(20);
    }
    throw new Error(`holdfast does not serve: ${this.#output}`);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const running = new Set<HoldfastServer>();
process.on('exit', () => {
  for (const server of running) server.signal('SIGKILL');
});

/** Starts it and returns at once. */
export async function spawnHoldfast(options: ServerOptions): Promise<HoldfastServer> {
  const main = join(ROOT, 'dist', 'cli', 'main.js');
  if (!existsSync(main)) throw new Error(`${main} is not there: run npm run build first`);
  const port = options.port ?? (await freePorts(1))[0];
  const args = ['serve', '--port', String(port), '--data', join(options.folder, 'data')];
  if (options.etcd !== undefined) {
    const path = join(options.folder, 'shards.yaml');
    await writeFile(path, shardsYaml(options.etcd));
    args.push('--shards', path);
  }
  const env = { ...withoutSettings(), ...options.env };
  const child = spawn(
    process.execPath,
    [...(options.nodeArgs ?? []), main, ...args, ...(options.args ?? [])],
    {
      cwd: options.folder,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const server = new HoldfastServer(child, port);
  running.add(server);
  void server.ended.then(() => running.delete(server));
  return server;
}

/** Starts it and waits until it serves. */
export async function startHoldfast(options: ServerOptions): Promise<HoldfastServer> {
  const server = await spawnHoldfast(options);
  try {
    await server.listening();
    await server.serving(options.apiKey);
  } catch (error) {
    await server.kill();
    throw error;
  }
  return server;
}

/** A new temporary folder, and how to remove it. */
export async function temporaryFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), 'holdfast-test-'));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}

function shardsYaml(shards: readonly (readonly string[])[]): string {
  const lines = shards.map(
    (endpoints, i) =>
      `  - name: s${i}\n    engine: etcd\n    endpoints: ${JSON.stringify(endpoints)}\n    weight: 1\n`,
  );
  return `slots: 4096\nshards:\n${lines.join('')}`;
}

/** Settings of whoever runs this must not reach the server. */
function withoutSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('HOLDFAST_')));
}
