/**
 * `holdfast serve`, and the serving half of `holdfast up`: runs the service in
 * this process until a signal or a fault ends it.
 *
 *   starting ─► listening ─ SIGTERM, SIGINT ─► draining ─► exit 0
 *      │            │ a part failed               │ a second signal
 *      └─► exit 69, 78 └─► exit 1                  └─► exit 1
 */
import { constants } from 'node:os';
import type { Settings } from '../config/settings.ts';
import { ConfigError } from '../config/error.ts';
import { announceListening, openLog } from '../log.ts';
import { serve, type Server } from '../main.ts';
import { FolderLockError } from '../shard/embedded/folder-lock.ts';
import { ClusterMismatch } from '../slots/birth.ts';
import { CommandError, Exit } from './exit.ts';

/** A part of the service failed: whoever watches the process should start it again. */
const EXIT_FAILED = 1;

/**
 * Ends the process. `cleanUp` runs when the service has stopped, or did not start.
 *
 * @throws ConfigError, CommandError when it cannot start
 */
export async function runService(
  settings: Settings,
  cleanUp: () => Promise<void> = async () => {},
): Promise<void> {
  const log = openLog(settings.log);
  const end = ending(cleanUp);
  let stopping = false;
  let isReloadDue = false;
  const failed = (error: Error): void => {
    log.fatal({ err: error }, 'a part of the service failed: the process ends, another may take over');
    void end(EXIT_FAILED);
  };
  process.on('uncaughtException', failed);
  process.on('unhandledRejection', (reason) =>
    failed(reason instanceof Error ? reason : new Error(String(reason))),
  );
  let server: Server | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping) return process.exit(EXIT_FAILED);
    stopping = true;
    if (server === undefined) return void end(128 + constants.signals[signal]);
    log.info(`${signal}: answering what is in flight, then stopping`);
    server.stop().then(() => end(0), failed);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  // Without keys it ends the process, as usual when a terminal is closed.
  if (settings.keys !== undefined)
    process.on('SIGHUP', () => {
      if (server === undefined) isReloadDue = true;
      else server.reloadKeys();
    });
  try {
    server = await serve(settings, log, failed);
  } catch (error) {
    await cleanUp();
    throw startError(error);
  }
  announceListening(log, settings.log, server.url);
  if (isReloadDue) server.reloadKeys();
}

/** Once: the first who asks decides the exit code. */
function ending(cleanUp: () => Promise<void>): (code: number) => Promise<void> {
  let isEnding = false;
  return async (code) => {
    if (isEnding) return;
    isEnding = true;
    await cleanUp().catch(() => undefined);
    process.exit(code);
  };
}

/** What the person who starts it can do something about becomes one line. */
function startError(error: unknown): unknown {
  if (error instanceof ClusterMismatch) return new ConfigError(error.message);
  if (error instanceof FolderLockError)
    return new CommandError(Exit.unavailable, error.message, { cause: error });
  if (error instanceof Error && error.message.startsWith('cannot listen')) {
    return new CommandError(Exit.unavailable, error.message, { cause: error });
  }
  return error;
}
