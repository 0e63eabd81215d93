/** Binary requests as tests wish for them: arbitrary ones that are right, and any that are not. */
import fc from 'fast-check';
import { Kind, Mode, Op, OpFlag, SESSION_KEY } from '../../src/op.ts';
import { type CallerBytes, ANYBODY } from '../../src/protocol/caller.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { KeyedTokens } from '../../src/protocol/keyed-token.ts';
import { parseRequest, writeRequest } from '../../src/protocol/request.ts';

export interface Wish {
  kind: number;
  id: number;
  flags: number;
  ttlMs: number;
  fencingToken: number;
  name: string;
  token: Uint8Array;
  owner: string;
  /** Of a forced release: the reason. */
  metadata: string;
  mode: number;
  limit: number;
  waitMs: number;
  lockDelayMs: number;
  /** Of ops on sessions: their id. */
  session: Uint8Array;
  idempotencyKey: string;
}

const NOTHING = new Uint8Array();
export const keyedTokens = new KeyedTokens(Buffer.from('a secret'));

export const nameArbitrary = fc
  .string({ minLength: 1, maxLength: 60, unit: 'grapheme' })
  .filter((name) => !/^\.\.?$|\p{Cc}|\p{Surrogate}/u.test(name));
const tokenArbitrary = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.stringMatching(/^[A-Za-z0-9._~-]{22,64}$/).map((text) => new Uint8Array(Buffer.from(text))),
);
const plainText = (maxLength: number, minLength = 0) =>
  fc.string({ minLength, maxLength }).filter((text) => !/\p{Cc}/u.test(text));
const orNothing = fc.oneof(fc.constant(NOTHING), tokenArbitrary);

const anyWish: fc.Arbitrary<Wish> = fc.record({
  kind: fc.constantFrom(
    Kind.acquire,
    Kind.renew,
    Kind.release,
    Kind.get,
    Kind.verify,
    Kind.cancel,
    Kind.watch,
    Kind.force,
    Kind.sessionOpen,
    Kind.sessionRenew,
    Kind.sessionEnd,
    Kind.sessionGet,
  ),
  id: fc.integer({ min: 0, max: 0xffff_fffe }),
  flags: fc.constantFrom(0, OpFlag.full, OpFlag.events, OpFlag.full | OpFlag.events),
  ttlMs: fc.oneof(fc.constant(0), fc.integer({ min: 1_000, max: 86_400_000 })),
  fencingToken: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  name: nameArbitrary,
  token: orNothing,
  owner: plainText(40),
  metadata: fc.constantFrom('', '{}', '{"a":[1,"é"]}'),
  mode: fc.constantFrom(...Object.values(Mode)),
  limit: fc.integer({ min: 1, max: 10_000 }),
  waitMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300_000 })),
  lockDelayMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300_000 })),
  session: orNothing,
  idempotencyKey: fc.oneof(fc.constant(''), plainText(60, 1)),
});

export const wish = anyWish.map(fitting);

/** Fields that this kind does not have are gone, and those that it must have are there. */
function fitting(given: Wish): Wish {
  const { kind } = given;
  const isAcquire = kind === Kind.acquire;
  const isSession = kind >= Kind.sessionOpen;
  const isOpen = kind === Kind.sessionOpen;
  const hasLabels = isAcquire || kind === Kind.renew;
  const byFencing = kind === Kind.verify && given.fencingToken !== 0;
  const mustShow = kind === Kind.renew || kind === Kind.release || (kind === Kind.verify && !byFencing);
  const session = given.session.length === 0 && isSession && !isOpen ? Buffer.alloc(16, 5) : given.session;
  const keyed = isAcquire && given.token.length === 0;
  const shown = given.token.length === 0 && mustShow ? Buffer.alloc(16, 6) : given.token;
  const force = kind === Kind.force;
  const onSession = isAcquire && given.session.length > 0;
  return {
    ...given,
    flags: hasLabels ? given.flags : 0,
    ttlMs: (hasLabels && !onSession) || isOpen ? given.ttlMs : 0,
    fencingToken: byFencing || force ? given.fencingToken : 0,
    name: isSession || kind === Kind.cancel ? '' : given.name,
    token: isAcquire || mustShow ? shown : NOTHING,
    owner: isAcquire || isOpen ? given.owner : '',
    metadata: force ? 'because é' : hasLabels ? given.metadata : '',
    mode: isAcquire ? given.mode : 0,
    limit: isAcquire && given.mode === Mode.semaphore ? given.limit : 0,
    waitMs: isAcquire ? given.waitMs : 0,
    lockDelayMs: isAcquire ? given.lockDelayMs : 0,
    session: isAcquire || isSession ? session : NOTHING,
    idempotencyKey: keyed ? given.idempotencyKey : '',
  };
}

/** Appends the request as a client would; what the wish does not say is 0 and empty. */
export function write(out: GrowingBytes, given: Partial<Wish>): void {
  const { kind = 0, session = NOTHING, token = NOTHING, idempotencyKey = '' } = given;
  const isSession = kind >= Kind.sessionOpen;
  const name = isSession ? Buffer.from([SESSION_KEY, ...session]) : Buffer.from(given.name ?? '');
  const owner = Buffer.from(given.owner ?? '');
  const metadata = Buffer.from(given.metadata ?? '');
  const op = new Op();
  op.kind = kind;
  op.id = given.id ?? 1;
  op.flags = given.flags ?? 0;
  op.ttlMs = given.ttlMs ?? 0;
  op.fencingToken = given.fencingToken ?? 0;
  op.mode = given.mode ?? 0;
  op.limit = given.limit ?? 0;
  op.waitMs = given.waitMs ?? 0;
  op.lockDelayMs = given.lockDelayMs ?? 0;
  op.bytes = Buffer.concat([name, token, owner, metadata, session]);
  op.keyLength = name.length;
  op.tokenAt = name.length;
  op.tokenLength = token.length;
  op.ownerAt = op.tokenAt + token.length;
  op.ownerLength = owner.length;
  op.metadataAt = op.ownerAt + owner.length;
  op.metadataLength = metadata.length;
  op.sessionAt = op.metadataAt + metadata.length;
  op.sessionLength = isSession ? 0 : session.length;
  writeRequest(out, op, Buffer.from(idempotencyKey));
}

/** The text that lies in the op's bytes, one character a byte. */
export function text(op: Op, at: number, length: number): string {
  return Buffer.from(op.bytes.slice(at, at + length)).toString('latin1');
}

/** What parsing the one request says of it; '' = fine. */
export function verdict(
  given: Partial<Wish>,
  spoil: (bytes: Uint8Array) => void = () => {},
  caller: CallerBytes = ANYBODY,
): string {
  const out = new GrowingBytes();
  write(out, given);
  spoil(out.bytes);
  return parseRequest(out.bytes, out.view, 0, new Op(), caller, keyedTokens);
}
