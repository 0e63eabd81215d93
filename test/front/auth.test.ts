/** Who is who, and what they may do: decisions alone, without sockets. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkKeys,
  DEFAULT_NAMESPACE,
  type KeyInput,
  makeKey,
  type Right,
  RIGHTS,
} from '../../src/config/keys.ts';
import { Authenticator, Identity, NOBODY, OPEN, UNAUTHENTICATED } from '../../src/front/auth.ts';
import { Kind, KIND_MAX, Op } from '../../src/op.ts';
import * as caller from '../../src/protocol/caller.ts';

interface Made {
  readonly key: string;
  readonly input: KeyInput;
}

function make(more: Partial<KeyInput> = {}): Made {
  const { key, id, hash } = makeKey();
  return { key, input: { id, hash, principal: 'p', rights: ['lock'], ...more } };
}

const entriesOf = (...made: Made[]) => checkKeys({ keys: made.map(({ input }) => input) }, 'keys.yaml');
const identityOf = (rights: Right[], prefixes?: string[], namespace = 'default'): Identity =>
  new Identity({ principal: 'p', namespace, prefixes, rights });

/** An op as the protocols make it: with the namespace in front of the name. */
function opOf(kind: number, name: string, namespace: Uint8Array = Buffer.alloc(0)): Op {
  const op = new Op();
  op.kind = kind;
  op.bytes = Buffer.concat([Buffer.from('???'), namespace, Buffer.from(name), Buffer.from('token')]);
  op.keyAt = 3;
  op.namespaceLength = namespace.length;
  op.keyLength = namespace.length + Buffer.byteLength(name);
  return op;
}

describe('authenticate', () => {
  test('without keys everybody is one and may do everything', () => {
    const open = new Authenticator(undefined);
    for (const header of ['', 'Bearer x', 'Basic eA==']) expect(open.authenticate(header)).toBe(OPEN);
    expect(OPEN.caller.isAnybody).toBe(true);
    expect(OPEN.mayInspect && OPEN.mayRead).toBe(true);
    expect(open.expire()).toBe(false);
  });

  test('with keys each stands for its entry, and nothing else does', () => {
    const [a, b] = [make({ principal: 'a' }), make({ principal: 'b', namespace: 'n' })];
    const auth = new Authenticator(entriesOf(a, b));
    const identity = auth.authenticate(`Bearer ${a.key}`) as Identity;
    expect([identity.principal, identity.namespace]).toEqual(['a', 'default']);
    expect(auth.authenticate(`bearer  ${b.key} `)).toMatchObject({ principal: 'b', namespace: 'n' });
    expect(auth.authenticate(`Bearer ${a.key}`)).toBe(identity);
    const mixed = `hf_${b.input.id}_${a.key.slice(-43)}`;
    const last = a.key.endsWith('A') ? 'B' : 'A';
    for (const header of [
      '',
      a.key,
      'Bearer',
      'Bearer ',
      `Basic ${a.key}`,
      `Bearer ${a.key} ${b.key}`,
      `Bearer ${a.key.slice(0, -1)}`,
      `Bearer ${a.key.slice(0, -1)}${last}`,
      `Bearer ${a.key}x`,
      `Bearer ${mixed}`,
      `Bearer ${make().key}`,
      `Bearer ${a.input.hash}`,
      `Bearer ${'x'.repeat(10_000)}`,
      `Bearer${' '.repeat(10_000)}${a.key}`,
    ]) {
      expect(auth.authenticate(header), header).toBe(UNAUTHENTICATED);
    }
    expect(new Authenticator([]).authenticate(`Bearer ${a.key}`)).toBe(UNAUTHENTICATED);
  });

  test('a key that was made elsewhere needs only its hash', () => {
    const key = `hf_mine_${'k'.repeat(43)}`;
    const hash = `sha256:${createHash('sha256').update(key).digest('hex')}`;
    const auth = new Authenticator(
      entriesOf({ key, input: { id: 'mine', hash, principal: 'p', rights: ['read'] } }),
    );
    expect(auth.authenticate(`Bearer ${key}`)).toMatchObject({ principal: 'p' });
  });

  test('a key ends when its time is over', () => {
    let now = Date.UTC(2027, 0, 31) - 1;
    const made = make({ expires: '2027-01-31' });
    const auth = new Authenticator(entriesOf(made, make()), () => now);
    const identity = auth.authenticate(`Bearer ${made.key}`) as Identity;
    expect([identity.revoked, auth.expire()]).toEqual([false, false]);
    now++;
    expect(auth.authenticate(`Bearer ${made.key}`)).toBe(UNAUTHENTICATED);
    expect([auth.expire(), identity.revoked, auth.expire()]).toEqual([true, true, false]);
    now -= 2;
    expect(auth.authenticate(`Bearer ${made.key}`)).toBe(UNAUTHENTICATED);
  });
});

describe('replace', () => {
  test('keeps who is the same, and revokes who was changed or is gone', () => {
    const [same, changed, gone, added] = [make(), make(), make(), make()];
    const auth = new Authenticator(entriesOf(same, changed, gone));
    const before = [same, changed, gone].map(({ key }) => auth.authenticate(`Bearer ${key}`) as Identity);
    const lessRights = { ...changed, input: { ...changed.input, rights: ['read' as const] } };
    const commented = { ...same, input: { ...same.input, comment: 'x', created: '2026-01-01' } };
    const changes = auth.replace(entriesOf(lessRights, added, commented));
    expect(changes).toEqual({ keys: 3, added: 1, changed: 1, removed: 1 });
    expect(before.map(({ revoked }) => revoked)).toEqual([false, true, true]);
    expect(auth.authenticate(`Bearer ${same.key}`)).toBe(before[0]);
    expect(auth.authenticate(`Bearer ${changed.key}`)).not.toBe(before[1]);
    expect(auth.authenticate(`Bearer ${gone.key}`)).toBe(UNAUTHENTICATED);
    expect(auth.authenticate(`Bearer ${added.key}`)).toBeInstanceOf(Identity);
  });

  test.each<Partial<KeyInput>>([
    { principal: 'q' },
    { namespace: 'n' },
    { prefixes: ['a'] },
    { rights: ['admin'] },
    { expires: '2999-01-01' },
    { hash: makeKey().hash },
  ])('%j is a change', (change) => {
    const made = make();
    const auth = new Authenticator(entriesOf(made));
    const identity = auth.authenticate(`Bearer ${made.key}`) as Identity;
    auth.replace(entriesOf({ ...made, input: { ...made.input, ...change } }));
    expect(identity.revoked).toBe(true);
  });
});

describe('rights', () => {
  const KINDS: Record<Right, number[]> = {
    read: [Kind.get, Kind.verify, Kind.watch],
    lock: [
      Kind.acquire,
      Kind.renew,
      Kind.release,
      Kind.sessionOpen,
      Kind.sessionRenew,
      Kind.sessionEnd,
      Kind.sessionGet,
    ],
    admin: [Kind.force],
  };
  const CLIENTS = [...Object.values(KINDS).flat(), Kind.cancel];

  test('read looks, lock takes and looks, admin does everything', () => {
    const permitted = (rights: Right[]): number[] =>
      CLIENTS.filter((kind) => identityOf(rights, ['a']).permits(opOf(kind, 'a')));
    expect(permitted(['read'])).toEqual([...KINDS.read, Kind.cancel]);
    expect(permitted(['lock'])).toEqual([...KINDS.read, ...KINDS.lock, Kind.cancel]);
    expect(permitted(['read', 'lock'])).toEqual([...KINDS.read, ...KINDS.lock, Kind.cancel]);
    expect(permitted(['admin'])).toEqual(CLIENTS);
  });

  test('nobody has an op that clients do not have, and a request that nobody looked at may nothing', () => {
    for (let kind = 0; kind <= KIND_MAX; kind++) {
      if (!CLIENTS.includes(kind as never))
        expect(identityOf(['admin'], ['a']).permits(opOf(kind, 'a'))).toBe(false);
      if (kind !== Kind.cancel) expect(NOBODY.permits(opOf(kind, 'a'))).toBe(false);
    }
    expect(NOBODY.mayRead || NOBODY.mayInspect || NOBODY.allows('read', Buffer.from('a'))).toBe(false);
  });

  test('the cluster and its figures are for read and admin', () => {
    expect(RIGHTS.map((right) => identityOf([right]).mayInspect)).toEqual([false, true, true]);
    expect(RIGHTS.map((right) => identityOf([right]).mayRead)).toEqual([true, true, true]);
  });

  test('sessions have no names, so prefixes do not stand in their way', () => {
    const session = '\u0001' + 'x'.repeat(22);
    expect(identityOf(['lock'], ['team/']).permits(opOf(Kind.sessionRenew, session))).toBe(true);
    expect(identityOf(['read'], ['team/']).permits(opOf(Kind.sessionRenew, session))).toBe(false);
  });

  test('there is one default namespace', () => {
    expect(DEFAULT_NAMESPACE).toBe(caller.DEFAULT_NAMESPACE);
    expect(Buffer.from(identityOf(['lock'], undefined, 'n').caller.prefix).toString()).toBe('n\0');
  });
});

describe('prefixes', () => {
  const names = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 6 })
    .map((text) => text.replaceAll(/\p{Cc}/gu, '-'));
  const near = fc.stringMatching(/^[ab/é]{1,5}$/);
  const some = fc.oneof(names, near);

  test('a name is allowed exactly when it begins with one of them', () => {
    fc.assert(
      fc.property(
        fc.array(some, { minLength: 1, maxLength: 5 }),
        some,
        fc.boolean(),
        (prefixes, name, inNamespace) => {
          const identity = identityOf(['lock'], prefixes, inNamespace ? 'ab' : 'default');
          const expected = prefixes.some((prefix) => name.startsWith(prefix));
          const op = opOf(Kind.acquire, name, identity.caller.prefix);
          expect(identity.permits(op)).toBe(expected);
          expect(identity.allows('lock', Buffer.from(name))).toBe(expected);
          expect(identity.allows('admin', Buffer.from(name))).toBe(false);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('what lies behind the name does not help', () => {
    expect(identityOf(['lock'], ['ato']).permits(opOf(Kind.acquire, 'a'))).toBe(false);
    expect(
      identityOf(['lock'], ['n\0a'.slice(0, 1)], 'n').permits(opOf(Kind.acquire, 'a', Buffer.from('n\0'))),
    ).toBe(false);
  });

  test('admin has them too', () => {
    expect(identityOf(['admin'], ['a/']).permits(opOf(Kind.force, 'b/x'))).toBe(false);
    expect(identityOf(['admin'], ['a/']).permits(opOf(Kind.force, 'a/x'))).toBe(true);
  });
});
