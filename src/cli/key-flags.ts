/** The flags of `holdfast keys`. */
import type { Command } from 'commander';
import { DEFAULT_NAMESPACE, RIGHTS } from '../config/keys.ts';
import { environmentName } from '../config/settings.ts';
import { createKey, type CreateOptions, type FileOptions, listKeys, type Output, revokeKey } from './keys.ts';

const FILE = 'keys.yaml';

const output: Output = {
  write: (line) => void process.stdout.write(`${line}\n`),
  say: (line) => void process.stderr.write(`${line}\n`),
};

export function addKeys(program: Command): void {
  const keys = program.command('keys').description('API keys: make, list and revoke them in a keys file');
  const variable = environmentName('keys');
  const file = process.env[variable] || FILE;
  const withFile = (command: Command): Command =>
    command
      .option('--file <file>', `keys file (${variable})`, file)
      .option('--json', 'as JSON')
      .allowExcessArguments(false);
  withFile(keys.command('create').description('make a key, show it once, and keep its hash in the file'))
    .requiredOption('--principal <name>', 'who it stands for: claims belong to their principal')
    .option(
      '--namespace <name>',
      `whose names are apart from those of all others (default: ${DEFAULT_NAMESPACE})`,
    )
    .option(
      '--prefix <prefix>',
      'names must begin with one of these (repeatable; default: all names)',
      append,
    )
    .option('--right <right>', `one of ${RIGHTS.join(', ')} (repeatable; default: lock)`, append)
    .option('--expires <time>', 'a time such as 2027-01-31 or 2027-01-31T12:00:00Z, or days such as 90d')
    .option('--comment <text>', 'for people')
    .action((options: CreateOptions) => createKey(options, output, Date.now()));
  withFile(keys.command('list').description('show what keys there are, without secrets')).action(
    (options: FileOptions) => listKeys(options, output, Date.now()),
  );
  withFile(keys.command('revoke <id>').description('take a key out of the file')).action(
    (id: string, options: FileOptions) => revokeKey(id, options, output),
  );
}

function append(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
