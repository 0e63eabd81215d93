/** The hand-written messages against the codec that etcd3 itself uses. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeCommit,
  decodeConfirm,
  decodePage,
  decodeKeepAlive,
  decodeStatus,
  decodeToken,
  encodeAuthenticate,
  encodeChangedAfter,
  encodeCommit,
  encodeConfirm,
  encodeKeepAlive,
  GRPC_PREFIX_BYTES,
} from '../../../src/shard/etcd/messages.ts';
import { varintBytes, WireError, WireReader, WireWriter } from '../../../src/shard/etcd/wire.ts';
import { COMMIT_HEADROOM } from '../../../src/shard/store.ts';
import type { Change, Commit } from '../../../src/shard/store.ts';

interface Method {
  requestDeserialize(bytes: Buffer): Record<string, unknown>;
  responseSerialize(message: object): Buffer;
}

const ofEtcd3 = createRequire(createRequire(import.meta.url).resolve('etcd3'));
const proto = join(dirname(ofEtcd3.resolve('etcd3/package.json')), 'proto/rpc.proto');
const loader = ofEtcd3('@grpc/proto-loader') as {
  loadSync(path: string, options: object): Record<string, unknown>;
};
const definition = loader.loadSync(proto, { keepCase: true, longs: String, enums: String, oneofs: true });
const method = (service: string, name: string) =>
  (definition[`etcdserverpb.${service}`] as Record<string, Method>)[name];

const TXN = method('KV', 'Txn');
const RANGE = method('KV', 'Range');
const KEEP_ALIVE = method('Lease', 'LeaseKeepAlive');
const STATUS = method('Maintenance', 'Status');
const AUTHENTICATE = method('Auth', 'Authenticate');

const revision = fc.oneof(
  fc.integer({ min: 0, max: 300 }),
  fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }),
);
const key = fc.string({ minLength: 1, maxLength: 200, unit: 'grapheme' });
const bytes = (max: number) => fc.uint8Array({ maxLength: max });
const lease = fc.bigInt({ min: 1n, max: 2n ** 63n - 1n }).map(String);
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ put: key, value: bytes(300) }),
  fc.record({ put: key, value: bytes(300), lease }),
  fc.record({ delete: key }),
  fc.record({ delete: key, upTo: key }),
);

/** Pieces put together, with the gRPC prefix checked and removed. */
function messageOf(pieces: readonly Uint8Array[]): Buffer {
  const all = Buffer.concat(pieces);
  expect(all[0]).toBe(0);
  expect(all.readUInt32BE(1)).toBe(all.length - GRPC_PREFIX_BYTES);
  return all.subarray(GRPC_PREFIX_BYTES);
}

/** What etcd3's codec makes of a change, without defaults. */
function expectedOp(one: Change): object {
  if ('put' in one) {
    const put = {
      key: Buffer.from(one.put),
      value: Buffer.from(one.value),
      ...(one.lease && { lease: one.lease }),
    };
    return { request: 'request_put', request_put: put };
  }
  const range = {
    key: Buffer.from(one.delete),
    ...(one.upTo !== undefined && { range_end: Buffer.from(one.upTo) }),
  };
  return { request: 'request_delete_range', request_delete_range: range };
}

describe('a commit', () => {
  it('is read by etcd3 as what was meant, wherever the entry lies', () => {
    const headroom = fc.constantFrom(0, 10, 200, COMMIT_HEADROOM, COMMIT_HEADROOM + 3);
    fc.assert(
      fc.property(
        fc.record({ termKey: key, journalKey: key, expectedRevision: revision }),
        bytes(400),
        fc.oneof(fc.nat(300), fc.integer({ min: 16_000, max: 70_000 })),
        fc.array(change, { maxLength: 8 }),
        headroom,
        (names, termValue, entryBytes, changes, entryAt) => {
          const entry = Uint8Array.from({ length: entryBytes }, (_, i) => i * 7);
          const buffer = new Uint8Array(entryAt + entry.length + 5).fill(0xee);
          buffer.set(entry, entryAt);
          const entryEnd = entryAt + entry.length;
          const commit: Commit = { ...names, termValue, buffer, entryAt, entryEnd, changes };
          const read = TXN.requestDeserialize(messageOf(encodeCommit(commit))) as {
            compare: object[];
            success: object[];
          };
          const termKey = Buffer.from(names.termKey);
          const mod = { target_union: 'mod_revision', mod_revision: String(names.expectedRevision) };
          expect(read.compare).toEqual([{ target: 'Mod', key: termKey, ...mod }]);
          expect(read.success).toEqual([
            {
              request: 'request_put',
              request_put: { key: termKey, value: Buffer.from(termValue), ignore_lease: true },
            },
            {
              request: 'request_put',
              request_put: { key: Buffer.from(names.journalKey), value: expect.any(Buffer) },
            },
            ...changes.map(expectedOp),
          ]);
          const journal = (read.success[1] as { request_put: { value: Buffer } }).request_put;
          expect(Buffer.compare(journal.value, entry)).toBe(0);
          expect(Buffer.compare(buffer.subarray(entryAt, entryEnd), entry)).toBe(0);
          expect(buffer.subarray(entryEnd).every((byte) => byte === 0xee)).toBe(true);
        },
      ),
      { examples: [[{ termKey: 't', journalKey: 'j', expectedRevision: 0 }, new Uint8Array(0), 0, [], 0]] },
    );
  });

  it('does not copy its entry', () => {
    const buffer = new Uint8Array(COMMIT_HEADROOM + 100_000);
    const names = {
      termKey: 'holdfast/term/0123456789abcdef',
      journalKey: 'holdfast/journal/0123456789abcdef/0001',
    };
    const place = { buffer, entryAt: COMMIT_HEADROOM, entryEnd: buffer.length };
    const pieces = encodeCommit({
      ...names,
      expectedRevision: 5,
      termValue: new Uint8Array(900),
      ...place,
      changes: [],
    });
    expect(pieces).toHaveLength(1);
    expect(pieces[0].buffer).toBe(buffer.buffer);
  });
});

const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String);
const header = fc.record({
  cluster_id: uint64,
  member_id: uint64,
  revision: revision.map(String),
  raft_term: uint64,
});

/** A KeyValue as etcd sends it, with all that is not asked for; without a value. */
function kvOf(name: string, modRevision: number): object {
  return {
    key: Buffer.from(name),
    create_revision: '3',
    mod_revision: String(modRevision),
    version: '9',
    lease: '77',
  };
}

describe('answers', () => {
  it('of a commit', () => {
    fc.assert(
      fc.property(header, fc.boolean(), fc.integer({ min: 0, max: 5 }), (head, succeeded, puts) => {
        const responses = Array.from({ length: puts }, () => ({
          response_put: { header: { revision: head.revision } },
        }));
        const answer = decodeCommit(TXN.responseSerialize({ header: head, succeeded, responses }));
        expect(answer).toEqual({ succeeded, revision: Number(head.revision) });
      }),
    );
  });

  it('of a confirmation', () => {
    fc.assert(
      fc.property(header, fc.option(revision), (head, mod) => {
        const kvs = mod === null ? [] : [kvOf('k', mod)];
        const answer = RANGE.responseSerialize({ header: head, kvs, more: false, count: String(kvs.length) });
        expect(decodeConfirm(answer)).toBe(mod ?? 0);
      }),
    );
  });

  it('of a page', () => {
    const entry = fc.record({ key, value: bytes(300), modRevision: revision });
    fc.assert(
      fc.property(header, fc.array(entry, { maxLength: 5 }), fc.boolean(), (head, entries, more) => {
        const kvs = entries.map(({ key: name, value, modRevision }) => ({
          ...kvOf(name, modRevision),
          value: Buffer.from(value),
        }));
        const answer = RANGE.responseSerialize({ header: head, kvs, more, count: '1000' });
        const page = decodePage(answer);
        expect([page.revision, page.more]).toEqual([Number(head.revision), more]);
        expect(page.entries.map((one) => ({ ...one, value: Uint8Array.from(one.value) }))).toEqual(entries);
      }),
    );
  });

  it('of a keep-alive, an authentication and a status', () => {
    fc.assert(
      fc.property(header, lease, fc.nat(), key, revision, (head, ID, ttl, token, size) => {
        expect(decodeKeepAlive(KEEP_ALIVE.responseSerialize({ header: head, ID, TTL: String(ttl) }))).toBe(
          ttl,
        );
        expect(decodeToken(AUTHENTICATE.responseSerialize({ header: head, token }))).toBe(token);
        const status = {
          header: head,
          version: token,
          dbSize: String(size),
          dbSizeInUse: String(ttl),
          leader: ID,
        };
        expect(decodeStatus(STATUS.responseSerialize(status))).toEqual({
          bytes: size,
          bytesInUse: ttl,
          quotaBytes: 0,
          version: token,
          revision: Number(head.revision),
        });
      }),
    );
  });

  it('that are not messages end in a WireError, never in anything else', () => {
    fc.assert(
      fc.property(bytes(60), (any) => {
        for (const decode of [
          decodeCommit,
          decodeConfirm,
          decodePage,
          decodeKeepAlive,
          decodeStatus,
          decodeToken,
        ]) {
          try {
            decode(any);
          } catch (error) {
            expect(error).toBeInstanceOf(WireError);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('requests', () => {
  it('read a term key linearizably and without its value', () => {
    fc.assert(
      fc.property(key, (termKey) => {
        const read = RANGE.requestDeserialize(messageOf([encodeConfirm(termKey)]));
        expect(read).toEqual({ key: Buffer.from(termKey), limit: '1', keys_only: true });
      }),
    );
  });

  it('read what was written after a revision linearizably', () => {
    const limit = fc.integer({ min: 1, max: 10_000 });
    const after = revision.filter((number) => number < Number.MAX_SAFE_INTEGER);
    fc.assert(
      fc.property(key, key, after, limit, (from, to, number, most) => {
        const read = RANGE.requestDeserialize(messageOf([encodeChangedAfter(from, to, number, most)]));
        expect(read).toEqual({
          key: Buffer.from(from),
          range_end: Buffer.from(to),
          limit: String(most),
          min_mod_revision: String(number + 1),
        });
      }),
    );
  });

  it('keep a lease of any id alive', () => {
    fc.assert(
      fc.property(lease, (ID) => {
        expect(KEEP_ALIVE.requestDeserialize(messageOf([encodeKeepAlive(ID)]))).toEqual({ ID });
      }),
    );
  });

  it('authenticate', () => {
    fc.assert(
      fc.property(key, key, (name, password) => {
        const read = AUTHENTICATE.requestDeserialize(messageOf([encodeAuthenticate(name, password)]));
        expect(read).toEqual({ name, password });
      }),
    );
  });
});

describe('varints', () => {
  it('come back as they went, in as many bytes as was said', () => {
    fc.assert(
      fc.property(revision, (value) => {
        const out = new WireWriter(new Uint8Array(10));
        out.varint(value);
        expect(out.at).toBe(varintBytes(value));
        expect(new WireReader(out.bytes, 0, out.at).varint()).toBe(value);
      }),
    );
  });
});
