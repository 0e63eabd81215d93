/** Measures how a lock goes from hand to hand through a queue of clients that wait for it. */
import { CpuSampler } from '../cpu.ts';
import { judge, type PartyResult } from '../turns.ts';
import { HoldfastParty } from '../waiters-holdfast.ts';
import { coresByPart } from './measure-load.ts';
import { median } from '../../loadtest/median.ts';
import type { QueuePoint, QueueSample, Settings } from './point.ts';
import type { RunningSystem } from './system.ts';

export async function measureQueue(
  running: RunningSystem,
  point: QueuePoint,
  settings: Settings,
): Promise<Omit<QueueSample, 'dimension' | 'run'>> {
  const wsUrls = running.processes.map(({ wsUrl }) => wsUrl);
  const party = new HoldfastParty(wsUrls, async () => {});
  // The clients are part of this process.
  const sampler = new CpuSampler(new Map([...running.pids, ['load', process.pid]]));
  const fromWallMs = performance.timeOrigin + performance.now();
  // A short queue is over soon: again and again, for as long as other points take.
  const rounds: PartyResult[] = [];
  const until = performance.now() + settings.seconds * 1000;
  do rounds.push(judge(party, await party.run(point.waiters, point.holdMs)));
  while (performance.now() < until);
  const toWallMs = performance.timeOrigin + performance.now();
  sampler.stop();
  const medianOf = (of: (round: PartyResult) => number): number => median(rounds.map(of));
  return {
    ...{ point, memory: running.memory() },
    handOffsPerSecond: medianOf((round) => round.handOffsPerSecond),
    p50Ms: medianOf((round) => round.p50Ms),
    p95Ms: medianOf((round) => round.p95Ms),
    isInOrder: rounds.every((round) => round.inOrder),
    failed: rounds.reduce((sum, { served, overlaps }) => sum + point.waiters - served + overlaps, 0),
    cores: coresByPart(sampler.between(fromWallMs, toWallMs), point.system.lanes),
  };
}
