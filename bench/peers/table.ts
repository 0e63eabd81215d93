/** From the runs of each peer to what is printed: medians, how many times as fast Holdfast is, and whether the targets are met. */
import { median } from '../../loadtest/median.ts';
import { aligned as alignedBy, markdownRow } from '../../loadtest/report/text.ts';
import type { Measured } from './child.ts';
import type { Peer } from './peer.ts';
import type { PeerRuns } from './session.ts';
import { bestConcurrency } from './session.ts';

/** One row; of several runs each number is the median. */
export interface Figures {
  readonly key: string;
  readonly name: string;
  /** Why there are no figures. */
  readonly missing?: string;
  readonly runs: number;
  /** Of a saturation run: names in flight, lock ops a second with the slowest and the fastest run, latency. */
  readonly inFlight: number;
  readonly opsPerSecond: number;
  readonly slowest: number;
  readonly fastest: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  /** At the common rate: part of it that was achieved, latency from the intended time. */
  readonly achieved: number;
  readonly pacedP50Ms: number;
  readonly pacedP95Ms: number;
  /** While it was saturated, by process. */
  readonly cores: Readonly<Record<string, number>>;
  /** Failed and unanswered, of all runs. */
  readonly failed: number;
  /** Messages of what failed. */
  readonly failures: Readonly<Record<string, number>>;
  /** How many times as fast the reference is; undefined without one. */
  readonly ratio?: number;
  readonly target?: number;
}

/** Below this part of the common rate its latencies say nothing. */
const HELD = 0.95;
const NAN_MARK = '–';

/** Rows in the order of `all`; `reference` is the key that the others are compared with. */
export function figuresOf(all: readonly PeerRuns[], reference: string): Figures[] {
  const rows = all.map(summarize);
  const base = rows.find((row) => row.key === reference && row.missing === undefined);
  if (base === undefined) return rows;
  return rows.map((row) =>
    row.missing === undefined ? { ...row, ratio: base.opsPerSecond / row.opsPerSecond } : row,
  );
}

function summarize({ peer, sweep, saturated, paced, missing }: PeerRuns): Figures {
  const of = (runs: readonly Measured[], get: (run: Measured) => number): number => median(runs.map(get));
  const rates = saturated.map((run) => run.opsPerSecond);
  const failures: Record<string, number> = {};
  let failed = 0;
  for (const run of [...saturated, ...paced]) {
    failed += run.unanswered;
    for (const [message, count] of Object.entries(run.failures)) {
      failures[message] = (failures[message] ?? 0) + count;
      failed += count;
    }
  }
  const labels = Object.keys(saturated[0]?.cores ?? {});
  return {
    key: peer.key,
    name: peer.name,
    ...(missing === undefined ? {} : { missing }),
    runs: saturated.length,
    inFlight: sweep.length === 0 ? NaN : bestConcurrency(sweep) * peer.locksPerBlock,
    opsPerSecond: median(rates),
    slowest: rates.length === 0 ? NaN : Math.min(...rates),
    fastest: rates.length === 0 ? NaN : Math.max(...rates),
    p50Ms: of(saturated, (run) => run.latency.p50Ms),
    p95Ms: of(saturated, (run) => run.latency.p95Ms),
    achieved: of(paced, (run) => run.opsPerSecond / run.offeredPerSecond),
    pacedP50Ms: of(paced, (run) => run.latency.p50Ms),
    pacedP95Ms: of(paced, (run) => run.latency.p95Ms),
    cores: Object.fromEntries(labels.map((label) => [label, of(saturated, (run) => run.cores[label] ?? 0)])),
    failed,
    failures,
    ...(peer.target === undefined ? {} : { target: peer.target }),
  };
}

/** A head and rows of cells. */
export type Cells = readonly (readonly string[])[];

export function figureCells(rows: readonly Figures[], rate: number): Cells {
  const head = [
    ...['', 'lock ops/s', 'slowest–fastest run', 'Holdfast ÷ it', 'P50 ms', 'P95 ms', 'in flight'],
    ...[`P50 ms at ${rate}/s`, `P95 ms at ${rate}/s`, 'cores', 'failed'],
  ];
  return [head, ...rows.map((row) => figureRow(row, head.length))];
}

function figureRow(row: Figures, cells: number): string[] {
  if (row.missing !== undefined)
    return [row.name, 'NOT MEASURED', row.missing, ...Array.from({ length: cells - 3 }, () => '')];
  const isHeld = row.achieved >= HELD;
  const paced = (value: number): string => (isHeld ? digits(value) : `not held (${percent(row.achieved)})`);
  const cores = Object.entries(row.cores).map(([label, used]) => `${label} ${used.toFixed(2)}`);
  return [
    row.name,
    whole(row.opsPerSecond),
    `${whole(row.slowest)}–${whole(row.fastest)}`,
    row.ratio === undefined ? NAN_MARK : `${digits(row.ratio)} ×`,
    digits(row.p50Ms),
    digits(row.p95Ms),
    String(row.inFlight),
    paced(row.pacedP50Ms),
    paced(row.pacedP95Ms),
    cores.join(', '),
    String(row.failed),
  ];
}

/** What each of them promises, as it was run. */
export function promiseCells(peers: readonly Peer[]): Cells {
  const head = [
    '',
    'on disk when it is told',
    'fencing token',
    'survives the loss of a node',
    'a dead client',
    'driven as',
  ];
  return [
    head,
    ...peers.map((peer) => [peer.name, peer.durable, peer.fencing, peer.nodeLoss, peer.expiry, peer.how]),
  ];
}

/** One line for each target, met or missed. */
export function verdicts(rows: readonly Figures[]): string[] {
  return rows.flatMap((row) => {
    if (row.target === undefined) return [];
    const wanted = row.target === 1 ? `ahead of ${row.name}` : `≥ ${row.target} × ${row.name}`;
    if (row.ratio === undefined) return [`not judged  ${wanted}`];
    const met = row.target === 1 ? row.ratio > 1 : row.ratio >= row.target;
    return [`${met ? 'met   ' : 'MISSED'}  ${wanted}: ${digits(row.ratio)} ×`];
  });
}

/** What the process ends with. `isComplete`: a peer that could not be measured is a failure, too. */
export function exitCodeOf(rows: readonly Figures[], isComplete: boolean): number {
  if (rows.some((row) => row.failed > 0)) return 1;
  return isComplete && rows.some((row) => row.missing !== undefined) ? 1 : 0;
}

/** Columns padded to their widest cell. Why a peer is missing may be longer than any column: it must not push the others away. */
export function aligned(cells: Cells): string {
  return alignedBy(cells, (row, column) => row[1] !== 'NOT MEASURED' || column <= 1);
}

export function markdown([head, ...rows]: Cells): string {
  return [markdownRow(head), `|${head.map(() => '---').join('|')}|`, ...rows.map(markdownRow)].join('\n');
}

function whole(value: number): string {
  return Number.isNaN(value) ? NAN_MARK : Math.round(value).toLocaleString('en-US');
}

/** Three that count. */
function digits(value: number): string {
  if (Number.isNaN(value)) return NAN_MARK;
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function percent(part: number): string {
  return Number.isNaN(part) ? NAN_MARK : `${(part * 100).toFixed(0)} %`;
}
