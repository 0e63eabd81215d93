/**
 * Which shard should hold a slot, and which lane should work on it: weighted
 * rendezvous hashing. Each candidate draws a number from (slot, its name)
 * alone and the best draw wins, so adding, removing or reweighting one
 * candidate moves only the slots that it wins or loses.
 *
 * The draw is exponential with rate `weight`: −ln(u) / weight, the smallest
 * wins; so each candidate's share is its part of the sum of weights
 * (Schindelhauer and Schomaker, «Weighted distributed hash tables»).
 *
 * All machines must draw alike. `Math.log` is only an approximation that each
 * engine may make in its own way, so the logarithm here is made of + − × ÷,
 * which IEEE 754 and ECMAScript fix to the last bit.
 */
import { hashBytes, type HashKey } from './hash.ts';

export interface Candidate {
  readonly name: string;
  /** ≥ 0; 0 wins nothing. */
  readonly weight: number;
}

/** A plan is no secret and must not depend on the cluster: fixed keys, so that shards, lanes and heirs draw independently. */
const SHARD_DRAW: HashKey = { k0: 0x72616873, k1: 0x64736f74 };
const LANE_DRAW: HashKey = { k0: 0x656e616c, k1: 0x736f7473 };
const HEIR_DRAW: HashKey = { k0: 0x72696568, k1: 0x736f7473 };

/**
 * The name of the shard that should hold the slot. Equal draws go to the name
 * that comes first.
 *
 * @throws RangeError when no shard has a weight above 0
 */
export function shardOf(slot: number, shards: readonly Candidate[]): string {
  return best(slot, shards);
}

/**
 * The term (any set of unique names) that should own the slot: each with the
 * same chance, independent of `shardOf`; undefined when there is none.
 */
export function ownerOf(slot: number, terms: readonly string[]): string | undefined {
  return lowest(slot, terms);
}

/** The one heir of all slots of a term that is over, of the terms that live. */
export function heirOf(term: string, terms: readonly string[]): string | undefined {
  const { written } = encoder.encodeInto(term, scratch);
  return lowest(hashBytes(scratch, 0, written, HEIR_DRAW), terms);
}

/** Equal draws go to the name that comes first. */
function lowest(number: number, names: readonly string[]): string | undefined {
  let winner: string | undefined;
  let smallest = Infinity;
  for (const name of names) {
    const cost = draw(number, name, LANE_DRAW);
    if (cost < smallest || (cost === smallest && name < winner!)) {
      smallest = cost;
      winner = name;
    }
  }
  return winner;
}

function best(slot: number, candidates: readonly Candidate[]): string {
  let winner: string | undefined;
  let smallest = Infinity;
  for (const { name, weight } of candidates) {
    if (!(weight > 0)) continue;
    const cost = draw(slot, name, SHARD_DRAW) / weight;
    if (cost < smallest || (cost === smallest && name < winner!)) {
      smallest = cost;
      winner = name;
    }
  }
  if (winner === undefined) throw new RangeError('no candidate has a weight above 0');
  return winner;
}

const scratch = new Uint8Array(4 + 3 * 64);
const encoder = new TextEncoder();

/** −ln(u), where u is uniform in (0, 1) and depends on slot (32 bits) and name alone. */
function draw(slot: number, name: string, key: HashKey): number {
  if (name.length > 64) throw new RangeError('a candidate has a name of at most 64 characters');
  scratch[0] = slot;
  scratch[1] = slot >>> 8;
  scratch[2] = slot >>> 16;
  scratch[3] = slot >>> 24;
  const { written } = encoder.encodeInto(name, scratch.subarray(4));
  const hash = hashBytes(scratch, 0, 4 + written, key);
  return 32 * LN2 - naturalLog(hash + 0.5);
}

const { LN2 } = Math;

/**
 * ln(x) for x in [0.5, 2^32), to about 1e-15, the same bits everywhere:
 * x = m · 2^e with m in [0.75, 1.5), ln m = 2 · artanh((m − 1) / (m + 1)).
 */
export function naturalLog(x: number): number {
  let mantissa = x;
  let exponent = 0;
  while (mantissa >= 1.5) {
    mantissa /= 2;
    exponent++;
  }
  while (mantissa < 0.75) {
    mantissa *= 2;
    exponent--;
  }
  const s = (mantissa - 1) / (mantissa + 1);
  const square = s * s;
  let sum = 0;
  // |s| ≤ 0.2, so s^25 / 25 is below 2e-19.
  for (let odd = 23; odd >= 1; odd -= 2) sum = sum * square + 1 / odd;
  return exponent * LN2 + 2 * s * sum;
}
