/** For `describe.skipIf(etcdMissing)`: true where setup.ts could not get an etcd, and said so. */
export const etcdMissing = (process.env['HOLDFAST_ETCD_MISSING'] ?? '') !== '';
