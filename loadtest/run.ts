/**
 * A run of one or several processes. Children get their settings in the
 * environment, start their clocks at the same instant, and send what they see;
 * here it becomes one timeline, one safety check and one result.
 *
 *   child  ready ─► · ─► second, claims … ─► result
 *   parent        go ─►    (stop) ─►
 */
import { fork, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { newEngine } from './engine.ts';
import { namesOf } from './names.ts';
import { mergeResults, mergeSafety, type LoadResult } from './result.ts';
import { SafetyChecker } from './safety.ts';
import { ClaimEventMerge, ClaimEventWriter, sharedClockOffset, type ClaimEvents } from './safety-stream.ts';
import { share, type LoadSettings } from './settings.ts';
import { mergeSideBySide, numberOf, type Second } from './timeline.ts';

export const CHILD = 'HOLDFAST_LOAD_CHILD';
/** From the moment at which all are ready until their clocks start. */
const START_MS = 50;
/** How often events of claims are sent; with it what waits for them is bounded. */
const CLAIMS_MS = 100;

type FromChild =
  | { readonly type: 'ready' }
  | { readonly type: 'second'; readonly second: Second; readonly open: number; readonly errors: number }
  | { readonly type: 'claims'; readonly claims: ClaimEvents }
  | { readonly type: 'result'; readonly result: LoadResult };
type ToChild = { readonly type: 'go'; readonly atShared: number } | { readonly type: 'stop' };

export interface RunHandlers {
  /** Each second as it ends, of all processes together. Returns whether to go on. */
  onSecond(second: Second, open: number, errors: number): boolean;
}

export interface Run {
  readonly result: Promise<LoadResult>;
  /** The measured time ends now; `result` comes when the open answers have come. */
  stop(): void;
}

export function startRun(settings: LoadSettings, processes: number, handlers: RunHandlers): Run {
  return processes === 1 ? runHere(settings, handlers) : new Parent(settings, processes, handlers);
}

function runHere(settings: LoadSettings, handlers: RunHandlers): Run {
  const engine = newEngine(settings, (second, open, errors) => {
    if (!handlers.onSecond(second, open, errors)) engine.stop();
  });
  const ready = (): Promise<number> => Promise.resolve(performance.now() + START_MS);
  return { result: engine.run({ ready }), stop: () => engine.stop() };
}

class Parent implements Run {
  readonly result: Promise<LoadResult>;
  readonly #handlers: RunHandlers;
  readonly #children: ChildProcess[];
  readonly #seconds = new Map<number, Extract<FromChild, { type: 'second' }>[]>();
  readonly #checker: SafetyChecker;
  readonly #claims: ClaimEventMerge;
  #ready = 0;

  constructor(settings: LoadSettings, processes: number, handlers: RunHandlers) {
    this.#handlers = handlers;
    const names = namesOf(settings, settings.names);
    this.#checker = new SafetyChecker((i) => names.nameOf(i));
    this.#claims = new ClaimEventMerge(processes, this.#checker);
    this.#children = share(settings, processes).map((one) => forkChild(one));
    const results = this.#children.map((child, i) => this.#listen(child, i));
    this.result = Promise.all(results).then(
      (all) => {
        const merged = mergeResults(all);
        const safety = mergeSafety([merged.safety, this.#checker.safety]);
        return { ...merged, safety };
      },
      (error: unknown) => {
        for (const child of this.#children) child.kill('SIGKILL');
        throw error;
      },
    );
  }

  stop(): void {
    this.#tell({ type: 'stop' });
  }

  #listen(child: ChildProcess, process: number): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      let result: LoadResult | undefined;
      child.on('message', (sent) => {
        const message = sent as FromChild;
        if (message.type === 'ready') this.#oneIsReady();
        else if (message.type === 'second') this.#see(message);
        else if (message.type === 'claims') this.#claims.add(process, message.claims);
        else result = message.result;
      });
      child.once('error', reject);
      child.once('exit', (code) => {
        this.#claims.end(process);
        if (result === undefined) reject(new Error(`a load process ended with ${code} and no result`));
        else resolve(result);
      });
    });
  }

  #oneIsReady(): void {
    if (++this.#ready < this.#children.length) return;
    this.#tell({ type: 'go', atShared: performance.now() + sharedClockOffset() + START_MS });
  }

  /** A second is shown when all processes have told of it. */
  #see(message: Extract<FromChild, { type: 'second' }>): void {
    const number = numberOf(message.second);
    const parts = [...(this.#seconds.get(number) ?? []), message];
    this.#seconds.set(number, parts);
    if (parts.length < this.#children.length) return;
    this.#seconds.delete(number);
    const sum = (of: 'open' | 'errors'): number => parts.reduce((n, part) => n + part[of], 0);
    const second = mergeSideBySide(parts.map((part) => part.second));
    const goOn = this.#handlers.onSecond(second, sum('open'), sum('errors'));
    if (!goOn) this.stop();
  }

  #tell(message: ToChild): void {
    for (const child of this.#children) if (child.connected) child.send(message);
  }
}

function forkChild(settings: LoadSettings): ChildProcess {
  const main = fileURLToPath(new URL('main.js', import.meta.url));
  const env = { ...process.env, [CHILD]: JSON.stringify(settings) };
  return fork(main, [], { env, serialization: 'advanced' });
}

/** What a child does. */
export async function runAsChild(settings: LoadSettings): Promise<void> {
  const send = (message: FromChild): void => void process.send!(message);
  // The parent decides when it ends: also where a terminal interrupts both.
  process.on('SIGINT', () => {});
  process.on('disconnect', () => process.exit(1));
  const writer = settings.areNamesShared ? new ClaimEventWriter() : undefined;
  const onSecond = (second: Second, open: number, errors: number): void =>
    send({ type: 'second', second, open, errors });
  const engine = newEngine(settings, onSecond, writer);
  const goAt = new Promise<number>((resolve) => {
    process.on('message', (sent) => {
      const message = sent as ToChild;
      if (message.type === 'stop') engine.stop();
      else resolve(message.atShared - sharedClockOffset());
    });
  });
  const sendClaims = (): void => {
    if (writer !== undefined) send({ type: 'claims', claims: writer.take() });
  };
  const timer = setInterval(sendClaims, CLAIMS_MS);
  const result = await engine.run({
    ready: () => {
      send({ type: 'ready' });
      return goAt;
    },
  });
  clearInterval(timer);
  sendClaims();
  process.removeAllListeners('disconnect');
  process.send!({ type: 'result', result } satisfies FromChild, undefined, undefined, () => process.exit(0));
}
