/**
 * A steady load over all processes, by the clock, that never waits for answers:
 * each arrival takes a lock nobody has had and releases it. It sees for how
 * long which slots and which processes were silent, and whether what a process
 * says of a request is true: a refused one had no effect, a granted one is kept.
 *
 *   arrival ─acquire─► 201 ─release─► 204
 *      └─ 503, closed with 1012: nothing was done, sent again
 *      └─ 504, cut: nobody knows, sent again with the same token (200 and 410 are then fine)
 */
import { randomBytes } from 'node:crypto';
import { codeOfWire } from '../../src/errors.ts';
import { CutError, type BinaryRequest } from '../e2e/sockets.ts';
import { pause } from '../servers/holdfast.ts';
import { Line } from './line.ts';
import { AnswerLog } from './pauses.ts';

export interface SteadySettings {
  /** wsUrl of each process. */
  readonly processes: readonly string[];
  /** Arrivals a second; each is two ops. */
  readonly rate: number;
  /** Names share a slot by their tag; each of so many tags is asked for in turn, through each process in turn. */
  readonly groups: number;
  readonly ttlMs: number;
  /** Longer than the request time-out: what is not answered by then is cut. */
  readonly answerMs: number;
}

/** What happened to requests since the last look. */
export interface SteadyCounts {
  /** Requests that got their answer in the end. */
  readonly settled: number;
  /** Attempts that were refused, by code. */
  readonly refused: Readonly<Record<string, number>>;
  /** The same by process. */
  readonly refusedBy: readonly number[];
  /** Attempts answered `outcome_unknown`, cut, closed with 1012. */
  readonly unknown: number;
  readonly cut: number;
  readonly closed: number;
  /** From the intended send to the settled answer, in ms. */
  readonly tookMs: readonly number[];
}

const SOCKETS_PER_PROCESS = 2;
const GIVE_UP_MS = 60_000;
const REPEAT_MS = 20;
const COME_HOME_MS = 500;
/** Its process stopped, and said so. */
const GOING_AWAY = 1_012;

export class Steady {
  readonly answers = new AnswerLog();
  /** What no client should see. */
  readonly wrong: string[] = [];
  readonly #settings: SteadySettings;
  readonly #lines: { readonly line: Line; readonly home: number }[] = [];
  readonly #open = new Set<Promise<void>>();
  readonly #run = randomBytes(4).toString('hex');
  #arrived = 0;
  #timer: NodeJS.Timeout | undefined;
  #counts: Counts;

  constructor(settings: SteadySettings) {
    this.#settings = settings;
    const { processes, answerMs } = settings;
    this.#counts = newCounts(processes.length);
    for (let i = 0; i < processes.length * SOCKETS_PER_PROCESS; i++) {
      const home = i % processes.length;
      const wsUrl = (tries: number): string => processes[(home + tries) % processes.length];
      this.#lines.push({ line: new Line({ wsUrl, answerMs }), home });
    }
  }

  start(): void {
    const startedAt = performance.now();
    const everyMs = 1_000 / this.#settings.rate;
    let homeAt = startedAt;
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (; startedAt + this.#arrived * everyMs <= now; this.#arrived++) {
        this.#arrival(this.#arrived, startedAt + this.#arrived * everyMs);
      }
      if (now < homeAt) return;
      homeAt = now + COME_HOME_MS;
      this.#comeHome();
    }, 1);
  }

  /** No more arrivals; waits for what is open. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    await Promise.all(this.#lines.map(({ line }) => line.close()));
  }

  /** Counts since the last call. */
  take(): SteadyCounts {
    const counts = this.#counts;
    this.#counts = newCounts(counts.refusedBy.length);
    return counts;
  }

  #arrival(number: number, intendedAt: number): void {
    const work = this.#takeAndRelease(number, intendedAt).catch((error: unknown) => {
      this.wrong.push(`arrival ${number}: ${String(error)}`);
    });
    this.#open.add(work);
    void work.then(() => this.#open.delete(work));
  }

  async #takeAndRelease(number: number, intendedAt: number): Promise<void> {
    const { groups, ttlMs } = this.#settings;
    const group = number % groups;
    // A group's turn comes to the next socket each time, whatever the numbers of both are.
    const socket = (number + Math.floor(number / groups)) % this.#lines.length;
    const name = `{steady-${group}}/${this.#run}/${number}`;
    const token = randomBytes(16);
    const { line } = this.#lines[socket];
    await this.#settle(line, { op: 'acquire', name, token, ttlMs }, group, intendedAt, 201, 200);
    await this.#settle(line, { op: 'release', name, token }, group, performance.now(), 204, 410);
  }

  /** @param fresh the status when nothing had been done before; @param again when an earlier attempt had done it */
  async #settle(
    line: Line,
    request: BinaryRequest,
    group: number,
    intendedAt: number,
    fresh: number,
    again: number,
  ): Promise<void> {
    const history: string[] = [];
    let inDoubt = false;
    while (performance.now() < intendedAt + GIVE_UP_MS) {
      const { kind, word, url } = await this.#attempt(line, request);
      history.push(word);
      if (kind === 'status') {
        if (word !== String(fresh) && (word !== String(again) || !inDoubt)) break;
        return this.#settled(url, group, intendedAt);
      }
      inDoubt ||= kind === 'unknown' || kind === 'cut';
      await pause(REPEAT_MS);
    }
    this.wrong.push(`${request.op} of ${request.name}: ${history.join(', ')}`);
  }

  /** Sends it once, and counts what did not settle it. */
  async #attempt(line: Line, request: BinaryRequest): Promise<Attempt> {
    const counts = this.#counts;
    try {
      const { answer, url } = await line.ask(request);
      if (answer.status !== 503 && answer.status !== 504)
        return { kind: 'status', word: String(answer.status), url };
      const word = codeOfWire(answer.code) ?? `status ${answer.status}`;
      if (answer.status === 504) counts.unknown++;
      else this.#refused(counts, word, url);
      return { kind: answer.status === 504 ? 'unknown' : 'refused', word, url };
    } catch (error) {
      if (!(error instanceof CutError)) throw error;
      const kind = error.closeCode === GOING_AWAY ? 'closed' : 'cut';
      counts[kind]++;
      return { kind, word: `${kind} ${error.closeCode}`, url: '' };
    }
  }

  #refused(counts: Counts, code: string, url: string): void {
    counts.refused[code] = (counts.refused[code] ?? 0) + 1;
    counts.refusedBy[this.#settings.processes.indexOf(url)]++;
  }

  #settled(url: string, group: number, intendedAt: number): void {
    const now = performance.now();
    this.answers.add(now, group, this.#settings.processes.indexOf(url));
    this.#counts.settled++;
    this.#counts.tookMs.push(now - intendedAt);
  }

  /** A socket that had to go elsewhere goes back once its own process is there again. */
  #comeHome(): void {
    for (const { line, home } of this.#lines) {
      const url = this.#settings.processes[home];
      if (line.url === '' || line.url === url) continue;
      void isThere(url).then((there) => {
        if (there && line.url !== url) line.leave();
      });
    }
  }
}

interface Attempt {
  readonly kind: 'status' | 'refused' | 'unknown' | 'cut' | 'closed';
  /** The status, the code, or how the connection ended. */
  readonly word: string;
  readonly url: string;
}

interface Counts extends SteadyCounts {
  settled: number;
  refused: Record<string, number>;
  refusedBy: number[];
  unknown: number;
  cut: number;
  closed: number;
  tookMs: number[];
}

function newCounts(processes: number): Counts {
  const refusedBy = Array.from({ length: processes }, () => 0);
  return { settled: 0, refused: {}, refusedBy, unknown: 0, cut: 0, closed: 0, tookMs: [] };
}

async function isThere(wsUrl: string): Promise<boolean> {
  const url = wsUrl.replace(/^ws:(.*)\/v1\/ws$/, 'http:$1/readyz');
  const answer = await fetch(url, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
  await answer?.body?.cancel();
  return answer?.status === 200;
}
