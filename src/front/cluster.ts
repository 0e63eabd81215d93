/**
 * What this process knows of its cluster, for people and probes: the bodies of
 * `/v1/cluster` and `/readyz`.
 */
import type { Routing } from '../batch/routing.ts';
import type { ShardSettings } from '../config/shards.ts';
import type { LaneShardState, ProcessIdentity } from '../lane/messages.ts';

export class ClusterView {
  private readonly identity: ProcessIdentity;
  private readonly shards: readonly ShardSettings[];
  private readonly lanes: number;
  private readonly routing: Routing;
  /** The last word of each lane on each shard. */
  private readonly states = new Map<string, (LaneShardState | undefined)[]>();

  constructor(identity: ProcessIdentity, shards: readonly ShardSettings[], lanes: number, routing: Routing) {
    this.identity = identity;
    this.shards = shards;
    this.lanes = lanes;
    this.routing = routing;
    for (const { name } of shards) this.states.set(name, new Array<LaneShardState | undefined>(lanes));
  }

  shardState(lane: number, state: LaneShardState): void {
    const states = this.states.get(state.shard);
    if (states === undefined) return;
    states[lane] = state;
    this.routing.shardDown(state.shard, this.stateOf(state.shard) === 'down');
  }

  /** The map is loaded when every lane has heard of a shard; one that answers is enough to be useful. */
  readiness(): { ready: boolean; body: string } {
    const shards = this.shards.map(({ name }) => ({ name, up: this.stateOf(name) === 'up' }));
    const ready = shards.some((shard) => shard.up);
    return { ready, body: JSON.stringify({ ready, shards }) };
  }

  report(): string {
    const owned = this.routing.ownedBy(this.lanes);
    const shards = this.shards.map(({ name, engine, weight }, i) => {
      const slots = [...owned.subarray(i * this.lanes, (i + 1) * this.lanes)];
      return {
        name,
        engine,
        weight,
        state: this.stateOf(name),
        detail: this.detailOf(name),
        slots: slots.reduce((sum, count) => sum + count, 0),
        owners: slots.flatMap((count, lane) =>
          count > 0 ? [{ process: this.identity.id, lane, slots: count }] : [],
        ),
      };
    });
    const { id, address, version } = this.identity;
    return JSON.stringify({
      process: { id, address, version, lanes: this.lanes },
      slots: this.routing.slots,
      shards,
    });
  }

  /** up: all lanes that work on it say so; degraded: some; down: none; unknown: nobody has said a word. */
  private stateOf(shard: string): 'up' | 'degraded' | 'down' | 'unknown' {
    const states = (this.states.get(shard) ?? []).filter((state) => state !== undefined);
    const up = states.filter((state) => state.up).length;
    if (states.length === 0) return 'unknown';
    return up === states.length ? 'up' : up > 0 ? 'degraded' : 'down';
  }

  private detailOf(shard: string): string | undefined {
    return this.states.get(shard)?.find((state) => state !== undefined && !state.up)?.detail;
  }
}
