import fc from 'fast-check';
import { expect, test } from 'vitest';
import { newToken, tokenText } from '../../../loadtest/clients/call.ts';
import { Client } from '../../../loadtest/clients/client.ts';
import { Due } from '../../../loadtest/clients/due.ts';
import { HandOffs } from '../../../loadtest/clients/hand-offs.ts';
import { Labels } from '../../../loadtest/clients/labels.ts';
import { Picker } from '../../../loadtest/clients/picker.ts';
import { Zipf } from '../../../loadtest/clients/popularity.ts';
import { Recorder } from '../../../loadtest/recorder.ts';
import { readWorkload } from '../../../loadtest/workload.ts';

test('what is due comes out by its time', () => {
  const at = fc.integer({ min: 0, max: 50 });
  fc.assert(
    fc.property(fc.array(fc.option(at)), (steps) => {
      const due = new Due<number>();
      const model: number[] = [];
      for (const step of steps) {
        if (step !== null) {
          due.add(step, step);
          model.push(step);
          model.sort((a, b) => a - b);
        } else if (model.length > 0) {
          expect(due.nextAt).toBe(model[0]);
          expect(due.shift()).toBe(model.shift());
        }
        expect(due.size).toBe(model.length);
      }
      expect(due.nextAt).toBe(model[0] ?? Infinity);
    }),
  );
});

test('names are as popular as Zipf says', () => {
  const zipf = new Zipf(100, 1);
  const counts = new Array<number>(100).fill(0);
  const draws = 100_000;
  for (let i = 0; i < draws; i++) counts[zipf.pick((i + 0.5) / draws)]++;
  const first = counts[0];
  for (const n of [1, 2, 9, 49, 99]) expect(counts[n] / first).toBeCloseTo(1 / (n + 1), 2);
  expect(counts.reduce((sum, n) => sum + n, 0)).toBe(draws);
});

test('an exponent of 0 makes all names alike', () => {
  const zipf = new Zipf(4, 0);
  expect([0, 0.249, 0.251, 0.5, 0.999].map((random) => zipf.pick(random))).toEqual([0, 0, 1, 2, 3]);
});

test('clients with names of their own never ask for the same', () => {
  const [part] = readWorkload('sessions').parts;
  const picker = new Picker('own', 60, 3);
  const clients = [0, 1, 2].map((i) => new Client(i, 0, picker.firstNameOf(i), part));
  const names = clients.flatMap((client) => picker.pick(client, 20));
  expect(new Set(names).size).toBe(60);
});

test('a client does not ask for a name that it holds, and does not try for ever', () => {
  const [part] = readWorkload('hot-names').parts;
  const picker = new Picker('uniform', 3, 1);
  const client = new Client(0, 0, 0, part);
  client.held.set(1, { number: 1, name: 2, token: newToken() });
  expect(picker.pick(client, 2).sort((a, b) => a - b)).toEqual([0, 1]);
  expect(picker.pick(client, 3)).toHaveLength(2);
});

test('a hand-off counts from the release to the grant of who waited for it', () => {
  const what = { workload: 'test', protocol: 'binary', seconds: 1, sockets: 1, opsPerFrame: 1 } as const;
  const recorder = new Recorder({ ...what, labels: ['acquire'] });
  recorder.start(0, 0, 1_000);
  const handOffs = new HandOffs(2, recorder);
  handOffs.asked(1);
  handOffs.released(1, 100);
  expect(handOffs.answered(1, 50, 104, true)).toBe(true);
  // Nobody waited when it was released.
  handOffs.released(1, 200);
  handOffs.asked(1);
  expect(handOffs.answered(1, 210, 214, true)).toBe(false);
  // It was asked for only after the release.
  handOffs.asked(1);
  handOffs.released(1, 300);
  handOffs.asked(1);
  expect(handOffs.answered(1, 310, 315, true)).toBe(false);
  recorder.turn(1_000);
  const { handOff } = recorder.result(0, { twoHolders: 0, fallingFences: 0, examples: [] });
  expect(handOff.count).toBe(1);
  expect(handOff.maxMs).toBeCloseTo(4, 1);
});

test('latencies of waits are told apart', () => {
  const waiters = new Labels(readWorkload('waiters'));
  expect(waiters.labels).toEqual(['acquire', 'release', 'acquire, waited']);
  expect(waiters.of('acquire', true, false)).toBe(0);
  expect(waiters.of('acquire', true, true)).toBe(2);
  expect(waiters.of('release', true, false)).toBe(1);
  const hot = new Labels(readWorkload('hot-names'));
  expect(hot.labels[hot.of('acquire', false, false)]).toBe('acquire, refused');
});

test('tokens differ, and have the text of a UUID', () => {
  const texts = Array.from({ length: 10_000 }, () => tokenText(newToken()));
  expect(new Set(texts).size).toBe(10_000);
  expect(texts[0]).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
});
