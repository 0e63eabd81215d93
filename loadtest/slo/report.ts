/** slo.json, slo.html and the figures as files of their own. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  details,
  figure,
  gallery,
  page,
  pairs,
  paragraphs,
  table,
  type Cell,
  type Section,
} from '../report/page.ts';
import { overviewFigures, profileFigures, type Figure } from './figures.ts';
import { median, type Verdict } from './judge.ts';
import type { Outcome } from './outcome.ts';
import { isMeasured, type Footprint, type Measurement, type ProfileRuns } from './records.ts';
import {
  figuresText,
  grouped,
  mebibytes,
  missedText,
  ms,
  percent,
  targetName,
  targetText,
  timeText,
  valueText,
  verdictText,
} from './words.ts';

/** Writes all of it; what a run before left in `out` is replaced. Returns the path of the page. */
export async function writeReport(outcome: Outcome, out: string): Promise<string> {
  const cores = Number(new Map(outcome.machine).get('cores'));
  const overview = overviewFigures(outcome.profiles, cores);
  const byProfile = outcome.profiles.map((found) => profileFigures(found, cores));
  const folder = join(out, 'figures');
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  for (const { name, svg } of [...overview, ...byProfile.flat()]) {
    await writeFile(join(folder, `${name}.svg`), `${svg}\n`);
  }
  await writeFile(join(out, 'slo.json'), `${JSON.stringify(outcome)}\n`);
  const path = join(out, 'slo.html');
  await writeFile(path, reportPage(outcome, overview, byProfile));
  return path;
}

function reportPage(outcome: Outcome, overview: readonly Figure[], byProfile: readonly Figure[][]): string {
  return page({
    title: outcome.isQuick ? 'Holdfast: smoke test of the SLO gate' : 'Holdfast: service levels',
    intro: introOf(outcome),
    sections: [
      { heading: 'Verdicts', html: verdictTable(outcome) },
      ...(overview.length === 0 ? [] : [{ heading: 'All profiles', html: galleryOf(overview) }]),
      ...outcome.profiles.map((found, i) => profileSection(outcome, found, byProfile[i])),
      { heading: 'Disk, memory and pauses', html: resources(outcome) },
      { heading: 'Machine', html: pairs(outcome.machine) },
      { heading: 'Versions and settings', html: settings(outcome) },
    ],
  });
}

function introOf({ isQuick, isInterrupted, passed, verdicts, runs, startedAt }: Outcome): string {
  const met = verdicts.filter((verdict) => verdict.met).length;
  const summary = passed
    ? `All ${verdicts.length} profiles met their targets.`
    : `${met} of ${verdicts.length} profiles met their targets.`;
  const quick =
    'This is a smoke test of the machinery (--quick): rates and times are far below those of the profiles, and ' +
    `nothing here is a measurement. No target was judged. ${passed ? 'The machinery works.' : 'SOMETHING IS BROKEN.'}`;
  const repeated = runs === 1 ? 'Each profile ran once.' : `Figures are medians of ${runs} interleaved runs.`;
  return [
    isQuick ? quick : summary,
    ...(isInterrupted ? ['It was interrupted: not all runs were made, and it counts as failed.'] : []),
    `${repeated} etcd (with fsync), Holdfast with every feature on, and the load all ran on this one machine. ` +
      'Latency counts from the time at which an op was meant to be sent (open model): a server that stalls is ' +
      `charged for all that should have been sent meanwhile. Started ${timeText(startedAt)}.`,
  ].join('\n\n');
}

function verdictTable({ profiles, verdicts, isQuick }: Outcome): string {
  const head = [
    'profile',
    'offered/s',
    'achieved',
    'P50 ms',
    'P95 ms',
    'P99 ms',
    'errors',
    'targets',
    'verdict',
  ];
  const rows = verdicts.flatMap((verdict, i) => {
    const { profile, figures, ceiling, checks, errors } = verdict;
    const targets = checks.map(targetText).join(', ');
    const measured = profiles[i].runs.some(isMeasured);
    const own: Cell[] = [profile, ...figuresText(figures), measured ? errors : '–', targets];
    const rows = [[...own, verdictCell(verdict, isQuick)]];
    if (ceiling !== undefined) rows.push(['– ceiling', ...figuresText(ceiling), '', '', '']);
    return rows;
  });
  const missed = verdicts.flatMap((verdict) =>
    missedText(verdict).map((what): Cell[] => [
      verdict.profile,
      { text: what, tone: isQuick ? 'quiet' : 'bad' },
    ]),
  );
  const heading = isQuick ? 'missed, but not judged' : 'missed';
  return [table(head, rows), missed.length === 0 ? '' : table(['profile', heading], missed)].join('\n');
}

function verdictCell(verdict: Verdict, isQuick: boolean): Cell {
  const isGood = isQuick ? verdict.worked : verdict.met;
  return { text: verdictText(verdict, isQuick), tone: isGood ? 'good' : 'bad' };
}

function profileSection(outcome: Outcome, found: ProfileRuns, figures: readonly Figure[]): Section {
  const { profile, runs } = found;
  const verdict = outcome.verdicts[outcome.profiles.indexOf(found)];
  const checks = verdict.checks.map(({ target, bound, measured, met }): Cell[] => [
    targetName(target),
    valueText(target, measured),
    targetText({ target, bound }),
    outcome.isQuick
      ? { text: 'not judged', tone: 'quiet' }
      : { text: met ? 'met' : 'MISSED', tone: met ? 'good' : 'bad' },
  ]);
  const measured = runs.filter(isMeasured);
  return {
    heading: `${profile.name}: ${verdictText(verdict, outcome.isQuick)}`,
    html: [
      paragraphs(
        `${profile.about[0].toUpperCase()}${profile.about.slice(1)}: ${grouped(profile.rate)} ops/s.`,
      ),
      table(['', 'measured', 'target', ''], checks),
      ...verdict.died.map((how) => paragraphs(`Died: ${how}`)),
      galleryOf(figures),
      details('Every run', everyRun(found)),
      ...(measured.length === 0 ? [] : [details('By kind of op', byOp(measured))]),
      details('Settings', pairs(settingsOf(found))),
    ].join('\n'),
  };
}

function galleryOf(figures: readonly Figure[]): string {
  return gallery(figures.map(({ svg, caption }) => figure(svg, caption)));
}

function everyRun({ runs, ceilings }: ProfileRuns): string {
  const head = [
    '',
    'started',
    'offered/s',
    'achieved',
    'P50 ms',
    'P95 ms',
    'P99 ms',
    'P99.9 ms',
    'highest ms',
    'commits/s',
  ];
  const row = (name: string, run: ProfileRuns['runs'][number] | ProfileRuns['ceilings'][number]): Cell[] => {
    if (!isMeasured(run))
      return [name, timeText(run.startedAt), { text: `died: ${run.failure}`, tone: 'bad' }];
    const { offered, achieved, latency } = run.result;
    const { p50Ms, p95Ms, p99Ms, p999Ms, maxMs } = latency;
    const commits = 'counters' in run ? run.counters.commitsPerSecond : run.result.commitsPerSecond;
    const times = [p50Ms, p95Ms, p99Ms, p999Ms, maxMs].map(ms);
    return [
      name,
      timeText(run.startedAt),
      grouped(offered),
      percent(achieved / offered),
      ...times,
      grouped(commits),
    ];
  };
  return table(head, [
    ...runs.map((run) => row(`Holdfast, run ${run.run}`, run)),
    ...ceilings.map((run) => row(`ceiling, run ${run.run}`, run)),
  ]);
}

function byOp(runs: readonly Measurement[]): string {
  const ops = [...new Set(runs.flatMap(({ result }) => Object.keys(result.byOp)))];
  const rows = ops.map((op): Cell[] => {
    const latencies = runs.flatMap(({ result }) => result.byOp[op] ?? []);
    const of = (value: (latency: (typeof latencies)[number]) => number): string =>
      ms(median(latencies.map(value)) ?? 0);
    const count = latencies.reduce((sum, latency) => sum + latency.count, 0);
    return [
      op,
      grouped(count),
      of((l) => l.p50Ms),
      of((l) => l.p95Ms),
      of((l) => l.p99Ms),
      of((l) => l.maxMs),
    ];
  });
  const handOffs = runs.map(({ result }) => result.handOff).filter(({ count }) => count > 0);
  if (handOffs.length > 0) {
    const of = (value: (latency: (typeof handOffs)[number]) => number): string =>
      ms(median(handOffs.map(value))!);
    const count = handOffs.reduce((sum, latency) => sum + latency.count, 0);
    rows.push([
      'from a release to the next grant',
      grouped(count),
      of((l) => l.p50Ms),
      of((l) => l.p95Ms),
      of((l) => l.p99Ms),
      of((l) => l.maxMs),
    ]);
  }
  const counts = (of: 'errors' | 'refusals'): string =>
    runs
      .flatMap(({ result }) => Object.entries(result[of]))
      .map(([code, count]) => `${code} ${count}`)
      .join(', ');
  const lag = median(runs.map(({ result }) => result.sendLag.p95Ms))!;
  return [
    table(['op', 'of all runs', 'P50 ms', 'P95 ms', 'P99 ms', 'highest ms'], rows),
    pairs([
      ['errors', counts('errors') || 'none'],
      ['refusals that the workload expects', counts('refusals') || 'none'],
      ['of it the driver itself, P95', `${ms(lag)} ms`],
    ]),
  ].join('\n');
}

function settingsOf({ profile, runs }: ProfileRuns): [string, string | number][] {
  const result = runs.find(isMeasured)?.result;
  const { targets: _, name: __, about: ___, ...given } = profile;
  const rows = Object.entries(given).filter(([, value]) => value !== undefined);
  const used: [string, number][] =
    result === undefined
      ? []
      : [
          ['sockets', result.sockets],
          ['opsPerFrame', result.opsPerFrame],
          ['processes', result.processes],
        ];
  const all = new Map([
    ...used,
    ...rows.map(([key, value]): [string, string | number] => [key, String(value)]),
  ]);
  return [...all, ['protocol', result?.protocol ?? profile.protocol ?? 'binary']];
}

function resources({ profiles }: Outcome): string {
  const rows = profiles.map(({ profile, runs }): Cell[] => {
    const measured = runs.filter(isMeasured);
    if (measured.length === 0) return [profile.name];
    const most = (of: keyof Footprint): string =>
      mebibytes(Math.max(...measured.map(({ footprint }) => footprint[of] ?? 0)));
    const middle = (of: (run: Measurement) => number): number => median(measured.map(of))!;
    const { length } = measured;
    const collections = measured.reduce((sum, { counters }) => sum + counters.collections, 0);
    const collectionMs = measured.reduce((sum, { counters }) => sum + counters.collectionMs, 0);
    return [
      profile.name,
      most('databaseBytes'),
      most('logBytes'),
      most('etcdMemoryBytes'),
      most('holdfastMemoryBytes'),
      ms(middle(({ counters }) => counters.fsyncMs)),
      grouped(middle(({ counters }) => counters.commitsPerSecond)),
      `${(collectionMs / Math.max(1, collections)).toFixed(2)}`,
      grouped(collections / length),
    ];
  });
  const all = profiles.flatMap(({ runs }) => runs.filter(isMeasured)).map(({ footprint }) => footprint);
  const most = (of: 'databaseBytes' | 'logBytes'): string =>
    mebibytes(Math.max(0, ...all.map((one) => one[of])));
  return [
    paragraphs(
      `All runs used one etcd, one after the other. At the end of a run its database had at most ${most('databaseBytes')} ` +
        `and its write-ahead log ${most('logBytes')}. Holdfast compacts all the time and cuts its journal at 64 MB ` +
        'or the size of its state; etcd keeps at most five files of 64 MB of a log that a snapshot has made needless, ' +
        'and those written since. Neither grows with the time that a service runs.',
    ),
    table(
      [
        'profile',
        'database, at most',
        'log, at most',
        'memory of etcd',
        'memory of Holdfast, at most',
        'fsync, mean ms',
        'commits/s',
        'pause of the front, mean ms',
        'pauses a run',
      ],
      rows,
    ),
  ].join('\n');
}

function settings({ config, runs, nodeArgs, versions, startedAt, endedAt }: Outcome): string {
  return pairs([
    ['Holdfast', `${versions.holdfast}, commit ${versions.commit}`],
    ['etcd', `${versions.etcd}, one member, fsync on`],
    ['Node', versions.node],
    ["flags of Holdfast's Node", nodeArgs.length === 0 ? 'none' : nodeArgs.join(' ')],
    ['profiles', config],
    ['runs of each', runs],
    ['started', timeText(startedAt)],
    ['ended', timeText(endedAt)],
  ]);
}
