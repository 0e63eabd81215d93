/**
 * `holdfast up` (`npm run up`): real etcd shards on this machine and Holdfast
 * on them, in one command, for trying it out and for work on Holdfast. Either
 * one service in this process, or N processes with HAProxy in front.
 */
import { resolve } from 'node:path';
import { readSettings, type Flags } from '../config/settings.ts';
import { CommandError, Exit } from './exit.ts';
import { provideHaproxy, type HaproxyBinary } from './haproxy-binary.ts';
import { isFree, processPlaces, startLocalShards } from './local-shards.ts';
import { runProcesses } from './processes.ts';
import type { Say } from './provide.ts';
import { runService } from './serve.ts';

export interface UpOptions {
  /** undefined: as many as the folder has, 2 in a new one. */
  readonly shards?: number;
  /** undefined: the service runs in this process. */
  readonly processes?: number;
  readonly data: string;
  readonly port?: string;
  readonly log?: string;
}

const say: Say = (line) => void process.stderr.write(`${line}\n`);

/** @throws ConfigError, CommandError */
export async function runUp(options: UpOptions): Promise<void> {
  const own: Flags = {
    ...(options.port !== undefined && { port: options.port }),
    ...(options.log !== undefined && { log: options.log }),
  };
  if (options.processes !== undefined) return runUpWithProcesses(options, options.processes, own);
  readSettings(own);
  const local = await startLocalShards(options.data, options.shards, say);
  say(`a second process would be: holdfast serve --shards ${local.shardsFile} --port 7421`);
  const settings = { ...own, shards: local.shardsFile, data: resolve(options.data, 'holdfast') };
  await runService(readSettings(settings), local.stop);
}

/** What can be refused is refused before anything is started. */
async function runUpWithProcesses(options: UpOptions, count: number, own: Flags): Promise<void> {
  const { port, log } = readSettings(own);
  if (!(await isFree(port))) {
    throw new CommandError(Exit.unavailable, `cannot listen on 127.0.0.1:${port}: the port is in use`);
  }
  const haproxy = await findHaproxy();
  const local = await startLocalShards(options.data, options.shards, say);
  try {
    const backends = await processPlaces(options.data, count, port);
    const folder = resolve(options.data);
    const { shardsFile, stop } = local;
    await runProcesses({ shardsFile, folder, port, backends, haproxy, log, say, stopShards: stop });
  } catch (error) {
    await local.stop();
    throw error;
  }
}

async function findHaproxy(): Promise<HaproxyBinary> {
  return provideHaproxy(say).catch((error: Error) => {
    throw new CommandError(Exit.unavailable, error.message, { cause: error });
  });
}
