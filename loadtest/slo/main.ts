/**
 * The SLO gate: `npm run slo`. Ends with 0 when every target was met, 1 when
 * one was missed or a run died, 78 when its settings are wrong, 130 or 143 when
 * it was interrupted (with a report of what was measured by then).
 */
import { mkdir } from 'node:fs/promises';
import { constants } from 'node:os';
import { ConfigError, EXIT_CONFIG } from '../../src/config/error.ts';
import { ROOT } from '../../test/servers/holdfast.ts';
import { machine } from '../report/machine.ts';
import { versionsOf } from './facts.ts';
import { readWish, type Plan } from './options.ts';
import { outcomeOf, readOutcome, type Outcome } from './outcome.ts';
import { writeReport } from './report.ts';
import { Runner } from './runner.ts';
import { Servers } from './servers.ts';
import { tableText } from './words.ts';

const EXIT_FAILED = 1;
/** Added to a signal's number, as shells do. */
const EXIT_SIGNAL = 128;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

async function main(args: readonly string[]): Promise<number> {
  const wish = readWish(args, ROOT);
  if (wish === undefined) return 0;
  if ('redraw' in wish) {
    const outcome = await readOutcome(wish.redraw);
    process.stdout.write(`report: ${await writeReport(outcome, wish.out)}\n`);
    return 0;
  }
  const { plan } = wish;
  await mkdir(plan.out, { recursive: true });
  const stopped = stopBySignal();
  const outcome = await measure(plan, stopped);
  const path = await writeReport(outcome, plan.out);
  process.stdout.write(`\n${summaryOf(outcome)}\nreport: ${path}\n`);
  if (stopped.aborted) return EXIT_SIGNAL + constants.signals[stopped.reason as NodeJS.Signals];
  return outcome.passed ? 0 : EXIT_FAILED;
}

async function measure(plan: Plan, stopped: AbortSignal): Promise<Outcome> {
  const startedAt = new Date().toISOString();
  const servers = await Servers.start(plan.nodeArgs, say);
  try {
    const runner = new Runner(plan, servers, stopped, say);
    const facts = {
      machine: machine(servers.folder),
      versions: await versionsOf(ROOT, servers.etcdVersion),
    };
    await runner.run();
    const { isQuick, runs, config, nodeArgs } = plan;
    return outcomeOf({
      ...{ startedAt, endedAt: new Date().toISOString(), isQuick, isInterrupted: stopped.aborted },
      ...{ runs, config, nodeArgs, profiles: runner.found, ...facts },
    });
  } finally {
    await servers.stop();
  }
}

/** The first signal ends the run under way; the second one ends this process, and with it its children. */
function stopBySignal(): AbortSignal {
  const controller = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(EXIT_SIGNAL + constants.signals[signal]);
      say(`${signal}: stopping`);
      controller.abort(signal);
    });
  }
  return controller.signal;
}

function summaryOf(outcome: Outcome): string {
  const { verdicts, isQuick, isInterrupted, passed } = outcome;
  const table = tableText(verdicts, isQuick);
  const met = verdicts.filter((verdict) => verdict.met).length;
  const verdict = isQuick
    ? `A smoke test of the machinery: nothing was judged on time. ${passed ? 'It works.' : 'SOMETHING IS BROKEN.'}`
    : `${met} of ${verdicts.length} profiles met their targets${passed ? '' : ': FAILED'}.`;
  return [table, '', ...(isInterrupted ? ['Interrupted: not all runs were made.'] : []), verdict].join('\n');
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  say(`slo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = error instanceof ConfigError ? EXIT_CONFIG : EXIT_FAILED;
}
