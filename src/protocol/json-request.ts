/**
 * JSON requests, of HTTP bodies, batch items and WebSocket frames alike,
 * checked by hand and put into an `Op`: on the way of every JSON request, and
 * what is wrong must be pointed at (`errors` of API.md).
 *
 * What the contract has but this version has not yet is refused as such.
 */
import type { Problem } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, MODE_NAMES, Op, OpFlag } from '../op.ts';
import { makeToken } from './token.ts';
import {
  checkMetadata,
  checkName,
  checkOwner,
  checkToken,
  checkTtl,
  packToken,
  tokenText,
  TTL_ALLOWED,
  UUID_BYTES,
} from './words.ts';

export const NOT_YET = 'not supported by this version yet';

/** What the answer of a JSON request needs beside the lane's. */
export interface JsonRequest {
  readonly kind: number;
  /** The lock's name as a JSON string, quotes included. */
  readonly quotedName: string;
  /** '' for ops without one. */
  readonly lockToken: string;
}

export type Fields = Readonly<Record<string, unknown>>;

/** Where a field may stand: a sum of these. */
export const Place = { body: 1, item: 2 } as const;

const A = 1 << Kind.acquire;
const R = 1 << Kind.renew;
const L = 1 << Kind.release;
const G = 1 << Kind.get;
const V = 1 << Kind.verify;

/** Fields by the ops that have them. In HTTP bodies name and token come from path and header instead. */
const FIELD_OPS: Readonly<Record<string, number>> = {
  ttlMs: A | R,
  metadata: A | R,
  owner: A,
  mode: A,
  limit: A,
  waitMs: A,
  sessionId: A,
  lockDelayMs: A,
  lockToken: A | V,
  fencingToken: V,
};
const ITEM_FIELD_OPS: Readonly<Record<string, number>> = {
  ...FIELD_OPS,
  name: A | R | L | G | V,
  lockToken: A | R | L | V,
  consistency: G,
};

export const JSON_OPS: ReadonlyMap<string, number> = new Map([
  ['acquire', Kind.acquire],
  ['renew', Kind.renew],
  ['release', Kind.release],
  ['get', Kind.get],
  ['verify', Kind.verify],
]);

const PROBLEMS_MAX = 32;
/** A name, a token, an owner and metadata at their largest, each checked before it is kept; and one that is not. */
const SCRATCH_BYTES = 8_192;

/** Fills one reused Op; `problems` is empty when it is whole. */
export class OpBuilder {
  readonly op = new Op();
  problems: Problem[] = [];
  quotedName = '';
  lockToken = '';
  private readonly bytes = Buffer.alloc(SCRATCH_BYTES);
  private length = 0;
  private pointer = '';
  /** Problems there were when this op began. */
  private before = 0;

  /** Begins an op; `pointer` is the JSON pointer of the object its fields come from. Keeps earlier problems. */
  begin(kind: number, pointer: string): void {
    const { op } = this;
    op.bytes = this.bytes;
    op.kind = kind;
    op.flags = kind === Kind.acquire || kind === Kind.renew ? OpFlag.full : 0;
    op.ttlMs = 0;
    op.fencingToken = 0;
    op.keyLength = 0;
    op.tokenLength = 0;
    op.ownerLength = 0;
    op.metadataLength = 0;
    this.quotedName = '';
    this.lockToken = '';
    this.length = 0;
    this.pointer = pointer;
    this.before = this.problems.length;
  }

  clear(): void {
    if (this.problems.length > 0) this.problems = [];
  }

  /** A name that is bytes already (of a path). */
  nameBytes(name: Uint8Array, pointer: string): void {
    const wrong = checkName(name, 0, name.length);
    if (wrong !== '') {
      this.problem(pointer, wrong);
      return;
    }
    const { op } = this;
    op.keyAt = this.length;
    op.keyLength = name.length;
    this.bytes.set(name, this.length);
    this.length += name.length;
    this.quotedName = JSON.stringify(this.bytes.toString('utf8', op.keyAt, this.length));
  }

  /** A lock token from elsewhere than a field, as `pointer` says. */
  token(value: unknown, pointer: string): void {
    const wrong = this.takeToken(value);
    if (wrong !== '') this.problem(pointer, wrong);
  }

  /** Takes all fields of `fields`; `skip` are those that the caller has read. */
  fields(fields: Fields, place: number, skip: readonly string[]): void {
    const allowed = place === Place.body ? FIELD_OPS : ITEM_FIELD_OPS;
    const bit = 1 << this.op.kind;
    for (const field of Object.keys(fields)) {
      if (skip.includes(field)) continue;
      const ops = Object.hasOwn(allowed, field) ? allowed[field] : 0;
      if ((ops & bit) === 0) this.problem(this.at(field), 'unknown field');
      else this.field(field, fields[field]);
    }
  }

  /** The last step: what must be there, and what the server adds. */
  end(): void {
    const { op } = this;
    if (this.problems.length > this.before) return;
    if (op.keyLength === 0) this.problem(this.at('name'), 'missing: the name of the lock');
    if (op.kind === Kind.verify) {
      if ((op.fencingToken !== 0) === (op.tokenLength !== 0)) {
        this.problem(this.at('fencingToken'), 'either fencingToken or lockToken, and not both');
      }
    } else if (op.kind === Kind.acquire) {
      if (op.tokenLength === 0) this.giveToken();
    } else if (op.kind !== Kind.get && op.tokenLength === 0) {
      this.problem(this.at('lockToken'), 'missing: the lock token of the claim');
    }
  }

  /** What has to be kept for the answer. */
  request(): JsonRequest {
    return { kind: this.op.kind, quotedName: this.quotedName, lockToken: this.lockToken };
  }

  problem(pointer: string, detail: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push({ pointer, detail });
  }

  private field(field: string, value: unknown): void {
    switch (field) {
      case 'name':
        return this.name(value);
      case 'lockToken':
        return this.lockTokenField(value);
      case 'ttlMs':
        return this.ttl(value);
      case 'owner':
        return this.owner(value);
      case 'metadata':
        return this.metadata(value);
      case 'fencingToken':
        return this.fencingToken(value);
      case 'consistency':
        if (value !== 'strong' && value !== 'cached') this.problem(this.at(field), 'strong or cached');
        return;
      default:
        return this.later(field, value);
    }
  }

  private lockTokenField(value: unknown): void {
    const wrong = this.takeToken(value);
    if (wrong !== '') this.problem(this.at('lockToken'), wrong);
  }

  /** Returns what is wrong with it, or ''. */
  private takeToken(value: unknown): string {
    const at = this.length;
    const length = this.put(value, LIMITS.tokenBytesMax);
    const packed = length < 0 ? -1 : packToken(this.bytes, at, length);
    // Sixteen characters are not a UUID's sixteen bytes.
    const wrong = checkToken(this.bytes, at, length === UUID_BYTES ? -1 : packed);
    if (wrong !== '') return wrong;
    this.op.tokenAt = at;
    this.op.tokenLength = packed;
    this.lockToken = value as string;
    return '';
  }

  private name(value: unknown): void {
    const at = this.length;
    const length = this.put(value, LIMITS.nameBytesMax);
    const wrong = length < 0 ? checkName(this.bytes, 0, 0) : checkName(this.bytes, at, length);
    if (wrong !== '') {
      this.problem(this.at('name'), wrong);
      return;
    }
    this.op.keyAt = at;
    this.op.keyLength = length;
    this.quotedName = JSON.stringify(value);
  }

  private ttl(value: unknown): void {
    if (typeof value !== 'number' || checkTtl(value) !== '') this.problem(this.at('ttlMs'), TTL_ALLOWED);
    else this.op.ttlMs = value;
  }

  private owner(value: unknown): void {
    const at = this.length;
    const length = this.put(value, LIMITS.ownerBytesMax);
    const wrong = checkOwner(this.bytes, at, length < 0 ? LIMITS.ownerBytesMax + 1 : length);
    if (wrong !== '') {
      this.problem(this.at('owner'), wrong);
      return;
    }
    this.op.ownerAt = at;
    this.op.ownerLength = length;
  }

  private metadata(value: unknown): void {
    const at = this.length;
    const length = this.put(objectText(value), LIMITS.metadataBytesMax);
    const wrong = checkMetadata(this.bytes, at, length < 0 ? LIMITS.metadataBytesMax + 1 : length);
    if (wrong !== '') {
      this.problem(this.at('metadata'), wrong);
      return;
    }
    this.op.metadataAt = at;
    this.op.metadataLength = length;
  }

  private fencingToken(value: unknown): void {
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      this.problem(this.at('fencingToken'), 'an integer from 1 to 2^53 - 1');
      return;
    }
    this.op.fencingToken = value as number;
  }

  /** Fields of the contract that this version takes only with the value that changes nothing. */
  private later(field: string, value: unknown): void {
    const pointer = this.at(field);
    if (field === 'mode') {
      if (typeof value !== 'string' || !(MODE_NAMES as readonly string[]).includes(value)) {
        this.problem(pointer, `one of ${MODE_NAMES.join(', ')}`);
      } else if (value !== 'exclusive') this.problem(pointer, `mode ${value} is ${NOT_YET}`);
    } else if (field === 'waitMs' || field === 'lockDelayMs') {
      if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > LIMITS.waitMsMax) {
        this.problem(pointer, `${field} is an integer from 0 to ${LIMITS.waitMsMax}`);
      } else if (value !== 0) this.problem(pointer, `${field} above 0 is ${NOT_YET}`);
    } else {
      this.problem(pointer, `${field} is ${NOT_YET}`);
    }
  }

  private giveToken(): void {
    const { op } = this;
    op.tokenAt = this.length;
    op.tokenLength = UUID_BYTES;
    makeToken(this.bytes, this.length);
    this.lockToken = tokenText(this.bytes, this.length, UUID_BYTES);
    this.length += UUID_BYTES;
  }

  /** Appends a text; its bytes, or -1: no string, longer than `bytesMax`, or with half a surrogate pair. */
  private put(value: unknown, bytesMax: number): number {
    if (typeof value !== 'string' || value.length > bytesMax) return -1;
    const written = this.bytes.write(value, this.length, 'utf8');
    if (written > bytesMax || (written !== value.length && /\p{Surrogate}/u.test(value))) return -1;
    this.length += written;
    return written;
  }

  private at(field: string): string {
    return `${this.pointer}/${escapePointer(field)}`;
  }
}

/** Undefined for anything but an object, and for one nested so deep that it can't be small. */
function objectText(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}

/** RFC 6901; what a client put into a field's name comes back shortened. */
export function escapePointer(field: string): string {
  return field.slice(0, 64).replaceAll('~', '~0').replaceAll('/', '~1');
}
