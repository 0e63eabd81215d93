/** One load in a process of its own, and who used how many cores meanwhile. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { killAtExit } from '../../src/cli/children.ts';
import { CoresSampler } from './cores.ts';
import type { LoadOrder } from './load.ts';
import type { LoopResult } from './measure.ts';

export interface Measured extends LoopResult {
  /** By label; `load` is the load process. */
  readonly cores: Readonly<Record<string, number>>;
}

/** Beyond the time it measures: to connect, prepare its names and wait for the last answers. */
const EXTRA_MS = 60_000;
const OUTPUT_CHARACTERS_MAX = 2_000;

/**
 * @param servers pids by label
 * @param signal ends it before its time; it is rejected then
 */
export async function runLoad(
  order: LoadOrder,
  servers: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<Measured> {
  const program = fileURLToPath(new URL('./load.js', import.meta.url));
  const child = spawn(process.execPath, [program, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  killAtExit(child);
  const sampler = new CoresSampler(new Map([...servers, ['load', child.pid!]]));
  const timer = setTimeout(() => child.kill('SIGKILL'), order.warmupMs + order.ms + EXTRA_MS);
  const abort = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', abort);
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-OUTPUT_CHARACTERS_MAX);
  });
  const ended = await new Promise<string>((resolve) => {
    child.once('close', (code, signal) => resolve(signal ?? `exit ${code}`));
  });
  clearTimeout(timer);
  signal.removeEventListener('abort', abort);
  sampler.stop();
  if (output === '') {
    const words = /^\s*\w*Error\b.*$/m.exec(errors)?.[0] ?? errors;
    throw new Error(`the load of ${order.client} ended with ${ended} and no result. ${words.trim()}`);
  }
  const result = JSON.parse(output) as LoopResult;
  return { ...result, cores: sampler.between(result.fromWallMs, result.toWallMs) };
}
