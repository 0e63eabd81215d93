/**
 * What a failed call to etcd means: a `ShardError` whose outcome is `refused`
 * only where the request certainly has no effect, now or later.
 *
 * Two statuses look like refusals and are not:
 * - «database space exceeded»: the write that crosses the quota *is applied* and
 *   then answered with this error (quotaApplierV3 in etcd's server/etcdserver/apply).
 * - UNAVAILABLE with an etcd message (time-out, leader changed, server stopped):
 *   the request may already be proposed to Raft.
 */
import { ShardError } from '../store.ts';

/** The gRPC status codes that are told apart here. */
export const GrpcStatus = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  unauthenticated: 16,
} as const;

const REFUSALS: ReadonlySet<number> = new Set([
  GrpcStatus.invalidArgument,
  GrpcStatus.notFound,
  GrpcStatus.permissionDenied,
  GrpcStatus.failedPrecondition,
  GrpcStatus.outOfRange,
  GrpcStatus.unimplemented,
  GrpcStatus.unauthenticated,
]);

/** A failure that knows its gRPC status, so that the way may be changed or renewed. */
export class EtcdError extends ShardError {
  /** −1: no status arrived. */
  readonly status: number;

  constructor(status: number, detail: string, cause?: unknown) {
    const noSpace = detail.includes('database space exceeded');
    super(isRefusal(status, detail) ? 'refused' : 'unknown', detail, { noSpace, cause });
    this.name = 'EtcdError';
    this.status = status;
  }

  /** The token has expired, or roles were changed since it was issued. */
  get staleToken(): boolean {
    return (
      this.message.includes('invalid auth token') || this.message.includes('revision of auth store is old')
    );
  }

  /** Another member may do better. */
  get endpointFault(): boolean {
    return (
      this.status < 0 ||
      this.status === GrpcStatus.unavailable ||
      this.status === GrpcStatus.deadlineExceeded ||
      this.status === GrpcStatus.cancelled ||
      this.status === GrpcStatus.internal
    );
  }
}

function isRefusal(status: number, detail: string): boolean {
  if (status === GrpcStatus.resourceExhausted) return detail.includes('etcdserver: too many requests');
  return REFUSALS.has(status);
}

/** The request never left this process. */
export function neverSent(detail: string, cause?: unknown): ShardError {
  return new ShardError('refused', detail, { cause });
}

/** grpc-js says one of these when no stream was opened for the call. */
const NEVER_SENT = [
  'No connection established',
  'Name resolution failed',
  'Channel closed before call started',
];

/**
 * An error of etcd3 as a `ShardError`. etcd3 turns statuses into classes but
 * keeps grpc-js's text, «14 UNAVAILABLE: …»; its own classes carry none.
 */
export function failureOfEtcd3(shard: string, error: unknown): ShardError {
  if (error instanceof ShardError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const detail = `${shard}: ${text}`;
  if (NEVER_SENT.some((part) => text.includes(part))) return neverSent(detail, error);
  const status = /\b(\d+) [A-Z_]+: /.exec(text);
  return new EtcdError(status === null ? -1 : Number(status[1]), detail, error);
}
