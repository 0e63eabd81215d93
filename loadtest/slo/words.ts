/** Figures and verdicts in words, for the terminal and the report alike. */
import type { TargetName } from './config.ts';
import type { Check, Figures, Verdict } from './judge.ts';

const NAMES: Readonly<Record<TargetName, string>> = {
  achieved: 'achieved',
  errorRate: 'errors',
  p50Ms: 'P50',
  p95Ms: 'P95',
  p99Ms: 'P99',
  handOffP50Ms: 'hand-off P50',
  handOffP95Ms: 'hand-off P95',
  overCeilingP50Ms: 'P50 over the ceiling',
};

export function targetName(target: TargetName): string {
  return NAMES[target];
}

/** «2.34 ms», «99.8 %». */
export function valueText(target: TargetName, value: number | undefined): string {
  if (value === undefined) return 'not measured';
  if (target === 'achieved') return percent(value);
  if (target === 'errorRate') return value === 0 ? '0' : percent(value);
  return `${ms(value)} ms`;
}

/** «P95 ≤ 6 ms». */
export function targetText({ target, bound }: Pick<Check, 'target' | 'bound'>): string {
  if (target === 'errorRate' && bound === 0) return 'no errors';
  const sign = target === 'achieved' ? '≥' : '≤';
  const value = target === 'achieved' || target === 'errorRate' ? percent(bound) : `${bound} ms`;
  return `${NAMES[target]} ${sign} ${value}`;
}

/** What was missed, each with its figure; empty: everything was met. */
export function missedText({ checks, died, unsafe }: Verdict): string[] {
  return [
    ...(unsafe > 0 ? [`NOT SAFE: ${unsafe} times two holders or a falling fencing token`] : []),
    ...died.map((how) => `died: ${how}`),
    ...checks
      .filter((check) => !check.met)
      .map((check) => `${targetText(check)} (${valueText(check.target, check.measured)})`),
  ];
}

/** «met», «MISSED»; of a quick run «works», «BROKEN». */
export function verdictText(verdict: Verdict, isQuick: boolean): string {
  if (isQuick) return verdict.worked ? 'works' : 'BROKEN';
  return verdict.met ? 'met' : 'MISSED';
}

const HEAD = ['profile', 'offered/s', 'achieved', 'P50 ms', 'P95 ms', 'P99 ms', 'verdict'];

/** The table of the terminal. Below a profile that missed something stands what. */
export function tableText(verdicts: readonly Verdict[], isQuick: boolean): string {
  const lines = verdicts.flatMap((verdict) => {
    const { profile, figures, ceiling } = verdict;
    const rows = [[profile, ...figuresText(figures), verdictText(verdict, isQuick)]];
    if (ceiling !== undefined) rows.push(['  its ceiling', ...figuresText(ceiling), '']);
    return rows;
  });
  const all = [HEAD, ...lines];
  const widths = HEAD.map((_, column) => Math.max(...all.map((line) => line[column].length)));
  const text = (line: readonly string[]): string =>
    line
      .map((cell, i) =>
        i === 0 || i === HEAD.length - 1 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]),
      )
      .join('  ')
      .trimEnd();
  const missed = verdicts.flatMap((verdict) =>
    missedText(verdict).map((what) => `${verdict.profile}: ${what}`),
  );
  return [
    ...all.map(text),
    ...(missed.length === 0
      ? []
      : [
          '',
          isQuick ? 'Targets missed, which a quick run does not judge:' : 'Missed:',
          ...missed.map((m) => `  ${m}`),
        ]),
  ].join('\n');
}

/** Offered, achieved, P50, P95, P99. */
export function figuresText(figures: Figures | undefined): string[] {
  if (figures === undefined) return ['–', '–', '–', '–', '–'];
  const { offered, achieved, p50Ms, p95Ms, p99Ms } = figures;
  return [grouped(offered), percent(achieved / offered), ms(p50Ms), ms(p95Ms), ms(p99Ms)];
}

export function ms(value: number): string {
  return value.toFixed(2);
}

/** «2026-01-31 12:00:00 UTC». */
export function timeText(iso: string): string {
  return iso.replace('T', ' ').replace(/(\.\d+)?Z$/, ' UTC');
}

/** «66,667». */
export function grouped(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

/** With as many digits as it takes to tell it from all or nothing. */
export function percent(part: number): string {
  const value = part * 100;
  return `${value > 0 && value < 0.01 ? value.toPrecision(1) : Number(value.toFixed(2))} %`;
}
