import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MUTATIONS } from './mutations.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

test.each(MUTATIONS)('the mutation «$name» still fits the code', ({ file, find, replace, also }) => {
  const text = readFileSync(join(ROOT, file), 'utf8');
  for (const edit of [{ find, replace }, ...(also === undefined ? [] : [also])]) {
    expect(text.split(edit.find).length - 1).toBe(1);
    expect(edit.replace).not.toBe(edit.find);
  }
});
