/** The load driver: `npm run load`. */
import { writeFileSync } from 'node:fs';
import { ConfigError, EXIT_CONFIG } from '../src/config/error.ts';
import { Knee } from './knee.ts';
import { readOptions, type Options } from './options.ts';
import { kneeOf, reportOf } from './report.ts';
import { isSafe } from './result.ts';
import { CHILD, runAsChild, startRun } from './run.ts';
import type { LoadSettings } from './settings.ts';
import { progressLine } from './timeline.ts';

async function main({ settings, processes, json, limits }: Options): Promise<void> {
  const knee = settings.profile === 'step' ? new Knee(settings.stretches, limits) : undefined;
  const run = startRun(settings, processes, {
    onSecond: (second, open, errors) => {
      process.stderr.write(`${progressLine(second, open, errors)}\n`);
      return knee === undefined || second.atSeconds <= 0 || knee.see(second);
    },
  });
  // Once: what is open is answered and taken down. Twice: at once.
  process.once('SIGINT', () => run.stop());
  process.once('SIGTERM', () => run.stop());
  const found = await run.result;
  const result = knee === undefined ? found : { ...found, steps: knee.found, knee: knee.rate };
  if (json === '-') process.stdout.write(`${JSON.stringify(result)}\n`);
  else process.stdout.write(`${reportOf(result)}\n`);
  if (knee !== undefined && json !== '-') process.stdout.write(`${kneeOf(knee)}\n`);
  if (json !== undefined && json !== '-') writeFileSync(json, JSON.stringify(result, null, 2));
  if (!isSafe(result)) process.exitCode = 1;
}

function fail(error: unknown): never {
  const isSetting = error instanceof ConfigError;
  process.stderr.write(`load: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(isSetting ? EXIT_CONFIG : 1);
}

process.on('uncaughtException', fail);
const child = process.env[CHILD];
try {
  if (child === undefined) await main(readOptions(process.argv.slice(2)));
  else await runAsChild(JSON.parse(child) as LoadSettings);
} catch (error) {
  fail(error);
}
