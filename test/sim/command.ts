/**
 * Runs seeds without a test runner and prints one line of JSON for each that
 * fails, and one at the end: what the test of the mutations starts, and the way
 * to run many thousand seeds by hand.
 *
 *   node command.js FROM COUNT [PROFILE|all] [FAILURES_MAX]
 *
 * By hand, from the root of the project, once per core with seeds of its own:
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir build/sim
 *   node --single-threaded --max-semi-space-size=64 build/sim/test/sim/command.js 0 10000 all 3
 *
 * One thread: those that Node adds to collect garbage and to compile cost more
 * than they save when every core has seeds to run.
 */
import { argv, stdout } from 'node:process';
import type { ProfileName } from './profiles.ts';
import { run } from './run.ts';

const [, , from = '0', count = '10', profile = 'all', failuresMax = '1'] = argv;

let failures = 0;
let seeds = 0;
for (let seed = Number(from); seed < Number(from) + Number(count) && failures < Number(failuresMax); seed++) {
  seeds++;
  const failure = await failureOf(seed, profile === 'all' ? undefined : (profile as ProfileName));
  if (failure === undefined) continue;
  failures++;
  stdout.write(`${JSON.stringify({ seed, ...failure })}\n`);
}
stdout.write(`${JSON.stringify({ seeds, failures })}\n`);

async function failureOf(
  seed: number,
  name?: ProfileName,
): Promise<{ rules: string[]; text: string } | undefined> {
  try {
    const { violations } = await run(seed, name);
    if (violations.length === 0) return undefined;
    const rules = [...new Set(violations.map(({ rule }) => rule))];
    return { rules, text: violations[0].text };
  } catch (error) {
    return {
      rules: ['defect'],
      text: error instanceof Error ? (error.stack ?? error.message) : String(error),
    };
  }
}
