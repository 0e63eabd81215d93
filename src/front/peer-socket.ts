/**
 * The receiving end of a peer's link (peers/link.ts is the other): the socket
 * on which another process forwards ops that this one owns the slots of.
 *
 *   greeting ─► up ─► over     by the handshake (4003, or in time 4008), a frame
 *                              that is not what the grammar says (1003, 1007,
 *                              1009), silence, a newer link of the same process
 *                              (4004), requests left unanswered (1011), shutdown
 *                              (1012), or the peer
 *
 * Once it is over nothing of it is read any more, so an op that its sender gave
 * up with the old link can't come behind those of the new one.
 *
 * A wait or watch counts as answered from its first answer on: then it stands
 * with a lane until its last one comes. Of those that stand when the socket is
 * over, the lanes are told that the way to their clients is cut.
 *
 * An op is answered `not_owner`, with nothing done, when
 *   - routing says so
 *   - it is too old: its sender may have given it up
 *   - an earlier op of its slot was refused on this socket and the sender did
 *     not know of that yet: the refused one is to take effect before it
 */
import type { Clock } from '../clock.ts';
import { isLoopback } from '../config/address.ts';
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Op, OpFlag } from '../op.ts';
import { FrameReader, writeNotOwner, writePong } from '../peers/frame.ts';
import { Acceptor, type PeerIdentity, type RandomBytes } from '../peers/handshake.ts';
import { ANSWER_ID_AT, ANSWER_STATUS_AT, AnswerBytes, FINAL_STATUS_MIN } from '../protocol/answer.ts';
import { writeRefusal } from '../protocol/refusal.ts';
import type { Connection, Connections } from './connections.ts';
import { StandingForwards } from './standing-forwards.ts';

/** The socket as uWS or the simulation has it. Nothing is sent after `gone`. */
export interface PeerOutlet {
  send(message: Uint8Array, isBinary: boolean): void;
  /** With a close frame behind what was sent. */
  end(code: number, reason: string): void;
  cut(): void;
  gone(): void;
}

/** What a peer socket needs of routing (batch/routing.ts). */
export interface PeerRouting {
  /** Slots of the cluster. */
  readonly slots: number;
  /** False: `term` is none of this process's, or has lost the slot. */
  submitForwarded(op: Op, term: string): boolean;
  /** Nobody is at this connection any more, and waits or watches may stand over it. */
  connectionGone(connection: number): void;
}

export interface PeerContext {
  readonly connections: Pick<Connections, 'open' | 'add' | 'remove' | 'full' | 'flushLater'>;
  readonly routing: PeerRouting;
  readonly clock: Clock;
  readonly requestTimeoutMs: number;
  readonly identity: PeerIdentity;
  readonly randomBytes: RandomBytes;
  readonly peers: InboundPeers;
  /** Requests of the peer `process` wait for these slots, and for no others any more. Forgotten when its socket is over. */
  peerWants(process: string, slots: Uint16Array): void;
  readonly log: { warn(fields: Readonly<Record<string, unknown>>, message: string): void };
}

/** A process sends no larger frame: one that is sealed when it is full, one forward more, and the wanted slots. */
export const PEER_FRAME_BYTES_MAX = LIMITS.frameBytesMax;

const NO_SLOTS = new Uint16Array(0);

const op = new Op();

export class PeerSocket implements Connection {
  private readonly context: PeerContext;
  private readonly outlet: PeerOutlet;
  private readonly address: string;
  private readonly number: number;
  private state: 'greeting' | 'up' | 'over' = 'greeting';
  private readonly acceptor: Acceptor;
  private readonly reader: FrameReader;
  private heardAt: number;
  /** Answers `not_owner` so far, and by slot the number of its last one, until the sender knows of it. */
  private refusals = 0;
  private readonly refused = new Map<number, number>();
  /** Requests under way. */
  private open = 0;
  /** Counted to find requests that stay unanswered: see `sweep`. */
  private received = 0;
  private answered = 0;
  private mark = 0;
  private markedAt = 0;
  private readonly standing = new StandingForwards();
  /** This front's own answers until they are flushed. */
  private readonly own = new AnswerBytes();
  private flushing = false;
  private wants = false;

  /** `address`: where the socket comes from, an IP address. */
  constructor(context: PeerContext, outlet: PeerOutlet, address: string) {
    this.context = context;
    this.outlet = outlet;
    this.address = address;
    this.acceptor = new Acceptor(context.identity, context.randomBytes);
    this.reader = new FrameReader(context.routing.slots);
    this.heardAt = context.clock.now();
    this.number = context.connections.add(this);
  }

  /** The process at the other end; '' until it has proved that it is. */
  get process(): string {
    return this.state === 'up' ? this.acceptor.opener : '';
  }

  /** When anything came last. */
  get lastHeardAt(): number {
    return this.heardAt;
  }

  /** A frame; its memory is the socket's for the duration of the call. */
  message(message: ArrayBuffer, isBinary: boolean): void {
    if (this.state === 'over') return;
    if (!isBinary) return this.finish(1003, 'a text frame between processes');
    if (message.byteLength > PEER_FRAME_BYTES_MAX) return this.finish(1009, 'a frame that is too large');
    const now = this.context.clock.now();
    this.heardAt = now;
    const bytes = new Uint8Array(message);
    if (this.state === 'greeting') return this.greet(bytes, now);
    const { reader } = this;
    if (!reader.begin(bytes, new DataView(message), op)) return this.finish(1007, 'a malformed frame');
    if (!this.recall(reader.seenRefusals)) return this.finish(1007, 'it has seen refusals that never were');
    if (reader.wanted !== undefined) this.want(reader.wanted);
    this.flushing = true;
    if (reader.count === 0) writePong(this.own, now);
    else this.take(now);
    this.flushing = false;
    this.flush();
  }

  answers(source: AnswerBytes, at: number, end: number): void {
    const { view } = source;
    let count = 0;
    for (let next = at; next < end; next += view.getUint32(next, true)) {
      const status = view.getUint16(next + ANSWER_STATUS_AT, true);
      if (status >= FINAL_STATUS_MIN && this.standing.size === 0) count++;
      else if (this.standing.settles(view.getUint32(next + ANSWER_ID_AT, true), status)) count++;
    }
    this.settle(count);
    this.outlet.send(source.bytes.subarray(at, end), true);
  }

  refuse(id: number, code: ErrorCode): void {
    this.standing.forget(id);
    this.settle(1);
    writeRefusal(this.own, id, code);
    this.flushLater();
  }

  /** This process does not own the slot: nothing was done for the op. Its id is the forward's. */
  notOwner(op: Op): void {
    this.refusals = (this.refusals + 1) >>> 0;
    this.refused.set(op.slot, this.refusals);
    this.standing.forget(op.id);
    this.settle(1);
    writeNotOwner(this.own, op);
    this.flushLater();
  }

  flush(): void {
    this.flushing = false;
    if (this.own.length === 0) return;
    this.outlet.send(this.own.bytes.subarray(0, this.own.length), true);
    this.own.reset();
  }

  /**
   * For requests that stay unanswered the same way as BinarySocket, but for
   * waits: their sender looks after them, and sends them again.
   */
  sweep(now: number, overdue: number): void {
    if (this.state === 'greeting' && now - this.heardAt > LIMITS.peerSilenceMs) {
      return this.finish(4008, 'the handshake took too long');
    }
    if (this.state === 'up' && now - this.heardAt > 2 * LIMITS.peerSilenceMs) {
      this.end();
      return this.outlet.cut();
    }
    if (this.answered + this.standing.unanswered >= this.mark) {
      this.mark = this.received;
      this.markedAt = now;
    } else if (this.markedAt < overdue) {
      this.finish(1011, 'requests stayed unanswered');
    }
  }

  shutDown(): void {
    this.finish(1012, 'this process is shutting down');
  }

  /** The process has a newer link. */
  replaced(): void {
    this.finish(4004, 'a newer link of this process is up');
  }

  /** The socket is gone; what is under way goes on, unheard. */
  closed(): void {
    const { connections, peers } = this.context;
    this.outlet.gone();
    peers.left(this.acceptor.opener, this);
    this.end();
    connections.remove(this.number);
    connections.open -= this.open;
    this.open = 0;
  }

  private greet(bytes: Uint8Array, now: number): void {
    if (this.context.identity.key === undefined && !isLoopback(this.address)) {
      return this.refusePeer('without a cluster key only loopback addresses are accepted');
    }
    const step = this.acceptor.message(bytes, now);
    if (step.kind === 'refused') return this.refusePeer(step.reason);
    if (step.kind === 'done') {
      this.context.peers.joined(this.acceptor.opener, this);
      this.state = 'up';
    }
    if (step.send !== undefined) this.outlet.send(step.send, true);
  }

  private refusePeer(reason: string): void {
    const { peers, log } = this.context;
    if (peers.firstRefusal(reason, this.address)) {
      log.warn({ address: this.address, reason }, 'a link of a peer was refused');
    }
    this.finish(4003, reason);
  }

  private take(now: number): void {
    const { connections, routing, requestTimeoutMs } = this.context;
    const { reader, number } = this;
    const { count, seenRefusals } = reader;
    const full = this.open + count > LIMITS.peerRequestsMax || connections.full(count);
    this.open += count;
    this.received += count;
    connections.open += count;
    // Not under this much, so what its sender may have given up is never taken for fresh.
    const ageMs = now - reader.sentAt;
    const tooOld = ageMs > Math.min(LIMITS.peerSilenceMs, requestTimeoutMs / 2);
    while (reader.next(op)) {
      if (full) {
        this.refuse(op.id, 'overloaded');
        continue;
      }
      const waitedMs = op.receivedAt;
      op.connection = number;
      op.flags |= OpFlag.forwarded;
      op.receivedAt = now - waitedMs;
      const isFresh =
        !tooOld && waitedMs + ageMs <= requestTimeoutMs && !this.wouldOvertake(op.slot, seenRefusals);
      if (!isFresh) {
        this.notOwner(op);
        continue;
      }
      if (op.isStanding && !this.standing.add(op.id)) this.refuse(op.id, 'overloaded');
      else if (!routing.submitForwarded(op, reader.term)) this.notOwner(op);
    }
  }

  /** The sender knows of the first `seen` refusals. False: there were not so many. */
  private recall(seen: number): boolean {
    if (seen === this.refusals) this.refused.clear();
    return ((this.refusals - seen) | 0) >= 0;
  }

  private wouldOvertake(slot: number, seen: number): boolean {
    if (this.refused.size === 0) return false;
    const last = this.refused.get(slot);
    return last !== undefined && ((last - seen) | 0) > 0;
  }

  private settle(count: number): void {
    this.open -= count;
    this.answered += count;
    this.context.connections.open -= count;
  }

  private flushLater(): void {
    if (this.flushing) return;
    this.flushing = true;
    this.context.connections.flushLater(this);
  }

  private finish(code: number, reason: string): void {
    if (this.state === 'over') return;
    this.flush();
    this.end();
    this.outlet.end(code, reason);
  }

  private want(slots: Uint16Array): void {
    this.wants = slots.length > 0;
    this.context.peerWants(this.acceptor.opener, slots);
  }

  /** From here on nothing is read any more. A newer socket of the process says by itself what it wants. */
  private end(): void {
    this.state = 'over';
    if (this.wants) this.want(NO_SLOTS);
    if (this.standing.size === 0) return;
    this.standing.clear();
    this.context.routing.connectionGone(this.number);
  }
}

const REFUSALS_KEPT_MAX = 1_000;

/** The peers whose links reach this process: one socket for each. */
export class InboundPeers {
  private readonly sockets = new Map<string, PeerSocket>();
  /** Reasons and addresses that the log has already. */
  private readonly refusals = new Set<string>();

  joined(process: string, socket: PeerSocket): void {
    const older = this.sockets.get(process);
    this.sockets.set(process, socket);
    older?.replaced();
  }

  left(process: string, socket: PeerSocket): void {
    if (this.sockets.get(process) === socket) this.sockets.delete(process);
  }

  /** Processes from which something came at or after `since`. */
  heardSince(since: number): string[] {
    const heard: string[] = [];
    for (const [process, socket] of this.sockets) {
      if (socket.process !== '' && socket.lastHeardAt >= since) heard.push(process);
    }
    return heard;
  }

  /** Each reason is worth one line for each address that it comes from. */
  firstRefusal(reason: string, address: string): boolean {
    const line = `${address} ${reason}`;
    if (this.refusals.has(line)) return false;
    if (this.refusals.size === REFUSALS_KEPT_MAX) this.refusals.clear();
    this.refusals.add(line);
    return true;
  }
}
