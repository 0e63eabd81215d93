/** Everything that a run of the gate found: what slo.json holds, and what the report is drawn from. */
import { readFile } from 'node:fs/promises';
import { ConfigError } from '../../src/config/error.ts';
import type { Versions } from './facts.ts';
import { judge, type Verdict } from './judge.ts';
import type { ProfileRuns } from './records.ts';

export const FORMAT = 'holdfast-slo-1';

export interface Outcome {
  readonly format: typeof FORMAT;
  readonly startedAt: string;
  readonly endedAt: string;
  /** What the gate said: every profile met its targets; of a quick run: the machinery worked. */
  readonly passed: boolean;
  readonly isQuick: boolean;
  /** It was stopped before its end. */
  readonly isInterrupted: boolean;
  /** Runs of each profile that were asked for. */
  readonly runs: number;
  readonly config: string;
  readonly nodeArgs: readonly string[];
  readonly versions: Versions;
  readonly machine: readonly (readonly [name: string, value: string])[];
  readonly verdicts: readonly Verdict[];
  readonly profiles: readonly ProfileRuns[];
}

export type Circumstances = Omit<Outcome, 'format' | 'passed' | 'verdicts'>;

export function outcomeOf(circumstances: Circumstances): Outcome {
  const verdicts = circumstances.profiles.map(judge);
  const passed =
    !circumstances.isInterrupted &&
    verdicts.every((verdict) => (circumstances.isQuick ? verdict.worked : verdict.met));
  return { format: FORMAT, passed, verdicts, ...circumstances };
}

/** @throws ConfigError where it is not a file of the gate */
export async function readOutcome(path: string): Promise<Outcome> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new ConfigError(`${path} cannot be read: ${(error as Error).message}`);
  }
  if ((content as Partial<Outcome> | null)?.format === FORMAT) return content as Outcome;
  throw new ConfigError(`${path} is not a slo.json of this version (${FORMAT})`);
}
