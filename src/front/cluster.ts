/**
 * What this process knows of its cluster, for people and probes: the bodies of
 * `/v1/cluster` and `/readyz`.
 */
import type { Routing } from '../batch/routing.ts';
import type { Share } from '../batch/shares.ts';
import type { ShardSettings } from '../config/shards.ts';
import type { PeerReport } from '../peers/peers.ts';
import type { LaneShardState, ProcessIdentity } from '../lane/messages.ts';

interface OwnerReport {
  readonly process: string | undefined;
  readonly address: string | undefined;
  readonly lane: number;
  readonly state: string;
  readonly slots: number;
}

export class ClusterView {
  private readonly identity: ProcessIdentity;
  private readonly shards: readonly ShardSettings[];
  private readonly lanes: number;
  private readonly routing: Routing;
  private readonly links: () => readonly PeerReport[];
  /** The last word of each lane on each shard. */
  private readonly states = new Map<string, (LaneShardState | undefined)[]>();

  constructor(
    identity: ProcessIdentity,
    shards: readonly ShardSettings[],
    lanes: number,
    routing: Routing,
    links: () => readonly PeerReport[],
  ) {
    this.identity = identity;
    this.shards = shards;
    this.lanes = lanes;
    this.routing = routing;
    this.links = links;
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
    const shares = this.routing.shares();
    const shards = this.shards.map(({ name, engine, weight }, i) => {
      const owners = shares.filter(({ shard }) => shard === i).map((share) => this.ownerOf(share));
      return {
        name,
        engine,
        weight,
        state: this.stateOf(name),
        detail: this.detailOf(name),
        slots: owners.reduce((sum, { slots }) => sum + slots, 0),
        owners,
      };
    });
    const { id, address, version } = this.identity;
    return JSON.stringify({
      process: { id, address, version, lanes: this.lanes },
      processes: this.processes(),
      slots: this.routing.slots,
      shards,
    });
  }

  private ownerOf({ here, term, lane, slots }: Share): OwnerReport {
    const { id, address } = this.identity;
    return {
      process: here ? id : term?.process,
      address: here ? address : term?.address,
      lane,
      state: term?.state ?? 'serving',
      slots,
    };
  }

  /** All that have a living term; this one in any case, and first. */
  private processes(): object[] {
    const { id, address, version } = this.identity;
    const links = this.links();
    const processes = new Map<string, object>([[id, { id, address, version, self: true }]]);
    for (const { info } of this.routing.map.living()) {
      if (processes.has(info.process)) continue;
      const link = links.find(({ process }) => process === info.process);
      processes.set(info.process, {
        id: info.process,
        address: info.address,
        version: info.version,
        self: false,
        link: link?.state ?? 'none',
        linkDetail: link === undefined || link.detail === '' ? undefined : link.detail,
      });
    }
    return [...processes.values()];
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
