/** An op as a client sends it and what it reads in the answer, and how both lie in the bytes of src/. */
import { Buffer } from 'node:buffer';
import { CODES, codeOfWire, type ErrorCode } from '../../src/errors.ts';
import { Kind, Mode, type Op, OpFlag, SESSION_KEY } from '../../src/op.ts';
import { Answer, type AnswerBytes, readAnswer, readPlace, Section } from '../../src/protocol/answer.ts';
import type { OpName, SessionOpName, Shown, Wish } from './history.ts';

export interface Request extends Wish {
  readonly op: OpName | SessionOpName;
  /** Of the lock; '' where a session is meant. */
  readonly name: string;
  readonly token: string;
  readonly owner: string;
  readonly fencingToken: number;
  /** 0: the default. */
  readonly ttlMs: number;
  readonly flags: number;
  /** JSON text, '' for none. */
  readonly metadata: string;
}

export interface Reply {
  readonly status: number;
  readonly code: ErrorCode | '';
  /** It tells of a claim that its client holds. */
  readonly isClaim: boolean;
  readonly fencingToken: number;
  readonly waitedMs: number;
  readonly expiresInMs: number;
  readonly yes: boolean;
  readonly holders: readonly Shown[];
  /** Place in the queue; of a force: claims that it ended. */
  readonly queueLength: number;
}

const KINDS: Readonly<Record<OpName | SessionOpName, number>> = {
  acquire: Kind.acquire,
  renew: Kind.renew,
  release: Kind.release,
  get: Kind.get,
  verify: Kind.verify,
  force: Kind.force,
  open: Kind.sessionOpen,
  keepalive: Kind.sessionRenew,
  end: Kind.sessionEnd,
};
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const answer = new Answer();

/** All of the op that the client says. */
export function fillOp(op: Op, request: Request): void {
  const session = tokenBytes(request.session);
  const isLock = request.name !== '';
  const key = isLock ? Buffer.from(request.name) : Buffer.from([SESSION_KEY, ...session]);
  const token = tokenBytes(request.token);
  const owner = Buffer.from(request.op === 'acquire' ? request.owner : '');
  const metadata = Buffer.from(request.metadata);
  op.makePlain();
  op.bytes = Buffer.concat([key, token, owner, metadata, session]);
  op.kind = KINDS[request.op];
  op.flags = request.flags & OpFlag.full;
  // Only of tokens that a server could have made, and only where one is made.
  if (request.op === 'acquire' && token.length === 16) op.flags |= request.flags & OpFlag.madeToken;
  op.keyAt = 0;
  op.keyLength = key.length;
  op.tokenAt = key.length;
  op.tokenLength = token.length;
  op.ownerAt = op.tokenAt + token.length;
  op.ownerLength = owner.length;
  op.metadataAt = op.ownerAt + owner.length;
  op.metadataLength = metadata.length;
  op.ttlMs = request.ttlMs;
  op.fencingToken = request.fencingToken;
  op.mode = Mode[request.mode];
  op.limit = request.limit;
  op.waitMs = request.waitMs;
  op.lockDelayMs = request.lockDelayMs;
  op.sessionAt = op.metadataAt + metadata.length;
  op.sessionLength = isLock ? session.length : 0;
}

/** The answer at `at`. */
export function readReply(source: AnswerBytes, at: number): Reply {
  readAnswer(source, at, answer);
  const { sections } = answer;
  const holders = readHolders(source);
  const isClaim = (sections & Section.claim) !== 0;
  const timed = (sections & (Section.claim | Section.verdict)) !== 0;
  const code = answer.code === 0 ? '' : (codeOfWire(answer.code) ?? 'internal');
  return {
    status: answer.status,
    code,
    isClaim,
    fencingToken: timed ? answer.fencingToken : 0,
    waitedMs: isClaim ? answer.waitedMs : 0,
    expiresInMs: timed ? answer.expiresInMs : 0,
    yes: (sections & Section.verdict) !== 0 ? answer.current : holders.length > 0,
    holders,
    queueLength: sections & Section.queue ? answer.queueLength : 0,
  };
}

function readHolders(source: AnswerBytes): Shown[] {
  if (answer.sections & Section.holder) return [shown()];
  const holders: Shown[] = [];
  const count = answer.sections & Section.state ? answer.holderCount : 0;
  for (let i = 0, next = answer.placesAt; i < count; i++) {
    next = readPlace(source, next, source.length, answer);
    holders.push(shown());
  }
  return holders;
}

function shown(): Shown {
  const { ownerBytes, ownerAt, ownerLength, fencingToken } = answer;
  return { owner: Buffer.from(ownerBytes.subarray(ownerAt, ownerAt + ownerLength)).toString(), fencingToken };
}

export function refusal(code: ErrorCode): Reply {
  const { status } = CODES[code];
  const times = { fencingToken: 0, waitedMs: 0, expiresInMs: 0 };
  return { status, code, isClaim: false, ...times, yes: false, holders: [], queueLength: 0 };
}

/** A UUID travels as its 16 bytes, any other token as its characters. */
function tokenBytes(token: string): Uint8Array {
  if (!UUID.test(token)) return Buffer.from(token);
  return Buffer.from(token.replaceAll('-', ''), 'hex');
}

/** The bytes that stand for `token` in records and journals, as hex. */
export function tokenHex(token: string): string {
  return Buffer.from(tokenBytes(token)).toString('hex');
}
