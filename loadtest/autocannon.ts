/**
 * `npm run load:http`: plain HTTP/1.1 with autocannon, which is what people
 * have at hand. A bare uWebSockets.js server that says hello is measured in the
 * same run, as the ceiling.
 *
 * autocannon is a closed loop: a connection sends the next request when it has
 * the answer to the last one, so its latencies leave out what a slow server
 * kept from being sent. `npm run load -- --protocol http` does not.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import autocannon from 'autocannon';
import { Command } from 'commander';
import { CpuSampler } from '../bench/cpu.ts';
import { freePorts } from '../src/cli/etcd-server.ts';
import { startHoldfast, temporaryFolder, type HoldfastServer } from '../test/servers/holdfast.ts';
import { aligned } from './report/text.ts';

interface Options {
  readonly url?: string;
  readonly connections: number;
  readonly pipelining: number;
  readonly seconds: number;
  readonly warmup: number;
  readonly json?: string;
}

interface Row {
  readonly what: string;
  readonly pipelining: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p97Ms: number;
  readonly p99Ms: number;
  /** Connections that were closed or timed out, and answers that are not 2xx. */
  readonly errors: number;
  readonly not2xx: number;
  /** Cores of the server; NaN: it is not ours. */
  readonly cores: number;
}

const NAMES = 65_536;
const LOCKS = 'acquire and release';
/** Of the rate without pipelining. */
const HARDLY = 0.05;

function readOptions(): Options {
  const options = new Command('load:http')
    .description('Acquire and release over plain HTTP with autocannon, and a bare uWebSockets.js beside it.')
    .option('--url <url>', 'a running server, instead of one that is started here (embedded store)')
    .option('--connections <n>', 'keep-alive connections', Number, 64)
    .option('--pipelining <n>', 'open requests on a connection, in the second half of the runs', Number, 8)
    .option('--seconds <s>', 'of each of the four runs', Number, 10)
    .option('--warmup <s>', 'before each of them', Number, 2)
    .option('--json <file>', 'write the figures there')
    .parse();
  return options.opts<Options>();
}

/** The requests of a connection, in turn: a lock is taken with a token of its own and released. */
function lockRequests(): autocannon.Request[] {
  const run = `cannon-${randomUUID().slice(0, 8)}`;
  let next = 0;
  const acquire: autocannon.Request = {
    method: 'POST',
    setupRequest: (request, context) => {
      const claim = context as { path: string; token: string };
      claim.path = `/v1/locks/${run}-${next++ % NAMES}`;
      claim.token = randomUUID();
      const headers = { ...request.headers, 'content-type': 'application/json' };
      return { ...request, path: claim.path, headers, body: JSON.stringify({ lockToken: claim.token }) };
    },
  };
  const release: autocannon.Request = {
    method: 'DELETE',
    setupRequest: (request, context) => {
      const { path, token } = context as { path: string; token: string };
      return { ...request, path, headers: { ...request.headers, 'holdfast-lock-token': token } };
    },
  };
  return [acquire, release];
}

async function measure(
  what: string,
  target: {
    readonly url: string;
    readonly pid: number | undefined;
    readonly requests?: autocannon.Request[];
  },
  pipelining: number,
  { connections, seconds, warmup }: Options,
): Promise<Row> {
  const { url, requests, pid } = target;
  process.stderr.write(`${what}, pipelining ${pipelining}, ${connections} connections, ${seconds} s\n`);
  const common = { url, connections, pipelining, ...(requests === undefined ? {} : { requests }) };
  if (warmup > 0) await autocannon({ ...common, duration: warmup });
  const sampler = new CpuSampler(pid === undefined ? new Map() : new Map([['server', pid]]));
  const fromMs = Date.now();
  const result = await autocannon({ ...common, duration: seconds });
  sampler.stop();
  const cpu = sampler.between(fromMs, Date.now());
  return {
    what,
    pipelining,
    requestsPerSecond: result.requests.total / result.duration,
    p50Ms: result.latency.p50,
    p97Ms: result.latency.p97_5,
    p99Ms: result.latency.p99,
    errors: result.errors + result.resets,
    not2xx: result.non2xx,
    cores: cpu.get('server')?.total ?? Number.NaN,
  };
}

async function startHello(): Promise<{ child: ChildProcess; url: string }> {
  const [port] = await freePorts(1);
  const path = fileURLToPath(new URL('hello.js', import.meta.url));
  const child = fork(path, [String(port)], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  await new Promise<void>((resolve, reject) => {
    child.stdout!.once('data', () => resolve());
    child.once('exit', (code) => reject(new Error(`the bare server ended with ${code}`)));
  });
  return { child, url: `http://127.0.0.1:${port}` };
}

function table(rows: readonly Row[]): string {
  const head = ['', 'pipelining', 'requests/s', 'P50 ms', 'P97.5 ms', 'P99 ms', 'errors', 'not 2xx', 'cores'];
  const lines = rows.map((row) => [
    ...[row.what, String(row.pipelining), row.requestsPerSecond.toFixed(0)],
    ...[row.p50Ms, row.p97Ms, row.p99Ms].map((value) => value.toFixed(0)),
    ...[String(row.errors), String(row.not2xx), Number.isNaN(row.cores) ? '' : row.cores.toFixed(2)],
  ]);
  return aligned([head, ...lines]);
}

/** What looks wrong in the figures. */
function notes(rows: readonly Row[]): string[] {
  const locks = rows.filter(({ what }) => what === LOCKS);
  const [plain, pipelined] = locks.map(({ requestsPerSecond }) => requestsPerSecond);
  if (pipelined > plain * HARDLY) return [];
  return ['Hardly any pipelined request was answered: the server closes connections that pipeline.'];
}

const options = readOptions();
const folder = await temporaryFolder();
let server: HoldfastServer | undefined;
let hello: ChildProcess | undefined;

async function cleanUp(): Promise<void> {
  hello?.kill('SIGKILL');
  await server?.stop();
  await folder.remove();
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void cleanUp().then(() => process.exit(1)));
}

try {
  const bare = await startHello();
  hello = bare.child;
  if (options.url === undefined) server = await startHoldfast({ folder: folder.path });
  const rows: Row[] = [];
  for (const pipelining of [1, options.pipelining]) {
    rows.push(await measure('bare hello', { url: bare.url, pid: hello.pid }, pipelining, options));
    const locks = { url: options.url ?? server!.url, pid: server?.pid, requests: lockRequests() };
    rows.push(await measure(LOCKS, locks, pipelining, options));
  }
  const lines = [table(rows), 'autocannon is a closed loop and counts whole milliseconds.', ...notes(rows)];
  process.stdout.write(`\n${lines.join('\n')}\n`);
  if (options.json !== undefined) writeFileSync(options.json, JSON.stringify({ options, rows }, null, 2));
} finally {
  await cleanUp();
}
