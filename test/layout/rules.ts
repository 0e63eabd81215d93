/**
 * The rules of the tree that test/layout.test.ts checks. To break one is a
 * decision: change it here, and say why in docs/decisions.md.
 */

/**
 * What each room of src/ may import, besides its own files. A room is a folder
 * or a file directly in src/; `room/file` is one file of it. The first row
 * that names the importing file, its folder or its room counts.
 *
 * front → batch → lane → lock and shard; the leaves import nothing; the side
 * rooms are wired by main.ts, by the thread's own entry, or appear here.
 */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  limits: [],
  clock: [],
  op: [],
  version: [],
  log: [],

  // Pure: handed `now`, does no I/O.
  lock: ['errors', 'limits', 'op'],
  protocol: ['errors', 'limits', 'op'],
  config: ['errors', 'limits'],
  metrics: ['errors', 'limits', 'op'],

  // The one interface; the engines behind it; what opens the one that is set.
  'shard/store': [],
  shard: ['clock', 'config', 'errors', 'limits', 'lane/messages'],
  slots: ['clock', 'config', 'errors', 'limits', 'shard/store'],

  // The thread's entry wires what the lane itself only knows by interface.
  'lane/worker': ['clock', 'config', 'limits', 'metrics', 'shard'],
  'lane/messages': ['config', 'slots/records'],
  'lane/buffers': ['limits'],
  'lane/record': ['op', 'protocol/op-more'],
  lane: ['clock', 'errors', 'limits', 'lock', 'metrics/counters', 'op', 'protocol', 'shard/store', 'slots'],

  batch: ['clock', 'errors', 'lane/buffers', 'lane/messages', 'lane/record', 'limits', 'op', 'slots'],
  // The way to other processes: what routing hands over leaves by a link.
  peers: ['batch/routing', 'clock', 'config/address', 'errors', 'lane/messages', 'limits', 'op', 'protocol'],
  front: [
    'batch',
    'clock',
    'config',
    'errors',
    'lane/buffers',
    'lane/messages',
    'lane/record',
    'limits',
    'metrics',
    'op',
    'peers',
    'protocol',
    'slots',
  ],

  // Starts the service, or reads a shard's bytes; never a part of serving.
  'cli/etcd-server': [],
  'cli/etcd-binary': [],
  cli: [
    'config',
    'errors',
    'limits',
    'lock/codec',
    'lock/dump',
    'log',
    'main',
    'shard',
    'slots/birth',
    'slots/records',
    'version',
  ],

  // The only place that wires everything.
  main: [
    'batch',
    'clock',
    'config',
    'errors',
    'front',
    'lane/buffers',
    'lane/messages',
    'limits',
    'metrics',
    'peers',
    'protocol/keyed-token',
    'shard',
    'slots',
    'version',
  ],
};

/** What pure rooms may take from Node: functions of their arguments alone. */
export const PURE_MODULES: readonly string[] = ['node:buffer', 'node:zlib'];

/**
 * Where execution begins. Files that a reachable file names in
 * `new URL('./file.ts', import.meta.url)` (worker threads) are reached from there.
 */
export const ENTRIES: readonly string[] = ['src/main.ts', 'src/cli/main.ts'];

export const FUNCTION_LINES_MAX = 70;
export const FILE_LINES_MAX = 400;

/** Folder names that say nothing about what is in them. */
export const FORBIDDEN_FOLDERS: readonly string[] = [
  'utils',
  'util',
  'helpers',
  'common',
  'types',
  'misc',
  'lib',
];

/** Spelled apart so that this file does not contain what it forbids. */
const word = (...parts: string[]): string => parts.join('');

/** What no file of the tree may contain, and why. */
export const FORBIDDEN_TEXT: readonly (readonly [RegExp, string])[] = [
  [new RegExp(word('\\bTO', 'DO\\b|\\bFIX', 'ME\\b|\\bXX', 'X\\b')), 'unfinished work belongs into an issue'],
  [new RegExp(word('(?<![\\w.])/(tmp|root|home|work|Users)', '/[\\w.-]')), 'a path of one machine'],
  [
    new RegExp(
      word('registry\\.(npm', 'js|yarn', 'pkg)|proxy\\.go', 'lang|deb\\.deb', 'ian\\.org|repo1?\\.mav', 'en'),
    ),
    'the host of a package registry',
  ],
  [new RegExp(word('"resol', 'ved": "http')), 'a lockfile that names its registry'],
  [
    new RegExp(word('\\b(describe|it|test|suite|bench)\\.(on', 'ly|sk', 'ip|to', 'do)\\b')),
    'a test that is left out',
  ],
  [new RegExp(word('^<{7} |^>{7} ', '|^={7}$'), 'm'), 'an unresolved merge'],
];
