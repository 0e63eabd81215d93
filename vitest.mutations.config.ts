import { defineConfig } from 'vitest/config';

/** `npm run test:mutations`: does the simulation notice when a rule is broken? */
export default defineConfig({ test: { include: ['test/sim/mutations.check.ts'], fileParallelism: false } });
