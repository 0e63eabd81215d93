/**
 * The way to one peer: ops that it owns the slots of go there in frames, its
 * answers come back (frame.ts). No I/O of its own: the wire, the clock and the
 * end of the turn are handed in.
 *
 *   barred    no cluster key, and the address is not a loopback one: never tried
 *   waiting ─► opening ─► greeting ─► up
 *      ▲          │           │        │      the wire closed, was silent for
 *      └──────────┴───────────┴────────┘      too long, or brought nonsense
 *   closed    for good: the process is gone, or this one ends
 *
 * A forward, from `forward` on:
 *   collected   in the open frame, which leaves at the end of the event-loop
 *               turn; if the wire breaks first, nothing has happened: it goes
 *               back to routing
 *   under way   handed to the wire, and never sent again. Ends with its answer
 *               (`not_owner`: back to routing), or given up, when its time is
 *               over or the wire broke: whether it took effect is unknown
 *   standing    a wait or watch that got its first answer: decided, as far as
 *               routing is concerned. Ends with its final answer, or is given
 *               up when the wire breaks or the peer owns its slot no longer
 *
 * Only `up` takes forwards. A link that retires (peers.ts gives it no more)
 * closes after the last answer.
 */
import type { Clock } from '../clock.ts';
import { isLoopbackAddress } from '../config/address.ts';
import { CODES } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, Op } from '../op.ts';
import { ANSWER_ID_AT, ANSWER_STATUS_AT, AnswerBytes, Event, FINAL_STATUS_MIN } from '../protocol/answer.ts';
import { ANSWER_CODE_AT } from '../protocol/answer-peek.ts';
import { countAnswers, FRAME_SEAL_BYTES, FrameWriter, NO_FORWARD, readNotOwner, readPong } from './frame.ts';
import { Opener, type PeerIdentity, type RandomBytes } from './handshake.ts';
import { InFlight } from './in-flight.ts';
import { AnswerRuns, type Deliver } from './runs.ts';
import { WantedNews } from './wanted-news.ts';
import type { OpenWire, Wire } from './wire.ts';

export type LinkState = 'barred' | 'waiting' | 'opening' | 'greeting' | 'up' | 'closed';

/** What a link and its routing say to each other (batch/routing.ts). */
export interface ForwardRouting {
  /** A forward in flight was answered, or stands, or was given up: once for each. Not said of pages of a listing. */
  forwardDone(slot: number): void;
  /** The peer does not own the slot, or never heard of the op: it is as before. Counts as done. */
  returned(op: Op): void;
  /** Ops that wait for a link to this process may go. */
  linkUp(process: string): void;
}

export interface PeerLog {
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface LinkSettings {
  readonly identity: PeerIdentity;
  readonly requestTimeoutMs: number;
  readonly clock: Clock;
  readonly open: OpenWire;
  readonly routing: ForwardRouting;
  readonly deliver: Deliver;
  /** Runs it at the end of the event-loop turn (`setImmediate`). */
  readonly defer: (run: () => void) => void;
  /** 0 ≤ … < 1, to spread attempts to connect. */
  readonly random: () => number;
  readonly randomBytes: RandomBytes;
  readonly log: PeerLog;
}

const RETRY_MS_MAX = 4 * LIMITS.peerConnectMs;
/** How long the owner of a slot may take to answer the waits for it, once it is known that it owns it no longer. */
const STANDING_LAST_WORD_MS = LIMITS.termPollMs;
/** The owner's own last word on a request whose time is over has this long to arrive, at most. */
const LAST_WORD_MS_MAX = 500;

export class PeerLink {
  readonly process: string;
  readonly address: string;
  state: LinkState = 'waiting';
  /** Why it is not up, for people. */
  detail = '';
  private readonly settings: LinkSettings;
  private readonly lateMs: number;
  private wire: Wire | undefined;
  private opener: Opener | undefined;
  private retiring = false;
  private readonly inFlight = new InFlight();
  private readonly frame = new FrameWriter();
  private readonly runs = new AnswerRuns();
  private readonly source = new AnswerBytes(new ArrayBuffer(0));
  private readonly own = new AnswerBytes();
  private readonly op = new Op();
  /** When the first forward was put into the open frame. */
  private begunAt = 0;
  private deferred = false;
  private readonly wanted = new WantedNews();
  private seenRefusals = 0;
  /** A time on the peer's clock minus one on ours; never too much. */
  private ahead = 0;
  private failures = 0;
  private since = 0;
  private retryAt = -Infinity;
  private heardAt = 0;
  private pingedAt = 0;
  private sweptAt: number;
  private readonly endOfTurn = (): void => {
    this.deferred = false;
    this.flush();
  };

  constructor(settings: LinkSettings, process: string, address: string) {
    this.settings = settings;
    this.process = process;
    this.address = address;
    this.lateMs = settings.requestTimeoutMs + Math.min(LAST_WORD_MS_MAX, settings.requestTimeoutMs / 2);
    this.sweptAt = settings.clock.now();
    if (settings.identity.key === undefined && !isLoopbackAddress(address)) {
      this.state = 'barred';
      this.explain('without a cluster key only loopback addresses are connected to');
    } else {
      this.connect(this.sweptAt);
    }
  }

  /** Forwards that are collected or under way. */
  get open(): number {
    return this.inFlight.count;
  }

  /** Takes the op for `term` of the peer; it is only valid during the call. */
  forward(term: string, op: Op): 'taken' | 'noLink' | 'full' {
    if (this.state !== 'up') return 'noLink';
    const { inFlight, frame } = this;
    const isFull = inFlight.full || (op.isStanding && inFlight.fullOfStanding);
    if (isFull || this.wire!.unsent + frame.length > LIMITS.peerBacklogBytesMax) return 'full';
    // One look at the clock per frame: who waits a little less is promised no more.
    if (frame.length === 0) this.begunAt = this.settings.clock.now();
    frame.add(term, op, inFlight.add(op), this.begunAt - op.receivedAt);
    if (frame.length >= FRAME_SEAL_BYTES) this.flush();
    else this.flushLater();
    return 'taken';
  }

  /** The peer is told with the next frame that requests of this process wait for these slots, in rising order. */
  want(slots: Uint16Array): void {
    this.wanted.set(slots);
    if (this.state === 'up') this.flushLater();
  }

  /** What is under way for these slots will not be answered any more. */
  abandon(slots: ReadonlySet<number>): void {
    // What is still collected would be given up as well, and leave afterwards.
    if (this.state === 'up') this.flush();
    this.giveUp(this.inFlight.ofSlots(slots));
  }

  /** Waits and watches of these slots get their last answer soon or never: the peer owns the slots no longer. */
  endStanding(slots: ReadonlySet<number>): void {
    this.inFlight.age(slots, this.settings.clock.now() + STANDING_LAST_WORD_MS - this.lateMs);
  }

  /** Several times a second. */
  sweep(now: number): void {
    // While this process stood still nothing could be heard.
    const paused = now - this.sweptAt - LIMITS.peerPingMs;
    if (paused > 0) this.heardAt += paused;
    this.sweptAt = now;
    if (this.state === 'waiting' && now >= this.retryAt) this.connect(now);
    else if (this.state === 'up') this.sweepUp(now);
    else if (this.wire !== undefined && now - this.since > LIMITS.peerSilenceMs) this.down('no answer', now);
    if (this.retiring && this.inFlight.count === 0) this.close();
  }

  /** The process is gone as far as anybody knows; what it may still answer is waited for. */
  retire(): void {
    this.retiring = true;
    if (this.inFlight.count === 0) this.close();
  }

  /** The process is back; false: too late, the link is closed. */
  resume(): boolean {
    if (this.state === 'closed') return false;
    this.retiring = false;
    if (this.state === 'up') this.settings.routing.linkUp(this.process);
    return true;
  }

  /** Gives up everything at once. */
  close(): void {
    if (this.state === 'closed') return;
    this.retiring = true;
    this.down('closed', this.settings.clock.now());
  }

  private connect(now: number): void {
    const { settings } = this;
    this.state = 'opening';
    this.since = now;
    this.opener = new Opener(settings.identity, this.process, settings.randomBytes);
    try {
      const wire: Wire = settings.open(this.address, {
        opened: () => this.wire === wire && this.greet(),
        message: (frame) => this.wire === wire && this.received(frame),
        closed: (reason) => this.wire === wire && this.down(reason, settings.clock.now()),
      });
      this.wire = wire;
    } catch (error) {
      this.down((error as Error).message, now);
    }
  }

  private greet(): void {
    this.state = 'greeting';
    this.wire!.send(this.opener!.hello());
  }

  private received(frame: Uint8Array<ArrayBuffer>): void {
    const now = this.settings.clock.now();
    this.heardAt = now;
    if (this.state === 'greeting') return this.greeted(frame, now);
    const { source } = this;
    source.bytes = frame;
    source.view = new DataView(frame.buffer, frame.byteOffset, frame.length);
    source.length = frame.length;
    const wrong = countAnswers(source) < 0 ? 'answers that do not add up' : this.take(now);
    this.runs.deliver(source, this.settings.deliver);
    if (wrong !== '') this.down(wrong, now);
  }

  private greeted(message: Uint8Array, now: number): void {
    const opener = this.opener!;
    const step = opener.message(message);
    if (step.kind === 'refused') return this.down(step.reason, now);
    if (step.send !== undefined) this.wire!.send(step.send);
    if (step.kind === 'send') return;
    this.state = 'up';
    this.detail = '';
    this.since = now;
    this.pingedAt = now;
    this.seenRefusals = 0;
    if (this.wanted.restart()) this.flushLater();
    this.ahead = opener.acceptorNow - now;
    this.settings.log.info({ process: this.process, address: this.address }, 'the link to a peer is up');
    this.settings.routing.linkUp(this.process);
  }

  /** Every answer of the frame finds its forward; returns what is wrong with the frame. */
  private take(now: number): string {
    const { source, inFlight } = this;
    const { view, length } = source;
    for (let at = 0; at < length;) {
      const end = at + view.getUint32(at, true);
      const id = view.getUint32(at + ANSWER_ID_AT, true);
      const status = view.getUint16(at + ANSWER_STATUS_AT, true);
      if (status < FINAL_STATUS_MIN) {
        this.takeInterim(id, status, at, end);
      } else if (view.getUint8(at + ANSWER_CODE_AT) === CODES.not_owner.wire) {
        if (!this.takeBack(at, end)) return 'a refusal that does not fit its forward';
      } else if (id === NO_FORWARD) {
        const peerNow = readPong(source, at, end);
        if (Number.isNaN(peerNow)) return 'an answer to nothing';
        this.ahead = peerNow - now;
      } else {
        const i = inFlight.find(id);
        if (i >= 0) {
          view.setUint32(at + ANSWER_ID_AT, inFlight.id[i], true);
          this.runs.add(inFlight.connection[i], at, end);
          this.finish(i);
        }
      }
      at = end;
    }
    return '';
  }

  /** An answer that is not the last one, or word of a claim: its id is the connection that wants to hear of it. */
  private takeInterim(id: number, status: number, at: number, end: number): void {
    const { source, inFlight } = this;
    if (status > Event.changed) {
      source.view.setUint32(at + ANSWER_ID_AT, NO_FORWARD, true);
      this.runs.add(id, at, end);
      return;
    }
    const i = inFlight.find(id);
    if (i < 0) return;
    source.view.setUint32(at + ANSWER_ID_AT, inFlight.id[i], true);
    this.runs.add(inFlight.connection[i], at, end);
    if (inFlight.stand(i)) this.settings.routing.forwardDone(inFlight.slot[i]);
  }

  /** A refusal with nothing done: routing decides anew. */
  private takeBack(at: number, end: number): boolean {
    // What was put into the open frame may be younger than this op: the peer has to refuse it, too.
    this.flush();
    this.seenRefusals = (this.seenRefusals + 1) >>> 0;
    const { op, inFlight, source } = this;
    if (!readNotOwner(source, at, end, op)) return false;
    const i = inFlight.find(op.id);
    if (i < 0) return true;
    if (op.kind !== inFlight.kind[i] || op.slot !== inFlight.slot[i] || inFlight.isStanding(i)) return false;
    this.giveBack(i, op);
    return true;
  }

  private giveBack(i: number, op: Op): void {
    this.inFlight.restore(i, op);
    this.inFlight.remove(i);
    this.settings.routing.returned(op);
  }

  private finish(i: number): void {
    const { inFlight } = this;
    const slot = inFlight.slot[i];
    const isDone = inFlight.kind[i] === Kind.list || inFlight.isStanding(i);
    inFlight.remove(i);
    if (!isDone) this.settings.routing.forwardDone(slot);
  }

  private flushLater(): void {
    if (this.deferred) return;
    this.deferred = true;
    this.settings.defer(this.endOfTurn);
  }

  private flush(): void {
    if (this.state !== 'up') return;
    const wanted = this.untold();
    if (this.frame.length === 0) {
      if (wanted === undefined) return;
      this.begunAt = this.settings.clock.now();
    }
    this.wire!.send(this.frame.seal(this.seenRefusals, this.begunAt + this.ahead, wanted));
  }

  /** The wanted slots if they are news for the peer; a slow one hears only the latest, when it has caught up. */
  private untold(): Uint16Array | undefined {
    const { wanted } = this;
    return wanted.isThere && this.wire!.unsent <= LIMITS.peerBacklogBytesMax ? wanted.take() : undefined;
  }

  private sweepUp(now: number): void {
    if (now - this.heardAt > LIMITS.peerSilenceMs) return this.down('silent', now);
    // What is still collected would be given up as well, and leave afterwards.
    this.flush();
    this.giveUp(this.inFlight.receivedBy(now - this.lateMs));
    if (now - this.pingedAt < LIMITS.peerPingMs) return;
    this.pingedAt = now;
    this.wire!.send(this.frame.seal(this.seenRefusals, now + this.ahead));
  }

  /** They may have taken effect, or may still. */
  private giveUp(indexes: readonly number[]): void {
    const { own, runs, inFlight } = this;
    if (indexes.length === 0) return;
    own.reset();
    for (const i of indexes) {
      const at = own.length;
      inFlight.writeGivenUp(own, i);
      runs.add(inFlight.connection[i], at, own.length);
    }
    runs.deliver(own, this.settings.deliver);
    for (const i of indexes) this.finish(i);
  }

  private down(reason: string, now: number): void {
    const { wire, inFlight } = this;
    if (this.state === 'up' && now - this.since > LIMITS.peerSilenceMs) this.failures = 0;
    this.wire = undefined;
    this.state = this.retiring ? 'closed' : 'waiting';
    const spread = 0.5 + this.settings.random() / 2;
    this.retryAt = now + Math.min(RETRY_MS_MAX, LIMITS.peerConnectMs * 2 ** this.failures) * spread;
    this.failures++;
    wire?.close();
    if (!this.retiring) this.explain(reason);
    this.frame.takeBack(this.op, (op) => this.giveBack(inFlight.find(op.id), op));
    this.giveUp(inFlight.receivedBy(Number.MAX_VALUE));
  }

  /** Logged when it is another reason than before. */
  private explain(reason: string): void {
    if (reason === this.detail) return;
    this.detail = reason;
    this.settings.log.warn({ process: this.process, address: this.address, reason }, 'no link to a peer');
  }
}
