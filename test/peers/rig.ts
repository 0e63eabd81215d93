/** Two processes in one thread: links and peer sockets over a network in memory, with a clock that the test moves. */
import { Buffer } from 'node:buffer';
import type { Clock } from '../../src/clock.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { InboundPeers, type PeerContext, type PeerSocket } from '../../src/front/peer-socket.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { Answer, AnswerBytes, readAnswer, Section, writeAnswer } from '../../src/protocol/answer.ts';
import type { PeerIdentity, RandomBytes } from '../../src/peers/handshake.ts';
import type { LinkSettings } from '../../src/peers/link.ts';
import { Peers } from '../../src/peers/peers.ts';
import type { OpenWire } from '../../src/peers/wire.ts';
import { type Cable, Network } from './network.ts';

export const SLOTS = 64;
export const TERM = '00112233445566aa';
export const OTHER_TERM = 'ffeeddccbbaa9988';
export const TIMEOUT_MS = 8_000;
export const KEY = Buffer.from('the secret of this cluster');

export class FakeClock implements Clock {
  time: number;

  constructor(time: number) {
    this.time = time;
  }

  now = (): number => this.time;
  wallMs = (): number => this.time;

  after(): never {
    throw new Error('nothing here sets timers');
  }
}

let drawn = 1;
/** Another one each time, and the same in each run. */
export const testRandom: RandomBytes = (bytes) => {
  for (let i = 0; i < bytes.length; i++) {
    drawn = (Math.imul(drawn, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = drawn >>> 16;
  }
};

/** An op with fields of its own bytes. */
export function makeOp(fields: Partial<Omit<Op, 'bytes'>> & { key?: string; token?: string } = {}): Op {
  const { key = 'a', token = '', ...rest } = fields;
  const op = new Op();
  const needsToken = rest.kind === undefined || rest.kind === Kind.acquire;
  const tokenBytes = Buffer.from(token !== '' || !needsToken ? token : 't'.repeat(22));
  op.bytes = Buffer.concat([Buffer.from(key), tokenBytes]);
  op.keyLength = Buffer.byteLength(key);
  op.tokenAt = op.keyLength;
  op.tokenLength = tokenBytes.length;
  return Object.assign(op, { kind: Kind.acquire, connection: 1, ...rest });
}

/** What the end of an event-loop turn is to a process. */
export class Turn {
  private tasks: (() => void)[] = [];
  readonly defer = (run: () => void): void => void this.tasks.push(run);

  end(): void {
    const { tasks } = this;
    this.tasks = [];
    for (const task of tasks) task();
  }
}

export interface Told {
  readonly connection: number;
  readonly id: number;
  readonly status: number;
  readonly code: number;
  readonly token: string;
  /** How many answers came in the same call. */
  readonly together: number;
}

/** The sender's routing and front: they keep what they are told. */
export class Sender {
  readonly turn = new Turn();
  readonly clock: FakeClock;
  readonly done: number[] = [];
  readonly returned: {
    id: number;
    connection: number;
    receivedAt: number;
    slot: number;
    key: string;
    flags: number;
  }[] = [];
  readonly up: string[] = [];
  readonly told: Told[] = [];
  readonly logged: string[] = [];
  readonly peers: Peers;
  /** Runs within `forwardDone` and `returned`, as the real routing sends on at once. */
  react: () => void = () => {};

  constructor(identity: PeerIdentity, open: OpenWire, clock: FakeClock, more: Partial<LinkSettings> = {}) {
    this.clock = clock;
    this.peers = new Peers({
      identity,
      requestTimeoutMs: TIMEOUT_MS,
      clock,
      open,
      routing: {
        forwardDone: (slot) => {
          this.done.push(slot);
          this.react();
        },
        returned: (op) => {
          const { id, connection, receivedAt, slot, flags } = op;
          const key = Buffer.from(op.bytes.slice(op.keyAt, op.keyAt + op.keyLength)).toString();
          this.returned.push({ id, connection, receivedAt, slot, key, flags });
          this.react();
        },
        linkUp: (process) => void this.up.push(process),
      },
      deliver: (connection, source, at, end) => this.told.push(...readTold(connection, source, at, end)),
      defer: this.turn.defer,
      random: () => 0.5,
      randomBytes: testRandom,
      log: {
        info: () => {},
        warn: (fields, message) => void this.logged.push(`${message}: ${String(fields.reason)}`),
      },
      ...more,
    });
  }

  forward(op: Op, process = 'b', term = TERM): 'taken' | 'noLink' | 'full' {
    return this.peers.forward({ id: term, process, address: '', version: '', lane: 0, state: 'serving' }, op);
  }
}

function readTold(connection: number, source: AnswerBytes, from: number, end: number): Told[] {
  const told: Told[] = [];
  for (let at = from; at < end;) {
    const answer = new Answer();
    at = readAnswer(source, at, answer);
    const { id, status, code, tokenBytes, tokenAt, tokenLength } = answer;
    const shown = answer.sections & Section.token ? tokenBytes.slice(tokenAt, tokenAt + tokenLength) : [];
    told.push({ connection, id, status, code, token: Buffer.from(shown).toString(), together: 0 });
  }
  return told.map((one) => ({ ...one, together: told.length }));
}

export interface Taken {
  readonly id: number;
  readonly connection: number;
  readonly term: string;
  readonly slot: number;
  readonly key: string;
  readonly kind: number;
  readonly flags: number;
  readonly receivedAt: number;
  readonly socket: PeerSocket;
  /** As it was; its bytes are gone. */
  readonly op: Op;
}

/** The owner's routing, lanes and connections. */
export class Owner {
  readonly turn = new Turn();
  readonly clock: FakeClock;
  readonly taken: Taken[] = [];
  readonly peers = new InboundPeers();
  readonly logged: string[] = [];
  /** Connections over which something may have stood. */
  readonly gone: number[] = [];
  readonly context: PeerContext;
  /** By process, what it said last; and how often anything was said. */
  readonly wanted = new Map<string, number[]>();
  wantedTold = 0;
  readonly byNumber = new Map<number, PeerSocket>();
  sockets: PeerSocket[] = [];
  full = false;
  /** Decides on a forward. */
  accept: (op: Op, term: string) => boolean = () => true;
  private numbers = 100;

  constructor(identity: PeerIdentity, clock: FakeClock) {
    this.clock = clock;
    this.context = {
      connections: {
        open: 0,
        add: (socket) => {
          this.byNumber.set(++this.numbers, socket as PeerSocket);
          return this.numbers;
        },
        remove: (number) => void this.byNumber.delete(number),
        full: () => this.full,
        flushLater: (socket) => this.turn.defer(() => socket.flush()),
      },
      routing: {
        slots: SLOTS,
        connectionGone: (connection) => void this.gone.push(connection),
        submitForwarded: (op, term) => {
          if (!this.accept(op, term)) return false;
          const { id, connection, slot, kind, flags, receivedAt } = op;
          const key = Buffer.from(op.bytes.slice(op.keyAt, op.keyAt + op.keyLength)).toString();
          const socket = this.byNumber.get(connection)!;
          const own = Object.assign(new Op(), op);
          this.taken.push({ id, connection, term, slot, key, kind, flags, receivedAt, socket, op: own });
          return true;
        },
      },
      clock,
      requestTimeoutMs: TIMEOUT_MS,
      identity,
      randomBytes: testRandom,
      peers: this.peers,
      peerWants: (process, slots) => {
        this.wanted.set(process, [...slots]);
        this.wantedTold++;
      },
      log: { warn: (fields, message) => void this.logged.push(`${message}: ${String(fields.reason)}`) },
    };
  }

  /** A lane's answers, in one group. */
  answer(socket: PeerSocket, ids: readonly number[], status = 201, code = 0): void {
    const out = new AnswerBytes();
    for (const id of ids) writeAnswer(out, Object.assign(new Answer(), { id, status, code }));
    socket.answers(out, 0, out.length);
  }

  refuse(taken: Taken, code: ErrorCode): void {
    taken.socket.refuse(taken.id, code);
  }

  disown(taken: Taken): void {
    const { id, connection, slot, kind, flags, receivedAt, key } = taken;
    taken.socket.notOwner(makeOp({ id, connection, slot, kind, flags, receivedAt, key }));
  }
}

export interface PairOptions {
  readonly key?: Uint8Array | undefined;
  /** When it is another one. */
  readonly ownerKey?: Uint8Array | undefined;
  readonly address?: string;
}

/** A sender `a` and an owner `b`, whose clocks have nothing to do with each other. */
export class Pair {
  readonly network = new Network();
  readonly sender: Sender;
  readonly owner: Owner;

  constructor(options: PairOptions = {}) {
    const { address = '127.0.0.1:7420' } = options;
    const key = 'key' in options ? options.key : KEY;
    const ownerKey = 'ownerKey' in options ? options.ownerKey : key;
    this.owner = new Owner({ cluster: 'c', process: 'b', key: ownerKey }, new FakeClock(5_000_000));
    this.network.owners.set(address, this.owner);
    this.sender = new Sender({ cluster: 'c', process: 'a', key }, this.network.open, new FakeClock(1_000));
    this.sender.peers.update([
      { id: 'a', address: 'nowhere:1' },
      { id: 'b', address },
    ]);
  }

  /** Both are connected. */
  static up(): Pair {
    const pair = new Pair();
    pair.run();
    return pair;
  }

  get state(): string {
    return this.sender.peers.report()[0].state;
  }

  get cable(): Cable {
    return this.network.cable;
  }

  run(): void {
    this.network.run(this.sender.turn, this.owner.turn);
  }

  /** Time passes for both; every 100 ms they sweep and what is under way arrives. */
  pass(ms: number): void {
    for (let left = ms; left > 0; left -= 100) {
      this.sender.clock.time += Math.min(100, left);
      this.owner.clock.time += Math.min(100, left);
      this.sender.peers.sweep(this.sender.clock.now());
      const now = this.owner.clock.now();
      for (const socket of this.owner.byNumber.values()) socket.sweep(now, now - TIMEOUT_MS - 1_000);
      this.run();
    }
  }

  op(id: number, fields: Parameters<typeof makeOp>[0] = {}): Op {
    return makeOp({ id, receivedAt: this.sender.clock.now(), key: `k${id}`, ...fields });
  }
}

export const MADE = OpFlag.madeToken;
export const SILENCE_MS = LIMITS.peerSilenceMs;
