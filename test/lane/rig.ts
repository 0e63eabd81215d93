/**
 * Lanes of several processes on one model store, in virtual time: each process
 * has a clock, a connection and a lane of its own, and its lease is kept alive
 * while it runs. The test is their front: it sends batches, and sees all that
 * the lanes say.
 */
import { expect, onTestFinished } from 'vitest';
import { Lane } from '../../src/lane/lane.ts';
import type { LaneMessage } from '../../src/lane/messages.ts';
import { BatchBytes, readRecord, recordBytes, writeRecord } from '../../src/lane/record.ts';
import { LIMITS } from '../../src/limits.ts';
import { LaneCounters } from '../../src/metrics/counters.ts';
import { Op } from '../../src/op.ts';
import { Answer, FINAL_STATUS_MIN, readAnswer } from '../../src/protocol/answer.ts';
import { openCluster } from '../../src/slots/birth.ts';
import {
  decodeSlotRecord,
  decodeTermRecord,
  slotKey,
  TERM_PREFIX,
  type SlotRecord,
  type TermRecord,
} from '../../src/slots/records.ts';
import { prefixEnd } from '../../src/shard/store.ts';
import { History } from '../sim/history.ts';
import { CALM, ModelConnection } from '../sim/model-connection.ts';
import { ModelStore } from '../sim/model-store.ts';
import { Random } from '../sim/random.ts';
import { Domain, Scheduler } from '../sim/scheduler.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { checkStores } from '../sim/store-audit.ts';
import { type LaneOp, opOfWords, type Said, saidOf } from './words.ts';

export const SLOTS = 64;
export const REQUEST_TIMEOUT_MS = 8_000;
/** More than a hand-over of every slot takes in a calm network. */
export const SOON_MS = 400;

export type SlotOp = LaneOp;

export type Heard = LaneMessage & { readonly by: RigLane; readonly at: number };

type Ownership = Extract<LaneMessage, { readonly kind: 'owned' | 'lost' }>;

let lastId = 0;

export class LaneRig {
  readonly scheduler: Scheduler;
  readonly store: ModelStore;
  readonly lanes: RigLane[] = [];
  /** All that all lanes said, oldest first. */
  readonly heard: Heard[] = [];
  private readonly random: Random;

  private constructor(seed: number) {
    this.random = new Random(seed);
    this.scheduler = new Scheduler(this.random.fork('scheduler'));
    this.store = new ModelStore(this.scheduler, this.random.fork('store'), 's0');
  }

  /** A cluster of SLOTS slots in one shard that nobody serves yet. */
  static async begin(seed = 1): Promise<LaneRig> {
    const rig = new LaneRig(seed);
    const birth = rig.connect('birth', new Domain('birth')).connection;
    const shards = [{ name: 's0', engine: 'etcd', endpoints: [], weight: 1 }] as const;
    const random = rig.random.fork('birth');
    const opened = openCluster([birth], { slots: SLOTS, shards }, (bytes) => random.hex(bytes));
    await rig.run(1_000);
    await opened;
    return rig;
  }

  /** Two or more lanes of different processes, once slots have been moved by plan. */
  static async settled(...processes: readonly string[]): Promise<{ rig: LaneRig; lanes: RigLane[] }> {
    const rig = await LaneRig.begin();
    const lanes = processes.map((process) => rig.start(process));
    await rig.run(LIMITS.settleMs + 1_000 + SOON_MS);
    for (const lane of lanes) expect(lane.served.size).toBeGreaterThan(0);
    return { rig, lanes };
  }

  /** A process with one lane. */
  start(process: string): RigLane {
    const lane = new RigLane(this, process, this.random.fork(process));
    this.lanes.push(lane);
    return lane;
  }

  connect(name: string, domain: Domain): { connection: ModelConnection; clock: SimClock } {
    const clock = new SimClock(this.scheduler, this.random.fork(`${name} clock`), 1);
    const host = { domain, clock: clock.for(domain) };
    const network = this.random.fork(`${name} network`);
    const connection = new ModelConnection(this.scheduler, network, this.store, name, host, { ...CALM });
    return { connection, clock };
  }

  get now(): number {
    return this.scheduler.now;
  }

  async run(ms: number): Promise<void> {
    await this.scheduler.run(this.scheduler.now + ms);
  }

  /** In steps of `everyMs`; false when `done` was not so within `ms`. */
  async until(done: () => boolean, ms: number, everyMs = 1): Promise<boolean> {
    for (const end = this.now + ms; !done() && this.now < end;) await this.run(everyMs);
    return done();
  }

  record(slot: number): SlotRecord {
    return decodeSlotRecord(this.store.get(slotKey(slot))!.value);
  }

  /** By term: the slots whose records name it as owner. */
  owned(term: string): number[] {
    return allSlots().filter((slot) => this.record(slot).owner === term);
  }

  terms(): Map<string, TermRecord> {
    const { entries } = this.store.range(TERM_PREFIX, prefixEnd(TERM_PREFIX), 1_000, false);
    return new Map(entries.map(({ key, value }) => [key.slice(TERM_PREFIX.length), decodeTermRecord(value)]));
  }

  /** Calls `then` within the very write that first makes a slot's record so. */
  atRecord(slot: number, is: (record: SlotRecord) => boolean, then: () => void): void {
    const watcher = (): void => {
      if (!is(this.record(slot))) return;
      this.store.watchers.delete(watcher);
      then();
    };
    this.store.watchers.add(watcher);
  }

  /** What must be so whatever happened: to be called last. */
  check(): void {
    expect(checkStores([this.store], new History(), { honestClocks: false, prompt: false })).toEqual([]);
    this.checkRun();
  }

  /** The same without a look at what is in the store. */
  checkRun(): void {
    expect(this.scheduler.crashes).toEqual([]);
    for (const lane of this.lanes) expect(lane.connection.misuses).toEqual([]);
    const errors = this.heard.filter((message) => message.kind === 'log' && message.level === 'error');
    expect(errors).toEqual([]);
    for (const lane of this.lanes) lane.kill();
  }
}

export class RigLane {
  readonly name: string;
  readonly lane: Lane;
  readonly domain: Domain;
  readonly connection: ModelConnection;
  readonly clock: SimClock;
  readonly counters = new LaneCounters(new SharedArrayBuffer(LaneCounters.bytes(1)), ['s0']);
  /** Slots that it serves by what it said, and the number of its last announcement. */
  readonly served = new Set<number>();
  seen = 0;
  /** As if its process's main thread stood still. */
  mainStands = false;
  private beats = 0;
  /** The final ones, by op id. */
  readonly answers = new Map<number, Said>();
  /** Those that are not final. */
  readonly events: Said[] = [];
  readonly bounced: number[] = [];
  isDead = false;
  progress = 0;
  private readonly hearers = new Map<number, (said: Said) => void>();
  private readonly rig: LaneRig;
  private readonly leases = new Set<string>();
  private readonly answer = new Answer();

  constructor(rig: LaneRig, process: string, random: Random) {
    this.rig = rig;
    this.name = process;
    this.domain = new Domain(process);
    const { connection, clock } = rig.connect(process, this.domain);
    this.connection = connection;
    this.clock = clock;
    this.lane = new Lane({
      lane: 0,
      lanes: 1,
      process: { id: process, address: `${process}:1`, version: 'test' },
      stores: [connection],
      slots: SLOTS,
      clock: clock.for(this.domain),
      keeper: {
        keep: (_, lease) => void this.leases.add(lease),
        drop: (_, lease) => void this.leases.delete(lease),
      },
      counters: this.counters,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      randomHex: (bytes) => random.hex(bytes),
      emit: (message, transfer) => this.hear(structuredClone(message, { transfer: transfer ?? [] })),
      onProgress: () => void this.progress++,
      mainBeats: () => (this.mainStands ? this.beats : ++this.beats),
    });
    this.lane.start();
    this.beat();
  }

  /** Of its living term; '' when it has none. */
  get term(): string {
    for (const [id, { process }] of this.rig.terms()) if (process === this.name) return id;
    return '';
  }

  get announcements(): Ownership[] {
    const { heard } = this.rig;
    return heard.filter(
      (said) => said.by === this && (said.kind === 'owned' || said.kind === 'lost'),
    ) as (Ownership & Heard)[];
  }

  said<K extends LaneMessage['kind']>(kind: K): (Extract<LaneMessage, { readonly kind: K }> & Heard)[] {
    return this.rig.heard.filter((said) => said.by === this && said.kind === kind) as (Extract<
      LaneMessage,
      { readonly kind: K }
    > &
      Heard)[];
  }

  /** Hands ops over in one batch, as a front that had heard up to `seen`; returns their ids. */
  send(ops: readonly SlotOp[], seen = this.seen): number[] {
    const ids: number[] = [];
    const records: Op[] = ops.map((words) => {
      const op = opOfWords(words);
      op.id = ++lastId;
      op.connection = words.connection ?? 1;
      op.receivedAt = this.clock.now();
      ids.push(op.id);
      return op;
    });
    const size = records.reduce((sum, op) => sum + recordBytes(op), 0);
    const batch = new BatchBytes(new ArrayBuffer(size));
    for (const op of records) writeRecord(batch, op);
    this.lane.submit(batch.bytes.buffer as ArrayBuffer, batch.length, seen);
    return ids;
  }

  /** Every answer to the op `id` is shown to `hear`. */
  hearOf(id: number, hear: (said: Said) => void): void {
    this.hearers.set(id, hear);
  }

  /** Sends one op and waits for its answer. */
  async ask(op: SlotOp): Promise<Said> {
    const [id] = this.send([op]);
    const answered = await this.rig.until(() => this.answers.has(id), 2 * REQUEST_TIMEOUT_MS, 0.5);
    expect(answered, `${op.kind} ${op.name} at ${this.name} was not answered`).toBe(true);
    return this.answers.get(id)!;
  }

  /** kill -9; its lease goes on until it ends by itself. */
  kill(): void {
    this.isDead = true;
    this.lane.kill();
    this.domain.kill();
    this.leases.clear();
  }

  /** kill -9, and its lease ends at once. */
  killWithLease(): void {
    const leases = [...this.leases];
    this.kill();
    this.endLeases(leases);
  }

  endLeases(leases: Iterable<string> = [...this.leases]): void {
    for (const lease of leases) this.rig.store.endLease(lease, 'test');
  }

  /** Another thread keeps leases alive: also while this one stands still. */
  private beat(): void {
    this.rig.scheduler.after(LIMITS.leaseTtlMs / 4, `${this.name} keeps its lease`, () => {
      for (const lease of this.leases) this.rig.store.keepAlive(lease);
      this.beat();
    });
  }

  private hear(message: LaneMessage): void {
    this.rig.heard.push({ ...message, by: this, at: this.rig.now });
    if (message.kind === 'owned' || message.kind === 'lost') {
      expect(message.announcement).toBe(this.seen + 1);
      this.seen = message.announcement;
      for (const slot of message.slots) {
        expect(this.served.has(slot), `${message.kind} slot ${slot}`).toBe(message.kind === 'lost');
        if (message.kind === 'owned') this.served.add(slot);
        else this.served.delete(slot);
      }
    } else if (message.kind === 'bounced') {
      this.readBounced(message.buffer, message.length);
    } else if (message.kind === 'answers') {
      this.readAnswers(message.buffer, message.length);
    }
  }

  private readBounced(buffer: ArrayBuffer, length: number): void {
    const batch = new BatchBytes(buffer, length);
    const op = new Op();
    for (let at = 0; at < length;) {
      at = readRecord(batch, at, op);
      expect(this.answers.has(op.id)).toBe(false);
      this.bounced.push(op.id);
    }
  }

  private readAnswers(buffer: ArrayBuffer, length: number): void {
    const bytes = { bytes: new Uint8Array(buffer), view: new DataView(buffer), length };
    for (let at = 0; at < length;) {
      const connection = bytes.view.getUint32(at, true);
      const end = at + 8 + bytes.view.getUint32(at + 4, true);
      at += 8;
      while (at < end) {
        at = readAnswer(bytes, at, this.answer);
        const said = saidOf(bytes, this.answer, connection, this.rig.now);
        expect(this.answers.has(said.id), `an answer to op ${said.id} after its last one`).toBe(false);
        if (said.status < FINAL_STATUS_MIN) this.events.push(said);
        else this.answers.set(said.id, said);
        this.hearers.get(said.id)?.(said);
      }
    }
  }
}

/** Other bounds for the rest of the test. */
export function setLimits(bounds: Partial<Record<keyof typeof LIMITS, number>>): void {
  const limits = LIMITS as Record<keyof typeof LIMITS, number>;
  const before = { ...LIMITS };
  Object.assign(limits, bounds);
  onTestFinished(() => void Object.assign(limits, before));
}

export function allSlots(): number[] {
  return Array.from({ length: SLOTS }, (_, slot) => slot);
}

export function acquire(slot: number, token: string, more: Partial<LaneOp> = {}): SlotOp {
  return { kind: 'acquire', slot, name: `lock ${slot}`, token, ttlMs: 30_000, ...more };
}
