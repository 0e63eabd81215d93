/**
 * Unary gRPC calls over one HTTP/2 connection, as cheap as Node makes them: for
 * benchmarks that must not measure a client library. No deadlines: whoever
 * uses it ends the process.
 */
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { WireWriter } from '../src/shard/etcd/wire.ts';

const PREFIX_BYTES = 5;

/** Room for a message behind its gRPC prefix. */
export function framed(messageBytes: number): WireWriter {
  const bytes = new Uint8Array(PREFIX_BYTES + messageBytes);
  new DataView(bytes.buffer).setUint32(1, messageBytes);
  return new WireWriter(bytes, PREFIX_BYTES);
}

export class GrpcConnection {
  readonly #session: ClientHttp2Session;

  constructor(endpoint: string) {
    this.#session = connect(endpoint);
    // Every call that is under way tells its own error.
    this.#session.on('error', () => {});
  }

  /** `request` is a message behind its prefix. Resolves with the answer without it; rejects on any other status than OK. */
  call(path: string, request: Uint8Array): Promise<Uint8Array> {
    const stream = this.#session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.end(request);
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      let status = '';
      let message = '';
      const look = (headers: Record<string, unknown>): void => {
        status = String(headers['grpc-status'] ?? status);
        message = String(headers['grpc-message'] ?? message);
      };
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('response', look);
      stream.on('trailers', look);
      stream.on('error', reject);
      stream.on('end', () => {
        if (status === '0') resolve(Buffer.concat(chunks).subarray(PREFIX_BYTES));
        else reject(new Error(`${path} ended with ${status} ${decodeURIComponent(message)}`));
      });
    });
  }

  close(): void {
    this.#session.close();
  }
}
