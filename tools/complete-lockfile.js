/**
 * Adds to package-lock.json the optional packages that `npm install` left out
 * because the registry it used does not carry them: native builds for other
 * systems, most of all. `npm ci` refuses a lockfile without them, on every
 * system. They come without an integrity hash, as their bytes were never seen;
 * nothing downloads them where their system is not the machine's own.
 *
 *   npm install … ; node tools/complete-lockfile.js
 */
import { readFileSync, writeFileSync } from 'node:fs';

const SYSTEMS = [
  'darwin',
  'linux',
  'win32',
  'android',
  'freebsd',
  'openbsd',
  'netbsd',
  'sunos',
  'aix',
  'openharmony',
];
const PROCESSORS = {
  x64: 'x64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: 'ia32',
  ppc64: 'ppc64',
  ppc64le: 'ppc64',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
  mips64el: 'mips64el',
  wasm32: 'wasm32',
};

/** What such a package says of itself, as far as its name tells it. */
function platformOf(name) {
  const words = name.split('/').at(-1).split('-');
  const os = words.find((word) => SYSTEMS.includes(word));
  const cpu = words
    .map((word) => (word.startsWith('arm-') || word === 'armv7' ? 'arm' : PROCESSORS[word]))
    .find(Boolean);
  // Nothing runs on an unknown processor: it is then never downloaded.
  const facts = { cpu: [cpu ?? 'unknown'], ...(os && { os: [os] }) };
  if (words.some((word) => word.startsWith('musl'))) facts.libc = ['musl'];
  if (words.some((word) => word.startsWith('gnu'))) facts.libc = ['glibc'];
  return facts;
}

const path = 'package-lock.json';
const lock = JSON.parse(readFileSync(path, 'utf8'));
const packages = lock.packages;
let added = 0;
for (const [place, facts] of Object.entries(packages)) {
  for (const [name, version] of Object.entries(facts.optionalDependencies ?? {})) {
    if (packages[`${place}/node_modules/${name}`] ?? packages[`node_modules/${name}`]) continue;
    if (!/^\d+\.\d+\.\d+[-.\w]*$/.test(version)) {
      console.error(`${place}: ${name}@${version} is missing and not an exact version: left out`);
      continue;
    }
    packages[`node_modules/${name}`] = {
      version,
      ...platformOf(name),
      ...(facts.dev && { dev: true }),
      optional: true,
    };
    added++;
  }
}
lock.packages = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`);
console.log(`${added} optional packages added to ${path}`);
