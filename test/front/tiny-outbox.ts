/** Answers of a TinyLane on their way, grouped by connection as the front gets them. */
import type { LaneAnswers } from '../../src/lane/messages.ts';
import { type Answer, AnswerBytes, writeAnswer } from '../../src/protocol/answer.ts';

export class TinyOutbox {
  private groups = new Map<number, Buffer[]>();
  private readonly out = new AnswerBytes();

  add(connection: number, answer: Answer): void {
    this.out.reset();
    writeAnswer(this.out, answer);
    const group = this.groups.get(connection) ?? [];
    group.push(Buffer.from(this.out.bytes.slice(0, this.out.length)));
    this.groups.set(connection, group);
  }

  /** All of them; undefined: there is none. */
  take(): LaneAnswers | undefined {
    const { groups } = this;
    this.groups = new Map();
    if (groups.size === 0) return undefined;
    const parts: Buffer[] = [];
    for (const [connection, answers] of groups) {
      const head = Buffer.alloc(8);
      head.writeUInt32LE(connection, 0);
      head.writeUInt32LE(
        answers.reduce((sum, one) => sum + one.length, 0),
        4,
      );
      parts.push(head, ...answers);
    }
    const all = Buffer.concat(parts);
    const buffer = all.buffer.slice(all.byteOffset, all.byteOffset + all.length) as ArrayBuffer;
    return { kind: 'answers', buffer, length: all.length, spare: [] };
  }
}
