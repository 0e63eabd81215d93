import { EtcdError } from './failure.ts';

/** etcd3 hands int64 over as decimal text; here they are numbers. Throws a ShardError past 2^53. */
export function safeNumber(text: string | number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value))
    throw new EtcdError(-1, `etcd answered with the number ${text}, past 2^53`);
  return value;
}
