/**
 * Prints «passed failed skipped» of a vitest JSON report. A file that could not
 * be run has no tests in the report: it counts as one failure. No report counts
 * as one failure too.
 */
import { readFileSync } from 'node:fs';

let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const report = JSON.parse(readFileSync(process.argv[2], 'utf8'));
  for (const file of report.testResults) {
    let failures = 0;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed++;
      else if (test.status === 'failed') failures++;
      else skipped++;
    }
    if (file.status === 'failed' && failures === 0) failures = 1;
    failed += failures;
  }
  if (report.success !== true && failed === 0) failed = 1;
} catch (error) {
  console.error(`no test report: ${error.message}`);
  failed++;
}
console.log(`${passed} ${failed} ${skipped}`);
