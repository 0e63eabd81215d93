import { expect, it } from 'vitest';
import { measureMachine } from '../../bench/machine.ts';

it('the micro benchmark runs, and a lock takes the journal bytes that it should', () => {
  const report = measureMachine(20_000, 8);
  for (const value of [report.acquireNs, report.pairNs, report.renewNs, report.getNs, report.expireNs]) {
    expect(value).toBeGreaterThan(0);
  }
  expect(report.pairJournalBytes).toBeLessThan(70);
  expect(report.pairJournalBytes).toBeGreaterThan(40);
});
