/** What tests of waits and watches share: one lane with all slots, commits that can be held up, a front that tries again. */
import { vi } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { JOURNAL_PREFIX, termKey } from '../../src/slots/records.ts';
import { ShardError } from '../../src/shard/store.ts';
import { LaneRig, type RigLane } from './rig.ts';
import type { LaneOp, Said } from './words.ts';

export const SLOT = 5;
/** Of requests that a peer forwarded; the front itself is 1. */
export const PEER = 77;

export async function alone(): Promise<{ rig: LaneRig; a: RigLane }> {
  const rig = await LaneRig.begin();
  const a = rig.start('a');
  await rig.run(1_000);
  return { rig, a };
}

let attempts = 0;

/** A claim of the lock `name`, by a holder called after its token. */
export function claim(token: string, more: Partial<LaneOp> = {}): LaneOp {
  return {
    kind: 'acquire',
    slot: SLOT,
    name: 'lock',
    token: `uuid:${token}`,
    owner: token,
    ttlMs: 30_000,
    ...more,
  };
}

export function wait(token: string, more: Partial<LaneOp> = {}): LaneOp {
  return claim(token, { waitMs: 60_000, attempt: ++attempts, ...more });
}

export function release(token: string, more: Partial<LaneOp> = {}): LaneOp {
  return { kind: 'release', slot: SLOT, name: 'lock', token: `uuid:${token}`, ...more };
}

export function watch(more: Partial<LaneOp> = {}): LaneOp {
  return { kind: 'watch', slot: SLOT, name: 'lock', attempt: ++attempts, ...more };
}

/** The journal entries that were written so far. */
export function journal(rig: LaneRig): Buffer[] {
  const changes = rig.store.log.flatMap((applied) => applied.changes);
  const puts = changes.filter(({ key, value }) => key.startsWith(JOURNAL_PREFIX) && value !== undefined);
  return puts.map(({ value }) => Buffer.from(value!));
}

export function entries(rig: LaneRig): number {
  return journal(rig).length;
}

/** Commits arrive, but their replies wait until the returned function is called. */
export function holdUp({ connection }: RigLane): () => void {
  const commit = connection.commit.bind(connection);
  let go = (): void => undefined;
  const gone = new Promise<void>((resolve) => (go = resolve));
  const spy = vi.spyOn(connection, 'commit').mockImplementation(async (entry) => {
    const result = await commit(entry);
    await gone;
    return result;
  });
  return () => {
    spy.mockRestore();
    go();
  };
}

/** The next commit does not arrive, and the term is over before that is known. */
export function loseNext(rig: LaneRig, lane: RigLane): void {
  const { term } = lane;
  vi.spyOn(lane.connection, 'commit').mockImplementationOnce(async () => {
    rig.store.txn({ compares: [], changes: [{ delete: termKey(term) }] }, 'test');
    throw new ShardError('unknown', 'the reply was lost');
  });
}

/** A wait as a front keeps it: sent again, under another id, to whoever serves the slot, until it has its answer. */
export class Wait {
  said: Said | undefined;
  positions: number[] = [];
  readonly codes: string[] = [];
  /** How long it takes to be sent again. */
  delayMs: number = LIMITS.resumeMs;
  private readonly rig: LaneRig;
  private readonly op: LaneOp;

  constructor(rig: LaneRig, op: LaneOp) {
    this.rig = rig;
    this.op = op;
  }

  /** False when nobody serves the slot. */
  send(flags: LaneOp['flags'] = []): boolean {
    const lane = this.rig.lanes.find((one) => !one.isDead && one.served.has(this.op.slot));
    if (lane === undefined) return false;
    const [id] = lane.send([{ ...this.op, attempt: ++attempts, flags }]);
    lane.hearOf(id, (said) => this.hear(said));
    return true;
  }

  sendAgain(): void {
    if (!this.send(['resumed']))
      this.rig.scheduler.after(LIMITS.resumeMs, 'a wait is sent again', () => this.sendAgain());
  }

  private hear(said: Said): void {
    if (said.status === 100) this.positions.push(said.queueLength);
    if (said.status < 200) return;
    this.codes.push(said.code);
    if (said.code === 'moving' || said.code === 'outcome_unknown' || said.code === 'shard_unavailable') {
      this.rig.scheduler.after(this.delayMs, 'a wait is sent again', () => this.sendAgain());
      return;
    }
    this.said = said;
  }
}
