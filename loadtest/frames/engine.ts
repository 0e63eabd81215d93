/**
 * The fast engine: one process's load over binary WebSockets in prepared
 * frames. Latency counts from the time an op was meant to be sent, so a stalled
 * server is charged for everything that should have been sent meanwhile.
 *
 * A block (opsPerFrame names, always the same) is in one of these states:
 *   idle ─arrival─► open(step) ─answered─► holding ─due─► open(next step) … ─► idle
 *   open ─connection cut─► recovering (its claims are released) ─► idle
 *
 * Each part of the workload's mix has blocks of its own, over the same names.
 *
 * While it runs it checks that the fencing token of every name only rises, that
 * a renewal leaves it as it is, and that no read shows two holders. Each lock
 * has one client here, which does one thing at a time: whether two clients
 * believe that they hold a lock is a question for the other engine.
 */
import { randomBytes } from 'node:crypto';
import { Clock, type EngineHooks } from '../clock.ts';
import { codeOfWire } from '../../src/errors.ts';
import { Kind } from '../../src/op.ts';
import { ANSWER_HEAD_BYTES } from '../../src/protocol/answer.ts';
import { readU64 } from '../../src/protocol/bytes.ts';
import { namesOf } from '../names.ts';
import { Recorder } from '../recorder.ts';
import type { LoadResult, Safety } from '../result.ts';
import { Mix, type LoadSettings } from '../settings.ts';
import { Sockets } from '../sockets.ts';
import type { Second } from '../timeline.ts';
import type { CallStep, Part } from '../workload.ts';
import { Frames, type FrameKind } from './frames.ts';
import { Ring } from './ring.ts';

/** Beside the kinds of op.ts: releases what a cut connection left. */
const RECOVER = 7;
/** The status that is expected, by kind. */
const EXPECTED = Uint16Array.from([0, 201, 200, 204, 200, 0, 0, 0]);
const LABELS: readonly string[] = ['', 'acquire', 'renew', 'release', 'get'];
const NOT_HELD_STATUS = 410;
/** In the answer to a get: how many holders the lock has. */
const HOLDERS_AT = ANSWER_HEAD_BYTES + 16;
/** Blocks open at a time while claims are set up or taken down. */
const QUIET_BLOCKS = 64;

/** A step of a cycle: an op, that long after the answers of the one before. */
interface CycleStep {
  readonly kind: number;
  readonly holdMs: number;
  /** Blocks that wait for it. */
  readonly holding: Ring;
}

export class FramesEngine {
  readonly #settings: LoadSettings;
  readonly #parts: readonly Part[];
  readonly #mix: Mix;
  readonly #cycles: readonly (readonly CycleStep[])[];
  readonly #ops: number;
  /** Of one part, and of all. */
  readonly #blocksEach: number;
  readonly #blocks: number;
  /** By part and kind. */
  readonly #frames: (Frames | undefined)[][] = [];
  readonly #sockets: Sockets;
  readonly #recorder: Recorder;
  readonly #clock: Clock;

  // ---- by block
  readonly #step: Uint8Array;
  readonly #place: Uint8Array;
  readonly #pending: Int32Array;
  readonly #intendedAt: Float64Array;
  // ---- by name
  readonly #fence: Float64Array;
  /** 1: its acquire failed or nobody knows, so its release may find nothing. */
  readonly #doubt: Uint8Array;

  /** By part. */
  readonly #idle: readonly Ring[];
  #nextPart = 0;
  #claims = 0;
  #open = 0;
  /** Claims are being set up or taken down: a cut connection ends the run. */
  #quiet = false;
  #onDone: (block: number, now: number) => void = () => {};
  #fallingFences = 0;
  #twoHolders = 0;

  /** @param onSecond hears of each second as it ends, with the ops that are open and the errors so far */
  constructor(settings: LoadSettings, onSecond: (second: Second, open: number, errors: number) => void) {
    this.#settings = settings;
    this.#ops = settings.opsPerFrame;
    this.#parts = settings.workload.parts;
    this.#mix = new Mix(settings.workload);
    this.#blocksEach = Math.max(1, Math.ceil(settings.names / this.#ops));
    this.#blocks = this.#blocksEach * this.#parts.length;
    this.#step = new Uint8Array(this.#blocks);
    this.#place = new Uint8Array(this.#blocks);
    this.#pending = new Int32Array(this.#blocks);
    this.#intendedAt = new Float64Array(this.#blocks);
    this.#fence = new Float64Array(this.#blocks * this.#ops);
    this.#doubt = new Uint8Array(this.#blocks * this.#ops);
    this.#idle = this.#parts.map(() => new Ring(this.#blocksEach));
    this.#cycles = this.#parts.map((part) => this.#cycleOf(part));
    const used = new Set(this.#parts.flatMap((part) => part.cycle.map((step): string => step.call)));
    const labels = LABELS.map((label) => (used.has(label) ? label : ''));
    this.#recorder = new Recorder({ ...settings, workload: settings.workload.name, labels }, (second) =>
      onSecond(second, this.#open, this.#recorder.failures),
    );
    this.#clock = new Clock(settings, this.#recorder, this.#ops);
    this.#sockets = new Sockets(settings.url, 'holdfast.v1.bin', {
      onAnswers: (view, at, end) => this.#answers(view, at, end),
      onCut: (socket) => this.#cut(socket),
    });
    this.#fillIdle();
    for (const [i, part] of this.#parts.entries()) this.#prepare(i, part);
  }

  /** Connects, sets claims up, runs the clock, takes claims down. */
  async run(hooks: EngineHooks): Promise<LoadResult> {
    await this.#sockets.open(this.#settings.sockets);
    for (const [i, part] of this.#parts.entries()) {
      for (const step of part.before) await this.#everyBlock(i, step);
    }
    await this.#measure(await hooks.ready());
    await this.#drain();
    const result = this.#recorder.result(this.#open, this.#safety());
    for (const [i, part] of this.#parts.entries()) {
      for (const step of part.after) await this.#everyBlock(i, step);
    }
    this.#sockets.end();
    return result;
  }

  /** The measured time ends now. */
  stop(): void {
    this.#clock.stop();
  }

  #cycleOf(part: Part): CycleStep[] {
    const cycle: CycleStep[] = [];
    let holdMs = 0;
    for (const step of part.cycle) {
      if (step.call === 'hold') {
        [holdMs] = step.ms;
        continue;
      }
      cycle.push({ kind: Kind[step.call as FrameKind], holdMs, holding: new Ring(this.#blocksEach) });
      holdMs = 0;
    }
    return cycle;
  }

  /** All frames of one part; those of its claims get a token for each name. */
  #prepare(partNumber: number, part: Part): void {
    const blocks = this.#blocksEach;
    const steps = [...part.before, ...part.cycle, ...part.after];
    const calls = steps.filter((step): step is CallStep => step.call !== 'hold');
    const kinds = new Set(calls.map(({ call }) => call as FrameKind));
    if (kinds.has('acquire')) kinds.add('release');
    const shape = {
      blocks,
      opsPerFrame: this.#ops,
      ttlMs: calls.find(({ call }) => call === 'acquire')?.ttlMs ?? 0,
      names: namesOf(this.#settings, blocks * this.#ops),
      firstId: partNumber * blocks * this.#ops,
    };
    const frames: (Frames | undefined)[] = [];
    for (const kind of kinds) frames[Kind[kind]] = new Frames(kind, shape);
    // What a cut connection left is released; where nothing is claimed, a read does as well.
    frames[RECOVER] = frames[Kind.release] ?? frames[Kind.get];
    this.#frames.push(frames);
    for (let block = 0; block < blocks; block++) {
      const seeds = randomBytes(12 * this.#ops);
      for (let i = 0; i < this.#ops; i++) {
        const seed = seeds.subarray(12 * i, 12 * (i + 1));
        for (const kind of kinds) frames[Kind[kind]]?.setToken(block, i, seed, 0);
      }
    }
  }

  #send(block: number, step: number, intendedAt: number): void {
    if (step === Kind.acquire) this.#freshTokens(block);
    this.#step[block] = step;
    this.#pending[block] = this.#ops;
    this.#intendedAt[block] = intendedAt;
    this.#open += this.#ops;
    const part = this.#partOf(block);
    const frame = this.#frames[part][step]!.of(block - part * this.#blocksEach);
    this.#sockets.send(block % this.#sockets.count, frame);
  }

  #freshTokens(block: number): void {
    const claim = ++this.#claims;
    const part = this.#partOf(block);
    const ofPart = block - part * this.#blocksEach;
    for (let kind = 0; kind < RECOVER; kind++) {
      this.#frames[part][kind]?.countTokens(ofPart, this.#ops, claim);
    }
  }

  #partOf(block: number): number {
    return (block / this.#blocksEach) | 0;
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
    } else if (step === Kind.get) {
      if (view.getUint16(at + HOLDERS_AT, true) > 1) this.#twoHolders++;
    } else if (step === Kind.renew) {
      if (readU64(view, at + ANSWER_HEAD_BYTES) !== this.#fence[id]) this.#fallingFences++;
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
    if (this.#step[block] === RECOVER) this.#toIdle(block);
    else this.#onDone(block, now);
  }

  #toIdle(block: number): void {
    this.#place[block] = 0;
    this.#step[block] = 0;
    this.#idle[this.#partOf(block)].push(block);
  }

  /** In the cycle: on to the next step, or idle. */
  #advance(block: number, now: number): void {
    const cycle = this.#cycles[this.#partOf(block)];
    const place = this.#place[block] + 1;
    if (place >= cycle.length) return this.#toIdle(block);
    const { kind, holdMs, holding } = cycle[place];
    this.#place[block] = place;
    if (holdMs === 0) {
      this.#recorder.offered(now, this.#ops);
      this.#send(block, kind, now);
    } else {
      this.#intendedAt[block] = now + holdMs;
      holding.push(block);
    }
  }

  #sendHeld(now: number): void {
    for (const cycle of this.#cycles) {
      for (const { kind, holdMs, holding } of cycle) {
        if (holdMs === 0) continue;
        for (let block = holding.peek(); block >= 0; block = holding.peek()) {
          const dueAt = this.#intendedAt[block];
          if (dueAt > now) break;
          holding.shift();
          this.#recorder.offered(dueAt, this.#ops);
          this.#send(block, kind, dueAt);
        }
      }
    }
  }

  /** The measured time. */
  async #measure(startAt: number): Promise<void> {
    this.#onDone = (block, now) => this.#advance(block, now);
    this.#nextPart = this.#mix.next();
    await this.#clock.run(startAt, {
      hasFree: () => this.#idle[this.#nextPart].size > 0,
      arrive: (dueAt) => {
        this.#recorder.offered(dueAt, this.#ops);
        this.#send(this.#idle[this.#nextPart].shift(), this.#cycles[this.#nextPart][0].kind, dueAt);
        this.#nextPart = this.#mix.next();
      },
      turn: (now) => {
        this.#sendHeld(now);
        this.#sockets.flush();
      },
    });
  }

  async #drain(): Promise<void> {
    const until = performance.now() + this.#settings.drainSeconds * 1000;
    const isHolding = (): boolean =>
      this.#cycles.some((cycle) => cycle.some(({ holding }) => holding.size > 0));
    while ((this.#open > 0 || isHolding()) && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      this.#sendHeld(performance.now());
      this.#sockets.flush();
    }
  }

  #safety(): Safety {
    const examples: string[] = [];
    if (this.#fallingFences > 0) examples.push('a fencing token of a lock was not above the one before it');
    if (this.#twoHolders > 0) examples.push('a read of an exclusive lock showed two holders');
    return { twoHolders: this.#twoHolders, fallingFences: this.#fallingFences, examples };
  }

  /** One step over every block of a part, a few blocks at a time; nothing of it is measured. */
  async #everyBlock(part: number, step: CallStep): Promise<void> {
    this.#recorder.pause();
    this.#quiet = true;
    const first = part * this.#blocksEach;
    const last = first + this.#blocksEach;
    const kind = Kind[step.call as FrameKind];
    await new Promise<void>((resolve) => {
      let next = first;
      let left = this.#pending.subarray(first, last).filter((pending) => pending === 0).length;
      if (left === 0) return resolve();
      const more = (): void => {
        while (next < last && this.#pending[next] > 0) next++;
        if (next < last) this.#send(next++, kind, 0);
      };
      this.#onDone = () => {
        more();
        this.#sockets.flush();
        if (--left === 0) resolve();
      };
      for (let i = 0; i < QUIET_BLOCKS; i++) more();
      this.#sockets.flush();
    });
    this.#quiet = false;
    this.#fillIdle();
  }

  #fillIdle(): void {
    for (const [part, idle] of this.#idle.entries()) {
      idle.clear();
      for (let i = 0; i < this.#blocksEach; i++) idle.push(part * this.#blocksEach + i);
    }
  }

  #cut(socket: number): void {
    if (this.#quiet) throw new Error('a connection was cut while claims were set up or taken down');
    for (let block = socket; block < this.#blocks; block += this.#sockets.count) {
      const lost = this.#pending[block];
      if (lost === 0) continue;
      if (this.#step[block] !== RECOVER) this.#recorder.cut(this.#intendedAt[block], lost);
      this.#open -= lost;
      this.#send(block, RECOVER, performance.now());
    }
  }
}
