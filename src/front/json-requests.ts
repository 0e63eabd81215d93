/**
 * Requests of a JSON socket that are more than one op: a wait or a request of a
 * session, and a watch. Each is the target of whoever takes them
 * (coordination.ts).
 *
 *   wait     open ─► answered                with events meanwhile
 *   watch    open ─► standing ─► ended       answered once it stands, then events
 */
import type { ErrorCode } from '../errors.ts';
import { Answer, type AnswerBytes, Event, readAnswer } from '../protocol/answer.ts';
import { renderOutcome } from '../protocol/json-answer.ts';
import { renderChanged, renderQueued } from '../protocol/json-event.ts';
import type { JsonRequest } from '../protocol/json-request.ts';
import type { Handle, Target } from './coordination.ts';

export type ClientId = number | string;

/** The socket that they came over. */
export interface RequestHost {
  /** The request is answered: its id is free. */
  settled(request: CoordinatedRequest): void;
  /** The watch stands no longer. */
  unwatched(watch: WatchRequest): void;
  answer(clientId: ClientId | null, status: number, members: string, inArray: boolean): void;
  fault(clientId: ClientId | null, code: ErrorCode, inArray: boolean, request: JsonRequest): void;
  event(text: string): void;
}

const answer = new Answer();

export function quoted(clientId: ClientId | null): string {
  return typeof clientId === 'string' ? JSON.stringify(clientId) : String(clientId);
}

export class CoordinatedRequest implements Target {
  handle: Handle | undefined;
  readonly clientId: ClientId;
  readonly request: JsonRequest;
  protected readonly host: RequestHost;
  protected readonly inArray: boolean;

  constructor(host: RequestHost, clientId: ClientId, request: JsonRequest, inArray: boolean) {
    this.host = host;
    this.clientId = clientId;
    this.request = request;
    this.inArray = inArray;
  }

  interim(source: AnswerBytes, at: number, _end: number): void {
    readAnswer(source, at, answer);
    if (answer.status === Event.queued) this.host.event(renderQueued(answer, quoted(this.clientId)));
  }

  final(source: AnswerBytes, at: number): void {
    readAnswer(source, at, answer);
    const members = renderOutcome(source, answer, this.request);
    this.host.settled(this);
    // Without a body HTTP says 204, and so it is said here.
    const status = members === '' ? 204 : answer.status;
    this.host.answer(this.clientId, status, members, this.inArray);
  }

  refused(code: ErrorCode): void {
    this.host.settled(this);
    this.host.fault(this.clientId, code, this.inArray, this.request);
  }
}

export class WatchRequest extends CoordinatedRequest {
  private stands = false;

  override interim(source: AnswerBytes, at: number): void {
    if (!this.stands) {
      this.stands = true;
      this.host.settled(this);
      this.host.answer(this.clientId, 200, '', this.inArray);
    }
    readAnswer(source, at, answer);
    this.host.event(renderChanged(source, answer, this.request.quotedName));
  }

  override final(source: AnswerBytes, at: number): void {
    this.host.unwatched(this);
    if (!this.stands) return super.final(source, at);
    readAnswer(source, at, answer);
    this.host.answer(null, answer.status, renderOutcome(source, answer, this.request), false);
  }

  /** One that stood ends because its client said so, or with the socket. */
  override refused(code: ErrorCode): void {
    this.host.unwatched(this);
    if (!this.stands) super.refused(code);
    else if (code !== 'cancelled' && code !== 'draining') this.host.fault(null, code, false, this.request);
  }
}
