/** Puts together who takes requests that are more than one op (coordination.ts). */
import type { Routing } from '../batch/routing.ts';
import type { Clock } from '../clock.ts';
import { Atomic } from './atomic.ts';
import { Calls } from './calls.ts';
import type { Connections } from './connections.ts';
import type { Coordinators } from './coordination.ts';
import { KnownSessions } from './known-sessions.ts';
import { Sessions } from './sessions.ts';
import { Standing } from './standing.ts';

export interface CoordinatorsSettings {
  readonly connections: Connections;
  readonly routing: Routing;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
}

export function createCoordinators(settings: CoordinatorsSettings): Coordinators & { standing: Standing } {
  const { routing, connections, clock, requestTimeoutMs } = settings;
  const { places, map } = routing;
  const slots = {
    map,
    slotOfKey: places.slotOfKey.bind(places),
    submitAt: routing.submitAt.bind(routing),
  };
  const calls = new Calls({ connections, slots, clock, requestTimeoutMs });
  const known = new KnownSessions();
  const standing = new Standing(settings);
  const sessions = new Sessions({ calls, known, standing });
  return { standing, sessions, atomic: new Atomic({ calls, known }) };
}
