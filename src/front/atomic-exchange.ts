/** The HTTP request of an atomic batch, and its answer: all claims, or why there is none. */
import { codeOfWire, type ErrorCode } from '../errors.ts';
import { Answer, type AnswerBytes, readAnswer, Section } from '../protocol/answer.ts';
import { detailOf, renderFault, renderOutcome } from '../protocol/json-answer.ts';
import type { JsonRequest } from '../protocol/json-request.ts';
import type { BatchTarget } from './coordination.ts';
import type { Exchange } from './exchange.ts';

const answer = new Answer();

export class AtomicExchange implements BatchTarget {
  /** Of the items, in their order. */
  readonly requests: JsonRequest[] = [];
  private readonly exchange: Exchange;

  constructor(exchange: Exchange) {
    this.exchange = exchange;
  }

  held(source: AnswerBytes, starts: readonly number[]): void {
    const results = this.requests.map((request, i) => {
      readAnswer(source, starts[i], answer);
      return `{"status":${answer.status},${renderOutcome(source, answer, request)}}`;
    });
    this.exchange.json(200, `{"results":[${results.join(',')}]}`);
  }

  failed(index: number, source: AnswerBytes, at: number): void {
    readAnswer(source, at, answer);
    const code = codeOfWire(answer.code) ?? 'internal';
    if (code === 'outcome_unknown') return this.refused(code);
    const members = renderOutcome(source, answer, this.requests[index]);
    const retryAfterMs = answer.sections & Section.queue ? answer.retryAfterMs : 0;
    this.exchange.failed(code, `${members},"index":${index}`, retryAfterMs);
  }

  /** What can be repeated of a batch of unknown outcome are its items, each with its token. */
  refused(code: ErrorCode): void {
    if (code !== 'outcome_unknown') return this.exchange.fault(code);
    const members = renderFault({ code, detail: detailOf(code), problems: [], retryAfterMs: 0 });
    const tokens = this.requests.map(({ lockToken }) => `"${lockToken}"`).join(',');
    this.exchange.failed(code, `${members},"lockTokens":[${tokens}]`, 0);
  }
}
