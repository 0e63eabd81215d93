import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Demand } from '../../src/front/demand.ts';

const SLOTS = 12;

test('tells what anybody wants, once for each change', () => {
  const list = fc.uniqueArray(fc.integer({ min: 0, max: SLOTS - 1 }), { maxLength: 6 });
  const step = fc.record({ process: fc.constantFrom('own', 'b', 'c'), list });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const told: number[][] = [];
      const demand = new Demand(SLOTS, (slots) => void told.push([...slots]));
      const lists = new Map<string, readonly number[]>();
      let last: number[] = [];
      for (const { process, list } of steps) {
        lists.set(process, list);
        demand.update(process, Uint16Array.from(list).sort());
        const all = [...new Set([...lists.values()].flat())].sort((a, b) => a - b);
        const isNews = all.join() !== last.join();
        expect(told.splice(0)).toEqual(isNews ? [all] : []);
        last = all;
      }
    }),
  );
});
