/**
 * Many clients that fight for few locks, for as long as a test wants, through
 * cut connections, restarts and take-overs. Each does what a careful client
 * does: a request whose outcome nobody knows is repeated with the same token.
 *
 *   idle ─acquire─► held ─hold, sometimes renew─► released ─► idle
 */
import { randomBytes } from 'node:crypto';
import { CutError, type BinaryAnswer, type BinaryRequest } from '../e2e/sockets.ts';
import { pause } from '../servers/holdfast.ts';
import type { Held } from './checker.ts';
import { Line } from './line.ts';

export interface ContenderSettings {
  /** Where the socket of that number connects, at its n-th try; asked again whenever a connection was cut. */
  readonly wsUrl: (socket: number, tries: number) => string;
  readonly names: readonly string[];
  readonly sockets: number;
  readonly clientsPerSocket: number;
  readonly ttlMs: number;
  /** An answer that takes longer is not waited for; the client connects again. */
  readonly answerMs?: number;
}

const REPEAT_MS = 50;
const GIVE_UP_MS = 30_000;

interface Settled {
  readonly answer: BinaryAnswer;
  /** Of the attempt that was answered. */
  readonly sentAt: number;
  readonly attempts: number;
}

export class Contenders {
  readonly held: Held[] = [];
  /** What no client should see. */
  readonly wrong: string[] = [];
  /** Answers by status, of acquires. */
  readonly statuses = new Map<number, number>();
  /** The longest time from asking to a settled answer. */
  longestMs = 0;
  readonly #settings: ContenderSettings;
  readonly #lines: Line[];
  readonly #clients: Promise<void>[] = [];
  #stopped = false;

  constructor(settings: ContenderSettings) {
    this.#settings = settings;
    const { sockets, wsUrl, answerMs } = settings;
    this.#lines = Array.from({ length: sockets }, (_, socket) => {
      const where = (tries: number): string => wsUrl(socket, tries);
      return new Line({ wsUrl: where, ...(answerMs !== undefined && { answerMs }) });
    });
  }

  start(): void {
    for (const [i, line] of this.#lines.entries()) {
      for (let j = 0; j < this.#settings.clientsPerSocket; j++)
        this.#clients.push(this.#run(line, `client ${i}.${j}`));
    }
  }

  /** Lets every client finish what it is at. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
    await Promise.all(this.#lines.map((line) => line.close()));
  }

  async #run(line: Line, client: string): Promise<void> {
    const { names } = this.#settings;
    await pause(Math.random() * 50);
    while (!this.#stopped) {
      const name = names[Math.floor(Math.random() * names.length)];
      try {
        await this.#once(line, client, name);
      } catch (error) {
        this.wrong.push(`${client}: ${String(error)}`);
        return;
      }
      await pause(5 + Math.random() * 40);
    }
  }

  async #once(line: Line, client: string, name: string): Promise<void> {
    const token = randomBytes(16);
    const askedAt = performance.now();
    const { answer, sentAt, attempts } = await this.#settle(line, {
      op: 'acquire',
      name,
      token,
      ttlMs: this.#settings.ttlMs,
      owner: client,
    });
    const grantedAt = performance.now();
    this.statuses.set(answer.status, (this.statuses.get(answer.status) ?? 0) + 1);
    if (answer.status === 409 || answer.status === 503) return;
    // The first attempt was granted, and ended while the client was cut off.
    if (answer.status === 410 && attempts > 1) return;
    if (answer.status !== 201 && !(answer.status === 200 && attempts > 1)) {
      this.wrong.push(
        `${client}: acquire of ${name} answered ${answer.status} at attempt ${attempts}: ${answer.detail}`,
      );
      return;
    }
    let deadline = sentAt + answer.waitedMs + answer.expiresInMs;
    await pause(Math.random() < 0.1 ? Math.random() * 300 : Math.random() * 10);
    if (Math.random() < 0.2)
      deadline = await this.#renew(line, client, name, token, answer.fencingToken, deadline);
    const releasedAt = performance.now();
    const believedUntil = Math.min(releasedAt, deadline);
    this.held.push({ name, client, fencingToken: answer.fencingToken, askedAt, grantedAt, believedUntil });
    await this.#release(line, client, name, token, deadline);
  }

  /** Whoever renews in time must succeed: an acknowledged lock is never lost. */
  async #renew(
    line: Line,
    client: string,
    name: string,
    token: Buffer,
    fencingToken: number,
    deadline: number,
  ): Promise<number> {
    const { answer, sentAt } = await this.#settle(line, { op: 'renew', name, token });
    if (answer.status === 503) return deadline;
    if (answer.status === 200) {
      if (answer.fencingToken !== fencingToken)
        this.wrong.push(`${client}: a renewal of ${name} changed its fencing token`);
      return sentAt + answer.waitedMs + answer.expiresInMs;
    }
    if (sentAt < deadline && performance.now() < deadline) {
      this.wrong.push(`${client}: lost ${name} (${fencingToken}) before its deadline: ${answer.status}`);
    }
    return Math.min(deadline, sentAt);
  }

  async #release(line: Line, client: string, name: string, token: Buffer, deadline: number): Promise<void> {
    const { answer, attempts } = await this.#settle(line, { op: 'release', name, token });
    if (answer.status === 204 || answer.status === 503) return;
    if (answer.status === 410 && (attempts > 1 || performance.now() > deadline)) return;
    this.wrong.push(`${client}: release of ${name} answered ${answer.status}`);
  }

  /** Repeats until somebody knows the outcome. */
  async #settle(line: Line, request: BinaryRequest): Promise<Settled> {
    const startedAt = performance.now();
    for (let attempts = 1; ; attempts++) {
      const sentAt = performance.now();
      try {
        const { answer } = await line.ask(request);
        if (answer.status !== 504) {
          this.longestMs = Math.max(this.longestMs, performance.now() - startedAt);
          // A 503 answers this attempt only: an earlier one may have taken effect.
          if (answer.status !== 503 || attempts === 1) return { answer, sentAt, attempts };
        }
      } catch (error) {
        if (!(error instanceof CutError)) throw error;
      }
      if (performance.now() - startedAt > GIVE_UP_MS)
        throw new Error(`${request.op} of ${request.name} was never settled`);
      await pause(REPEAT_MS);
    }
  }
}
