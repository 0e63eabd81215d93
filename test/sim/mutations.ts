/**
 * Ways to break Holdfast that the simulation has to notice: each is a real
 * mistake somebody could make, written as a replacement of exact text in a copy
 * of the tree. Text that is not there any more fails the test: the mutation has
 * to be brought along when the code moves.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { ProfileName } from './nemesis.ts';

export interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** A second place in the same file. */
  readonly also?: { readonly find: string; readonly replace: string };
  /** Where it shows soonest. */
  readonly profile: ProfileName;
  /** Within so many seeds it must be found. */
  readonly seeds: number;
}

export const MUTATIONS: readonly Mutation[] = [
  {
    name: 'answers leave before the commit',
    file: 'src/lane/shard-lane.ts',
    find: 'this.flightSince = this.host.clock.now();\n    const { effects } = round;',
    replace:
      'this.flightSince = this.host.clock.now();\n    const { effects } = round;\n' +
      '    this.host.delivery.succeed(round, { sentAt: this.flightSince, returnedAt: this.flightSince });',
    profile: 'everything',
    seeds: 20,
  },
  {
    name: 'answers without effects leave without a round trip',
    file: 'src/lane/shard-lane.ts',
    find: "async () => ((await term.confirm()) ? 'committed' : 'lost')",
    replace: "async () => ((term.sentAt = this.flightSince), 'committed')",
    profile: 'leases',
    seeds: 150,
  },
  {
    name: 'a commit does not compare revisions, only that the term stands',
    file: 'test/sim/model-connection.ts',
    find: '() =>\n      this.#store.txn(sent, this.#client),',
    replace:
      '() =>\n      this.#store.txn({ ...sent, compares: [{ key: termKey, modRevision: this.#store.modRevision(termKey) || -1 }] }, this.#client),',
    profile: 'store',
    seeds: 40,
  },
  {
    name: 'the commit compares nothing, not even that the term stands',
    file: 'test/sim/model-connection.ts',
    find: 'compares: [{ key: termKey, modRevision: expectedRevision }]',
    replace: 'compares: []',
    profile: 'leases',
    seeds: 40,
  },
  {
    name: 'a commit that timed out is taken for one that never happened',
    file: 'src/lane/term.ts',
    find: '        maybeThere = true;\n',
    replace: "        return 'lost';\n",
    profile: 'store',
    seeds: 20,
  },
  {
    name: 'a commit without a reply is taken for one that never happened',
    file: 'src/lane/term.ts',
    find: "      const end = await this.settle(sentAt);\n      if (end === 'gone') return maybeThere ? 'lostUnknown' : 'lost';",
    replace: "      const end = await this.settle(sentAt);\n      if (end === 'gone') return 'lost';",
    profile: 'everything',
    seeds: 300,
  },
  {
    name: 'a commit of a term that is gone is taken for done',
    file: 'src/lane/term.ts',
    find: "if (entry === undefined) return 'gone';",
    replace: '',
    profile: 'leases',
    seeds: 60,
  },
  {
    name: 'a call of a term that was given up puts the next one in doubt',
    file: 'src/lane/term.ts',
    find: '    this.check();\n    this.observer.doubt(fault);',
    replace: '    this.observer.doubt(fault);',
    profile: 'leases',
    seeds: 60,
  },
  {
    name: 'a term that is lost forgets the requests of its last round trip',
    file: 'src/lane/shard-lane.ts',
    find: '    if (flight !== undefined) this.host.delivery.fail(flight, CODES.shard_unavailable.wire, false, now, now);\n',
    replace: '    void flight;\n',
    profile: 'everything',
    seeds: 600,
  },
  {
    name: 'a slot is taken over without a look at its owner',
    file: 'src/lane/takeover.ts',
    find: '!(record.owner !== null && living.has(record.owner))',
    replace: 'true',
    also: {
      find: 'for (const term of dead) compares',
      replace: 'for (const term of [] as string[]) compares',
    },
    profile: 'kills',
    seeds: 20,
  },
  {
    name: 'two may claim a slot at one time',
    file: 'src/lane/takeover.ts',
    find: 'compares.push({ key: slotKey(slot), modRevision });',
    replace: 'compares.push({ key: termKey(me.term), modRevision: 0 }), compares.pop(), void modRevision;',
    profile: 'everything',
    seeds: 300,
  },
  {
    name: 'the journal is not replayed',
    file: 'src/lane/recovery.ts',
    find: 'await replayJournals(store, recovered, me);',
    replace: 'void replayJournals;',
    profile: 'kills',
    seeds: 10,
  },
  {
    name: 'checkpoints cut the journal one entry too far',
    file: 'src/lane/checkpoints.ts',
    find: 'from: position.seq + 1, to: null',
    replace: 'from: position.seq + 2, to: null',
    profile: 'kills',
    seeds: 60,
  },
  {
    name: 'a checkpoint is of the state before the entry that carries it',
    file: 'src/lane/checkpoints.ts',
    find: 'const position = { term: this.term, seq };',
    replace: 'const position = { term: this.term, seq: seq + 1 };',
    profile: 'kills',
    seeds: 60,
  },
  {
    name: 'journals are deleted while slot records name them',
    file: 'src/lane/janitor.ts',
    find: '!living.has(term) && !named.terms.has(term)',
    replace: '!living.has(term)',
    profile: 'kills',
    seeds: 100,
  },
  {
    name: 'a new owner gives claims half of their time',
    file: 'src/lock/replay.ts',
    find: 'now + ttlMs, now + ttlMs + ttlPadMs(ttlMs)',
    replace: 'now + ttlMs / 2, now + ttlMs / 2 + ttlPadMs(ttlMs)',
    profile: 'kills',
    seeds: 60,
  },
  {
    name: 'fencing tokens begin anew after a take-over',
    file: 'src/lane/lane.ts',
    find: 'rearm(slot, now, ',
    replace: 'slot.counter = slot.claims.count; rearm(slot, now, ',
    profile: 'kills',
    seeds: 10,
  },
  {
    name: 'a claim is freed a moment before its promise ends',
    file: 'src/lane/delivery.ts',
    find: 'const freeAt = times.returnedAt + ttlMs + ttlPadMs(ttlMs);',
    replace: 'const freeAt = times.sentAt + ttlMs - ttlPadMs(ttlMs);',
    profile: 'calm',
    seeds: 10,
  },
  {
    name: 'the client is promised more time than the owner keeps',
    file: 'src/lane/delivery.ts',
    find: 'round.fencingToken[i], times.sentAt + ttlMs, freeAt)',
    replace: 'round.fencingToken[i], times.returnedAt + ttlMs + 3 * ttlPadMs(ttlMs), freeAt)',
    profile: 'calm',
    seeds: 10,
  },
  {
    name: 'a token that ended is forgotten at once',
    file: 'src/lock/machine.ts',
    find: 'slot.ended.add(claims.hash(row), claims.bytes, claims.tokenAt(row), claims.tokenLength(row), now);',
    replace: 'void now;',
    profile: 'kills',
    seeds: 20,
  },
  {
    name: 'ended tokens do not survive a take-over',
    file: 'src/lock/replay.ts',
    find: 'slot.ended.add(effect.hash | 0, claims.bytes, claims.tokenAt(row), claims.tokenLength(row), now);',
    replace: 'void now;',
    profile: 'kills',
    seeds: 200,
  },
  {
    name: 'a repeat is told that somebody else holds the lock',
    file: 'src/lock/machine.ts',
    find: 'if (row !== 0 && claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength)) {',
    replace: 'if (slot === undefined) {',
    profile: 'kills',
    seeds: 20,
  },
  {
    name: 'release does not look at the token',
    file: 'src/lock/machine.ts',
    find: 'if (row === 0 || !slot.claims.hasToken(row, op.bytes, op.tokenAt, op.tokenLength))',
    replace: 'if (row === 0)',
    profile: 'calm',
    seeds: 20,
  },
  {
    name: 'a release is answered but not journaled',
    file: 'src/lock/machine.ts',
    find: '  effects.ended(slot.number, slot.counter, claims.hash(row), claims.fencingToken(row), reason);',
    replace:
      '  if (reason === EndReason.expired) effects.ended(slot.number, slot.counter, claims.hash(row), claims.fencingToken(row), reason);',
    profile: 'calm',
    seeds: 5,
  },
];

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const execute = promisify(execFile);
/** As the tree is compiled for use, but without checking: a mutation need not be beautiful. */
const COMPILER_FLAGS = [
  [
    '--ignoreConfig',
    '--noCheck',
    '--skipLibCheck',
    '--rewriteRelativeImportExtensions',
    '--verbatimModuleSyntax',
  ],
  ['--target', 'ES2023', '--lib', 'ES2023,ESNext.Disposable', '--module', 'nodenext', '--types', 'node'],
].flat();

export interface Finding {
  /** Rules that were seen broken, none: the mutation went unnoticed. */
  readonly rules: readonly string[];
  /** Seeds that were run until then. */
  readonly seeds: number;
  readonly text: string;
}

/** A copy of the tree in a temporary folder, compiled anew for each mutation. */
export class Workshop {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(): Promise<Workshop> {
    const folder = await mkdtemp(join(tmpdir(), 'holdfast-mutations-'));
    for (const part of ['src', 'test/sim', 'package.json']) {
      await cp(join(ROOT, part), join(folder, 'tree', part), { recursive: true });
    }
    await mkdir(join(folder, 'built'), { recursive: true });
    await cp(join(ROOT, 'package.json'), join(folder, 'built', 'package.json'));
    for (const place of ['tree', 'built']) {
      await symlink(join(ROOT, 'node_modules'), join(folder, place, 'node_modules'));
    }
    return new Workshop(folder);
  }

  async close(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** @throws Error when the mutation's text is not in its file exactly once */
  async try(mutation: Mutation): Promise<Finding> {
    const path = join(this.#folder, 'tree', mutation.file);
    const original = await readFile(path, 'utf8');
    await writeFile(path, mutated(original, mutation));
    try {
      return await this.run(mutation.profile, mutation.seeds);
    } finally {
      await writeFile(path, original);
    }
  }

  /** Compiles what is there now and runs seeds until one fails. */
  async run(profile: ProfileName, seeds: number): Promise<Finding> {
    const tree = join(this.#folder, 'tree');
    const built = join(this.#folder, 'built');
    const compiler = join(ROOT, 'node_modules/typescript/bin/tsc');
    const compile = [
      compiler,
      ...COMPILER_FLAGS,
      '--rootDir',
      tree,
      '--outDir',
      built,
      join(tree, 'test/sim/command.ts'),
    ];
    await execute(execPath, compile, { cwd: tree });
    const command = join(built, 'test/sim/command.js');
    const { stdout } = await execute(execPath, [command, '0', String(seeds), profile]);
    const lines = stdout.trim().split('\n');
    const failure = JSON.parse(lines[0]) as { rules?: string[]; text?: string };
    const total = JSON.parse(lines[lines.length - 1]) as { seeds: number };
    return { rules: failure.rules ?? [], seeds: total.seeds, text: failure.text ?? '' };
  }
}

/** @throws Error when a text to be replaced is not there exactly once */
function mutated(original: string, mutation: Mutation): string {
  let text = original;
  for (const { find, replace } of [mutation, ...(mutation.also === undefined ? [] : [mutation.also])]) {
    const places = text.split(find).length - 1;
    if (places !== 1)
      throw new Error(`«${mutation.name}»: its text stands ${places} times in ${mutation.file}`);
    // A function: in a text `$&` and the like would mean something.
    text = text.replace(find, () => replace);
  }
  return text;
}
