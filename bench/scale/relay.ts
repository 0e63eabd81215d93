/**
 * A program that stands between Holdfast and one etcd, and hands on what etcd
 * answers so much later: the distance, on a kernel without netem. A process of
 * its own, so that its delays do not depend on what is measured.
 *
 *   node relay.js '{"delayMs":5,"toPort":2379}'     prints the port it listens at
 */
import { createServer, connect, type AddressInfo, type Socket } from 'node:net';

interface RelaySettings {
  readonly delayMs: number;
  readonly toPort: number;
}

/** Hands on in order what is due; one timer for all that waits. */
class DelayLine {
  readonly #to: Socket;
  readonly #delayMs: number;
  readonly #waiting: { readonly dueAt: number; readonly chunk: Buffer | undefined }[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(to: Socket, delayMs: number) {
    this.#to = to;
    this.#delayMs = delayMs;
  }

  /** @param chunk undefined: the end */
  push(chunk: Buffer | undefined): void {
    this.#waiting.push({ dueAt: performance.now() + this.#delayMs, chunk });
    this.#arm();
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#waiting.length === 0) return;
    const inMs = Math.max(0, this.#waiting[0].dueAt - performance.now());
    this.#timer = setTimeout(() => this.#fire(), inMs);
  }

  #fire(): void {
    this.#timer = undefined;
    const now = performance.now();
    while (this.#waiting.length > 0 && this.#waiting[0].dueAt <= now) {
      const { chunk } = this.#waiting.shift()!;
      if (chunk === undefined) this.#to.end();
      else this.#to.write(chunk);
    }
    this.#arm();
  }
}

const { delayMs, toPort } = JSON.parse(process.argv[2]) as RelaySettings;
const server = createServer({ noDelay: true }, (near) => {
  const far = connect({ port: toPort, host: '127.0.0.1', noDelay: true });
  const answers = new DelayLine(near, delayMs);
  near.pipe(far);
  far.on('data', (chunk: Buffer) => answers.push(chunk)).on('end', () => answers.push(undefined));
  for (const [one, other] of [
    [near, far],
    [far, near],
  ]) {
    one.on('error', () => other.destroy());
    one.on('close', () => setTimeout(() => other.destroy(), 2 * delayMs));
  }
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
process.on('disconnect', () => process.exit(0));
