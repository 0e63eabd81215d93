/**
 * One etcd member (fsync on) that answers as if it were further away: in a
 * network namespace behind netem where the kernel has it, else behind a relay
 * that holds its answers back. Either way the whole distance is on the way
 * back, so `distanceMs` is what a round trip takes longer.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, openSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child, killAtExit } from '../../src/cli/children.ts';
import { provideEtcd, type EtcdBinary } from '../../src/cli/etcd-binary.ts';
import { freePorts, startEtcd } from '../../src/cli/etcd-server.ts';
import { Namespace, netemMissing } from './namespace.ts';

const READY_MS = 30_000;
const PROBES = 40;
const CLIENT_PORT = 2379;
/** As docs/operations.md asks for; older versions have other names for it, or none. */
const COMPACTION = ['--compaction-batch-limit=10000', '--compaction-sleep-interval=1ms'];

export interface FarEtcd {
  readonly endpoints: readonly string[];
  readonly pid: number;
  /** Undefined behind netem, whose work is the kernel's. */
  readonly relayPid: number | undefined;
  /** As measured: the median of what a small request takes longer. */
  readonly distanceMs: number;
  readonly how: string;
  stop(): Promise<void>;
}

let missing: { readonly reason: string | undefined } | undefined;

/** Starts one. `folder` is made. */
export async function startFarEtcd(folder: string, distanceMs: number): Promise<FarEtcd> {
  missing ??= { reason: netemMissing() };
  return missing.reason === undefined ? behindNetem(folder, distanceMs) : behindRelay(folder, distanceMs);
}

async function behindRelay(folder: string, distanceMs: number): Promise<FarEtcd> {
  const etcd = await startEtcd({ dataFolder: folder });
  try {
    const near = etcd.endpoints[0];
    const settings = JSON.stringify({ delayMs: distanceMs, toPort: Number(new URL(near).port) });
    const program = fileURLToPath(new URL('./relay.js', import.meta.url));
    const relay = fork(program, [settings], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    killAtExit(relay);
    const port = await firstLine(relay);
    const far = `http://127.0.0.1:${port}`;
    const added = (await probe(far)) - (await probe(near));
    return {
      endpoints: [far],
      pid: etcd.members[0].pid!,
      relayPid: relay.pid!,
      distanceMs: Math.max(0, added),
      how: `a relay that holds answers back (no netem: ${missing!.reason})`,
      async stop() {
        relay.kill('SIGTERM');
        await etcd.stop();
      },
    };
  } catch (error) {
    await etcd.stop();
    throw error;
  }
}

async function behindNetem(folder: string, distanceMs: number): Promise<FarEtcd> {
  const binary = await provideEtcd();
  const namespace = Namespace.make();
  const endpoint = `http://${namespace.address}:${CLIENT_PORT}`;
  let etcd: Child | undefined;
  try {
    etcd = await launchInside(namespace, binary, folder);
    await healthy(endpoint, etcd);
    const near = await probe(endpoint);
    namespace.delay(distanceMs);
    const added = (await probe(endpoint)) - near;
    return {
      endpoints: [endpoint],
      pid: etcd.pid!,
      relayPid: undefined,
      distanceMs: Math.max(0, added),
      how: 'a network namespace with netem',
      stop: () => end(etcd!, namespace),
    };
  } catch (error) {
    if (etcd !== undefined) await end(etcd, namespace);
    else namespace.remove();
    throw error;
  }
}

async function end(etcd: Child, namespace: Namespace): Promise<void> {
  await etcd.stop(5_000);
  namespace.remove();
}

/** `ip netns exec` becomes the program itself, so its pid is etcd's. */
async function launchInside(
  namespace: Namespace,
  { path, version }: EtcdBinary,
  folder: string,
): Promise<Child> {
  const [peerPort] = await freePorts(1);
  const client = `http://${namespace.address}:${CLIENT_PORT}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  mkdirSync(folder, { recursive: true });
  const log = openSync(join(folder, 'etcd.log'), 'a');
  const settings = [
    ...['--name=m0', `--data-dir=${join(folder, 'data')}`, `--initial-cluster=m0=${peer}`],
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
    ...['--quota-backend-bytes=8589934592', '--logger=zap', '--log-level=warn'],
    ...(/^3\.[0-5]\./.test(version) ? [] : COMPACTION),
  ];
  const [command, ...args] = [...namespace.command, path, ...settings];
  const child = new Child({ command, args, stdio: ['ignore', log, log] });
  closeSync(log);
  return child;
}

async function healthy(endpoint: string, etcd: Child): Promise<void> {
  const until = Date.now() + READY_MS;
  while (Date.now() < until && etcd.isRunning) {
    const answer = await fetch(`${endpoint}/health`, { signal: AbortSignal.timeout(2_000) }).catch(() => {});
    if (answer?.ok === true) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`etcd at ${endpoint} did not become healthy`);
}

/** Median time of a small request over a connection that stands, ms. */
async function probe(endpoint: string): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i <= PROBES; i++) {
    const from = performance.now();
    await (await fetch(`${endpoint}/version`)).text();
    // The first one opens the connection.
    if (i > 0) times.push(performance.now() - from);
  }
  return times.sort((a, b) => a - b)[PROBES >>> 1];
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stdout!.setEncoding('utf8').once('data', (text: string) => resolve(text.trim()));
    child.once('exit', (code) => reject(new Error(`the relay ended with ${code}`)));
  });
}
