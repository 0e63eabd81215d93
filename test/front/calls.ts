/** HTTP calls to a rig's front, and what each error must look like. */
import { expect } from 'vitest';
import { CODES, type ErrorCode } from '../../src/errors.ts';
import { problem } from '../../src/protocol/schemas.ts';
import type { Rig } from './rig.ts';

export const TOKEN = '00112233-4455-4677-8899-aabbccddeeff';
export const withToken = { 'holdfast-lock-token': TOKEN };

export interface Reply {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
  text: string;
}

let names = 0;

/** The path of a lock that no other test has. */
export const fresh = (): string => `/v1/locks/http-${names++}`;

/** Nothing was logged as a defect, and no request or socket is left open. */
export function expectQuiet(rig: Rig): void {
  rig.lane.failWith = undefined;
  rig.lane.silent = false;
  expect(rig.logged).toEqual([]);
  expect(rig.front.connections.open).toBe(0);
  expect(rig.front.sockets).toBe(0);
  // Its own: of waits and watches, and of requests in several steps.
  expect(rig.front.connections.size).toBe(2);
}

export async function call(
  rig: Rig,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const type: Record<string, string> = body === undefined ? {} : { 'content-type': 'application/json' };
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const init = { method, headers: { ...type, ...headers }, ...(text !== undefined && { body: text }) };
  const response = await fetch(rig.url + path, init);
  const got = await response.text();
  const isJson = /json/.test(response.headers.get('content-type') ?? '');
  const parsed = isJson ? (JSON.parse(got) as Record<string, unknown>) : {};
  return { status: response.status, headers: response.headers, body: parsed, text: got };
}

/** A well-formed problem document with this code; returns its pointers. */
export function expectProblem(reply: Reply, code: ErrorCode): string[] {
  expect(reply.body).toMatchObject({ code });
  expect(reply.status).toBe(CODES[code].status);
  expect(reply.headers.get('content-type')).toBe('application/problem+json');
  const document = problem.parse(reply.body);
  expect(document).toMatchObject({
    type: `urn:holdfast:error:${code}`,
    status: reply.status,
    retryable: CODES[code].retryable,
  });
  expect(document.requestId).toBe(reply.headers.get('x-request-id'));
  expect(document.detail).not.toBe('');
  return (document.errors ?? []).map(({ pointer }) => pointer);
}
