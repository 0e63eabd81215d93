/**
 * What `GET /metrics` answers: the lanes' counters, merged when scraped, beside
 * the process's own figures. The names are part of the public surface (API.md)
 * and do not change. A label is an op, a code or a shard: never a lock's name.
 */
import { Counter, Gauge, Registry, collectDefaultMetrics, type Metric } from 'prom-client';
import { CODES, codeOfWire } from '../errors.ts';
import { KIND_NAMES } from '../op.ts';
import {
  COMMIT_OPS_BOUNDS,
  DURATION_BOUNDS_MS,
  SPAN_BOUNDS_MS,
  histogramSize,
  type LaneCounters,
} from './counters.ts';

/** How often the event loop's delay is looked at: at the library's 10 ms an idle process does little else. */
const EVENT_LOOP_PRECISION_MS = 100;

const WIRES: readonly number[] = [0, ...Object.values(CODES).map((facts) => facts.wire)];
const KINDS: readonly number[] = [...KIND_NAMES.keys()].slice(1);

/** One line of a histogram's labels, and the counters that add up to it. */
interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly add: (sum: Float64Array) => void;
}

export interface MetricsSources {
  /** All writers: every lane, and the front for what it answers without a lane. */
  readonly writers: readonly LaneCounters[];
  /** The shards in the order by which lanes number them. */
  readonly shardNames: readonly string[];
  /** Open WebSockets. */
  readonly sockets: () => number;
}

export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  private readonly registry = new Registry();
  private readonly sources: MetricsSources;
  /** Writers that have shards: the front has none. */
  private readonly lanes: readonly LaneCounters[];

  constructor(sources: MetricsSources) {
    this.sources = sources;
    this.lanes = sources.writers.filter((writer) => writer.shardNames.length > 0);
    this.addOps();
    this.addSpans();
    this.addShards();
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: EVENT_LOOP_PRECISION_MS });
  }

  /** The page in the Prometheus text format 0.0.4. */
  metricsText(): Promise<string> {
    return this.registry.metrics();
  }

  private addOps(): void {
    const { writers } = this.sources;
    const ops = new Counter({
      name: 'holdfast_ops_total',
      help: 'Answers to operations, by operation and by error code (ok: no error).',
      labelNames: ['op', 'code'],
      registers: [this.registry],
      collect() {
        this.reset();
        for (const kind of KINDS) {
          for (const wire of WIRES) {
            const count = total(writers, (writer) => writer.ops(kind, wire));
            if (count > 0 || wire === 0)
              this.inc({ op: KIND_NAMES[kind], code: codeOfWire(wire) ?? 'ok' }, count);
          }
        }
      },
    });
    void ops;
    this.addHistogram(
      'holdfast_op_duration_seconds',
      'From having read an operation to having written its answer.',
      DURATION_BOUNDS_MS,
      1_000,
      KINDS.map((kind) => ({
        labels: { op: KIND_NAMES[kind] },
        add: (sum) => writers.forEach((writer) => writer.addDurations(kind, sum)),
      })),
    );
  }

  private addSpans(): void {
    const { writers, sockets } = this.sources;
    this.addHistogram('holdfast_wait_seconds', 'How long granted claims had waited.', SPAN_BOUNDS_MS, 1_000, [
      { labels: {}, add: (sum) => writers.forEach((writer) => writer.addWaits(sum)) },
    ]);
    this.addHistogram(
      'holdfast_hold_seconds',
      'How long ended claims had been held.',
      SPAN_BOUNDS_MS,
      1_000,
      [{ labels: {}, add: (sum) => writers.forEach((writer) => writer.addHolds(sum)) }],
    );
    this.addGauge('holdfast_held', 'Claims held now, in the slots this process owns.', () =>
      this.overShards((lane, shard) => lane.held(shard)),
    );
    this.addGauge('holdfast_waiters', 'Claims waiting now, in the slots this process owns.', () =>
      this.overShards((lane, shard) => lane.waiters(shard)),
    );
    this.addGauge('holdfast_sockets', 'Open WebSockets.', sockets);
  }

  private addShards(): void {
    const { lanes } = this;
    const { shardNames } = this.sources;
    this.addShardGauge(
      'holdfast_shard_up',
      '1 while every lane of this process reaches the shard.',
      (shard) => (lanes.length > 0 && lanes.every((lane) => lane.up(shard)) ? 1 : 0),
    );
    this.addShardGauge('holdfast_slots_owned', 'Slots of the shard that this process owns.', (shard) =>
      total(lanes, (lane) => lane.slotsOwned(shard)),
    );
    const series = (add: (lane: LaneCounters, shard: number, sum: Float64Array) => void): Series[] =>
      shardNames.map((name, shard) => ({
        labels: { shard: name },
        add: (sum) => lanes.forEach((lane) => add(lane, shard, sum)),
      }));
    this.addHistogram(
      'holdfast_commit_duration_seconds',
      'From sending a commit to the shard to its answer.',
      DURATION_BOUNDS_MS,
      1_000,
      series((lane, shard, sum) => lane.addCommitDurations(shard, sum)),
    );
    this.addHistogram(
      'holdfast_commit_ops',
      'Operations that one commit made durable.',
      COMMIT_OPS_BOUNDS,
      1,
      series((lane, shard, sum) => lane.addCommitOps(shard, sum)),
    );
  }

  private overShards(read: (lane: LaneCounters, shard: number) => number): number {
    let sum = 0;
    for (const lane of this.lanes)
      for (let shard = 0; shard < lane.shardNames.length; shard++) sum += read(lane, shard);
    return sum;
  }

  private addGauge(name: string, help: string, read: () => number): void {
    const gauge = new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(read());
      },
    });
    void gauge;
  }

  private addShardGauge(name: string, help: string, read: (shard: number) => number): void {
    const { shardNames } = this.sources;
    const gauge = new Gauge({
      name,
      help,
      labelNames: ['shard'],
      registers: [this.registry],
      collect() {
        shardNames.forEach((shard, number) => this.set({ shard }, read(number)));
      },
    });
    void gauge;
  }

  /**
   * prom-client's own Histogram can only observe single values, so this one
   * answers the two calls its registry makes. `perUnit` of the bounds' unit
   * make one of the metric's.
   */
  private addHistogram(
    name: string,
    help: string,
    bounds: readonly number[],
    perUnit: number,
    series: readonly Series[],
  ): void {
    const get = async () => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: series.flatMap((one) => histogramLines(name, bounds, perUnit, one)),
    });
    this.registry.registerMetric({ name, get } as unknown as Metric);
  }
}

function histogramLines(name: string, bounds: readonly number[], perUnit: number, series: Series): object[] {
  const sum = new Float64Array(histogramSize(bounds));
  series.add(sum);
  const lines: object[] = [];
  let count = 0;
  bounds.forEach((bound, bucket) => {
    count += sum[bucket];
    lines.push({
      metricName: `${name}_bucket`,
      labels: { ...series.labels, le: bound / perUnit },
      value: count,
    });
  });
  count += sum[bounds.length];
  lines.push({ metricName: `${name}_bucket`, labels: { ...series.labels, le: '+Inf' }, value: count });
  lines.push({ metricName: `${name}_sum`, labels: series.labels, value: sum[bounds.length + 1] / perUnit });
  lines.push({ metricName: `${name}_count`, labels: series.labels, value: count });
  return lines;
}

function total(writers: readonly LaneCounters[], read: (writer: LaneCounters) => number): number {
  let sum = 0;
  for (const writer of writers) sum += read(writer);
  return sum;
}
