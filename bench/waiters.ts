/**
 * `npm run bench:waiters`: a thousand clients want one lock, and each holds it
 * for a millisecond. How fast it goes from hand to hand, and whether in order:
 * Holdfast over two processes, etcd's own lock service and redlock, in one run.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { startEtcd } from '../src/cli/etcd-server.ts';
import { judge, type Party, type PartyResult, turnsTable } from './turns.ts';
import { EtcdLockParty } from './waiters-etcd.ts';
import { HoldfastParty } from './waiters-holdfast.ts';
import { RedlockParty } from './waiters-redlock.ts';

interface Options {
  readonly clients: number;
  readonly hold: number;
  readonly runs: number;
  readonly only: readonly string[];
  readonly json: string | undefined;
}

function readOptions(): Options {
  return new Command('waiters')
    .option('--clients <n>', 'clients that wait', Number, 1_000)
    .option('--hold <ms>', 'how long each holds it', Number, 1)
    .option('--runs <n>', 'times that each party is measured, in turns', Number, 3)
    .option('--only <party,…>', 'holdfast, etcd, redlock', (text) => text.split(','), [
      'holdfast',
      'etcd',
      'redlock',
    ])
    .option('--json <file>', 'write the figures there')
    .parse()
    .opts<Options>();
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function start(name: string, folder: string): Promise<{ party: Party; stop(): Promise<void> }> {
  await mkdir(folder);
  if (name === 'redlock') {
    const party = await RedlockParty.start(folder);
    return { party, stop: () => party.stop() };
  }
  const etcd = await startEtcd({ dataFolder: join(folder, 'etcd') });
  const party =
    name === 'etcd'
      ? new EtcdLockParty(etcd.endpoints[0])
      : await HoldfastParty.start(etcd.endpoints, folder);
  return {
    party,
    async stop() {
      await party.stop();
      await etcd.stop();
    },
  };
}

async function measure(options: Options, folder: string): Promise<PartyResult[]> {
  const results: PartyResult[] = [];
  for (let run = 0; run < options.runs; run++) {
    for (const name of options.only) {
      const { party, stop } = await start(name, join(folder, `${name}-${run}`));
      try {
        say(`${party.name}: run ${run + 1} of ${options.runs}`);
        results.push(judge(party, await party.run(options.clients, options.hold)));
      } finally {
        await stop();
      }
    }
  }
  return results.sort((a, b) => a.name.localeCompare(b.name));
}

const options = readOptions();
const folder = await mkdtemp(join(tmpdir(), 'holdfast-waiters-'));
try {
  const results = await measure(options, folder);
  process.stdout.write(
    `${options.clients} clients, each holds the lock for ${options.hold} ms; ${cpus().length} cores of ${cpus()[0].model.trim()}\n` +
      `${turnsTable(results)}\n`,
  );
  if (options.json !== undefined)
    await writeFile(options.json, JSON.stringify({ options, results }, null, 2));
  const bad = results.some(({ served, overlaps }) => served !== options.clients || overlaps > 0);
  process.exitCode = bad ? 1 : 0;
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 3 });
}
