/** Programs of this folder and of loadtest/ as processes of their own, so that they share no event loop with what they measure. */
import { spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { killAtExit } from '../src/cli/children.ts';
import type { ProfileName } from '../loadtest/profile.ts';
import type { LoadResult, Protocol } from '../loadtest/result.ts';
import type { CeilingResult, CeilingSettings } from './ceiling.ts';
import { CpuSampler, type ProcessCpu } from './cpu.ts';

export interface Measured<T> {
  readonly result: T;
  /** Cores by label; `load` is the program itself. */
  readonly cpu: ReadonlyMap<string, ProcessCpu>;
}

export interface LoadRun {
  readonly url: string;
  /** One that comes with the driver, or a file. */
  readonly workload: string;
  /** Ops a second; what is not given is as the workload says. */
  readonly rate: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly protocol?: Protocol;
  readonly profile?: ProfileName;
  readonly from?: number;
  readonly to?: number;
  readonly steps?: number;
  readonly names?: number;
  readonly namesFile?: string;
  readonly opsPerFrame?: number;
  readonly sockets?: number;
  readonly clients?: number;
  readonly holdMs?: number;
  readonly ttlMs?: number;
  readonly pipelining?: number;
  readonly processes?: number;
  readonly drainSeconds?: number;
  readonly isSpinning?: boolean;
}

/** Runs the load driver beside the processes `others` (pids by label). */
export async function runLoadDriver(
  run: LoadRun,
  others: ReadonlyMap<string, number>,
): Promise<Measured<LoadResult>> {
  const flags: Readonly<Record<string, string | number | undefined>> = {
    url: run.url,
    workload: run.workload,
    rate: run.rate,
    seconds: run.seconds,
    warmup: run.warmupSeconds,
    protocol: run.protocol,
    profile: run.profile,
    from: run.from,
    to: run.to,
    steps: run.steps,
    names: run.names,
    'names-file': run.namesFile,
    'ops-per-frame': run.opsPerFrame,
    sockets: run.sockets,
    clients: run.clients,
    hold: run.holdMs,
    ttl: run.ttlMs,
    pipelining: run.pipelining,
    processes: run.processes,
    drain: run.drainSeconds,
    json: '-',
  };
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  const args = given.flatMap(([name, value]) => [`--${name}`, String(value)]);
  if (run.isSpinning === true) args.push('--spin');
  return runProgram<LoadResult>('../loadtest/main.js', args, others, (result) => [
    result.fromWallMs,
    result.toWallMs,
  ]);
}

/** Runs the ceiling beside the processes `others`. */
export async function runCeilingProgram(
  settings: CeilingSettings,
  others: ReadonlyMap<string, number>,
): Promise<Measured<CeilingResult>> {
  const window = (result: CeilingResult): [number, number] => [result.fromWallMs, result.toWallMs];
  return runProgram<CeilingResult>('./ceiling.js', [JSON.stringify(settings)], others, window);
}

async function runProgram<T>(
  path: string,
  args: readonly string[],
  others: ReadonlyMap<string, number>,
  windowOf: (result: T) => [number, number],
): Promise<Measured<T>> {
  const program = fileURLToPath(new URL(path, import.meta.url));
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  killAtExit(child);
  const sampler = new CpuSampler(new Map([...others, ['load', child.pid!]]));
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  sampler.stop();
  if (output === '') throw new Error(`${path} ended with ${code} and no result`);
  const result = JSON.parse(output) as T;
  return { result, cpu: sampler.between(...windowOf(result)) };
}

/** Bytes of the files below a folder. */
export function folderBytes(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  }
  return bytes;
}
