/** docs/protocol.md is normative: what it shows must be what the code does. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Kind, KIND_NAMES, Op, OpFlag } from '../../src/op.ts';
import { Answer, AnswerBytes, Event, readAnswer, Section, writeAnswer } from '../../src/protocol/answer.ts';
import { GrowingBytes } from '../../src/protocol/bytes.ts';
import { ANYBODY } from '../../src/protocol/caller.ts';
import { renderPush } from '../../src/protocol/json-event.ts';
import { SOCKET_OPS } from '../../src/protocol/json-fields.ts';
import { parseRequest } from '../../src/protocol/request.ts';
import { decodeText } from '../../src/protocol/words.ts';
import { write } from './wishes.ts';
import { frameOf } from '../front/sockets.ts';

const text = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');

/** The bytes of the example blocks, without the remarks. */
const examples = [...text.matchAll(/```hex\n([\s\S]*?)```/g)].map(([, block]) =>
  block
    .split('\n')
    .map((line) => line.split(/\s{3,}/)[0].replaceAll(' ', ''))
    .join(''),
);

test('the request of the example', () => {
  const token = Buffer.from('00112233445546778899aabbccddeeff', 'hex');
  const frame = frameOf(
    { id: 7, name: 'order-1', token, ttlMs: 30_000 },
    { kind: Kind.get, id: 8, name: 'order-1' },
  );
  expect(examples[0]).toBe(frame.toString('hex'));
  expect(text).toContain(`one frame of ${frame.length} bytes`);
});

test('the answers of the example', () => {
  const out = new AnswerBytes();
  const answer = new Answer();
  const times = { fencingToken: 42, ttlMs: 30_000, waitedMs: 2, expiresInMs: 29_998 };
  writeAnswer(out, Object.assign(answer, times, { id: 7, status: 201, sections: Section.claim }));
  writeAnswer(
    out,
    Object.assign(answer, { id: 8, status: 200, sections: Section.state, holderCount: 1, revision: 42 }),
  );
  expect(examples[1]).toBe(Buffer.from(out.bytes.slice(0, out.length)).toString('hex'));
  expect(text).toContain(`here in one frame of ${out.length} bytes`);
});

test('the wait of the example, written and read', () => {
  const token = Buffer.from('ffeeddccbbaa49887766554433221100', 'hex');
  const out = new GrowingBytes();
  const wait = { kind: Kind.acquire, id: 9, name: 'order-1', token, ttlMs: 30_000, waitMs: 5_000 };
  write(out, { ...wait, flags: OpFlag.events });
  expect(examples[2]).toBe(Buffer.from(out.bytes.slice(0, out.length)).toString('hex'));
  expect(text).toContain(`(id 9), of ${out.length} bytes`);

  const request = bytesOf(examples[2]);
  const op = new Op();
  expect(parseRequest(request.bytes, request.view, 0, op, ANYBODY)).toBe('');
  expect(op).toMatchObject({ kind: Kind.acquire, id: 9, flags: OpFlag.events, ttlMs: 30_000, waitMs: 5_000 });
  expect(op).toMatchObject({ mode: 0, limit: 0, lockDelayMs: 0, sessionLength: 0, ownerLength: 0 });
  expect(decodeText(op.bytes, op.keyAt, op.keyLength)).toBe('order-1');
  expect(Buffer.from(op.bytes.slice(op.tokenAt, op.tokenAt + op.tokenLength))).toEqual(token);

  const answers = bytesOf(examples[3]);
  const answer = new Answer();
  let at = readAnswer(answers, 0, answer);
  expect(answer).toMatchObject({ id: 9, status: Event.queued, sections: Section.queue, queueLength: 1 });
  at = readAnswer(answers, at, answer);
  expect(answer).toMatchObject({ id: 9, status: 201, code: 0, sections: Section.claim, fencingToken: 43 });
  expect(answer).toMatchObject({ ttlMs: 30_000, waitedMs: 1_200, expiresInMs: 29_998 });
  expect(readAnswer(answers, at, answer)).toBe(answers.length);
  expect(answer).toMatchObject({ id: 2 ** 32 - 1, status: Event.expired });
  expect(JSON.parse(renderPush(answer))).toEqual({
    event: 'lost',
    name: 'order-1',
    lockToken: 'ffeeddcc-bbaa-4988-7766-554433221100',
    reason: 'expired',
  });
});

function bytesOf(hex: string): GrowingBytes {
  const bytes = Uint8Array.from(Buffer.from(hex, 'hex'));
  return new GrowingBytes(bytes.buffer, bytes.length);
}

test('the numbers of ops and events', () => {
  const numbers = [...text.matchAll(/^ {2}([a-z.]+) +\(op (\d+)\)/gm)].map(([, name, op]) => [
    name,
    Number(op),
  ]);
  const told = ['acquire', 'renew', 'release', 'get', 'verify', 'ping', 'cancel', 'watch', 'force'];
  told.push('session.open', 'session.keepalive', 'session.end', 'session.get');
  expect(numbers).toEqual(told.map((name) => [name, (KIND_NAMES as readonly string[]).indexOf(name)]));
  const rows = [...text.matchAll(/^\| (?:lost: )?([a-z ]+?) +\| (1\d\d) +\|/gm)];
  expect(Object.fromEntries(rows.map(([, name, status]) => [name, Number(status)]))).toEqual({
    queued: Event.queued,
    changed: Event.changed,
    expired: Event.expired,
    forced: Event.forced,
    'session ended': Event.sessionEnded,
    contended: Event.contended,
  });
});

test('every JSON op of a socket has its row', () => {
  const rows = [...text.matchAll(/^\| `([a-z.]+)` /gm)].map(([, op]) => op);
  for (const op of [...SOCKET_OPS.keys(), 'ping', 'cancel']) expect(rows).toContain(op);
});

test('the table of codes', () => {
  for (const [code, { wire, status, retryable }] of Object.entries(CODES)) {
    // Between processes only.
    if (code === 'not_owner') continue;
    const row = `| ${wire} | \`${code}\` | ${status} | ${retryable ? 'yes' : 'no'} |`;
    expect(text.replaceAll(/ +/g, ' ')).toContain(row);
  }
  expect(text).not.toContain('not_owner');
});

test('the limits', () => {
  expect(LIMITS.frameBytesMax).toBe(1_024 * 1_024);
  expect(LIMITS.socketBackpressureBytesMax).toBe(16 * 1_024 * 1_024);
  expect(text).toContain(`at most ${LIMITS.socketStandingMax.toLocaleString('en-US')} may wait or watch`);
  expect(text).toContain(`\`waitMs\`: 0–${LIMITS.waitMsMax.toLocaleString('en-US')}`);
  expect(text).toContain(`\`lockDelayMs\`: 0–${LIMITS.lockDelayMsMax.toLocaleString('en-US')}`);
  expect(text).toContain(`\`limit\`: 1–${LIMITS.holdersMax.toLocaleString('en-US')}`);
  expect(text).toContain(`(${LIMITS.waitersMax.toLocaleString('en-US')} wait already)`);
  expect(text).toContain(`\`idempotencyKey\`: 1–${LIMITS.idempotencyKeyBytesMax} bytes`);
  expect(text).toContain(`\`reason\`: 1–${LIMITS.reasonBytesMax} bytes`);
  expect(text).toContain(`remembered for ${LIMITS.idempotencyWindowMs / 60_000} minutes`);
  expect(LIMITS.statePlacesBytesMax).toBe(1_024 * 1_024);
  expect(text).toContain(`at most ${LIMITS.socketRequestsMax.toLocaleString('en-US')} open requests`);
  expect(text).toContain(`for ${LIMITS.socketIdleSecondsMax} s`);
  expect(text).toContain(`0 = the default: ${LIMITS.ttlMsDefault.toLocaleString('en-US')} for acquire`);
});
