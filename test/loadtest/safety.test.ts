import { expect, test } from 'vitest';
import { SafetyChecker, SafetyMode, type ClaimObserver } from '../../loadtest/safety.ts';
import { ClaimEventMerge, ClaimEventWriter } from '../../loadtest/safety-stream.ts';

const { exclusive, shared, semaphore } = SafetyMode;

/** A claim of `name` that is granted at `at` and believed until `until`. */
function grant(
  checker: ClaimObserver,
  claim: number,
  of: {
    at: number;
    until: number;
    token: number;
    name?: number;
    mode?: number;
    limit?: number;
    askedAt?: number;
  },
): void {
  const { at, until, token, name = 1, mode = exclusive, limit = 0, askedAt = at } = of;
  checker.asked(askedAt, claim, name, mode, limit);
  checker.granted(at, claim, until, token);
}

test('one holder after the other is fine', () => {
  const checker = new SafetyChecker();
  grant(checker, 1, { at: 10, until: 100, token: 5 });
  checker.ended(50, 1);
  grant(checker, 2, { at: 51, until: 90, token: 6 });
  grant(checker, 3, { at: 90, until: 200, token: 9 });
  grant(checker, 4, { at: 91, until: 200, token: 1, name: 2 });
  expect(checker.safety).toEqual({ twoHolders: 0, fallingFences: 0, examples: [] });
});

test('two holders at a time are found, also when the first was renewed', () => {
  const checker = new SafetyChecker((name) => `order-${name}`);
  grant(checker, 1, { at: 10, until: 100, token: 5 });
  checker.renewed(60, 1, 200, 5);
  grant(checker, 2, { at: 150, until: 300, token: 6 });
  expect(checker.safety).toMatchObject({ twoHolders: 1, fallingFences: 0 });
  expect(checker.safety.examples[0]).toMatch(
    /two holders at 150.0 ms: claim 1 of order-1 .* claim 2 of order-1/,
  );
});

test('a renewal that comes after the lock was given to another is found', () => {
  const checker = new SafetyChecker();
  grant(checker, 1, { at: 10, until: 100, token: 5 });
  grant(checker, 2, { at: 120, until: 300, token: 6 });
  checker.renewed(150, 1, 250, 5);
  expect(checker.safety.twoHolders).toBe(1);
});

test('a grant whose answer came after its deadline is not believed', () => {
  const checker = new SafetyChecker();
  grant(checker, 1, { at: 10, until: 100, token: 5 });
  grant(checker, 2, { at: 60, until: 59, token: 6, askedAt: 20 });
  expect(checker.safety.twoHolders).toBe(0);
  expect(checker.size).toBe(1);
});

test('shared claims go together, but not with an exclusive one', () => {
  const checker = new SafetyChecker();
  grant(checker, 1, { at: 10, until: 100, token: 5, mode: shared });
  grant(checker, 2, { at: 11, until: 100, token: 6, mode: shared });
  expect(checker.safety.twoHolders).toBe(0);
  grant(checker, 3, { at: 12, until: 100, token: 7 });
  expect(checker.safety.twoHolders).toBe(1);
  grant(checker, 4, { at: 13, until: 100, token: 8, mode: shared });
  expect(checker.safety.twoHolders).toBe(2);
});

test('a semaphore has at most its limit of holders', () => {
  const checker = new SafetyChecker();
  const two = { mode: semaphore, limit: 2 };
  grant(checker, 1, { at: 10, until: 50, token: 5, ...two });
  grant(checker, 2, { at: 11, until: 100, token: 6, ...two });
  grant(checker, 3, { at: 51, until: 100, token: 7, ...two });
  expect(checker.safety.twoHolders).toBe(0);
  grant(checker, 4, { at: 52, until: 100, token: 8, ...two });
  expect(checker.safety).toMatchObject({ twoHolders: 1 });
  expect(checker.safety.examples[0]).toContain('3 holders of a semaphore of 2');
});

test('a fencing token that is not above one that was known before is found', () => {
  const checker = new SafetyChecker();
  grant(checker, 1, { at: 10, until: 20, token: 5 });
  grant(checker, 2, { at: 30, until: 40, token: 4 });
  grant(checker, 3, { at: 50, until: 60, token: 5 });
  expect(checker.safety.fallingFences).toBe(2);
});

test('answers of requests that were open together may come in either order', () => {
  const checker = new SafetyChecker();
  checker.asked(10, 1, 1, exclusive, 0);
  checker.asked(11, 2, 1, exclusive, 0);
  // The grant of 1 ran out before its answer came.
  checker.granted(20, 2, 100, 6);
  checker.granted(21, 1, 15, 5);
  expect(checker.safety).toMatchObject({ twoHolders: 0, fallingFences: 0 });
  checker.asked(22, 3, 1, exclusive, 0);
  checker.ended(23, 2);
  checker.granted(24, 3, 100, 6);
  expect(checker.safety.fallingFences).toBe(1);
});

test('one fencing token for two exclusive grants is found', () => {
  const checker = new SafetyChecker();
  checker.asked(10, 1, 1, exclusive, 0);
  checker.asked(10, 2, 1, exclusive, 0);
  checker.granted(20, 1, 30, 5);
  checker.ended(21, 1);
  checker.granted(22, 2, 40, 5);
  expect(checker.safety).toMatchObject({ twoHolders: 0, fallingFences: 1 });
});

test('a renewal that changes the fencing token is found', () => {
  const checker = new SafetyChecker();
  grant(checker, 1, { at: 10, until: 100, token: 5 });
  checker.renewed(20, 1, 120, 0);
  checker.renewed(30, 1, 130, 6);
  expect(checker.safety.fallingFences).toBe(1);
});

test('it keeps nothing of what is over, and few examples', () => {
  const checker = new SafetyChecker();
  for (let i = 0; i < 10_000; i++) {
    grant(checker, i, { at: i, until: i + 10, token: 1, name: i % 10 });
    checker.ended(i, i);
  }
  expect(checker.size).toBe(0);
  expect(checker.safety.examples).toHaveLength(10);
});

test('events of several processes are seen in the order of their times', () => {
  const seen: string[] = [];
  const merge = new ClaimEventMerge(2, {
    asked: (at, claim, name, mode, limit) => seen.push(`asked ${at} ${claim} ${name} ${mode} ${limit}`),
    granted: (at, claim, until, token) => seen.push(`granted ${at} ${claim} ${until} ${token}`),
    renewed: (at, claim) => seen.push(`renewed ${at} ${claim}`),
    ended: (at, claim) => seen.push(`ended ${at} ${claim}`),
  });
  const events = (...numbers: number[][]): Float64Array => Float64Array.from(numbers.flat());
  merge.add(0, { upTo: 30, events: events([10, 1, 1, 7, 2, 3], [30, 2, 1, 90, 5, 0]) });
  expect(seen).toEqual([]);
  merge.add(1, { upTo: 25, events: events([20, 1, 2, 7, 0, 0]) });
  expect(seen).toEqual(['asked 10 1 7 2 3', 'asked 20 2 7 0 0']);
  merge.add(1, { upTo: 40, events: events([35, 4, 2, 0, 0, 0]) });
  expect(seen.at(-1)).toBe('granted 30 1 90 5');
  merge.end(0);
  expect(seen.at(-1)).toBe('ended 35 2');
});

test('two holders in two processes are found', () => {
  const checker = new SafetyChecker();
  const merge = new ClaimEventMerge(2, checker);
  const writers = [new ClaimEventWriter(), new ClaimEventWriter()];
  grant(writers[0], 1, { at: 1, until: 1_000, token: 5 });
  grant(writers[1], 2, { at: 500, until: 1_500, token: 6 });
  for (const [i, writer] of writers.entries()) merge.add(i, writer.take());
  merge.end(0);
  merge.end(1);
  expect(checker.safety).toMatchObject({ twoHolders: 1, fallingFences: 0 });
});
