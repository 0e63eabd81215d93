/**
 * One process's load: an open model over binary WebSockets. Latency counts
 * from the time an op was meant to be sent, so a stalled server is charged for
 * everything that should have been sent meanwhile.
 *
 * A block (opsPerFrame names, always the same) is in one of these states:
 *   idle ─arrival─► open(step) ─answered─► holding ─due─► open(next step) … ─► idle
 *   open ─connection cut─► recovering (its claims are released) ─► idle
 *
 * While it runs it checks that the fencing token of every name only rises.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { codeOfWire } from '../src/errors.ts';
import { Kind } from '../src/op.ts';
import { ANSWER_HEAD_BYTES } from '../src/protocol/answer.ts';
import { readU64 } from '../src/protocol/bytes.ts';
import { Connection } from './connection.ts';
import { Frames, type FrameSettings } from './frames.ts';
import { Recorder } from './recorder.ts';
import type { LoadResult } from './result.ts';
import { progressLine } from './timeline.ts';
import { WORKLOADS, type LoadSettings, type Step } from './workloads.ts';

/** Beside the kinds of op.ts: releases what a cut connection left. */
const RECOVER = 7;
/** The status that is expected, by kind. */
const EXPECTED = Uint16Array.from([0, 201, 200, 204, 200, 0, 0, 0]);
const NOT_HELD_STATUS = 410;
/** Blocks open at a time while claims are set up or taken down. */
const QUIET_BLOCKS = 64;

export class Generator {
  readonly #settings: LoadSettings;
  readonly #cycle: readonly number[];
  readonly #ops: number;
  readonly #blocks: number;
  readonly #frames: (Frames | undefined)[] = [];
  readonly #connections: Connection[] = [];
  readonly #recorder: Recorder;

  // ---- by block
  readonly #step: Uint8Array;
  readonly #place: Uint8Array;
  readonly #pending: Int32Array;
  readonly #intendedAt: Float64Array;
  // ---- by name
  readonly #fence: Float64Array;
  /** 1: its acquire failed or nobody knows, so its release may find nothing. */
  readonly #doubt: Uint8Array;

  readonly #idle: Ring;
  readonly #holding: Ring;
  #claims = 0;
  #open = 0;
  /** Claims are being set up or taken down: a cut connection ends the run. */
  #quiet = false;
  #opened = 0;
  #onDone: (block: number) => void = () => {};
  #onOpened: () => void = () => {};
  #progress: (line: string) => void = () => {};
  #fallingFences = 0;

  constructor(settings: LoadSettings) {
    this.#settings = settings;
    this.#ops = settings.opsPerFrame;
    this.#blocks = Math.max(1, Math.ceil(settings.names / this.#ops));
    const workload = WORKLOADS[settings.workload];
    this.#cycle = workload.cycle.map((step) => Kind[step]);
    this.#step = new Uint8Array(this.#blocks);
    this.#place = new Uint8Array(this.#blocks);
    this.#pending = new Int32Array(this.#blocks);
    this.#intendedAt = new Float64Array(this.#blocks);
    this.#fence = new Float64Array(this.#blocks * this.#ops);
    this.#doubt = new Uint8Array(this.#blocks * this.#ops);
    this.#idle = new Ring(this.#blocks);
    this.#holding = new Ring(this.#blocks);
    const labels = ['', 'acquire', 'renew', 'release', 'get'];
    const isUsed = (label: string): boolean => workload.cycle.some((step) => step === label);
    this.#recorder = new Recorder(
      {
        ...settings,
        protocol: 'binary',
        labels: labels.map((label) => (isUsed(label) ? label : '')),
      },
      (second) => this.#progress(progressLine(second, this.#open, this.#recorder.failures)),
    );
    this.#fillIdle();
    this.#prepare(new Set<Step>([...workload.before, ...workload.cycle, ...workload.after, 'release']));
  }

  /** Connects, sets claims up, runs the clock, takes claims down. */
  async run(progress: (line: string) => void): Promise<LoadResult> {
    const workload = WORKLOADS[this.#settings.workload];
    this.#progress = progress;
    await this.#connect();
    for (const step of workload.before) await this.#everyBlock(Kind[step]);
    await this.#clock();
    await this.#drain();
    const result = this.#recorder.result(this.#open, {
      twoHolders: 0,
      fallingFences: this.#fallingFences,
      examples: [],
    });
    for (const step of workload.after) await this.#everyBlock(Kind[step]);
    for (const connection of this.#connections) connection.end();
    return result;
  }

  #prepare(steps: Set<Step>): void {
    const shape = {
      blocks: this.#blocks,
      opsPerFrame: this.#ops,
      ttlMs: this.#settings.ttlMs ?? WORKLOADS[this.#settings.workload].ttlMs,
      ...this.#namesOf(this.#blocks * this.#ops),
    };
    for (const step of steps) this.#frames[Kind[step]] = new Frames(step, shape);
    this.#frames[RECOVER] = this.#frames[Kind.release];
    for (let block = 0; block < this.#blocks; block++) {
      const seeds = randomBytes(12 * this.#ops);
      for (let i = 0; i < this.#ops; i++) {
        const seed = seeds.subarray(12 * i, 12 * (i + 1));
        for (const step of steps) this.#frames[Kind[step]]?.setToken(block, i, seed, 0);
      }
    }
  }

  #namesOf(count: number): Pick<FrameSettings, 'nameBytes' | 'nameOf'> {
    const { namesFile, process } = this.#settings;
    if (namesFile === undefined) {
      const prefix = `load-${randomBytes(3).toString('hex')}-${process}-`;
      const nameOf = (index: number): string => prefix + String(index).padStart(7, '0');
      return { nameBytes: prefix.length + 7, nameOf };
    }
    const all = readFileSync(namesFile, 'utf8').trimEnd().split('\n');
    const own = all.slice(process * count, (process + 1) * count);
    const nameBytes = Buffer.byteLength(own[0] ?? '');
    if (own.length < count || own.some((name) => Buffer.byteLength(name) !== nameBytes)) {
      throw new Error(`${namesFile} must have at least ${(process + 1) * count} names, all of one length`);
    }
    return { nameBytes, nameOf: (index) => own[index] };
  }

  async #connect(): Promise<void> {
    const url = new URL(this.#settings.url);
    const count = this.#settings.sockets;
    await new Promise<void>((resolve) => {
      this.#onOpened = resolve;
      for (let i = 0; i < count; i++) {
        const onCut = () => this.#cut(i);
        const onOpen = () => {
          if (++this.#opened === count) this.#onOpened();
        };
        const onAnswers = (view: DataView, at: number, end: number) => this.#answers(view, at, end);
        this.#connections.push(new Connection(url, { onAnswers, onOpen, onCut }));
      }
    });
  }

  #send(block: number, step: number, intendedAt: number): void {
    if (step === Kind.acquire) this.#freshTokens(block);
    this.#step[block] = step;
    this.#pending[block] = this.#ops;
    this.#intendedAt[block] = intendedAt;
    this.#open += this.#ops;
    this.#connections[block % this.#connections.length].send(this.#frames[step]!.of(block));
  }

  #freshTokens(block: number): void {
    const claim = ++this.#claims;
    for (const frames of this.#frames) frames?.countTokens(block, this.#ops, claim);
  }

  /** Hot: no object, no closure; a run of answers of one block is recorded once. */
  #answers(view: DataView, at: number, end: number): void {
    const now = performance.now();
    const ops = this.#ops;
    let block = -1;
    let good = 0;
    while (at < end) {
      const id = view.getUint32(at + 4, true);
      const of = (id / ops) | 0;
      if (of !== block) {
        if (block >= 0) this.#answered(block, good, now);
        block = of;
        good = 0;
      }
      if (this.#check(view, at, id, this.#step[of])) good++;
      if (--this.#pending[of] === 0) {
        this.#answered(of, good, now);
        block = -1;
        this.#done(of, now);
      }
      this.#open--;
      at += view.getUint32(at, true);
    }
    if (block >= 0) this.#answered(block, good, now);
  }

  #answered(block: number, good: number, now: number): void {
    if (good > 0) this.#recorder.answered(this.#step[block], this.#intendedAt[block], now, good);
  }

  /** Whether the answer is the one that was expected. */
  #check(view: DataView, at: number, id: number, step: number): boolean {
    const status = view.getUint16(at + 8, true);
    if (status !== EXPECTED[step]) return this.#unexpected(view, at, id, step, status);
    if (step === Kind.acquire) {
      const fence = readU64(view, at + ANSWER_HEAD_BYTES);
      if (fence <= this.#fence[id]) this.#fallingFences++;
      this.#fence[id] = fence;
      this.#doubt[id] = 0;
    }
    return true;
  }

  #unexpected(view: DataView, at: number, id: number, step: number, status: number): boolean {
    if (step === RECOVER) return false;
    if (step === Kind.acquire) this.#doubt[id] = 1;
    if (status === NOT_HELD_STATUS && this.#doubt[id] === 1) return false;
    this.#recorder.failed(codeOfWire(view.getUint8(at + 10)) ?? `status ${status}`);
    return false;
  }

  #done(block: number, now: number): void {
    if (this.#step[block] === RECOVER) {
      this.#place[block] = 0;
      this.#step[block] = 0;
      this.#idle.push(block);
    } else {
      this.#onDone(block);
      if (this.#settings.holdMs === 0) this.#sendHeld(now);
    }
  }

  /** In the cycle: on to the next step, or idle. */
  #advance(block: number): void {
    const place = this.#place[block] + 1;
    if (place < this.#cycle.length) {
      this.#place[block] = place;
      this.#intendedAt[block] = performance.now() + this.#settings.holdMs;
      this.#holding.push(block);
    } else {
      this.#place[block] = 0;
      this.#idle.push(block);
    }
  }

  #sendHeld(now: number): void {
    for (let block = this.#holding.peek(); block >= 0; block = this.#holding.peek()) {
      const due = this.#intendedAt[block];
      if (due > now && this.#settings.holdMs > 0) return;
      this.#holding.shift();
      this.#recorder.offered(due, this.#ops);
      this.#send(block, this.#cycle[this.#place[block]], due);
    }
  }

  /** The measured time: arrivals by the clock. */
  #clock(): Promise<void> {
    const { rate, seconds, warmupSeconds } = this.#settings;
    const everyMs = (this.#ops * 1000 * this.#cycle.length) / rate;
    const startAt = performance.now() + 20;
    const arrivals = Math.round(((warmupSeconds + seconds) * 1000) / everyMs);
    const measuredAt = startAt + warmupSeconds * 1000;
    const endAt = measuredAt + seconds * 1000;
    this.#recorder.start(startAt, measuredAt, endAt);
    this.#onDone = (block) => this.#advance(block);
    let arrived = 0;
    const nextAt = (): number => startAt + arrived * everyMs;
    // What was due while every client waited for the server was not late because of the driver.
    let starvedAt = -Infinity;
    return new Promise((resolve) => {
      const tick = (): void => {
        const now = performance.now();
        this.#recorder.turn(now);
        for (; arrived < arrivals && nextAt() <= now && this.#idle.size > 0; arrived++) {
          this.#recorder.arrival(nextAt(), now, this.#ops, nextAt() > starvedAt);
          this.#send(this.#idle.shift(), this.#cycle[0], nextAt());
        }
        if (this.#idle.size === 0) starvedAt = now;
        this.#sendHeld(now);
        for (const connection of this.#connections) connection.flush();
        if (now < endAt) setTimeout(tick, 1);
        else {
          for (; arrived < arrivals; arrived++) this.#recorder.unsent(nextAt(), this.#ops);
          resolve();
        }
      };
      tick();
    });
  }

  async #drain(): Promise<void> {
    const until = performance.now() + this.#settings.drainSeconds * 1000;
    while (this.#open + this.#holding.size > 0 && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      this.#sendHeld(performance.now());
      for (const connection of this.#connections) connection.flush();
    }
  }

  /** One step over every block, a few blocks at a time; nothing of it is measured. */
  async #everyBlock(step: number): Promise<void> {
    this.#recorder.pause();
    this.#quiet = true;
    await new Promise<void>((resolve) => {
      let next = 0;
      let left = this.#pending.reduce((count, pending) => count + (pending > 0 ? 0 : 1), 0);
      const more = (): void => {
        while (next < this.#blocks && this.#pending[next] > 0) next++;
        if (next < this.#blocks) this.#send(next++, step, 0);
      };
      this.#onDone = () => {
        more();
        if (--left === 0) resolve();
      };
      for (let i = 0; i < QUIET_BLOCKS; i++) more();
      for (const connection of this.#connections) connection.flush();
    });
    this.#quiet = false;
    this.#fillIdle();
  }

  #fillIdle(): void {
    this.#idle.clear();
    for (let block = 0; block < this.#blocks; block++) this.#idle.push(block);
  }

  #cut(connection: number): void {
    if (this.#quiet) throw new Error('a connection was cut while claims were set up or taken down');
    for (let block = connection; block < this.#blocks; block += this.#connections.length) {
      const lost = this.#pending[block];
      if (lost === 0) continue;
      if (this.#step[block] !== RECOVER) this.#recorder.cut(this.#intendedAt[block], lost);
      this.#open -= lost;
      this.#send(block, RECOVER, performance.now());
    }
  }
}

/** A queue of block numbers; each block is in it at most once. */
class Ring {
  readonly #blocks: Int32Array;
  #first = 0;
  size = 0;

  constructor(blocks: number) {
    this.#blocks = new Int32Array(blocks);
  }

  push(block: number): void {
    this.#blocks[(this.#first + this.size++) % this.#blocks.length] = block;
  }

  peek(): number {
    return this.size === 0 ? -1 : this.#blocks[this.#first];
  }

  shift(): number {
    const block = this.peek();
    this.#first = (this.#first + 1) % this.#blocks.length;
    this.size--;
    return block;
  }

  clear(): void {
    this.size = 0;
  }
}
