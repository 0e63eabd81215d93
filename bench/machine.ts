/**
 * What the machine alone can do, on one core and without any I/O: ops a second
 * by kind, and memory a claim.
 *
 *   npx tsc -p tsconfig.bench.json && node --expose-gc build/bench/machine.js [claims] [slots]
 */
import { pathToFileURL } from 'node:url';
import { Arena, SLOTS_AN_ARENA } from '../src/lock/arena.ts';
import { EFFECT_BYTES_MAX, EffectWriter } from '../src/lock/effects.ts';
import { apply, expire, Outcome } from '../src/lock/machine.ts';
import { Slot } from '../src/lock/slot.ts';
import { Wheel } from '../src/lock/wheel.ts';
import type { Witness } from '../src/lock/witness.ts';
import { Kind, Op } from '../src/op.ts';

const KEY_BYTES = 16;
const TOKEN_BYTES = 16;
const TTL_MS = 30_000;
const ENTRY_BYTES = 900 * 1024;
/** Ops a round trip of the model: the times of its grants start then. */
const ROUND_OPS = 512;
const BATCHES = 101;

/** Nobody waits here, and nobody listens. */
export const DEAF: Witness = {
  granted() {},
  refused() {},
  lost() {},
  contended() {},
  changed() {},
  begins() {},
  due() {},
};

export interface MachineReport {
  readonly claims: number;
  readonly slots: number;
  readonly acquireNs: number;
  readonly pairNs: number;
  readonly renewNs: number;
  readonly getNs: number;
  readonly expireNs: number;
  /** Effects of one acquire and one release of the pairs. */
  readonly pairJournalBytes: number;
  /** Beside the name: RSS, and bytes of ArrayBuffers; the wheel's entry included. */
  readonly rssPerClaim: number;
  readonly buffersPerClaim: number;
  readonly maxPauseMs: number;
}

/** All slots and their claims, driven as a lane drives them. */
class Bed {
  readonly slots: Slot[];
  readonly wheel = new Wheel(0);
  readonly op = new Op();
  readonly out = new Outcome();
  readonly effects = new EffectWriter(ENTRY_BYTES, 0);
  now = 1_000;
  journalBytes = 0;
  private readonly keys = new DataView(new ArrayBuffer(KEY_BYTES + TOKEN_BYTES));
  private readonly rounds: { slot: number; row: number; fencingToken: number }[] = [];
  private inRound = 0;

  constructor(slots: number) {
    let arena = new Arena();
    this.slots = Array.from({ length: slots }, (_, number) => {
      if (number % SLOTS_AN_ARENA === 0) arena = new Arena();
      return new Slot(number, 16_000, arena);
    });
    for (let i = 0; i < ROUND_OPS; i++) this.rounds.push({ slot: 0, row: 0, fencingToken: 0 });
    this.op.bytes = new Uint8Array(this.keys.buffer);
    this.op.keyLength = KEY_BYTES;
    this.op.tokenAt = KEY_BYTES;
    this.op.tokenLength = TOKEN_BYTES;
    this.op.ttlMs = TTL_MS;
  }

  /** One op on lock `i`, by its holder number `turn`. */
  run(kind: Kind, i: number, turn: number): void {
    const { keys, op, out } = this;
    const hash = spread(i);
    keys.setUint32(0, i, true);
    keys.setUint32(8, hash, true);
    keys.setUint32(KEY_BYTES, spread(i ^ 0x5bd1e995), true);
    keys.setUint32(KEY_BYTES + 4, spread(turn + 77), true);
    op.kind = kind;
    op.hash = hash;
    op.slot = hash % this.slots.length;
    apply(this.slots[op.slot], op, this.now, this.effects, out, DEAF);
    if (out.code !== 0) throw new Error(`op ${kind} on lock ${i}: code ${out.code}`);
    if (out.armable) {
      const place = this.rounds[this.inRound++];
      place.slot = op.slot;
      place.row = out.row;
      place.fencingToken = out.fencingToken;
      if (this.inRound === ROUND_OPS) this.endRound();
    }
    if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
  }

  endRound(): void {
    this.now += 1;
    for (let i = 0; i < this.inRound; i++) {
      const { slot, row, fencingToken } = this.rounds[i];
      const { claims } = this.slots[slot];
      const freeAt = this.now + TTL_MS + 25;
      if (!claims.arm(row, fencingToken, this.now + TTL_MS, freeAt)) continue;
      if (claims.timerAt(row) > 0 && claims.timerAt(row) <= freeAt) continue;
      claims.setTimerAt(row, freeAt);
      this.wheel.schedule(Math.floor(slot / SLOTS_AN_ARENA), row, freeAt);
    }
    this.inRound = 0;
  }

  /** Lets the wheel fire what is due; true when more is. */
  tick(budget: number): boolean {
    const more = this.wheel.advance(this.now, budget, (table, row) => {
      const { arena } = this.slots[table * SLOTS_AN_ARENA].claims;
      if (arena.timerAt(row)! > this.now) return;
      arena.setTimerAt(row, 0);
      const slot = this.slots[table * SLOTS_AN_ARENA + arena.tableOf(row)];
      const again = expire(slot, row, this.now, this.effects, DEAF);
      if (again > 0 && again < Infinity) this.wheel.schedule(table, row, again);
      if (this.effects.room() < EFFECT_BYTES_MAX) this.seal();
    });
    return more;
  }

  seal(): void {
    this.journalBytes += this.effects.at;
    this.effects.reset();
  }
}

function spread(i: number): number {
  let x = Math.imul(i ^ (i >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** Runs everything once over `claims` locks in `slots` slots. */
export function measureMachine(claims: number, slots: number): MachineReport {
  const bed = new Bed(slots);
  const passes = Math.max(claims, Math.min(2_000_000, claims * 20));
  const before = memory();
  const acquireNs = perOp(claims, (i) => bed.run(Kind.acquire, i, 0));
  bed.endRound();
  const after = memory();
  const getNs = perOp(passes, (i) => bed.run(Kind.get, i % claims, 0));
  const renewNs = perOp(passes, (i) => bed.run(Kind.renew, i % claims, 0));
  bed.seal();
  bed.journalBytes = 0;
  const pairNs = perOp(passes, (i) => {
    const turn = Math.floor(i / claims);
    bed.run(Kind.release, i % claims, turn);
    bed.run(Kind.acquire, i % claims, turn + 1);
  });
  bed.endRound();
  bed.seal();
  const pairJournalBytes = bed.journalBytes / passes;
  bed.now += 2 * TTL_MS;
  const { ns: expireNs, maxPauseMs } = expireAll(bed, claims);
  return {
    claims,
    slots,
    acquireNs,
    pairNs,
    renewNs,
    getNs,
    expireNs,
    pairJournalBytes,
    rssPerClaim: (after.rss - before.rss) / claims - KEY_BYTES,
    buffersPerClaim: (after.buffers - before.buffers) / claims - KEY_BYTES,
    maxPauseMs,
  };
}

/** All claims are over at once: the longest bite of 2,048 entries is what other ops would wait for. */
function expireAll(bed: Bed, claims: number): { ns: number; maxPauseMs: number } {
  let maxPauseMs = 0;
  const started = performance.now();
  for (let more = true; more;) {
    const from = performance.now();
    more = bed.tick(2_048);
    maxPauseMs = Math.max(maxPauseMs, performance.now() - from);
  }
  const left = bed.slots.reduce((sum, slot) => sum + slot.claims.count, 0);
  if (left > 0) throw new Error(`${left} claims outlived their time`);
  return { ns: ((performance.now() - started) * 1e6) / claims, maxPauseMs };
}

/** Median over batches, so that what else the machine does shows less. */
function perOp(count: number, run: (i: number) => void): number {
  const batch = Math.ceil(count / Math.min(count, BATCHES));
  const times: number[] = [];
  for (let from = 0; from < count; from += batch) {
    const to = Math.min(count, from + batch);
    const started = performance.now();
    for (let i = from; i < to; i++) run(i);
    times.push(((performance.now() - started) * 1e6) / (to - from));
  }
  return times.sort((a, b) => a - b)[times.length >>> 1];
}

function memory(): { rss: number; buffers: number } {
  globalThis.gc?.();
  const { rss, arrayBuffers } = process.memoryUsage();
  return { rss, buffers: arrayBuffers };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const report = measureMachine(Number(process.argv[2] ?? 1_000_000), Number(process.argv[3] ?? 4_096));
  for (const [name, value] of Object.entries(report))
    console.log(`${name.padEnd(18)} ${Math.round(value * 100) / 100}`);
}
