/**
 * JSON requests, of HTTP bodies, batch items and WebSocket frames alike,
 * checked by hand and put into an `Op`: on the way of every JSON request, and
 * what is wrong must be pointed at (`errors` of API.md).
 */
import type { Problem } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, Mode, MODE_NAMES, Op, OpFlag, SESSION_KEY } from '../op.ts';
import { ANYBODY, type CallerBytes } from './caller.ts';
import { fieldRefusal, type Fields, type Place } from './json-fields.ts';
import type { KeyedTokens } from './keyed-token.ts';
import { Scratch } from './scratch.ts';
import { makeToken } from './token.ts';
import {
  checkIdempotencyKey,
  checkMetadata,
  checkName,
  checkOwner,
  checkReason,
  checkSessionId,
  checkToken,
  checkTtl,
  isSessionKind,
  readQuotedString,
  tokenText,
  TTL_ALLOWED,
  UUID_BYTES,
} from './words.ts';

/** What the answer of a JSON request needs beside the lane's. */
export interface JsonRequest {
  readonly kind: number;
  /** The lock's name as a JSON string, quotes included; '' for ops on sessions. */
  readonly quotedName: string;
  /** '' for ops without one. Of an acquire: also a token that the front made. */
  readonly lockToken: string;
  /** Of ops on sessions, also an id that the front made; '' for all others. */
  readonly sessionId: string;
}

const PROBLEMS_MAX = 32;

/**
 * Fills one reused Op; `problems` is empty when it is whole.
 *
 *   begin, then what path, headers and query say (nameBytes, session, token,
 *   idempotencyKey, force), then fields, then end
 *
 * Acquires with waitMs and watches stand: it is for the caller to give them an
 * attempt.
 */
export class OpBuilder {
  readonly op = new Op();
  problems: Problem[] = [];
  quotedName = '';
  lockToken = '';
  sessionId = '';
  private readonly scratch = new Scratch();
  private pointer = '';
  private caller: CallerBytes = ANYBODY;
  private idempotencyKeyAt = 0;
  private idempotencyKeyLength = 0;
  private idempotencyKeyPointer = '';
  /** Problems there were when this op began. */
  private before = 0;

  /** Begins an op; `pointer` is the JSON pointer of the object its fields come from. Keeps earlier problems. */
  begin(kind: number, pointer: string, caller: CallerBytes): void {
    const { op } = this;
    op.clear();
    op.bytes = this.scratch.bytes;
    op.kind = kind;
    op.flags = kind === Kind.acquire || kind === Kind.renew ? OpFlag.full : 0;
    this.quotedName = '';
    this.lockToken = '';
    this.sessionId = '';
    this.idempotencyKeyLength = 0;
    this.scratch.length = 0;
    this.pointer = pointer;
    this.caller = caller;
    this.before = this.problems.length;
    op.principalAt = 0;
    op.principalLength = caller.principal.length;
    this.scratch.append(caller.principal);
  }

  clear(): void {
    if (this.problems.length > 0) this.problems = [];
  }

  /** A name that is bytes already (of a path). */
  nameBytes(name: Uint8Array, pointer: string): void {
    const wrong = checkName(name, 0, name.length);
    if (wrong !== '') return this.problem(pointer, wrong);
    const keyAt = this.scratch.length;
    this.scratch.append(this.caller.prefix);
    const at = this.scratch.length;
    this.scratch.append(name);
    this.setKey(keyAt);
    this.quotedName = JSON.stringify(this.scratch.bytes.toString('utf8', at, this.scratch.length));
  }

  /** The lock token, of a field or from elsewhere, as `pointer` says. */
  token(value: unknown, pointer: string): void {
    const at = this.scratch.length;
    const length = this.scratch.putToken(value);
    const wrong = checkToken(this.scratch.bytes, at, length);
    if (wrong !== '') return this.problem(pointer, wrong);
    this.op.tokenAt = at;
    this.op.tokenLength = length;
    this.lockToken = value as string;
  }

  /** The id of the session that an op on sessions is about, of a field or from elsewhere. */
  session(value: unknown, pointer: string): void {
    const keyAt = this.beginSessionKey();
    const at = this.scratch.length;
    const length = this.scratch.putToken(value);
    const wrong = checkSessionId(this.scratch.bytes, at, length);
    if (wrong !== '') return this.problem(pointer, wrong);
    this.sessionId = value as string;
    this.setKey(keyAt);
  }

  /** The value of the header `Idempotency-Key`. */
  idempotencyKeyHeader(value: string): void {
    const key = readQuotedString(value);
    const pointer = 'header/Idempotency-Key';
    if (key === undefined) this.problem(pointer, 'a quoted string: "…"');
    else this.idempotencyKey(key, pointer);
  }

  /** Query parameters of a forced release, of which at least one was given. */
  force(given: ReadonlyMap<string, string>): void {
    if (given.get('force') !== 'true') this.problem('query/force', 'true');
    const at = this.scratch.length;
    const length = this.scratch.put(given.get('reason'), LIMITS.reasonBytesMax);
    const wrong = checkReason(this.scratch.bytes, at, length);
    if (wrong === '') {
      this.op.metadataAt = at;
      this.op.metadataLength = length;
    } else this.problem('query/reason', wrong);
    const fencingToken = given.get('fencingToken');
    if (fencingToken !== undefined) {
      const isNumber = /^[0-9]{1,16}$/.test(fencingToken);
      this.fencingToken(isNumber ? Number(fencingToken) : undefined, 'query/fencingToken');
    }
  }

  /** Takes all fields of `fields`; `skip` are those that the caller has read. */
  fields(fields: Fields, place: Place, skip: readonly string[]): void {
    for (const field of Object.keys(fields)) {
      if (skip.includes(field)) continue;
      const refusal = fieldRefusal(this.op.kind, place, field);
      if (refusal !== '') this.problem(this.at(field), refusal);
      else this.field(field, fields[field]);
    }
  }

  /**
   * The last step: what must be there, what does not go together, and what the
   * server adds.
   * @param keyedTokens what makes tokens of Idempotency-Keys; without it they are refused
   */
  end(keyedTokens?: KeyedTokens): void {
    const { op } = this;
    if (this.problems.length > this.before) return;
    if (isSessionKind(op.kind)) return this.endSession();
    if (op.keyLength === 0) this.problem(this.at('name'), 'missing: the name of the lock');
    else if (op.kind === Kind.acquire) this.endAcquire(keyedTokens);
    else if (op.kind === Kind.verify) {
      if ((op.fencingToken !== 0) === (op.tokenLength !== 0)) {
        this.problem(this.at('fencingToken'), 'either fencingToken or lockToken, and not both');
      }
    } else if ((op.kind === Kind.renew || op.kind === Kind.release) && op.tokenLength === 0) {
      this.problem(this.at('lockToken'), 'missing: the lock token of the claim');
    }
  }

  /** What has to be kept for the answer. */
  request(): JsonRequest {
    const { quotedName, lockToken, sessionId } = this;
    return { kind: this.op.kind, quotedName, lockToken, sessionId };
  }

  problem(pointer: string, detail: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push({ pointer, detail });
  }

  private endAcquire(keyedTokens: KeyedTokens | undefined): void {
    const { op } = this;
    if (op.mode === Mode.semaphore && op.limit === 0) {
      this.problem(this.at('limit'), 'missing: how many may hold the semaphore');
    } else if (op.mode !== Mode.semaphore && op.limit !== 0) {
      this.problem(this.at('limit'), 'only a semaphore has a limit');
    }
    if (op.sessionLength !== 0 && op.ttlMs !== 0) {
      this.problem(this.at('ttlMs'), 'a claim of a session lasts as long as the session');
    }
    if (this.idempotencyKeyLength !== 0) this.useIdempotencyKey(keyedTokens);
    else if (op.tokenLength === 0) this.giveToken();
  }

  private useIdempotencyKey(keyedTokens: KeyedTokens | undefined): void {
    const { op } = this;
    const { bytes } = this.scratch;
    const pointer = this.idempotencyKeyPointer;
    if (op.tokenLength !== 0)
      return this.problem(pointer, 'either lockToken or an Idempotency-Key, and not both');
    if (keyedTokens === undefined) return this.problem(pointer, 'this process takes no Idempotency-Keys');
    const key = bytes.subarray(op.keyAt, op.keyAt + op.keyLength);
    const from = this.idempotencyKeyAt;
    const idempotencyKey = bytes.subarray(from, from + this.idempotencyKeyLength);
    this.takeMade(keyedTokens.token(this.caller.principal, key, idempotencyKey));
    op.flags |= OpFlag.keyed;
  }

  private endSession(): void {
    const { op } = this;
    const isOpen = op.kind === Kind.sessionOpen;
    if (op.keyLength === 0) {
      if (!isOpen) return this.problem(this.at('sessionId'), 'missing: the id of the session');
      const keyAt = this.beginSessionKey();
      makeToken(made, 0);
      this.sessionId = tokenText(made, 0, UUID_BYTES);
      this.scratch.append(made);
      this.setKey(keyAt);
    }
    if (!isOpen) return;
    op.tokenAt = op.keyAt + op.namespaceLength + 1;
    op.tokenLength = op.keyAt + op.keyLength - op.tokenAt;
  }

  private field(field: string, value: unknown): void {
    const pointer = this.at(field);
    switch (field) {
      case 'name':
        return this.name(value, pointer);
      case 'lockToken':
        return this.token(value, pointer);
      case 'sessionId':
        return isSessionKind(this.op.kind)
          ? this.session(value, pointer)
          : this.claimsSession(value, pointer);
      case 'idempotencyKey':
        return this.idempotencyKey(value, pointer);
      case 'ttlMs':
        return this.ttl(value, pointer);
      case 'owner':
        return this.owner(value, pointer);
      case 'metadata':
        return this.metadata(value, pointer);
      case 'fencingToken':
        return this.fencingToken(value, pointer);
      case 'consistency':
        if (value !== 'strong' && value !== 'cached') this.problem(pointer, 'strong or cached');
        return;
      case 'mode':
        return this.mode(value, pointer);
      default:
        return this.number(field as NumberField, value, pointer);
    }
  }

  private mode(value: unknown, pointer: string): void {
    const mode = (MODE_NAMES as readonly unknown[]).indexOf(value);
    if (mode < 0) this.problem(pointer, `one of ${MODE_NAMES.join(', ')}`);
    else this.op.mode = mode;
  }

  private number(field: NumberField, value: unknown, pointer: string): void {
    const [min, max] = NUMBERS[field];
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
      this.problem(pointer, `${field} is an integer from ${min} to ${max}`);
    } else this.op[field] = value as number;
  }

  /** The session that an acquired claim shall hang on. */
  private claimsSession(value: unknown, pointer: string): void {
    const at = this.scratch.length;
    const length = this.scratch.putToken(value);
    const wrong = checkSessionId(this.scratch.bytes, at, length);
    if (wrong !== '') return this.problem(pointer, wrong);
    this.op.sessionAt = at;
    this.op.sessionLength = length;
  }

  private idempotencyKey(value: unknown, pointer: string): void {
    const at = this.scratch.length;
    const length = this.scratch.put(value, LIMITS.idempotencyKeyBytesMax);
    const wrong = checkIdempotencyKey(this.scratch.bytes, at, length);
    if (wrong !== '') return this.problem(pointer, wrong);
    this.idempotencyKeyAt = at;
    this.idempotencyKeyLength = length;
    this.idempotencyKeyPointer = pointer;
  }

  private name(value: unknown, pointer: string): void {
    const keyAt = this.scratch.length;
    this.scratch.append(this.caller.prefix);
    const at = this.scratch.length;
    const length = this.scratch.put(value, LIMITS.nameBytesMax);
    const wrong = checkName(this.scratch.bytes, at, Math.max(0, length));
    if (wrong !== '') return this.problem(pointer, wrong);
    this.setKey(keyAt);
    this.quotedName = JSON.stringify(value);
  }

  private ttl(value: unknown, pointer: string): void {
    if (typeof value !== 'number' || checkTtl(value) !== '') this.problem(pointer, TTL_ALLOWED);
    else this.op.ttlMs = value;
  }

  private owner(value: unknown, pointer: string): void {
    const at = this.scratch.length;
    const length = this.scratch.put(value, LIMITS.ownerBytesMax);
    const wrong = checkOwner(this.scratch.bytes, at, length < 0 ? LIMITS.ownerBytesMax + 1 : length);
    if (wrong !== '') return this.problem(pointer, wrong);
    this.op.ownerAt = at;
    this.op.ownerLength = length;
  }

  private metadata(value: unknown, pointer: string): void {
    const at = this.scratch.length;
    const length = this.scratch.put(objectText(value), LIMITS.metadataBytesMax);
    const wrong = checkMetadata(this.scratch.bytes, at, length < 0 ? LIMITS.metadataBytesMax + 1 : length);
    if (wrong !== '') return this.problem(pointer, wrong);
    this.op.metadataAt = at;
    this.op.metadataLength = length;
  }

  private fencingToken(value: unknown, pointer: string): void {
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      this.problem(pointer, 'an integer from 1 to 2^53 - 1');
    } else this.op.fencingToken = value as number;
  }

  private giveToken(): void {
    makeToken(made, 0);
    this.takeMade(made);
  }

  private takeMade(token: Uint8Array): void {
    const { op } = this;
    op.tokenAt = this.scratch.length;
    op.tokenLength = UUID_BYTES;
    this.scratch.append(token);
    this.lockToken = tokenText(this.scratch.bytes, op.tokenAt, UUID_BYTES);
  }

  private beginSessionKey(): number {
    const keyAt = this.scratch.length;
    this.scratch.append(this.caller.prefix);
    this.scratch.appendByte(SESSION_KEY);
    return keyAt;
  }

  /** All since `keyAt` is the op's key. */
  private setKey(keyAt: number): void {
    const { op } = this;
    op.keyAt = keyAt;
    op.keyLength = this.scratch.length - keyAt;
    op.namespaceLength = this.caller.prefix.length;
  }

  private at(field: string): string {
    return `${this.pointer}/${escapePointer(field)}`;
  }
}

type NumberField = 'limit' | 'waitMs' | 'lockDelayMs';
const NUMBERS: Readonly<Record<NumberField, readonly [number, number]>> = {
  limit: [1, LIMITS.holdersMax],
  waitMs: [0, LIMITS.waitMsMax],
  lockDelayMs: [0, LIMITS.lockDelayMsMax],
};

const made = new Uint8Array(UUID_BYTES);

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
