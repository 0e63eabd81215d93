/**
 * A client's connection that comes back, to any of several processes, as a
 * careful client keeps one.
 *
 *   none ─ask─► connecting ─► up ─ cut, or no answer in time ─► none
 *                               └─ left (the server drains): answers still come, new requests go elsewhere
 */
import { BinarySocket, type BinaryAnswer, type BinaryRequest } from '../e2e/sockets.ts';
import { CODES } from '../../src/errors.ts';
import { pause } from '../servers/holdfast.ts';

const RECONNECT_MS = 50;
const GIVE_UP_MS = 30_000;

export interface LineSettings {
  /** Where to connect, at the n-th try since it last worked. */
  readonly wsUrl: (tries: number) => string;
  /** An answer that takes longer is not waited for: the connection is cut. */
  readonly answerMs?: number;
}

export interface Reply {
  readonly answer: BinaryAnswer;
  /** Of the process that answered. */
  readonly url: string;
}

export class Line {
  readonly #settings: LineSettings;
  #socket: Promise<BinarySocket> | undefined;
  /** Where it is connected, or was last. */
  url = '';
  #isClosed = false;

  constructor(settings: LineSettings) {
    this.#settings = settings;
  }

  /** Rejects with a CutError when the connection ends before the answer. */
  async ask(request: BinaryRequest): Promise<Reply> {
    const mine = (this.#socket ??= this.#connect());
    const socket = await mine.catch((error: unknown) => {
      if (this.#socket === mine) this.#socket = undefined;
      throw error;
    });
    const answer = await this.#inTime(socket, socket.ask(request));
    if (answer.code === CODES.draining.wire && this.#socket === mine) this.#socket = undefined;
    return { answer, url: socket.socket.url };
  }

  /** Later requests connect anew; open ones still get their answers. */
  leave(): void {
    const left = this.#socket;
    this.#socket = undefined;
    void left?.then(closeWhenIdle, () => undefined);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    (await this.#socket?.catch(() => undefined))?.close();
  }

  async #inTime(socket: BinarySocket, answer: Promise<BinaryAnswer>): Promise<BinaryAnswer> {
    const { answerMs } = this.#settings;
    if (answerMs === undefined) return answer;
    const timer = setTimeout(() => socket.terminate(), answerMs);
    try {
      return await answer;
    } finally {
      clearTimeout(timer);
    }
  }

  async #connect(): Promise<BinarySocket> {
    const until = performance.now() + GIVE_UP_MS;
    for (let tries = 0; ; tries++) {
      const url = this.#settings.wsUrl(tries);
      try {
        const socket = await BinarySocket.open(url);
        this.url = url;
        const mine = this.#socket;
        void socket.closed.then(() => {
          if (this.#socket === mine) this.#socket = undefined;
        });
        return socket;
      } catch (error) {
        if (performance.now() > until || this.#isClosed) throw error;
        await pause(RECONNECT_MS);
      }
    }
  }
}

async function closeWhenIdle(socket: BinarySocket): Promise<void> {
  while (socket.open > 0) await pause(RECONNECT_MS);
  socket.close();
}
