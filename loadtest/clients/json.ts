/** Calls in holdfast.v1.json. */
import { MODE_NAMES } from '../../src/op.ts';
import type { GrowingBytes } from '../../src/protocol/bytes.ts';
import { TEXT } from '../masked.ts';
import { tokenText, type Call } from './call.ts';
import type { Codec, OnDone } from './web-socket.ts';

interface Message {
  readonly id?: number | null;
  readonly event?: string;
  readonly status?: number;
  readonly code?: string;
  readonly fencingToken?: number;
  readonly waitedMs?: number;
  readonly expiresInMs?: number;
}

const OPEN = '['.charCodeAt(0);
const COMMA = ','.charCodeAt(0);
const CLOSE = ']'.charCodeAt(0);

/** What the fields of a call are called in JSON, over HTTP too. */
export function acquireFields(call: Call): Record<string, unknown> {
  const fields: Record<string, unknown> = { lockToken: tokenText(call.token!) };
  if (call.session === undefined) fields['ttlMs'] = call.ttlMs;
  else fields['sessionId'] = tokenText(call.session);
  if (call.mode !== 0) fields['mode'] = MODE_NAMES[call.mode];
  if (call.limit !== 0) fields['limit'] = call.limit;
  if (call.waitMs !== 0) fields['waitMs'] = call.waitMs;
  return fields;
}

/** Notes what an answer in JSON says. */
export function noteAnswer(call: Call, status: number, answer: Message): void {
  call.status = status;
  call.code = answer.code ?? (status >= 400 ? `status ${status}` : '');
  call.fencingToken = answer.fencingToken ?? 0;
  call.waitedMs = answer.waitedMs ?? 0;
  call.expiresInMs = answer.expiresInMs ?? 0;
}

export class JsonCodec implements Codec {
  readonly subprotocol = 'holdfast.v1.json';
  readonly opcode = TEXT;

  /** A list, also of one: its bytes are appended to as to any other. */
  write(payload: GrowingBytes, id: number, call: Call, isFirst: boolean): void {
    const text = JSON.stringify({ id, ...requestOf(call) });
    payload.ensure(text.length + 2);
    payload.bytes[payload.length++] = isFirst ? OPEN : COMMA;
    // Only ASCII: names are the driver's own, or a file's of one length.
    const bytes = Buffer.from(payload.bytes.buffer);
    payload.length += bytes.write(text, payload.length, 'latin1');
  }

  finish(payload: GrowingBytes): void {
    payload.ensure(1);
    payload.bytes[payload.length++] = CLOSE;
  }

  read(view: DataView, at: number, end: number, find: (id: number) => Call | undefined, done: OnDone): void {
    const text = Buffer.from(view.buffer, view.byteOffset + at, end - at).toString();
    const parsed = JSON.parse(text) as Message | Message[];
    for (const message of Array.isArray(parsed) ? parsed : [parsed]) {
      const id = message.id ?? -1;
      const call = find(id);
      if (call === undefined) continue;
      if (message.event === undefined) {
        noteAnswer(call, message.status!, message);
        done(id, call);
      } else if (message.event === 'queued') {
        call.wasQueued = true;
      }
    }
  }
}

function requestOf(call: Call): Record<string, unknown> {
  const { kind, name } = call;
  switch (kind) {
    case 'acquire':
      return { op: kind, name, ...acquireFields(call) };
    case 'renew':
    case 'release':
      return { op: kind, name, lockToken: tokenText(call.token!) };
    case 'get':
      return { op: kind, name };
    case 'cached':
      return { op: 'get', name, consistency: 'cached' };
    case 'session.open':
      return { op: kind, sessionId: tokenText(call.session!), ttlMs: call.ttlMs };
    case 'session.keepalive':
    case 'session.end':
      return { op: kind, sessionId: tokenText(call.session!) };
  }
}
