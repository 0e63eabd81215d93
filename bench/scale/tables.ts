/** The figures of a run as tables, the same ones for the terminal, Markdown and HTML. Pure. */
import { aligned, markdownRow } from '../../loadtest/report/text.ts';
import { errorsOf, productCores, type Checked } from './fit.ts';
import { utilizationOf, type Coefficients } from './model.ts';
import type { ModelPoint } from './observe.ts';
import type { Plan, PlanLimits } from './plan.ts';
import { coresOf as planCores } from './plan.ts';
import {
  isIdleSample,
  isLoadSample,
  isQueueSample,
  type Dimension,
  type IdleSample,
  type LoadSample,
  type QueueSample,
  type Sample,
} from './point.ts';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

const IDLE_THREADS = 5;
/** Part of the busiest thread, or of the machine, up to which a point has room. */
const ROOMY = 0.65;

export function tableOf(dimension: Dimension, samples: readonly Sample[]): Table {
  const own = samples.filter((sample) => sample.dimension === dimension.name);
  const idle = own.filter(isIdleSample);
  if (idle.length > 0) return idleTable(dimension, idle);
  const queue = own.filter(isQueueSample);
  return queue.length > 0 ? queueTable(dimension, queue) : loadTable(dimension, own.filter(isLoadSample));
}

function loadTable(dimension: Dimension, samples: readonly LoadSample[]): Table {
  const hasRelay = samples.some(({ cores }) => cores.relay > 0);
  const hasDistance = samples.some(({ distanceMs }) => distanceMs > 0);
  const hasRefusals = samples.some(({ refused }) => refused > 0);
  return {
    head: [
      ...[dimension.axis.label, '', 'offered/s', 'achieved/s', 'P50 / P95 / P99 ms', 'commits/s'],
      ...[
        'ops a commit',
        'commit ms',
        `cores: front / lanes / other / etcd / load${hasRelay ? ' / relay' : ''}`,
      ],
      ...['Holdfast MB', 'etcd MB', 'failed', ...(hasRefusals ? ['refused %'] : [])],
      ...(hasDistance ? ['ms added, as measured'] : []),
    ],
    rows: samples.map((sample) => [
      ...[axisValue(sample.point.x), sample.point.series, whole(sample.offered), whole(sample.achieved)],
      [sample.p50Ms, sample.p95Ms, sample.p99Ms].map(ms).join(' / '),
      whole(sample.commitsPerSecond),
      sample.commitsPerSecond === 0 ? '' : whole(sample.achieved / sample.commitsPerSecond),
      sample.commitMs.toFixed(2),
      cores(sample, hasRelay),
      ...[megabytes(sample.memory.holdfast), megabytes(sample.memory.etcd), whole(sample.failed)],
      ...(hasRefusals ? [(100 * sample.refused).toFixed(1)] : []),
      ...(hasDistance ? [sample.distanceMs.toFixed(2)] : []),
    ]),
  };
}

function queueTable(dimension: Dimension, samples: readonly QueueSample[]): Table {
  return {
    head: [
      ...[dimension.axis.label, '', 'hand-offs/s', 'P50 / P95 ms', 'in order'],
      ...['cores: front / lanes / other / etcd / load', 'Holdfast MB', 'failed'],
    ],
    rows: samples.map((sample) => [
      ...[whole(sample.point.x), sample.point.series, whole(sample.handOffsPerSecond)],
      `${ms(sample.p50Ms)} / ${ms(sample.p95Ms)}`,
      sample.isInOrder ? 'yes' : 'no',
      ...[cores(sample, false), megabytes(sample.memory.holdfast), whole(sample.failed)],
    ]),
  };
}

function idleTable(dimension: Dimension, samples: readonly IdleSample[]): Table {
  const percent = (used: number): string => (100 * used).toFixed(2);
  return {
    head: [
      ...[dimension.axis.label, '', '% of a core', 'etcd %', 'MB', 'MB before the sockets', 'KB a socket'],
      'busiest threads: % of a core (wakes/s)',
    ],
    rows: samples.map((sample) => {
      const { point, memory, before } = sample;
      const threads = sample.threads.slice(0, IDLE_THREADS);
      const each = (memory.holdfast - before) / 1e3 / Math.max(1, point.sockets);
      return [
        ...[whole(point.x), point.series, percent(sample.cores.front + sample.cores.other)],
        ...[percent(sample.cores.etcd), megabytes(memory.holdfast), megabytes(before)],
        point.sockets === 0 ? '' : each.toFixed(1),
        threads.map((t) => `${t.name} ${percent(t.cores)} (${whole(t.wakes)})`).join(', '),
      ];
    }),
  };
}

/** Predictions from all points, and from all points but that one. */
export function modelTable(checked: readonly Checked<ModelPoint>[]): Table {
  return {
    head: [
      ...['point', 'P50 ms: measured', 'model (error)', 'unseen', 'commit ms: measured', 'model (error)'],
      ...['commits/s: measured', 'model (error)', 'cores without load: measured', 'model (error)', 'unseen'],
    ],
    rows: checked.map(({ observation, fitted, unseen }) => {
      const { sample, p50Ms, commitMs, commitsPerSecond } = observation;
      const used = productCores(observation.cores);
      return [
        `${sample.dimension} ${whole(sample.point.x)}, ${sample.point.series}`,
        ...[ms(p50Ms), against(fitted.p50Ms, p50Ms, ms), ms(unseen.p50Ms)],
        ...[ms(commitMs), against(fitted.commitMs, commitMs, ms)],
        ...[whole(commitsPerSecond), against(fitted.commitsPerSecond, commitsPerSecond, whole)],
        ...[used.toFixed(2), against(productCores(fitted.cores), used, two), two(productCores(unseen.cores))],
      ];
    }),
  };
}

/** Apart for points with room and for those near the limit, where a little more load is a lot more latency. */
export function errorTable(checked: readonly Checked<ModelPoint>[]): Table {
  const isRoomy = ({ observation }: Checked<ModelPoint>): boolean =>
    utilizationOf(observation.setting, observation.cores, 1) <= ROOMY;
  const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;
  const groups = [
    { name: `up to ${percent(ROOMY)} in use`, of: checked.filter(isRoomy) },
    { name: 'nearer to the limit', of: checked.filter((one) => !isRoomy(one)) },
  ];
  return {
    head: [
      'points',
      'how many',
      'P50: fitted',
      'unseen',
      'commits/s: fitted',
      'unseen',
      'cores: fitted',
      'unseen',
    ],
    rows: groups
      .filter(({ of }) => of.length > 0)
      .map(({ name, of }) => {
        const [fitted, unseen] = [errorsOf(of, 'fitted'), errorsOf(of, 'unseen')];
        const pairs = [fitted.p50, unseen.p50, fitted.commits, unseen.commits, fitted.cores, unseen.cores];
        return [name, whole(of.length), ...pairs.map(percent)];
      }),
  };
}

export function coefficientTable(costs: Coefficients): Table {
  const us = (value: number): string => `${value.toPrecision(3)} µs`;
  const percent = (value: number): string => `${(value / 1e4).toFixed(2)} % of a core`;
  const { front, lanes, other, etcd, load, roundTrip, answering } = costs;
  return {
    head: ['cost', 'an op', 'a frame', 'a commit', 'more', 'all the time'],
    rows: [
      [
        ...['front', us(front.op), us(front.frame), us(front.round)],
        ...[`${us(front.forward)} a forwarded op (both fronts)`, `${percent(front.second)} a process`],
      ],
      ['lane', us(lanes.op), '', us(lanes.commit), '', `${percent(lanes.second)} a lane`],
      ['other threads', us(other.op), '', '', '', `${percent(other.second)} a process`],
      ['etcd', us(etcd.op), '', us(etcd.commit), '', `${percent(etcd.second)} a shard`],
      ['load driver', us(load.op), us(load.frame), '', '', percent(load.second)],
      [
        ...['commit round trip', `${roundTrip.perOpMs.toPrecision(3)} ms`, '', `${ms(roundTrip.baseMs)} ms`],
        `${ms(roundTrip.perNeighbourMs)} ms a further lane on the shard; ${ms(roundTrip.queueMs)} ms × u/(1−u)`,
        '',
      ],
      [
        ...['P50 beside it', '', '', `${ms(answering.overheadMs)} ms`],
        `${ms(answering.hopMs)} ms a hop; ${ms(answering.queueMs)} ms × u/(1−u); P95 = ${two(answering.p95OfP50)} × P50`,
        '',
      ],
    ],
  };
}

export function planTable(plans: readonly Plan[], limits: PlanLimits): Table {
  return {
    head: [
      ...['ops/s', 'cells', 'shards / processes / lanes of a cell', 'shards in all', 'processes in all'],
      ...['P50 / P95 ms', 'ops a commit', 'commits/s a shard', 'cores: Holdfast', 'cores: etcd'],
      ...['ops/s a core', 'first limit'],
    ],
    rows: plans.map((plan) => [
      ...[whole(plan.opsPerSecond), whole(plan.cells)],
      [plan.shards, plan.processes, plan.lanes].join(' / '),
      `${plan.cells * plan.shards} (${plan.cells * plan.shards * limits.membersPerShard} members)`,
      whole(plan.cells * plan.processes),
      `${ms(plan.prediction.p50Ms)} / ${ms(plan.prediction.p95Ms)}`,
      ...[whole(plan.prediction.opsPerCommit), whole(plan.prediction.commitsPerSecond / plan.shards)],
      ...[plan.holdfastCores.toFixed(1), plan.etcdCores.toFixed(1)],
      ...[whole(plan.opsPerSecond / planCores(plan)), plan.limit],
    ]),
  };
}

export function text({ head, rows }: Table): string {
  return aligned([head, ...rows]);
}

export function markdown({ head, rows }: Table): string {
  return [head, head.map(() => '---'), ...rows].map(markdownRow).join('\n');
}

function cores({ cores: used }: Sample, hasRelay: boolean): string {
  const parts = [used.front, used.lanes, used.other, used.etcd, used.load];
  return [...parts, ...(hasRelay ? [used.relay] : [])].map(two).join(' / ');
}

function against(model: number, measured: number, shown: (value: number) => string): string {
  const error = measured === 0 ? '' : ` (${signed((100 * (model - measured)) / measured)} %)`;
  return `${shown(model)}${error}`;
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(0)}`;
}

function two(value: number): string {
  return value.toFixed(2);
}

function ms(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

function axisValue(value: number): string {
  return Number.isInteger(value) ? whole(value) : String(value);
}
