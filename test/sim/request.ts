/** An op as a client sends it and what it reads in the answer, and how both lie in the bytes of src/. */
import { Buffer } from 'node:buffer';
import { CODES, codeOfWire, type ErrorCode } from '../../src/errors.ts';
import { Kind, type Op, OpFlag } from '../../src/op.ts';
import { type Answer, Section } from '../../src/protocol/answer.ts';
import type { OpName } from './history.ts';

export interface Request {
  readonly op: OpName;
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
  readonly fencingToken: number;
  readonly waitedMs: number;
  readonly expiresInMs: number;
  readonly yes: boolean;
  readonly holder: { readonly owner: string; readonly fencingToken: number } | undefined;
}

const KINDS: Readonly<Record<OpName, number>> = {
  acquire: Kind.acquire,
  renew: Kind.renew,
  release: Kind.release,
  get: Kind.get,
  verify: Kind.verify,
};
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** All of the op that the client says. */
export function fillOp(op: Op, request: Request): void {
  const key = Buffer.from(request.name);
  const token = tokenBytes(request.token);
  const owner = Buffer.from(request.op === 'acquire' ? request.owner : '');
  const metadata = Buffer.from(request.metadata);
  op.bytes = Buffer.concat([key, token, owner, metadata]);
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
}

export function replyOf(answer: Answer): Reply {
  const { sections } = answer;
  const told = sections & (Section.holder | Section.state);
  const held =
    (sections & Section.holder) !== 0 || ((sections & Section.state) !== 0 && answer.holderCount > 0);
  const timed = (sections & (Section.claim | Section.verdict)) !== 0;
  const code = answer.code === 0 ? '' : (codeOfWire(answer.code) ?? 'internal');
  return {
    status: answer.status,
    code,
    fencingToken: timed ? answer.fencingToken : 0,
    waitedMs: answer.waitedMs,
    expiresInMs: answer.expiresInMs,
    yes: (sections & Section.verdict) !== 0 ? answer.current : held,
    holder: told !== 0 && held ? { owner: ownerOf(answer), fencingToken: answer.fencingToken } : undefined,
  };
}

function ownerOf({ ownerBytes, ownerAt, ownerLength }: Answer): string {
  return Buffer.from(ownerBytes.subarray(ownerAt, ownerAt + ownerLength)).toString();
}

export function refusal(code: ErrorCode): Reply {
  const { status } = CODES[code];
  return { status, code, fencingToken: 0, waitedMs: 0, expiresInMs: 0, yes: false, holder: undefined };
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
