import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  addPlace,
  Answer,
  AnswerBytes,
  readAnswer,
  readPlace,
  writeAnswer,
} from '../../src/protocol/answer.ts';
import { GrowingBytes, ProtocolError } from '../../src/protocol/bytes.ts';
import {
  addToListPage,
  beginListEntry,
  beginListPage,
  endListPage,
  ListPage,
  readListCover,
  readListEntry,
  readListPage,
} from '../../src/protocol/page.ts';

const slot = fc.integer({ min: 0, max: 4_095 });
const entry = fc.record({
  slot,
  key: fc.uint8Array({ maxLength: 600 }),
  owner: fc.uint8Array({ maxLength: 256 }),
  metadata: fc.uint8Array({ maxLength: 1_024 }),
  fencingToken: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  held: fc.boolean(),
});

function pageOf(
  entries: readonly {
    slot: number;
    key: Uint8Array;
    owner: Uint8Array;
    metadata: Uint8Array;
    fencingToken: number;
    held: boolean;
  }[],
  covered: readonly number[] = [],
) {
  const page = new GrowingBytes(new ArrayBuffer(8));
  const answer = new Answer();
  beginListPage(page);
  for (const { slot, key, owner, metadata, fencingToken, held } of entries) {
    Object.assign(answer, {
      fencingToken,
      holderCount: held ? 1 : 0,
      ownerBytes: owner,
      ownerLength: owner.length,
    });
    Object.assign(answer, { metadataBytes: metadata, metadataLength: metadata.length });
    addToListPage(page, slot, key, 0, key.length, answer);
  }
  endListPage(page, 17, covered, answer);
  const out = new AnswerBytes();
  writeAnswer(out, answer);
  return out;
}

test('a page travels in an answer and comes out as it went in', () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 20 }), fc.uniqueArray(slot), (entries, slots) => {
      const covered = slots.sort((a, b) => a - b);
      const out = pageOf(entries, covered);
      const answer = new Answer();
      readAnswer(out, 0, answer);
      const end = answer.detailAt + answer.detailLength;
      const page = new ListPage();
      let at = readListPage(out, answer.detailAt, end, page);
      expect([page.next, page.count]).toEqual([17, entries.length]);
      for (const { slot, key, fencingToken, held, owner } of entries) {
        at = readListEntry(out, at, end, page, answer);
        expect(page.slot).toBe(slot);
        expect(out.bytes.slice(page.keyAt, page.keyAt + page.keyLength)).toEqual(key);
        expect(answer.holderCount).toBe(held ? 1 : 0);
        if (!held) continue;
        expect(answer.fencingToken).toBe(fencingToken);
        expect(out.bytes.slice(answer.ownerAt, answer.ownerAt + answer.ownerLength)).toEqual(owner);
      }
      expect(readListCover(out, at, end)).toEqual(covered);
    }),
    { numRuns: 50 },
  );
});

test('a page that ends too early is refused', () => {
  const out = pageOf([
    {
      slot: 1,
      key: Uint8Array.of(65),
      owner: Uint8Array.of(66),
      metadata: new Uint8Array(),
      fencingToken: 1,
      held: true,
    },
  ]);
  const answer = new Answer();
  readAnswer(out, 0, answer);
  const page = new ListPage();
  const at = readListPage(out, answer.detailAt, out.length, page);
  const coverAt = out.length - 2;
  for (let end = at; end < coverAt; end++) {
    expect(() => readListEntry(out, at, end, page, answer)).toThrow(ProtocolError);
  }
  expect(() => readListCover(out, coverAt, coverAt + 1)).toThrow(ProtocolError);
  expect(() => readListPage(out, answer.detailAt, answer.detailAt + 7, page)).toThrow(ProtocolError);
});

test('an entry may have many holders', () => {
  const page = new GrowingBytes(new ArrayBuffer(8));
  const answer = new Answer();
  beginListPage(page);
  for (const count of [3, 0, 1]) {
    Object.assign(answer, { holderCount: count, mode: 1, queueLength: count });
    beginListEntry(page, 5, Uint8Array.of(65, count), 0, 2, answer);
    for (let i = 0; i < count; i++) addPlace(page, Object.assign(answer, { fencingToken: 10 + i }));
  }
  endListPage(page, 17, [5], answer);
  const out = new AnswerBytes();
  writeAnswer(out, answer);
  readAnswer(out, 0, answer);
  const end = answer.detailAt + answer.detailLength;
  const list = new ListPage();
  let at = readListPage(out, answer.detailAt, end, list);
  for (const count of [3, 0, 1]) {
    at = readListEntry(out, at, end, list, answer);
    expect([out.bytes[list.keyAt + 1], answer.holderCount, answer.queueLength]).toEqual([
      count,
      count,
      count,
    ]);
    let place = answer.placesAt;
    for (let i = 0; i < count; i++) {
      place = readPlace(out, place, end, answer);
      expect(answer).toMatchObject({ fencingToken: 10 + i, mode: 1 });
    }
    expect(place).toBe(at);
  }
  expect(readListCover(out, at, end)).toEqual([5]);
});
