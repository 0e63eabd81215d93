/** JSON requests built as the front does, for tests. */
import { ANYBODY, CallerBytes } from '../../src/protocol/caller.ts';
import { type Fields, Place } from '../../src/protocol/json-fields.ts';
import { OpBuilder } from '../../src/protocol/json-request.ts';
import { KeyedTokens } from '../../src/protocol/keyed-token.ts';

export const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';
export const PACKED = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
export const KEYED_TOKENS = new KeyedTokens(Buffer.from('a secret'));
export const SOMEBODY = new CallerBytes({ namespace: 'team-a', principal: 'ci' });

export function build(
  kind: number,
  fields: Fields,
  place: Place = Place.socket,
  caller: CallerBytes = ANYBODY,
): OpBuilder {
  const builder = new OpBuilder();
  builder.begin(kind, '', caller);
  if (place === Place.body) builder.nameBytes(Buffer.from('a'), 'path/name');
  builder.fields(fields, place, ['op']);
  builder.end(KEYED_TOKENS);
  return builder;
}

export function pointers(kind: number, fields: Fields, place: Place = Place.socket): string[] {
  return build(kind, fields, place).problems.map(({ pointer }) => pointer);
}

export function textOf({ op }: OpBuilder, at: number, length: number): string {
  return Buffer.from(op.bytes.slice(at, at + length)).toString();
}
