import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MUTATIONS } from './mutations.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

test.each(MUTATIONS)('the mutation «$name» still fits the code', ({ file, find, replace }) => {
  const text = readFileSync(join(ROOT, file), 'utf8');
  expect(text.split(find).length - 1).toBe(1);
  expect(replace).not.toBe(find);
});
