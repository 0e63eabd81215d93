/**
 * The load driver's command line. With --processes it forks itself, splits
 * rate, sockets and names among the children, and merges what they measured.
 */
import { fork } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { Generator } from './generator.ts';
import { mergeResults, type LoadResult } from './result.ts';
import { WORKLOADS, type LoadSettings, type WorkloadName } from './workloads.ts';

const CHILD = 'HOLDFAST_LOAD_CHILD';

function readSettings(): { settings: LoadSettings; processes: number; json: string | undefined } {
  const about = Object.entries(WORKLOADS).map(([name, workload]) => `  ${name}: ${workload.about}`);
  const program = new Command('load')
    .description(`Open-model load for a Holdfast server.\n\nWorkloads:\n${about.join('\n')}`)
    .option('--url <url>', 'server', 'ws://127.0.0.1:7420/v1/ws')
    .option('--workload <name>', 'which one', 'acquire-release')
    .option('--rate <ops/s>', 'ops a second, all processes together', Number, 66_667)
    .option('--seconds <s>', 'measured time', Number, 30)
    .option('--warmup <s>', 'time before it at the same rate', Number, 2)
    .option('--sockets <n>', 'WebSockets', Number, 8)
    .option('--ops-per-frame <n>', 'ops in one frame', Number, 64)
    .option('--names <n>', 'different locks', Number, 131_072)
    .option('--names-file <file>', 'take them from there: one a line, all of one length')
    .option('--hold <ms>', 'time from grant to release', Number, 0)
    .option('--ttl <ms>', 'TTL of the claims instead of the one of the workload', Number)
    .option('--drain <s>', 'how long the last answers are waited for', Number, 10)
    .option('--processes <n>', 'driver processes', Number, 1)
    .option('--json <file>', 'write the result there (- is standard output)')
    .parse();
  const o = program.opts();
  if (!(o.workload in WORKLOADS)) program.error(`no workload is called ${o.workload}`);
  const settings: LoadSettings = {
    url: o.url,
    workload: o.workload as WorkloadName,
    rate: o.rate,
    seconds: o.seconds,
    warmupSeconds: o.warmup,
    sockets: o.sockets,
    opsPerFrame: o.opsPerFrame,
    names: o.names,
    namesFile: o.namesFile,
    holdMs: o.hold,
    ttlMs: o.ttl,
    drainSeconds: o.drain,
    process: 0,
  };
  return { settings, processes: o.processes, json: o.json };
}

function runChild(settings: LoadSettings): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), [], {
      env: { ...process.env, [CHILD]: JSON.stringify(settings) },
    });
    let result: LoadResult | undefined;
    child.on('message', (message) => (result = message as LoadResult));
    child.on('exit', (code) => {
      if (result === undefined) reject(new Error(`a load process ended with ${code} and no result`));
      else resolve(result);
    });
  });
}

function share(settings: LoadSettings, processes: number): LoadSettings[] {
  return Array.from({ length: processes }, (_, process) => ({
    ...settings,
    process,
    rate: settings.rate / processes,
    sockets: Math.max(1, Math.round(settings.sockets / processes)),
    names: Math.ceil(settings.names / processes),
  }));
}

function report(result: LoadResult): string {
  const { latency, sendLag } = result;
  const ms = (value: number): string => value.toFixed(2);
  return [
    `offered ${result.offered.toFixed(0)} ops/s, achieved ${result.achieved.toFixed(0)} ops/s ` +
      `over ${result.seconds} s (${result.workload}, ${result.sockets} sockets, ${result.opsPerFrame} ops a frame)`,
    `latency from the intended send: p50 ${ms(latency.p50Ms)}  p95 ${ms(latency.p95Ms)}  p99 ${ms(latency.p99Ms)}  ` +
      `p99.9 ${ms(latency.p999Ms)}  max ${ms(latency.maxMs)} ms (of it the driver: p50 ${ms(sendLag.p50Ms)}, ` +
      `p95 ${ms(sendLag.p95Ms)})`,
    `unanswered ${result.unanswered}, cut ${result.cut}, unsent ${result.unsent}, ` +
      `falling fencing tokens ${result.fenceViolations}, errors ${JSON.stringify(result.errors)}`,
    `driver's CPU: ${(result.cpuSeconds / result.seconds).toFixed(2)} cores`,
  ].join('\n');
}

async function main(): Promise<void> {
  const { settings, processes, json } = readSettings();
  const progress = (line: string): void => void process.stderr.write(`${line}\n`);
  const result =
    processes === 1
      ? await new Generator(settings).run(progress)
      : mergeResults(await Promise.all(share(settings, processes).map(runChild)));
  if (json === '-') process.stdout.write(`${JSON.stringify(result)}\n`);
  else process.stdout.write(`${report(result)}\n`);
  if (json !== undefined && json !== '-') writeFileSync(json, JSON.stringify(result, null, 2));
  if (result.fenceViolations > 0) process.exitCode = 1;
}

const child = process.env[CHILD];
if (child === undefined) {
  await main();
} else {
  const settings = JSON.parse(child) as LoadSettings;
  const result = await new Generator(settings).run((line) =>
    process.stderr.write(`[${settings.process}] ${line}\n`),
  );
  process.send!(result, undefined, undefined, () => process.exit(0));
}
