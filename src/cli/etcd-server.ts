/**
 * Real etcd members as children of this process, on 127.0.0.1, with fsync on:
 * for `npm run up`, for the tests and for benchmarks.
 *
 *   member: stopped ─ start ─► running ─ stop (SIGTERM), kill (SIGKILL) ─► stopped
 *                                 └─ pause (SIGSTOP) ─► paused ─ resume ─► running
 *
 * A member keeps its ports and its data from one start to the next. Whatever
 * still runs when this process exits is killed.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { provideEtcd } from './etcd-binary.ts';
import type { EtcdBinary } from './etcd-binary.ts';
import { killAtExit } from './children.ts';
import type { Say } from './provide.ts';

const READY_MS = 30_000;
const STOP_MS = 5_000;
const GiB = 1024 ** 3;

/** Settings whose names lost the prefix `experimental-` in 3.6; left out where the version has neither. */
const SETTINGS: readonly (readonly [string, string])[] = [
  ['quota-backend-bytes', String(8 * GiB)],
  ['compaction-batch-limit', '10000'],
  ['compaction-sleep-interval', '1ms'],
];

export interface EtcdOptions {
  /** Made if it isn't there; a member's data and log lie in a folder of its name. */
  readonly dataFolder: string;
  readonly members?: 1 | 3;
  /** Client and peer port of the first member, of the second, …, then (with `tls`) each one's health port; free ones without it. */
  readonly ports?: readonly number[];
  /** PEM files; clients then need a certificate of this CA. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
  readonly settings?: readonly (readonly [string, string])[];
  /** Of its environment, beside what this process has. */
  readonly env?: Readonly<Record<string, string>>;
  readonly binary?: EtcdBinary;
  readonly say?: Say;
  /** Ctrl-C in the terminal does not reach them: whoever started them ends them, in its own order. */
  readonly ownGroup?: boolean;
}

export interface EtcdCluster {
  readonly endpoints: readonly string[];
  readonly members: readonly EtcdMember[];
  readonly binary: EtcdBinary;
  stop(): Promise<void>;
}

/** Resolves once every member says that it is healthy. Throws with the end of the log otherwise. */
export async function startEtcd(options: EtcdOptions): Promise<EtcdCluster> {
  const binary = options.binary ?? (await provideEtcd(options.say));
  const count = options.members ?? 1;
  const ports = options.ports ?? (await freePorts(count * 3));
  const known = await knownSettings(binary);
  const plans: MemberPlan[] = [];
  for (let i = 0; i < count; i++) {
    plans.push({
      name: `m${i}`,
      client: ports[i * 2],
      peer: ports[i * 2 + 1],
      health: ports[count * 2 + i],
      ownGroup: options.ownGroup ?? false,
      env: options.env ?? {},
    });
  }
  const cluster = plans.map((plan) => `${plan.name}=http://127.0.0.1:${plan.peer}`).join(',');
  const members = plans.map(
    (plan) =>
      new EtcdMember(
        binary.path,
        join(options.dataFolder, plan.name),
        plan,
        parametersOf(plan, cluster, options, known),
      ),
  );
  const stop = async () => void (await Promise.all(members.map((member) => member.stop())));
  try {
    for (const member of members) await member.launch();
    await Promise.all(members.map((member) => member.ready()));
  } catch (error) {
    await stop();
    throw error;
  }
  return { endpoints: members.map((member) => member.url), members, binary, stop };
}

interface MemberPlan {
  readonly name: string;
  readonly client: number;
  readonly peer: number;
  /** Only used beside TLS, where the client port wants a certificate. */
  readonly health: number | undefined;
  readonly ownGroup: boolean;
  readonly env: Readonly<Record<string, string>>;
}

function parametersOf(
  plan: MemberPlan,
  cluster: string,
  options: EtcdOptions,
  known: ReadonlySet<string>,
): string[] {
  const client = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${plan.client}`;
  const peer = `http://127.0.0.1:${plan.peer}`;
  const all: (readonly [string, string])[] = [
    ['name', plan.name],
    ['data-dir', join(options.dataFolder, plan.name, 'data')],
    ['listen-client-urls', client],
    ['advertise-client-urls', client],
    ['listen-peer-urls', peer],
    ['initial-advertise-peer-urls', peer],
    ['initial-cluster', cluster],
    ['logger', 'zap'],
    ['log-level', 'warn'],
    ...SETTINGS,
    ...(options.settings ?? []),
  ];
  if (options.tls !== undefined) {
    const { ca, cert, key } = options.tls;
    all.push(['cert-file', cert], ['key-file', key], ['trusted-ca-file', ca], ['client-cert-auth', 'true']);
    all.push(['listen-metrics-urls', `http://127.0.0.1:${plan.health}`]);
  }
  return all.flatMap(([name, value]) => {
    const spelled = known.has(name) ? name : `experimental-${name}`;
    return known.has(spelled) ? [`--${spelled}=${value}`] : [];
  });
}

/** The names of the flags that this etcd has, from its own help. */
async function knownSettings(binary: EtcdBinary): Promise<Set<string>> {
  const { stdout, stderr } = await promisify(execFile)(binary.path, ['--help'], {
    maxBuffer: 16 * 1024 * 1024,
  });
  return new Set([...`${stdout}${stderr}`.matchAll(/--([a-z][a-z0-9-]+)/g)].map((match) => match[1]));
}

export class EtcdMember {
  readonly url: string;
  readonly #path: string;
  readonly #folder: string;
  readonly #parameters: readonly string[];
  readonly #ownGroup: boolean;
  readonly #env: Readonly<Record<string, string>>;
  readonly #healthUrl: string;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();

  constructor(path: string, folder: string, plan: MemberPlan, parameters: readonly string[]) {
    const secure = parameters.some((parameter) => parameter.startsWith('--cert-file='));
    this.#path = path;
    this.#folder = folder;
    this.#parameters = parameters;
    this.#ownGroup = plan.ownGroup;
    this.#env = plan.env;
    this.url = `${secure ? 'https' : 'http'}://127.0.0.1:${plan.client}`;
    this.#healthUrl = `http://127.0.0.1:${secure ? plan.health : plan.client}/health`;
  }

  /** undefined while it is stopped. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts the process without waiting for it: a member of three needs another to be healthy. */
  async launch(): Promise<void> {
    if (this.#child !== undefined) return;
    await mkdir(this.#folder, { recursive: true });
    const log = openSync(this.#logPath, 'a');
    const child = spawn(this.#path, this.#parameters, {
      stdio: ['ignore', log, log],
      env: { ...environment(), ...this.#env },
      detached: this.#ownGroup,
    });
    closeSync(log);
    this.#child = child;
    killAtExit(child);
    this.#exited = new Promise((resolve) => {
      const done = () => {
        if (this.#child === child) this.#child = undefined;
        resolve();
      };
      child.once('exit', done);
      child.once('error', done);
    });
  }

  /** Launches it on the data and ports it had, and waits until it is healthy. */
  async start(): Promise<void> {
    await this.launch();
    await this.ready();
  }

  async ready(): Promise<void> {
    const until = Date.now() + READY_MS;
    while (Date.now() < until) {
      if (this.#child === undefined) throw new Error(`etcd ended while starting. ${await this.#lastWords()}`);
      if (await this.#healthy()) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(
      `etcd at ${this.url} is not healthy after ${READY_MS / 1000} s. ${await this.#lastWords()}`,
    );
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    child.kill('SIGTERM');
    child.kill('SIGCONT');
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  /** As a crash does: nothing is flushed, nothing is said to peers. */
  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  /** Frozen: the kernel still accepts connections for it. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  resume(): void {
    this.#child?.kill('SIGCONT');
  }

  get #logPath(): string {
    return join(this.#folder, 'etcd.log');
  }

  async #healthy(): Promise<boolean> {
    try {
      const answer = await fetch(this.#healthUrl, { signal: AbortSignal.timeout(2_000) });
      return ((await answer.json()) as { health?: string }).health === 'true';
    } catch {
      return false;
    }
  }

  async #lastWords(): Promise<string> {
    const text = await readFile(this.#logPath, 'utf8').catch(() => '');
    return `Its log ends with: ${text.trim().split('\n').slice(-3).join(' · ')}`;
  }
}

/** etcd takes settings from ETCD_… too: those of whoever runs this must not change them. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('ETCD_')));
}

/** Ports of 127.0.0.1 that nobody listens on just now. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
