/** Holdfast's part of `npm run bench:waiters`: waiters over two processes that share one etcd shard. */
import { WebSocket } from 'ws';
import { Processes } from '../test/servers/processes.ts';
import { hold, type Party, type Turn } from './turns.ts';

const SOCKETS_A_PROCESS = 10;
const NAME = 'the-one-lock';
const WAIT_MS = 300_000;

/** As much of an answer or event as is looked at. */
interface Message {
  readonly id: number;
  readonly event?: string;
  readonly status?: number;
  readonly lockToken?: string;
  readonly position?: number;
}

type Heard = (message: Message) => void;

/** One socket of holdfast.v1.json with many clients on it. */
class Line {
  readonly #socket: WebSocket;
  readonly #answers = new Map<number, Heard>();
  readonly #queued = new Map<number, Heard>();
  #next = 1;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data) => {
      const message = JSON.parse(String(data)) as Message | Message[];
      for (const one of Array.isArray(message) ? message : [message]) this.#take(one);
    });
  }

  static async open(url: string): Promise<Line> {
    const socket = new WebSocket(url, 'holdfast.v1.json');
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    return new Line(socket);
  }

  /** `queued` resolves with the place once it waits. */
  ask(request: object): { readonly answer: Promise<Message>; readonly queued: Promise<number> } {
    const id = this.#next++;
    const answer = new Promise<Message>((resolve) => this.#answers.set(id, resolve));
    const queued = new Promise<number>((resolve) =>
      this.#queued.set(id, ({ position }) => resolve(position!)),
    );
    this.#socket.send(JSON.stringify({ id, ...request }));
    return { answer, queued };
  }

  close(): void {
    this.#socket.close();
  }

  #take(message: Message): void {
    const open = message.event === 'queued' ? this.#queued : this.#answers;
    const heard = open.get(message.id);
    open.delete(message.id);
    heard?.(message);
  }
}

export class HoldfastParty implements Party {
  readonly name = 'Holdfast, two processes';
  readonly durability = 'yes (etcd, fsync)';
  readonly #wsUrls: readonly string[];
  readonly #stop: () => Promise<void>;

  /** Over processes that run already. @param stop what ends them */
  constructor(wsUrls: readonly string[], stop: () => Promise<void>) {
    this.#wsUrls = wsUrls;
    this.#stop = stop;
  }

  static async start(endpoints: readonly string[], folder: string): Promise<HoldfastParty> {
    const processes = await Processes.start({ count: 2, etcd: [endpoints], folder });
    const wsUrls = processes.places.map(({ wsUrl }) => wsUrl);
    return new HoldfastParty(wsUrls, () => processes.stop());
  }

  async run(clients: number, holdMs: number): Promise<readonly Turn[]> {
    const lines: Line[] = [];
    for (let i = 0; i < SOCKETS_A_PROCESS; i++)
      for (const wsUrl of this.#wsUrls) lines.push(await Line.open(wsUrl));
    const first = await lines[0].ask({ op: 'acquire', name: NAME }).answer;
    const turns: Promise<Turn>[] = [];
    for (let i = 0; i < clients; i++) {
      const line = lines[i % lines.length];
      const { answer, queued } = line.ask({ op: 'acquire', name: NAME, waitMs: WAIT_MS });
      const place = await queued;
      turns.push(answer.then((claim) => this.#turn(line, claim, place, holdMs)));
    }
    await lines[0].ask({ op: 'release', name: NAME, lockToken: first.lockToken }).answer;
    const ended = await Promise.all(turns);
    for (const line of lines) line.close();
    return ended;
  }

  stop(): Promise<void> {
    return this.#stop();
  }

  async #turn(line: Line, claim: Message, place: number, holdMs: number): Promise<Turn> {
    if (claim.status !== 201) throw new Error(`a wait ended with ${JSON.stringify(claim)}`);
    const grantedAt = performance.now();
    await hold(holdMs);
    const releasedAt = performance.now();
    await line.ask({ op: 'release', name: NAME, lockToken: claim.lockToken }).answer;
    return { place, grantedAt, releasedAt };
  }
}
