/** What one lane's work on one shard tells people: whether the shard answers, and log lines. */
import type { LaneCounters } from '../metrics/counters.ts';
import type { Hold } from './hold.ts';
import type { LaneLog, LaneMessage } from './messages.ts';

interface ReportHost {
  readonly lane: number;
  readonly counters: LaneCounters;
  emit(message: LaneMessage): void;
}

export class ShardReport {
  /** Set while the process stops: what ends then is no reason to worry. */
  stopping = false;
  private readonly shard: string;
  private readonly index: number;
  private readonly host: ReportHost;
  private up = false;

  /** @param index the shard's place in shards.yaml */
  constructor(shard: string, index: number, host: ReportHost) {
    this.shard = shard;
    this.index = index;
    this.host = host;
  }

  markUp(): void {
    this.mark(true, 'answers');
  }

  markDown(detail: string): void {
    this.mark(false, detail);
  }

  /** Counts what is held in these slots, and who waits, for the metrics. */
  count(holds: Iterable<Hold>): void {
    let held = 0;
    let waiting = 0;
    for (const { slot } of holds) {
      held += slot.claims.held;
      waiting += slot.claims.waiting;
    }
    this.host.counters.setHeld(this.index, held);
    this.host.counters.setWaiters(this.index, waiting);
  }

  log(level: LaneLog['level'], message: string, error?: unknown, fields: Record<string, unknown> = {}): void {
    if (this.stopping && level === 'warn') return;
    const cause = error === undefined ? {} : { error: describe(error, level === 'error') };
    const all = { shard: this.shard, lane: this.host.lane, ...cause, ...fields };
    this.host.emit({ kind: 'log', level, message, fields: all });
  }

  private mark(up: boolean, detail: string): void {
    if (this.up === up) return;
    this.up = up;
    this.host.counters.setUp(this.index, up);
    this.host.emit({ kind: 'shard', shard: this.shard, up, detail });
  }
}

/** A stack tells where a defect is; of a shard that does not answer a line is enough. */
function describe(error: unknown, withStack: boolean): string {
  if (!(error instanceof Error)) return String(error);
  return withStack ? (error.stack ?? error.message) : error.message;
}
