/** Ops in words, and as they lie in a batch. */
import { BATCH_KEY, Kind, Mode, type MODE_NAMES, Op, OpFlag, SESSION_KEY, STUB_KEY } from '../../src/op.ts';

export const SLOT = 7;
const encoder = new TextEncoder();

export interface OpWords {
  readonly kind: keyof typeof Kind;
  /** Of ops on sessions and batches only its namespace counts. */
  readonly name: string;
  /** Any text; a `uuid:` prefix makes it 16 bytes. So are sessions and batches. */
  readonly token?: string;
  readonly ttlMs?: number;
  readonly owner?: string;
  readonly metadata?: string;
  readonly fencingToken?: number;
  readonly mode?: (typeof MODE_NAMES)[number];
  readonly limit?: number;
  readonly waitMs?: number;
  readonly lockDelayMs?: number;
  readonly session?: string;
  readonly batch?: string;
  readonly principal?: string;
  readonly flags?: readonly (keyof typeof OpFlag)[];
  readonly connection?: number;
  readonly attempt?: number;
  readonly id?: number;
  readonly origin?: number;
  /** Without it: when it is run. */
  readonly receivedAt?: number;
}

/** Few values on purpose: names share hashes, as they may. */
export function hashOf(name: string): number {
  let hash = 0xf0000000;
  for (const char of name) hash = (hash + char.charCodeAt(0)) >>> 0;
  return hash;
}

export function tokenBytes(token: string): Uint8Array {
  if (!token.startsWith('uuid:')) return encoder.encode(token.padEnd(22, '~'));
  const bytes = new Uint8Array(16);
  bytes.set(encoder.encode(token.slice(5)).subarray(0, 16));
  return bytes;
}

function namespaceOf(name: string): string {
  return name.slice(0, name.indexOf('\0') + 1);
}

/** The key that the op is about. */
export function keyOf(words: OpWords): Uint8Array {
  const kind = Kind[words.kind];
  if (kind < Kind.sessionOpen) return encoder.encode(words.name);
  const isStub = kind >= Kind.stubRenew;
  const [mark, id] =
    words.batch === undefined
      ? [isStub ? STUB_KEY : SESSION_KEY, words.session ?? '']
      : [BATCH_KEY, words.batch];
  return Uint8Array.from([...encoder.encode(namespaceOf(words.name)), mark, ...tokenBytes(id)]);
}

const NOTHING = new Uint8Array(0);

/** An op as it would lie in a batch, behind other bytes. */
export function opOf(words: OpWords): Op {
  const op = new Op();
  const isStub = Kind[words.kind] >= Kind.sessionOpen;
  const key = keyOf(words);
  const texts = [
    key,
    words.token === undefined ? NOTHING : tokenBytes(words.token),
    encoder.encode(words.owner ?? ''),
    encoder.encode(words.metadata ?? ''),
    words.session === undefined || isStub ? NOTHING : tokenBytes(words.session),
    encoder.encode(words.principal ?? ''),
    words.batch === undefined || isStub ? NOTHING : tokenBytes(words.batch),
  ];
  op.bytes = Uint8Array.from([1, 2, 3, 4, 5, ...texts.flatMap((text) => [...text])]);
  const at: number[] = [];
  let next = 5;
  for (const text of texts) {
    at.push(next);
    next += text.length;
  }
  [op.keyAt, op.tokenAt, op.ownerAt, op.metadataAt, op.sessionAt, op.principalAt, op.batchAt] = at;
  [op.keyLength, op.tokenLength, op.ownerLength, op.metadataLength] = texts.map((text) => text.length);
  [op.sessionLength, op.principalLength, op.batchLength] = texts.slice(4).map((text) => text.length);
  op.kind = Kind[words.kind];
  op.slot = SLOT;
  op.hash = hashOf(isStub ? Buffer.from(key).toString('latin1') : words.name);
  setNumbers(op, words);
  return op;
}

function setNumbers(op: Op, words: OpWords): void {
  op.ttlMs = words.ttlMs ?? 0;
  op.fencingToken = words.fencingToken ?? 0;
  op.mode = Mode[words.mode ?? 'exclusive'];
  op.limit = words.limit ?? 0;
  op.waitMs = words.waitMs ?? 0;
  op.lockDelayMs = words.lockDelayMs ?? 0;
  op.connection = words.connection ?? 0;
  op.attempt = words.attempt ?? 0;
  op.id = words.id ?? 0;
  op.origin = words.origin ?? 0;
  op.receivedAt = words.receivedAt ?? 0;
  for (const flag of words.flags ?? []) op.flags |= OpFlag[flag];
}
