import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Right } from '../../src/config/keys.ts';
import { Identity } from '../../src/front/auth.ts';
import { ListScope, type Position } from '../../src/front/scope.ts';

const identityOf = (prefixes?: string[], namespace = 'default', rights: Right[] = ['read']): Identity =>
  new Identity({ principal: 'p', namespace, prefixes, rights });
const scopeOf = (identity: Identity, prefix = ''): ListScope | undefined =>
  ListScope.of(identity, Buffer.from(prefix));
const wire = (identity: Identity, prefix = ''): string | undefined =>
  scopeOf(identity, prefix)?.keyPrefix.toString();

describe('what lanes are asked for', () => {
  test.each<[string[] | undefined, string, string | undefined]>([
    [undefined, '', ''],
    [undefined, 'a/', 'a/'],
    [['team/'], '', 'team/'],
    [['team/'], 'te', 'team/'],
    [['team/'], 'team/x', 'team/x'],
    [['team/'], 'teams', undefined],
    [['team/'], 'other', undefined],
    [['team/a', 'team/b'], '', 'team/'],
    [['team/a', 'team/b', 'x'], '', ''],
    [['team/a', 'team/b', 'x'], 'team', 'team/'],
    [['team/a', 'team/b', 'x'], 'team/b/c', 'team/b/c'],
    [['team/', 'team/a'], '', 'team/'],
  ])('prefixes %j, asked for %j: %j', (prefixes, asked, expected) => {
    expect(wire(identityOf(prefixes), asked)).toBe(expected);
    expect(wire(identityOf(prefixes, 'n'), asked)).toBe(
      expected === undefined ? undefined : `n\0${expected}`,
    );
  });

  test('nothing without the right', () => {
    expect(scopeOf(identityOf(undefined, 'default', []))).toBe(undefined);
    expect(wire(identityOf(undefined, 'default', ['lock']))).toBe('');
  });
});

test('locks of other namespaces are not seen from the default one', () => {
  const scope = scopeOf(identityOf())!;
  expect(scope.shows(Buffer.from('n'))).toBe(true);
  expect(scope.shows(Buffer.from('n\0a'))).toBe(false);
});

/** A listing as the front makes it out of pages of `pageMax` keys of one slot; also every cursor it told. */
function listAll(
  scope: ListScope,
  keys: readonly Buffer[],
  pageMax: number,
): { names: string[]; cursors: Buffer[] } {
  const asked = keys.filter((key) => key.subarray(0, scope.keyPrefix.length).equals(scope.keyPrefix));
  const names: string[] = [];
  const cursors: Buffer[] = [];
  for (let from: Position = { slot: 0, key: Buffer.alloc(0) }; ;) {
    const rest = asked.filter((key) => from.key.length === 0 || key.compare(from.key) > 0);
    const page = rest.slice(0, pageMax);
    names.push(...page.filter((key) => scope.shows(key)).map((key) => scope.nameOf(key).toString()));
    if (page.length === rest.length) return { names, cursors };
    from = scope.clean({ slot: 0, key: page[page.length - 1] });
    if (from.slot > 0) return { names, cursors };
    cursors.push(from.key);
  }
}

test('each allowed name is listed once, and neither names nor cursors tell of another', () => {
  const word = fc.stringMatching(/^[ab/é~]{1,4}$/);
  fc.assert(
    fc.property(
      fc.uniqueArray(word, { maxLength: 30 }),
      fc.option(fc.array(word, { minLength: 1, maxLength: 4 }), { nil: undefined }),
      fc.oneof(fc.constant(''), word),
      fc.boolean(),
      fc.integer({ min: 1, max: 4 }),
      (names, prefixes, asked, inNamespace, pageMax) => {
        const identity = identityOf(prefixes, inNamespace ? 'ab' : 'default');
        const own = names.map((name) => Buffer.concat([identity.caller.prefix, Buffer.from(name)]));
        const foreign = inNamespace ? names.map((name) => Buffer.from(`a${name}`)) : [];
        const keys = [...own, ...foreign].sort(Buffer.compare);
        const visible = names.filter(
          (name) =>
            name.startsWith(asked) &&
            (prefixes === undefined || prefixes.some((one) => name.startsWith(one))),
        );
        const scope = scopeOf(identity, asked);
        if (scope === undefined) {
          expect(visible).toEqual([]);
          return;
        }
        const listed = listAll(scope, keys, pageMax);
        expect(listed.names.sort()).toEqual(visible.sort());
        const hidden = keys.filter((key) => !scope.shows(key)).map((key) => key.toString('hex'));
        for (const cursor of listed.cursors) expect(hidden).not.toContain(cursor.toString('hex'));
      },
    ),
    { numRuns: 2_000 },
  );
});
