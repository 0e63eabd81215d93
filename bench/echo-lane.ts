/**
 * A worker that answers every op at once, in rounds of about a millisecond as a
 * lane does with its commits, and decides nothing: what is left is the cost of
 * the front and of the way there and back.
 */
import type { MessagePort } from 'node:worker_threads';
import type { LaneTask } from '../src/lane/messages.ts';
import { BatchBytes, readRecord } from '../src/lane/record.ts';
import { Kind, Op, OpFlag } from '../src/op.ts';
import { Answer, AnswerBytes, Section, writeAnswer } from '../src/protocol/answer.ts';
import { LIMITS } from '../src/limits.ts';

const ROUND_MS = 1;

const op = new Op();
const answer = new Answer();
const byConnection = new Map<number, AnswerBytes>();
let port: MessagePort;
let due = false;

export default function work(task: LaneTask): null {
  if (task.kind === 'start') {
    port = task.port;
    const slots = Uint16Array.from({ length: LIMITS.slots }, (_, slot) => slot).filter(
      (slot) => slot % task.lanes === task.lane,
    );
    port.postMessage({ kind: 'owned', announcement: 1, shard: 's0', term: 't', slots });
  } else if (task.kind === 'batch') {
    // An empty one only says how far the front has read.
    if (task.length === 0) return null;
    const batch = new BatchBytes(task.buffer, task.length);
    for (let at = 0; at < task.length;) {
      at = readRecord(batch, at, op);
      decide();
    }
    if (!due) setTimeout(deliver, ROUND_MS);
    due = true;
  } else if (task.kind === 'stop') {
    port.close();
  }
  return null;
}

function decide(): void {
  let out = byConnection.get(op.connection);
  if (out === undefined) byConnection.set(op.connection, (out = new AnswerBytes()));
  answer.id = op.id;
  answer.status = op.kind === Kind.release ? 204 : 201;
  answer.sections = 0;
  if (op.kind === Kind.acquire || op.kind === Kind.renew) {
    answer.sections = Section.claim;
    answer.fencingToken = 4_711;
    answer.ttlMs = 30_000;
    answer.expiresInMs = 29_999;
    if (op.flags & OpFlag.full) answer.sections |= Section.labels;
  } else if (op.kind === Kind.get) {
    answer.sections = Section.state;
    answer.holderCount = 0;
  }
  writeAnswer(out, answer);
}

function deliver(): void {
  due = false;
  let bytes = 0;
  for (const out of byConnection.values()) bytes += 8 + out.length;
  const buffer = new ArrayBuffer(bytes);
  const all = new Uint8Array(buffer);
  const view = new DataView(buffer);
  let at = 0;
  for (const [connection, out] of byConnection) {
    view.setUint32(at, connection, true);
    view.setUint32(at + 4, out.length, true);
    all.set(out.bytes.subarray(0, out.length), at + 8);
    at += 8 + out.length;
  }
  byConnection.clear();
  port.postMessage({ kind: 'answers', buffer, length: at, spare: [] }, [buffer]);
}
