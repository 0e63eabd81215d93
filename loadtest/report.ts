/** A result in words. */
import type { Knee } from './knee.ts';
import { isSafe, type LoadResult } from './result.ts';

const ms = (value: number): string => value.toFixed(2);
const whole = (value: number): string => value.toFixed(0);

export function reportOf(result: LoadResult): string {
  const { latency, sendLag, handOff, safety, refusals } = result;
  const lines = [
    `offered ${whole(result.offered)} ops/s, achieved ${whole(result.achieved)} ops/s over ${result.seconds} s ` +
      `(${result.workload}, ${result.protocol}, ${result.sockets} sockets, ${opsText(result)})`,
    `latency from the intended send: p50 ${ms(latency.p50Ms)}  p95 ${ms(latency.p95Ms)}  p99 ${ms(latency.p99Ms)}  ` +
      `p99.9 ${ms(latency.p999Ms)}  max ${ms(latency.maxMs)} ms (of it the driver: p50 ${ms(sendLag.p50Ms)}, ` +
      `p95 ${ms(sendLag.p95Ms)})`,
    ...byOp(result),
    `unanswered ${result.unanswered}, cut ${result.cut}, unsent ${result.unsent}, ` +
      `falling fencing tokens ${safety.fallingFences}, two holders ${safety.twoHolders}, ` +
      `errors ${JSON.stringify(result.errors)}`,
  ];
  if (Object.keys(refusals).length > 0) lines.push(`refusals, as expected: ${JSON.stringify(refusals)}`);
  if (handOff.count > 0) {
    lines.push(
      `${handOff.count} hand-offs, from a release to the next grant: p50 ${ms(handOff.p50Ms)}  ` +
        `p95 ${ms(handOff.p95Ms)}  p99 ${ms(handOff.p99Ms)}  max ${ms(handOff.maxMs)} ms`,
    );
  }
  lines.push(`driver's CPU: ${(result.cpuSeconds / result.seconds).toFixed(2)} cores`);
  if (!isSafe(result)) lines.push('NOT SAFE:', ...safety.examples.map((example) => `  ${example}`));
  return lines.join('\n');
}

function opsText({ opsPerFrame, protocol }: LoadResult): string {
  if (protocol === 'http') return 'one op a request';
  return opsPerFrame === 1 ? 'one op a frame' : `${opsPerFrame} ops a frame`;
}

function byOp({ byOp }: LoadResult): string[] {
  const ops = Object.entries(byOp).filter(([, { count }]) => count > 0);
  if (ops.length < 2) return [];
  const width = Math.max(...ops.map(([op]) => op.length));
  return ops.map(
    ([op, { count, p50Ms, p95Ms, p99Ms }]) =>
      `  ${op.padEnd(width)}  ${String(count).padStart(9)}  p50 ${ms(p50Ms)}  p95 ${ms(p95Ms)}  p99 ${ms(p99Ms)} ms`,
  );
}

export function kneeOf({ found, rate }: Knee): string {
  const rows = found.map((step) =>
    [
      step.held ? ' ' : 'x',
      whole(step.rate).padStart(9),
      whole(step.achieved).padStart(10),
      ...[step.p50Ms, step.p95Ms, step.p99Ms].map((value) => ms(value).padStart(8)),
      String(step.errors).padStart(7),
    ].join('  '),
  );
  const head = '    offered    achieved       P50       P95       P99   errors';
  const knee = rate === 0 ? 'not even the first step was held' : `the knee: ${whole(rate)} ops/s were held`;
  return [head, ...rows, knee].join('\n');
}
