/** What the general engine's latencies are told apart by. */
import type { Call, Workload } from '../workload.ts';

const REFUSED = 'acquire, refused';
/** It was granted, or given up, after it had waited for another client: how long that takes is not the service's doing. */
const WAITED = 'acquire, waited';

export class Labels {
  readonly labels: readonly string[];
  readonly apart: readonly string[] = [WAITED];

  constructor({ parts, expect }: Workload) {
    const steps = parts.flatMap(({ cycle }) => cycle);
    const calls = new Set<string>(steps.map(({ call }) => call).filter((call) => call !== 'hold'));
    if (expect.some((code) => code !== 'wait_timeout')) calls.add(REFUSED);
    if (steps.some((step) => step.call !== 'hold' && step.waitMs > 0)) calls.add(WAITED);
    this.labels = [...calls];
  }

  of(call: Call, isGood: boolean, hasWaited: boolean): number {
    const { labels } = this;
    const plain = labels.indexOf(call);
    if (call !== 'acquire') return plain;
    const special = hasWaited ? labels.indexOf(WAITED) : isGood ? plain : labels.indexOf(REFUSED);
    return special < 0 ? plain : special;
  }
}
