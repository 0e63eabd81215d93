/**
 * A process with the real routing over model lanes and model links, in which
 * nothing happens but when a test says so: every message stands in a queue
 * until it is delivered.
 *
 * What the models keep to is what routing relies on: a lane bounces by `seen`
 * and settles (lane/lane.ts), a link is in order, and its receiving end refuses
 * what would overtake a refused op (front/peer-socket.ts).
 */
import { Collector, type LaneGate } from '../../src/batch/collector.ts';
import { type Forwarder, type Refuser, Routing } from '../../src/batch/routing.ts';
import type { Clock } from '../../src/clock.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { Buffers } from '../../src/lane/buffers.ts';
import type { LaneMessage, TermInfo } from '../../src/lane/messages.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../../src/lane/record.ts';
import { Kind, Op, OpFlag } from '../../src/op.ts';
import { hashBytes, slotOf } from '../../src/slots/hash.ts';

export const SLOTS = 4;
export const TIMEOUT_MS = 1_000;
/** Connections have numbers; so has the client's. */
export const CLIENT = 1;
const LANES = 2;
export const SHARD = 's0';

const HASH_KEY = { k0: 1, k1: 2 };

/** A name for each slot: routing hashes them itself. */
function namesOfSlots(): Buffer[] {
  const names: Buffer[] = [];
  for (let i = 0; names.filter(Boolean).length < SLOTS; i++) {
    const name = Buffer.from(`name-${i}`);
    const slot = slotOf(hashBytes(name, 0, name.length, HASH_KEY), SLOTS);
    names[slot] ??= name;
  }
  return names;
}

const NAMES = namesOfSlots();

/** A request of the one client that each process has. */
export interface Asked {
  readonly process: number;
  readonly id: number;
  readonly slot: number;
  readonly answers: string[];
}

/** What a process needs of the world. */
export interface ModelHost {
  readonly clock: Clock;
  readonly asked: Asked[];
  nextId: number;
  newTerm(): string;
  /** The op takes effect. */
  effect(op: Op): void;
}

/** A record of its own for `op`, which is a cursor. */
function copyOf(op: Op): Op {
  const batch = new BatchBytes(new ArrayBuffer(recordBytes(op)));
  writeRecord(batch, op);
  const copy = new Op();
  readRecord(batch, 0, copy);
  return copy;
}

function batchOf(ops: readonly Op[]): BatchBytes {
  const batch = new BatchBytes(new ArrayBuffer(ops.reduce((sum, op) => sum + recordBytes(op), 0)));
  for (const op of ops) writeRecord(batch, op);
  return batch;
}

export class ModelLane {
  term: string;
  /** Slot → the announcement with which it was adopted. */
  readonly holds = new Map<number, number>();
  readonly inbox: { ops: Op[]; seen: number; taken: () => void }[] = [];
  readonly outbox: (LaneMessage | { kind: 'done'; ops: Op[] })[] = [];
  /** Taken, not decided yet. */
  undecided: Op[] = [];
  readonly process: ModelProcess;
  readonly lane: number;
  private announcements = 0;
  private unsettled: number[] = [];

  constructor(process: ModelProcess, lane: number) {
    this.process = process;
    this.lane = lane;
    this.term = process.world.newTerm();
  }

  takeBatch(): void {
    const batch = this.inbox.shift();
    if (batch === undefined) return;
    batch.taken();
    const bounced: Op[] = [];
    for (const op of batch.ops) {
      const adopted = this.holds.get(op.slot);
      if (adopted === undefined || adopted > batch.seen) bounced.push(op);
      else this.undecided.push(op);
    }
    this.bounce(bounced);
    const settled = this.unsettled.filter((announcement) => announcement <= batch.seen);
    this.unsettled = this.unsettled.filter((announcement) => announcement > batch.seen);
    if (settled.length > 0) this.outbox.push({ kind: 'settled', announcement: Math.max(...settled) });
  }

  decide(): void {
    for (const op of this.undecided) this.process.world.effect(op);
    this.outbox.push({ kind: 'done', ops: this.undecided });
    this.undecided = [];
  }

  adopt(slot: number): void {
    this.holds.set(slot, ++this.announcements);
    this.announce('owned', [slot]);
  }

  lose(slots: readonly number[]): void {
    for (const slot of slots) this.holds.delete(slot);
    this.unsettled.push(++this.announcements);
    this.announce('lost', slots);
    this.bounce(this.undecided.filter((op) => slots.includes(op.slot)));
    this.undecided = this.undecided.filter((op) => !slots.includes(op.slot));
  }

  private announce(kind: 'owned' | 'lost', slots: readonly number[]): void {
    const announcement = this.announcements;
    this.outbox.push({ kind, announcement, shard: SHARD, term: this.term, slots: Uint16Array.from(slots) });
  }

  private bounce(ops: readonly Op[]): void {
    if (ops.length === 0) return;
    const { bytes, length } = batchOf(ops);
    this.outbox.push({ kind: 'bounced', buffer: bytes.buffer as ArrayBuffer, length });
  }
}

interface Forward {
  readonly term: string;
  readonly op: Op;
  readonly seenRefusals: number;
}

/** One connection from a process to another; a broken one is never used again. */
export class ModelLink {
  up = true;
  /** Forwards and answers that the network has. */
  readonly wire: Forward[] = [];
  readonly back: { forward: Op; outcome: string }[] = [];
  /** By forward id: what the sender waits for. */
  readonly inFlight = new Map<number, Op>();
  seenRefusals = 0;
  refusals = 0;
  readonly refused = new Map<number, number>();
  readonly from: ModelProcess;
  readonly to: ModelProcess;
  readonly connection: number;

  constructor(from: ModelProcess, to: ModelProcess, connection: number) {
    this.from = from;
    this.to = to;
    this.connection = connection;
  }

  arrive(): void {
    const forward = this.wire.shift();
    if (forward === undefined) return;
    const { op, term, seenRefusals } = forward;
    op.connection = this.connection;
    const overtakes = (this.refused.get(op.slot) ?? 0) > seenRefusals;
    if (overtakes || !this.to.routing.submitForwarded(op, term)) this.notOwner(op);
  }

  notOwner(op: Op): void {
    this.refused.set(op.slot, ++this.refusals);
    this.back.push({ forward: copyOf(op), outcome: 'not_owner' });
  }

  answerArrives(): void {
    const answer = this.back.shift();
    if (answer === undefined) return;
    const { forward, outcome } = answer;
    if (outcome === 'not_owner') this.seenRefusals++;
    const original = this.inFlight.get(forward.id);
    if (original === undefined) return;
    this.inFlight.delete(forward.id);
    if (outcome !== 'not_owner') {
      this.from.answer(original.id, outcome);
      return this.from.routing.forwardDone(original.slot);
    }
    forward.connection = original.connection;
    forward.id = original.id;
    forward.receivedAt = original.receivedAt;
    this.from.routing.returned(forward);
  }

  /** What is under way is given up; the receiving end reads no more. */
  breakDown(): void {
    this.up = false;
    this.wire.length = 0;
    this.back.length = 0;
    this.giveUp(() => true);
  }

  giveUp(which: (op: Op) => boolean): void {
    for (const [id, op] of this.inFlight) {
      if (!which(op)) continue;
      this.inFlight.delete(id);
      this.from.answer(op.id, 'unknown');
      this.from.routing.forwardDone(op.slot);
    }
  }
}

export class ModelProcess implements LaneGate, Forwarder, Refuser {
  readonly world: ModelHost;
  readonly number: number;
  readonly name: string;
  readonly lanes: ModelLane[];
  readonly routing: Routing;
  /** By process: the link to it that stands. */
  readonly links = new Map<number, ModelLink>();
  readonly inbound = new Map<number, ModelLink>();
  /** The map's changes that this process's lane 0 has not heard of. */
  readonly watch: LaneMessage[] = [];
  readonly asked = new Map<number, Asked>();

  constructor(world: ModelHost, number: number) {
    this.world = world;
    this.number = number;
    this.name = `p${number}`;
    this.lanes = Array.from({ length: LANES }, (_, lane) => new ModelLane(this, lane));
    this.routing = new Routing(new Collector(LANES, this, new Buffers()), {
      slots: SLOTS,
      hashKey: HASH_KEY,
      shards: [SHARD],
      requestTimeoutMs: TIMEOUT_MS,
      process: this.name,
      clock: world.clock,
    });
    this.routing.answerWith(this);
    this.routing.forwardTo(this);
  }

  ask(slot: number): void {
    const id = this.world.nextId++;
    const asked: Asked = { process: this.number, id, slot, answers: [] };
    this.asked.set(id, asked);
    this.world.asked.push(asked);
    const op = new Op();
    op.bytes = NAMES[slot];
    op.keyLength = op.bytes.length;
    op.kind = Kind.get;
    op.id = id;
    // Travels with the op wherever it goes, and so tells whose it is.
    op.fencingToken = id;
    op.connection = CLIENT;
    op.receivedAt = this.world.clock.now();
    this.routing.submit(op);
  }

  send(lane: number, buffer: ArrayBuffer, length: number, seen: number, taken: () => void): void {
    const ops: Op[] = [];
    const batch = new BatchBytes(buffer, length);
    const op = new Op();
    for (let at = 0; at < length;) {
      at = readRecord(batch, at, op);
      ops.push(copyOf(op));
    }
    this.lanes[lane].inbox.push({ ops, seen, taken });
  }

  gone(): void {
    // Nothing stands at its lanes.
  }

  forward(term: TermInfo, op: Op): 'taken' | 'noLink' {
    const link = this.links.get(Number(term.process.slice(1)));
    if (link === undefined) return 'noLink';
    const sent = copyOf(op);
    sent.id = this.world.nextId++;
    link.inFlight.set(sent.id, copyOf(op));
    link.wire.push({ term: term.id, op: sent, seenRefusals: link.seenRefusals });
    return 'taken';
  }

  abandon(process: string, slots: ReadonlySet<number>): void {
    this.links.get(Number(process.slice(1)))?.giveUp((op) => slots.has(op.slot));
  }

  endStanding(): void {
    // Its client neither waits nor watches.
  }

  refuse(connection: number, id: number, code: ErrorCode): void {
    if (connection === CLIENT) return this.answer(id, code);
    const forward = new Op();
    forward.id = id;
    this.answerForward(connection, forward, code);
  }

  private answerForward(connection: number, forward: Op, outcome: string): void {
    const link = this.inbound.get(connection);
    if (link?.up === true) link.back.push({ forward, outcome });
  }

  notOwner(op: Op): void {
    if ((op.flags & ~OpFlag.full & ~OpFlag.forwarded) !== 0) throw new Error('flags that are no op’s');
    const link = this.inbound.get(op.connection);
    if (link?.up === true) link.notOwner(op);
  }

  isOver(): boolean {
    return false;
  }

  answer(id: number, outcome: string): void {
    this.asked.get(id)?.answers.push(outcome);
  }

  hear(lane: number): void {
    const message = this.lanes[lane].outbox.shift();
    switch (message?.kind) {
      case 'owned':
      case 'lost':
        return this.routing.ownership(lane, message);
      case 'settled':
        return this.routing.settled(lane, message);
      case 'terms':
        return this.routing.terms(message);
      case 'owners':
        return this.routing.owners(message);
      case 'bounced':
        return this.routing.bounced(message.buffer, message.length, this.world.clock.now());
      case 'done':
        for (const op of message.ops) {
          if (op.connection === CLIENT) this.answer(op.id, 'ok');
          else this.answerForward(op.connection, op, 'ok');
        }
    }
  }

  /** Lane 0 passes on what it saw of the map. */
  look(): void {
    const seen = this.watch.shift();
    if (seen !== undefined) this.lanes[0].outbox.push(seen);
  }

  sweep(): void {
    const now = this.world.clock.now();
    this.routing.sweep(now);
    for (const link of this.links.values()) {
      link.giveUp((op) => op.receivedAt + TIMEOUT_MS + 200 < now);
    }
  }
}
