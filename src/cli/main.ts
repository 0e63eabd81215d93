#!/usr/bin/env node
/**
 * The command `holdfast`. Each command is in a file of its own; here are their
 * flags, and how a fault becomes one line and an exit code (sysexits).
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { ConfigError, EXIT_CONFIG } from '../config/error.ts';
import { environmentName, readSettings, SETTINGS, type Flags } from '../config/settings.ts';
import { LIMITS } from '../limits.ts';
import { VERSION } from '../version.ts';
import { CommandError, Exit } from './exit.ts';
import { addKeys } from './key-flags.ts';
import { dumpJournal, type DumpOptions } from './journal.ts';
import { runService } from './serve.ts';
import { runUp, type UpOptions } from './up.ts';

const UP_DATA = './data/up';
const PROCESSES_MAX = 9;

function build(): Command {
  const program = new Command('holdfast')
    .description('a lock service: exclusive locks with fencing tokens over HTTP and WebSocket')
    .version(VERSION)
    .showHelpAfterError('(holdfast help shows what is allowed)')
    .exitOverride();
  addServe(program);
  addUp(program);
  addJournal(program);
  addKeys(program);
  return program;
}

function addServe(program: Command): void {
  const command = program.command('serve').description('run the service');
  command.option('--config <file>', `settings in a YAML file (${environmentName('config')})`);
  for (const { name, value, help, fallback, repeatable } of SETTINGS) {
    const words = `${help} (${environmentName(name)}; default: ${fallback})`;
    if (repeatable) command.option(`--${name} ${value}`, words, append);
    else command.option(`--${name} ${value}`, words);
  }
  command.allowExcessArguments(false).action(async (options: Record<string, string | string[]>) => {
    await runService(readSettings(flagsOf(options)));
  });
}

function append(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

/** commander calls `--request-timeout-ms` requestTimeoutMs. */
function flagsOf(options: Readonly<Record<string, string | string[]>>): Flags {
  const flags: Record<string, string | readonly string[]> = {};
  for (const [name, value] of Object.entries(options)) {
    flags[name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)] = value;
  }
  return flags;
}

function addUp(program: Command): void {
  program
    .command('up')
    .description('start etcd shards on this machine and the service on them; Ctrl-C ends all')
    .option('--shards <count>', 'etcd shards, the first time (default: 2)', integer(1, 99))
    .option(
      '--processes <count>',
      'so many processes, with HAProxy in front (default: one, without)',
      integer(1, PROCESSES_MAX),
    )
    .option('--port <port>', 'port of the service')
    .option('--data <folder>', 'folder of the shards', UP_DATA)
    .option('--log <form>', 'form of the log: pretty or json')
    .allowExcessArguments(false)
    .action((options: UpOptions) => runUp(options));
}

function addJournal(program: Command): void {
  program
    .command('journal')
    .description('look into what the shards keep')
    .command('dump')
    .description('print all checkpoints and journal entries, or those of one shard or slot; reads only')
    .option('--shards <file>', 'shards file; without it the embedded shards in --data')
    .option('--data <folder>', 'folder of the embedded shards', './data')
    .option('--shard <name>', 'only this shard')
    .option('--slot <number>', 'only this slot', integer(0, LIMITS.slots - 1))
    .option('--json', 'one JSON object a line')
    .allowExcessArguments(false)
    .action(async (options: DumpOptions) => {
      process.exitCode = await dumpJournal(options, (line) => process.stdout.write(`${line}\n`));
    });
}

function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : -1;
    if (value < min || value > max) throw new InvalidArgumentError(`allowed: an integer ${min}–${max}`);
    return value;
  };
}

/** Faults of a person's making or of the surroundings are one line; defects have their stack. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : Exit.usage;
  if (error instanceof ConfigError || error instanceof CommandError) {
    process.stderr.write(`holdfast: ${error.message}\n`);
    return error instanceof ConfigError ? EXIT_CONFIG : error.exitCode;
  }
  process.stderr.write(
    `holdfast: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return 1;
}

// A reader that has seen enough (`holdfast journal dump | head`) is no fault.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
});

try {
  await build().parseAsync();
} catch (error) {
  process.exit(exitCodeOf(error));
}
