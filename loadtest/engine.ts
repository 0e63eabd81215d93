/** The two engines behind one face. */
import { ClientsEngine } from './clients/engine.ts';
import type { EngineHooks } from './clock.ts';
import { FramesEngine } from './frames/engine.ts';
import type { LoadResult } from './result.ts';
import type { ClaimObserver } from './safety.ts';
import { isForFrames, type LoadSettings } from './settings.ts';
import type { Second } from './timeline.ts';

/** A second of one process as it ends. */
export type OnSecond = (second: Second, open: number, errors: number) => void;

export interface Engine {
  /** Connects, sets up, runs the clock, takes down. */
  run(hooks: EngineHooks): Promise<LoadResult>;
  /** The measured time ends now; `run` resolves soon. */
  stop(): void;
}

/** @param observer hears of claims instead of a checker of this process */
export function newEngine(settings: LoadSettings, onSecond: OnSecond, observer?: ClaimObserver): Engine {
  return isForFrames(settings)
    ? new FramesEngine(settings, onSecond)
    : new ClientsEngine(settings, onSecond, observer);
}
