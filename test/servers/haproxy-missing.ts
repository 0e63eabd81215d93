/** For `describe.skipIf(haproxyMissing)`: true where setup.ts could not get an HAProxy, and said so. */
export const haproxyMissing = (process.env['HOLDFAST_HAPROXY_MISSING'] ?? '') !== '';
