/**
 * What a load costs, and how long its answers take, as formulas. Pure.
 *
 * A chain is one lane's commits on one shard: processes × lanes × shards of
 * them, each with at most one commit in flight. With R, the round trip of a
 * commit, and v, how often new ops reach a chain (frames that carry several
 * ops for it count once):
 *
 *   commits of a chain a second   C = 1 / (R + e^(−v·R) / v)
 *       it commits again at once when something came meanwhile (1 − e^(−v·R)),
 *       else it waits for the next arrival, 1 / v on average
 *   ops of a commit               k = ops of the chain a second / C
 *   round trip                    R = base + perOp · k · shards + perNeighbour · (chains of the shard − 1)
 *                                     + queue · u / (1 − u) + distance
 *       k · shards is what the lane decides meanwhile, for all its shards: its answer waits for that;
 *       u is the part in use of the busiest thread, or of the processors when that is more: what is ready to run waits
 *   latency, P50                  = overhead + overheadQueue · u / (1 − u) + hop · forwarded + R · (1 + wait · R·C)
 *       an op waits for what is left of the commit that is under way, if one is (R·C of the time), and then
 *       for its own: half of it for ops that come at any time; all of it for those that follow the answers of
 *       the commit before, because the next commit leaves before those answers do
 *   processor time a second       = Σ cost × how often, of each part
 *
 * R needs k and u, both need C, and C needs R: they are solved by iteration.
 */

/** What is asked of the system, and how it is built. */
export interface Setting {
  readonly opsPerSecond: number;
  readonly opsPerFrame: number;
  readonly processes: number;
  /** Of one process. */
  readonly lanes: number;
  readonly shards: number;
  /** Part of the ops that reach a process which does not own their slot, 0–1. */
  readonly forwarded: number;
  /** A frame's names all belong to the process that gets it. */
  readonly isLocal: boolean;
  /** Round trip on the wire to etcd that is added to what the model was fitted with, ms. */
  readonly distanceMs: number;
  /** Moments a second at which clients send; the load driver's timer bundles what is due. Infinity: at any time. */
  readonly sendTicks: number;
  /** Part of a commit under way that the median op waits for: ½, or 1 when ops follow the answers of others. */
  readonly wait: number;
  /** Processors that everything shares, the load too; undefined: each part has a machine of its own. */
  readonly sharedCores: number | undefined;
  /** Cores that something else uses of the shared ones. */
  readonly extraCores: number;
}

/** Processor time, in µs, for each … */
export interface FrontCosts {
  readonly op: number;
  readonly frame: number;
  /** Answers of a round that reach the front. */
  readonly round: number;
  /** Both processes' fronts together, beyond an op that is not forwarded. */
  readonly forward: number;
  /** A second of one process, whatever it does. */
  readonly second: number;
}

export interface LaneCosts {
  readonly op: number;
  readonly commit: number;
  readonly second: number;
}

export interface EtcdCosts {
  readonly op: number;
  readonly commit: number;
  readonly second: number;
}

/** Threads of a process that are neither its front nor a lane: garbage collection, compiler, leases. */
export interface OtherCosts {
  readonly op: number;
  readonly second: number;
}

export interface LoadCosts {
  readonly op: number;
  readonly frame: number;
  readonly second: number;
}

export interface RoundTrip {
  readonly baseMs: number;
  readonly perOpMs: number;
  readonly perNeighbourMs: number;
  readonly queueMs: number;
}

export interface Answering {
  readonly overheadMs: number;
  readonly queueMs: number;
  readonly hopMs: number;
  /** P95 as a multiple of P50. */
  readonly p95OfP50: number;
}

export interface Coefficients {
  readonly front: FrontCosts;
  readonly lanes: LaneCosts;
  readonly other: OtherCosts;
  readonly etcd: EtcdCosts;
  readonly load: LoadCosts;
  readonly roundTrip: RoundTrip;
  readonly answering: Answering;
}

/** Cores by part, all processes, lanes and shards together. */
export interface Cores {
  readonly front: number;
  readonly lanes: number;
  readonly other: number;
  readonly etcd: number;
  readonly load: number;
}

export interface Prediction {
  readonly commitsPerSecond: number;
  readonly opsPerCommit: number;
  readonly commitMs: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly cores: Cores;
  /** See `utilizationOf`. */
  readonly utilization: number;
  /** More is asked than the processors have. */
  readonly isSaturated: boolean;
}

/** Above it a queue's length says nothing any more. */
const UTILIZATION_MAX = 0.97;
const ITERATIONS = 400;
/** How far one iteration goes towards its result: undamped, it swings. */
const DAMPING = 0.2;
/** A step that is smaller changes nothing that is told. */
const CLOSE_MS = 1e-7;
const MICRO = 1e-6;

export function chainsOf({ processes, lanes, shards }: Setting): number {
  return processes * lanes * shards;
}

/** How often a second something new reaches one chain. */
export function arrivalsOfChain(setting: Setting): number {
  const { opsPerSecond, opsPerFrame, processes, isLocal, sendTicks } = setting;
  const chains = chainsOf(setting);
  const reached = isLocal ? chains / processes : chains;
  const isHit = 1 - (1 - 1 / reached) ** opsPerFrame;
  const frames = (opsPerSecond / opsPerFrame) * isHit * (reached / chains);
  return sendTicks === Infinity ? frames : sendTicks * -Math.expm1(-frames / sendTicks);
}

/** @param commitSeconds R; @returns commits a second of one chain, at most 1 / R */
export function commitsOfChain(commitSeconds: number, arrivals: number): number {
  if (arrivals <= 0) return 0;
  return 1 / (commitSeconds + Math.exp(-arrivals * commitSeconds) / arrivals);
}

export function queueing(utilization: number): number {
  const u = Math.min(UTILIZATION_MAX, Math.max(0, utilization));
  return u / (1 - u);
}

/** Latency without overhead: what is left of a commit that is under way, and one's own. */
export function commitLatencyMs(commitMs: number, commitsOfOneChain: number, wait: number): number {
  return commitMs * (1 + wait * Math.min(1, (commitMs / 1000) * commitsOfOneChain));
}

/** @param commits of all chains together, a second */
export function coresOf(costs: Coefficients, setting: Setting, commits: number): Cores {
  const { opsPerSecond: ops, opsPerFrame, processes, lanes, shards, forwarded } = setting;
  const frames = ops / opsPerFrame;
  const { front, lanes: lane, other, etcd, load } = costs;
  const frontUs =
    front.op * ops + front.frame * frames + front.round * commits + front.forward * forwarded * ops;
  return {
    front: MICRO * (frontUs + front.second * processes),
    lanes: MICRO * (lane.op * ops + lane.commit * commits + lane.second * processes * lanes),
    other: MICRO * (other.op * ops + other.second * processes),
    etcd: MICRO * (etcd.op * ops + etcd.commit * commits + etcd.second * shards),
    load: MICRO * (load.op * ops + load.frame * frames + load.second),
  };
}

/**
 * Of the busiest front or lane, and of the processors that are shared, or else of an etcd member: the largest.
 *
 * @param memberCores of one etcd member, where nothing is shared
 */
export function utilizationOf(setting: Setting, cores: Cores, memberCores: number): number {
  const { sharedCores, extraCores, processes, lanes, shards } = setting;
  const used = cores.front + cores.lanes + cores.other + cores.etcd + cores.load + extraCores;
  const machine = sharedCores === undefined ? cores.etcd / (shards * memberCores) : used / sharedCores;
  return Math.max(machine, cores.front / processes, cores.lanes / (processes * lanes));
}

/** @param memberCores processors of one etcd member, for a setting without shared ones */
export function predict(costs: Coefficients, setting: Setting, memberCores = 1): Prediction {
  const chains = chainsOf(setting);
  const arrivals = arrivalsOfChain(setting);
  const { baseMs, perOpMs, perNeighbourMs, queueMs } = costs.roundTrip;
  const fixedMs = baseMs + perNeighbourMs * (chains / setting.shards - 1) + setting.distanceMs;
  let commitMs = fixedMs;
  for (let i = 0; i < ITERATIONS; i++) {
    const commits = commitsOfChain(commitMs / 1000, arrivals);
    const utilization = utilizationOf(setting, coresOf(costs, setting, commits * chains), memberCores);
    const opsPerCommit = commits === 0 ? 0 : setting.opsPerSecond / chains / commits;
    const next = fixedMs + perOpMs * opsPerCommit * setting.shards + queueMs * queueing(utilization);
    const step = DAMPING * (next - commitMs);
    commitMs += step;
    if (Math.abs(step) < CLOSE_MS) break;
  }
  const commits = commitsOfChain(commitMs / 1000, arrivals);
  const cores = coresOf(costs, setting, commits * chains);
  const utilization = utilizationOf(setting, cores, memberCores);
  const { overheadMs, queueMs: answerQueueMs, hopMs, p95OfP50 } = costs.answering;
  const p50Ms =
    overheadMs +
    answerQueueMs * queueing(utilization) +
    hopMs * setting.forwarded +
    commitLatencyMs(commitMs, commits, setting.wait);
  return {
    commitsPerSecond: commits * chains,
    opsPerCommit: commits === 0 ? 0 : setting.opsPerSecond / chains / commits,
    commitMs,
    p50Ms,
    p95Ms: p50Ms * p95OfP50,
    cores,
    utilization,
    isSaturated: utilization >= UTILIZATION_MAX,
  };
}
