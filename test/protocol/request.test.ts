import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Kind, Op, OpFlag, PING, SESSION_KEY } from '../../src/op.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { ANYBODY, CallerBytes } from '../../src/protocol/caller.ts';
import { countRequests, parseRequest } from '../../src/protocol/request.ts';
import { keyedTokens, text, verdict, type Wish, wish, write } from './wishes.ts';

const acquire: Partial<Wish> = { kind: Kind.acquire, name: 'a', token: Buffer.from('t'.repeat(22)) };
const SOMEBODY = new CallerBytes({ namespace: 'größe', principal: 'ci-7' });

test.each([
  ['nobody in particular', ANYBODY],
  ['somebody in a namespace', SOMEBODY],
  ['somebody in the default namespace', new CallerBytes({ namespace: 'default', principal: 'x' })],
])('requests that were written are read as they were: of %s', (_, caller) => {
  fc.assert(
    fc.property(fc.array(wish, { minLength: 1, maxLength: 12 }), (wishes) => {
      const out = new GrowingBytes(new ArrayBuffer(8));
      for (const one of wishes) write(out, one);
      expect(countRequests(out.view, out.length)).toBe(wishes.length);
      const op = new Op();
      let at = 0;
      for (const one of wishes) {
        const next = at + out.view.getUint16(at, true);
        expect(parseRequest(out.bytes, out.view, at, op, caller, keyedTokens)).toBe('');
        expectAsWished(op, one, caller);
        at = next;
      }
    }),
  );
});

const latin1 = (bytes: string | Uint8Array): string => Buffer.from(bytes as string).toString('latin1');

function expectAsWished(op: Op, one: Wish, caller: CallerBytes): void {
  const { kind, id, ttlMs, fencingToken, mode, limit, waitMs, lockDelayMs } = one;
  expect(op).toMatchObject({ kind, id, ttlMs, fencingToken, mode, limit, waitMs, lockDelayMs });
  expect(op).toMatchObject({ origin: 0, attempt: 0, batchLength: 0 });
  if (kind === Kind.cancel) {
    expect([op.keyLength, op.principalLength]).toEqual([0, 0]);
    return;
  }
  const isSession = kind >= Kind.sessionOpen;
  const made =
    (kind === Kind.acquire && one.token.length === 0) ||
    (kind === Kind.sessionOpen && one.session.length === 0);
  expect(op.flags).toBe(
    one.flags | (made ? OpFlag.madeToken : 0) | (one.idempotencyKey === '' ? 0 : OpFlag.keyed),
  );
  const key = text(op, op.keyAt, op.keyLength);
  const token = text(op, op.tokenAt, op.tokenLength);
  expect(op.namespaceLength).toBe(caller.prefix.length);
  expect(text(op, op.principalAt, op.principalLength)).toBe(latin1(caller.principal));
  expect(text(op, op.ownerAt, op.ownerLength)).toBe(latin1(one.owner));
  expect(text(op, op.metadataAt, op.metadataLength)).toBe(latin1(one.metadata));
  if (isSession) {
    const id = made ? token : latin1(one.session);
    expect(key).toBe(latin1(caller.prefix) + String.fromCharCode(SESSION_KEY) + id);
    expect(token).toBe(kind === Kind.sessionOpen ? id : '');
    expect(op.sessionLength).toBe(0);
    return;
  }
  expect(key).toBe(latin1(caller.prefix) + latin1(one.name));
  expect(text(op, op.sessionAt, op.sessionLength)).toBe(latin1(one.session));
  if (one.idempotencyKey === '') {
    expect(made ? op.tokenLength : token).toBe(made ? 16 : latin1(one.token));
    return;
  }
  const expected = keyedTokens.token(
    caller.principal,
    Buffer.from(key, 'latin1'),
    Buffer.from(one.idempotencyKey),
  );
  expect(token).toBe(latin1(expected));
}

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
  ['a mode that is none', { ...acquire, mode: 3 }, /a mode is/],
  ['a limit without a semaphore', { ...acquire, mode: 1, limit: 3 }, /only a semaphore/],
  ['a semaphore without a limit', { ...acquire, mode: 2 }, /limit of a semaphore is 1–10000/],
  ['a limit too large', { ...acquire, mode: 2, limit: 10_001 }, /limit of a semaphore/],
  ['a wait too long', { ...acquire, waitMs: 300_001 }, /waitMs is at most 300000/],
  ['a lock delay too long', { ...acquire, lockDelayMs: 300_001 }, /lockDelayMs is at most/],
  [
    'a ttl beside a session',
    { ...acquire, ttlMs: 5_000, session: Buffer.alloc(16) },
    /as long as the session/,
  ],
  [
    'a short session id',
    { ...acquire, session: Buffer.from('s'.repeat(21)) },
    /session id is a UUID or 22–64/,
  ],
  ['a token and a key', { ...acquire, idempotencyKey: 'k' }, /not both/],
  [
    'a key with a line feed',
    { kind: Kind.acquire, name: 'a', idempotencyKey: 'a\nb' },
    /Idempotency-Key has/,
  ],
  ['a wrong ttl beside a key', { kind: Kind.acquire, name: 'a', idempotencyKey: 'k', ttlMs: 1 }, /ttlMs/],
  ['a watch without a name', { kind: Kind.watch }, /1–512 bytes/],
  ['a forced release without a reason', { kind: Kind.force, name: 'a' }, /a reason of 1–256/],
  [
    'a forced release with too long a reason',
    { kind: Kind.force, name: 'a', metadata: 'r'.repeat(257) },
    /reason/,
  ],
  ['a reason with a line feed', { kind: Kind.force, name: 'a', metadata: 'a\nb' }, /reason/],
  ['a forced release without a name', { kind: Kind.force, metadata: 'r' }, /1–512 bytes/],
  ['a session without an id', { kind: Kind.sessionRenew }, /needs the id of a session/],
  ['a session with a short id', { kind: Kind.sessionEnd, session: Buffer.from('abc') }, /session id is/],
  ['a session with a wrong ttl', { kind: Kind.sessionOpen, ttlMs: 999 }, /ttlMs/],
  ['a session with a wrong owner', { kind: Kind.sessionOpen, owner: 'a\nb' }, /owner/],
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
  for (const kind of [0, 6, 15, 19, 255])
    expect(verdict(acquire, (bytes) => (bytes[2] = kind))).toBe('no such op');
  expect(verdict(acquire, (bytes) => (bytes[3] = 8))).toMatch(/flags/);
  expect(verdict({ ...acquire, kind: Kind.renew }, (bytes) => (bytes[3] = 2))).toMatch(/flags/);
  for (const kind of [Kind.get, PING, Kind.cancel, Kind.watch, Kind.sessionGet])
    expect(verdict({ kind, name: 'a' }, (bytes) => (bytes[3] = 1))).toMatch(/flags/);
  expect(verdict(acquire, (bytes) => (bytes[12] = 2))).toMatch(/lengths/);
  expect(verdict({ kind: Kind.get, name: 'a' }, (bytes) => (bytes[0] = 9))).toMatch(/shorter/);
  expect(verdict(acquire, (bytes) => (bytes[3] = 2))).toMatch(/lengths/);
  expect(verdict({ kind: Kind.acquire, name: 'a' }, (bytes) => (bytes[3] = 2))).toMatch(/shorter/);
  expect(verdict({ kind: Kind.cancel }, (bytes) => (bytes[0] = 9))).toMatch(/lengths/);
  expect(verdict({ kind: Kind.force, name: 'a', metadata: 'r' }, (bytes) => (bytes[18] = 2))).toMatch(
    /lengths/,
  );
  const open = { kind: Kind.sessionOpen, owner: 'me' };
  expect(verdict(open, (bytes) => (bytes[12] = 1))).toMatch(/lengths/);
});

test("without the cluster's secret an Idempotency-Key is refused", () => {
  const out = new GrowingBytes();
  write(out, { kind: Kind.acquire, name: 'a', idempotencyKey: 'k' });
  expect(parseRequest(out.bytes, out.view, 0, new Op(), ANYBODY)).toMatch(/takes no Idempotency-Keys/);
});

test('an op keeps nothing of the one before it', () => {
  const out = new GrowingBytes();
  write(out, { ...acquire, mode: 2, limit: 3, waitMs: 5, lockDelayMs: 6, session: Buffer.alloc(16, 1) });
  const plainAt = out.length;
  write(out, acquire);
  const op = new Op();
  expect(parseRequest(out.bytes, out.view, 0, op, SOMEBODY)).toBe('');
  expect([op.isPlain, op.namespaceLength]).toEqual([false, 7 + 1]);
  expect(parseRequest(out.bytes, out.view, plainAt, op, ANYBODY)).toBe('');
  expect([op.isPlain, op.namespaceLength]).toEqual([true, 0]);
  // What needs nothing added stays where it lies: nothing is copied.
  expect(op.bytes).toBe(out.bytes);
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
      fc.integer({ min: 0, max: 15 }),
      fc.constantFrom(ANYBODY, SOMEBODY),
      (bytes, kind, caller) => {
        const frame = new GrowingBytes(new ArrayBuffer(bytes.length), bytes.length);
        frame.bytes.set(bytes);
        frame.view.setUint16(0, bytes.length, true);
        frame.bytes[2] = kind;
        frame.bytes[3] &= 7;
        expect(countRequests(frame.view, frame.length)).toBe(1);
        const op = new Op();
        const wrong = parseRequest(frame.bytes, frame.view, 0, op, caller, keyedTokens);
        expect(op.id).toBe(frame.view.getUint32(4, true));
        if (wrong === '' && kind !== PING && kind !== Kind.cancel) expectWithin(op, caller);
      },
    ),
    { numRuns: 5_000 },
  );
});

test('a bit more or less in a request never makes it lie elsewhere than in its bytes', () => {
  fc.assert(
    fc.property(wish, fc.constantFrom(ANYBODY, SOMEBODY), (one, caller) => {
      const out = new GrowingBytes();
      write(out, one);
      const { length } = out;
      const before = out.bytes.slice(0, length);
      const op = new Op();
      for (let bit = 16; bit < Math.min(length, 48) * 8; bit++) {
        const bytes = before.slice();
        bytes[bit >> 3] ^= 1 << (bit & 7);
        const wrong = parseRequest(bytes, new DataView(bytes.buffer), 0, op, caller, keyedTokens);
        if (wrong === '' && op.kind !== PING && op.kind !== Kind.cancel) expectWithin(op, caller);
      }
    }),
    { numRuns: 60 },
  );
});

function expectWithin(op: Op, caller: CallerBytes): void {
  expect(op.keyLength).toBeGreaterThan(caller.prefix.length);
  for (const end of [
    op.keyAt + op.keyLength,
    op.tokenLength === 0 ? 0 : op.tokenAt + op.tokenLength,
    op.ownerLength === 0 ? 0 : op.ownerAt + op.ownerLength,
    op.metadataLength === 0 ? 0 : op.metadataAt + op.metadataLength,
    op.sessionLength === 0 ? 0 : op.sessionAt + op.sessionLength,
    op.principalLength === 0 ? 0 : op.principalAt + op.principalLength,
  ])
    expect(end).toBeLessThanOrEqual(op.bytes.length);
  expect(text(op, op.keyAt, op.namespaceLength)).toBe(latin1(caller.prefix));
  expect(text(op, op.principalAt, op.principalLength)).toBe(latin1(caller.principal));
}
