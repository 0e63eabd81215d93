/**
 * What all parties of `npm run bench:waiters` have in common: clients that
 * stand in one queue, each of which holds the lock for a moment and passes it on.
 */
import { aligned } from '../loadtest/report/text.ts';

/** One client's turn, monotonic ms. */
export interface Turn {
  /** The place that the client was told or took: 1, 2, 3 … */
  readonly place: number;
  readonly grantedAt: number;
  /** When its release was sent. */
  readonly releasedAt: number;
}

export interface Party {
  readonly name: string;
  /** What is on disk, or said to be, when a client is told that it holds the lock. */
  readonly durability: string;
  /** Lets `clients` queue up and pass the lock on until each has held it once. */
  run(clients: number, holdMs: number): Promise<readonly Turn[]>;
  stop(): Promise<void>;
}

export interface PartyResult {
  readonly name: string;
  readonly durability: string;
  readonly served: number;
  readonly inOrder: boolean;
  /** Two clients held it at the same time. */
  readonly overlaps: number;
  readonly seconds: number;
  readonly handOffsPerSecond: number;
  /** From the release being sent to the next grant being heard, ms. */
  readonly p50Ms: number;
  readonly p95Ms: number;
}

/** Figures of one run. */
export function judge(party: Party, turns: readonly Turn[]): PartyResult {
  const byTime = turns.toSorted((a, b) => a.grantedAt - b.grantedAt);
  const pauses: number[] = [];
  let overlaps = 0;
  let inOrder = true;
  for (let i = 1; i < byTime.length; i++) {
    const pause = byTime[i].grantedAt - byTime[i - 1].releasedAt;
    if (pause < 0) overlaps++;
    pauses.push(pause);
    if (byTime[i].place < byTime[i - 1].place) inOrder = false;
  }
  pauses.sort((a, b) => a - b);
  const at = (share: number): number =>
    pauses[Math.min(pauses.length - 1, Math.floor(pauses.length * share))];
  const seconds = (byTime[byTime.length - 1].releasedAt - byTime[0].grantedAt) / 1_000;
  return {
    name: party.name,
    durability: party.durability,
    served: new Set(turns.map(({ place }) => place)).size,
    inOrder,
    overlaps,
    seconds,
    handOffsPerSecond: pauses.length / seconds,
    p50Ms: at(0.5),
    p95Ms: at(0.95),
  };
}

/** Holds for `holdMs`: a timer would take a whole tick longer. */
export function hold(holdMs: number): Promise<void> {
  const until = performance.now() + holdMs;
  return new Promise((resolve) => {
    const look = (): void => {
      if (performance.now() >= until) resolve();
      else setImmediate(look);
    };
    look();
  });
}

/** The table that is printed. */
export function turnsTable(results: readonly PartyResult[]): string {
  const head = [
    '',
    'on disk before it is told',
    'served',
    'in order',
    'seconds',
    'hand-offs/s',
    'P50 ms',
    'P95 ms',
  ];
  const rows = results.map((result) => [
    result.name,
    result.durability,
    String(result.served),
    result.overlaps > 0 ? `OVERLAPS: ${result.overlaps}` : result.inOrder ? 'yes' : 'no',
    result.seconds.toFixed(2),
    result.handOffsPerSecond.toFixed(0),
    result.p50Ms.toFixed(2),
    result.p95Ms.toFixed(2),
  ]);
  return aligned([head, ...rows]);
}
