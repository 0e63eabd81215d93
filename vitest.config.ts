import { defineConfig } from 'vitest/config';

/** Tests that start real servers, or Holdfast itself as users start it. */
const SERVERS = ['test/{conformance,e2e,chaos,cli,bench}/**/*.test.ts', 'test/shard/etcd/**/*.test.ts'];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'parts',
          include: ['test/**/*.test.ts'],
          exclude: SERVERS,
          testTimeout: 30_000,
          hookTimeout: 30_000,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'servers',
          include: SERVERS,
          globalSetup: 'test/servers/setup.ts',
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // One file at a time: each has servers of its own that compete for the disk's fsyncs.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    // A process that hangs at the end of a run is a defect in what it tests.
    teardownTimeout: 20_000,
  },
});
