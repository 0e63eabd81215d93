import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Kind, Op, OpFlag, PING } from '../../src/op.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { ANYBODY } from '../../src/protocol/caller.ts';
import { countRequests, parseRequest, writeRequest } from '../../src/protocol/request.ts';

interface Wish {
  kind: number;
  id: number;
  flags: number;
  ttlMs: number;
  fencingToken: number;
  name: string;
  token: Uint8Array;
  owner: string;
  metadata: string;
}

const NAME = fc
  .string({ minLength: 1, maxLength: 60, unit: 'grapheme' })
  .filter((name) => !/^\.\.?$|\p{Cc}|\p{Surrogate}/u.test(name));
const TOKEN = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  fc.stringMatching(/^[A-Za-z0-9._~-]{22,64}$/).map((text) => new Uint8Array(Buffer.from(text))),
);
const wish: fc.Arbitrary<Wish> = fc.record({
  kind: fc.constantFrom(Kind.acquire, Kind.renew, Kind.release, Kind.get, Kind.verify),
  id: fc.integer({ min: 0, max: 0xffff_fffe }),
  flags: fc.constantFrom(0, OpFlag.full),
  ttlMs: fc.oneof(fc.constant(0), fc.integer({ min: 1_000, max: 86_400_000 })),
  fencingToken: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
  name: NAME,
  token: TOKEN,
  owner: fc.string({ maxLength: 40 }).filter((owner) => !/\p{Cc}/u.test(owner)),
  metadata: fc.constantFrom('', '{}', '{"a":[1,"é"]}'),
});

/** Fields that this kind does not have are gone; verify has one of two. */
function fitting(given: Wish): Wish {
  const { kind } = given;
  const byToken = kind === Kind.verify && given.fencingToken !== 0;
  return {
    ...given,
    flags: kind === Kind.acquire || kind === Kind.renew ? given.flags : 0,
    ttlMs: kind === Kind.acquire || kind === Kind.renew ? given.ttlMs : 0,
    fencingToken: kind === Kind.verify ? given.fencingToken : 0,
    token: kind === Kind.get || byToken ? new Uint8Array() : given.token,
    owner: kind === Kind.acquire ? given.owner : '',
    metadata: kind === Kind.acquire || kind === Kind.renew ? given.metadata : '',
  };
}

function write(out: GrowingBytes, given: Partial<Wish>): void {
  const name = Buffer.from(given.name ?? '');
  const token = Buffer.from(given.token ?? '');
  const owner = Buffer.from(given.owner ?? '');
  const metadata = Buffer.from(given.metadata ?? '');
  const op = new Op();
  Object.assign(op, {
    kind: given.kind,
    id: given.id ?? 1,
    flags: given.flags ?? 0,
    ttlMs: given.ttlMs ?? 0,
  });
  op.fencingToken = given.fencingToken ?? 0;
  op.bytes = Buffer.concat([name, token, owner, metadata]);
  op.keyLength = name.length;
  op.tokenAt = name.length;
  op.tokenLength = token.length;
  op.ownerAt = op.tokenAt + token.length;
  op.ownerLength = owner.length;
  op.metadataAt = op.ownerAt + owner.length;
  op.metadataLength = metadata.length;
  writeRequest(out, op);
}

function text(op: Op, at: number, length: number): string {
  return Buffer.from(op.bytes.slice(at, at + length)).toString('latin1');
}

/** What parsing the one request says of it; '' = fine. */
function verdict(given: Partial<Wish>, spoil: (bytes: Uint8Array) => void = () => {}): string {
  const out = new GrowingBytes();
  write(out, given);
  spoil(out.bytes);
  return parseRequest(out.bytes, out.view, 0, new Op(), ANYBODY);
}

const acquire: Partial<Wish> = { kind: Kind.acquire, name: 'a', token: Buffer.from('t'.repeat(22)) };

test('requests that were written are read as they were', () => {
  fc.assert(
    fc.property(fc.array(wish.map(fitting), { minLength: 1, maxLength: 12 }), (wishes) => {
      const out = new GrowingBytes(new ArrayBuffer(8));
      for (const one of wishes) write(out, one);
      expect(countRequests(out.view, out.length)).toBe(wishes.length);
      const op = new Op();
      let at = 0;
      for (const one of wishes) {
        const next = at + out.view.getUint16(at, true);
        expect(parseRequest(out.bytes, out.view, at, op, ANYBODY)).toBe('');
        expect([op.kind, op.id, op.flags, op.ttlMs, op.fencingToken]).toEqual([
          one.kind,
          one.id,
          one.flags,
          one.ttlMs,
          one.fencingToken,
        ]);
        expect(text(op, op.keyAt, op.keyLength)).toBe(Buffer.from(one.name).toString('latin1'));
        expect(text(op, op.tokenAt, op.tokenLength)).toBe(Buffer.from(one.token).toString('latin1'));
        expect(text(op, op.ownerAt, op.ownerLength)).toBe(Buffer.from(one.owner).toString('latin1'));
        expect(text(op, op.metadataAt, op.metadataLength)).toBe(Buffer.from(one.metadata).toString('latin1'));
        at = next;
      }
    }),
  );
});

test('an acquire without a token gets one from the server, version 4, another each time', () => {
  const tokens = new Set<string>();
  for (let i = 0; i < 1_100; i++) {
    const out = new GrowingBytes();
    write(out, { kind: Kind.acquire, name: 'größe', owner: 'me', metadata: '{}', flags: OpFlag.full });
    const op = new Op();
    expect(parseRequest(out.bytes, out.view, 0, op, ANYBODY)).toBe('');
    expect(op.flags).toBe(OpFlag.full | OpFlag.madeToken);
    expect(op.tokenLength).toBe(16);
    const token = Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + 16)).toString('hex');
    expect(token).toMatch(/^.{12}4.{3}[89ab]/);
    tokens.add(token);
    expect(text(op, op.keyAt, op.keyLength)).toBe(Buffer.from('größe').toString('latin1'));
    expect(text(op, op.ownerAt, op.ownerLength) + text(op, op.metadataAt, op.metadataLength)).toBe('me{}');
  }
  expect(tokens.size).toBe(1_100);
});

test('a canonical UUID as text is the same token as its sixteen bytes; other spellings are texts', () => {
  const spelled = (uuid: string): string => {
    const out = new GrowingBytes();
    write(out, { ...acquire, token: Buffer.from(uuid) });
    const op = new Op();
    expect(parseRequest(out.bytes, out.view, 0, op, ANYBODY)).toBe('');
    return Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + op.tokenLength)).toString('hex');
  };
  const uuid = '00112233-4455-4677-8899-aabbccddeeff';
  expect(spelled(uuid)).toBe(uuid.replaceAll('-', ''));
  expect(spelled(uuid.toUpperCase())).toBe(Buffer.from(uuid.toUpperCase()).toString('hex'));
});

test.each<[string, Partial<Wish>, RegExp]>([
  ['no name', { ...acquire, name: '' }, /1–512 bytes/],
  ['a name too long', { ...acquire, name: 'n'.repeat(513) }, /1–512 bytes/],
  ['.', { ...acquire, name: '.' }, /"\." or "\.\."/],
  ['..', { ...acquire, name: '..' }, /"\." or "\.\."/],
  ['a control character', { ...acquire, name: 'abcdef\u0007gh' }, /control/],
  ['the delete character at the end', { ...acquire, name: 'abcdefg\u007f' }, /control/],
  ['a C1 control character', { ...acquire, name: 'abcdef\u0085gh' }, /control/],
  ['a short token', { ...acquire, token: Buffer.from('t'.repeat(21)) }, /22–64/],
  ['a long token', { ...acquire, token: Buffer.from('t'.repeat(65)) }, /22–64/],
  ['a token of other characters', { ...acquire, token: Buffer.from('/'.repeat(22)) }, /22–64/],
  ['a ttl too small', { ...acquire, ttlMs: 999 }, /ttlMs/],
  ['a ttl too large', { ...acquire, ttlMs: 86_400_001 }, /ttlMs/],
  ['an owner too long', { ...acquire, owner: 'o'.repeat(257) }, /owner/],
  ['an owner with a line feed', { ...acquire, owner: 'a\nb' }, /owner/],
  ['metadata that is an array', { ...acquire, metadata: '[]' }, /metadata/],
  ['metadata that is null', { ...acquire, metadata: 'null' }, /metadata/],
  ['metadata that is broken', { ...acquire, metadata: '{"a":' }, /metadata/],
  ['metadata too large', { ...acquire, metadata: `{"a":"${'x'.repeat(1_024)}"}` }, /metadata/],
  ['a renewal without a token', { kind: Kind.renew, name: 'a' }, /needs a lock token/],
  ['a release without a token', { kind: Kind.release, name: 'a' }, /needs a lock token/],
  ['a verify of nothing', { kind: Kind.verify, name: 'a' }, /needs a lock token/],
  [
    'a verify of both',
    { kind: Kind.verify, name: 'a', fencingToken: 1, token: Buffer.from('t'.repeat(22)) },
    /not both/,
  ],
  ['a ping with flags', { kind: PING, flags: 1 }, /flags/],
])('%s is refused', (_, given, reason) => {
  expect(verdict(given)).toMatch(reason);
});

test('bytes that are not UTF-8 are refused, wherever they stand', () => {
  expect(verdict({ ...acquire, name: 'abcdefgh' }, (bytes) => (bytes[19 + 3] = 0xff))).toMatch(/UTF-8/);
  expect(verdict({ ...acquire, name: 'abcdefgh' }, (bytes) => (bytes[19 + 7] = 0xc3))).toMatch(/UTF-8/);
  expect(verdict({ ...acquire, owner: 'abcd' }, (bytes) => (bytes[19 + 1 + 22] = 0x80))).toMatch(/UTF-8/);
  expect(verdict({ ...acquire, metadata: '{"a":"b"}' }, (bytes) => (bytes[19 + 1 + 22 + 6] = 0xff))).toMatch(
    /metadata/,
  );
});

test('names are the same to the fast and to the thorough check', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 12 }), (name) => {
      const out = new GrowingBytes();
      write(out, { ...acquire, name: 'x'.repeat(name.length) });
      out.bytes.set(name, 19);
      const wrong = parseRequest(out.bytes, out.view, 0, new Op(), ANYBODY);
      let text: string | undefined;
      try {
        text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(name);
      } catch {
        text = undefined;
      }
      const good = text !== undefined && !/\p{Cc}/u.test(text) && text !== '.' && text !== '..';
      expect(wrong === '').toBe(good);
    }),
    { numRuns: 3_000 },
  );
});

test('unknown ops and flags, and sizes that do not fit, are refused one by one', () => {
  expect(verdict(acquire, (bytes) => (bytes[2] = 6))).toBe('no such op');
  expect(verdict(acquire, (bytes) => (bytes[2] = 255))).toBe('no such op');
  expect(verdict(acquire, (bytes) => (bytes[3] = 2))).toMatch(/flags/);
  expect(verdict({ kind: Kind.get, name: 'a' }, (bytes) => (bytes[3] = 1))).toMatch(/flags/);
  expect(verdict(acquire, (bytes) => (bytes[12] = 2))).toMatch(/lengths/);
  expect(verdict({ kind: Kind.get, name: 'a' }, (bytes) => (bytes[0] = 9))).toMatch(/shorter/);
});

test('a frame whose sizes do not add up is refused as a whole', () => {
  const out = new GrowingBytes();
  write(out, acquire);
  write(out, acquire);
  const { length } = out;
  expect(countRequests(out.view, length)).toBe(2);
  expect(countRequests(out.view, length - 1)).toBe(-1);
  expect(countRequests(out.view, 7)).toBe(-1);
  expect(countRequests(out.view, 0)).toBe(-1);
  out.view.setUint16(0, 7, true);
  expect(countRequests(out.view, length)).toBe(-1);
  out.view.setUint16(0, 0, true);
  expect(countRequests(out.view, length)).toBe(-1);
  // Seven and eight bytes: they add up, but the first is no request.
  out.view.setUint16(0, 7, true);
  out.view.setUint16(7, 8, true);
  expect(countRequests(out.view, 15)).toBe(-1);
});

test('arbitrary bytes never crash the parser, and what passes is within the bounds', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 8, maxLength: 120 }),
      fc.integer({ min: 0, max: 8 }),
      (bytes, kind) => {
        const frame = new GrowingBytes(new ArrayBuffer(bytes.length), bytes.length);
        frame.bytes.set(bytes);
        frame.view.setUint16(0, bytes.length, true);
        frame.bytes[2] = kind;
        frame.bytes[3] &= 1;
        expect(countRequests(frame.view, frame.length)).toBe(1);
        const op = new Op();
        const wrong = parseRequest(frame.bytes, frame.view, 0, op, ANYBODY);
        expect(op.id).toBe(frame.view.getUint32(4, true));
        if (wrong !== '' || op.kind === PING) return;
        expect(op.keyLength).toBeGreaterThan(0);
        expect(op.keyAt + op.keyLength).toBeLessThanOrEqual(op.bytes.length);
        expect(op.metadataAt + op.metadataLength).toBeLessThanOrEqual(op.bytes.length);
      },
    ),
    { numRuns: 5_000 },
  );
});
