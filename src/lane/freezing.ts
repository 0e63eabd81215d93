/**
 * Slots of one shard on their way to another term: frozen while a round is
 * sealed, so that its last state leaves with that very round.
 *
 *   served ─ the checkpoints have room ─► frozen ─ the round is planned ─► told
 *
 * Told means: the front knows, it has back what waited undecided, and whoever
 * waits or watches hears `moving` once the round is through.
 */
import type { Leaving } from './checkpoints.ts';
import type { HandOvers } from './hand-overs.ts';
import type { Hold, Serving } from './hold.ts';
import type { LaneHost } from './lane-host.ts';
import type { Parked } from './parked.ts';
import type { Round } from './round.ts';
import type { Standing } from './standing.ts';

interface Freezable extends Serving {
  readonly index: number;
  readonly holds: Map<number, Hold>;
  readonly handOvers: HandOvers;
}

export class Freezing {
  private frozen: Hold[] = [];
  private readonly shard: Freezable;
  private readonly host: LaneHost;
  private readonly parked: Parked;
  private readonly standing: Standing;

  constructor(shard: Freezable, host: LaneHost, parked: Parked, standing: Standing) {
    this.shard = shard;
    this.host = host;
    this.parked = parked;
    this.standing = standing;
  }

  /** The next slot that is to leave takes no op any more. */
  next(): Leaving | undefined {
    const { holds, handOvers } = this.shard;
    for (let move = handOvers.take(); move !== undefined; move = handOvers.take()) {
      const hold = holds.get(move.slot)!;
      holds.delete(move.slot);
      this.frozen.push(hold);
      return { hold, next: move.next };
    }
    return undefined;
  }

  /** To be called once `round`, which carries the last effects of the frozen slots, is planned. */
  tell(round: Round, now: number): void {
    const { frozen, host, shard, parked } = this;
    if (frozen.length === 0) return;
    this.frozen = [];
    host.counters.setSlotsOwned(shard.index, shard.holds.size);
    host.freeze(shard, frozen);
    for (const hold of frozen) this.standing.leave(hold, round, now);
    parked.takeOf(
      (op) => !shard.holds.has(op.slot),
      (op) => host.bounceOne(op),
    );
    host.flushBounced();
  }
}
