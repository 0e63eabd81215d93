/**
 * Ways to break Holdfast that the simulation has to notice, or another test
 * where chance would take too long: each is a real mistake somebody could make,
 * written as a replacement of exact text in a copy of the tree. Text that is not
 * there any more fails the test: the mutation has to be brought along when the
 * code moves.
 */
import type { ProfileName } from './profiles.ts';

interface Edit {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** A second place in the same file. */
  readonly also?: { readonly find: string; readonly replace: string };
}

/** Found within so many seeds, in the profile where it shows soonest. */
interface BySeeds {
  readonly profile: ProfileName;
  readonly seeds: number;
}

/** Found by the tests of this file. */
interface ByTests {
  readonly tests: string;
}

export type Mutation = Edit & (BySeeds | ByTests);

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
    find: '  return !me.living.has(last) && me.placement.heirOf(last) === me.term;',
    replace: '  return true;',
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
    find: 'endClaim(slot, row, effect.reason as EndReason, now);',
    replace: 'endClaim(slot, row, effect.reason as EndReason, now - 1e6);',
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
    find: "if (!isMine(slot, row, op)) return out.refuse('not_held');\n  out.heldMs",
    replace: "if (row === 0) return out.refuse('not_held');\n  out.heldMs",
    profile: 'calm',
    seeds: 20,
  },
  {
    name: 'a release is answered but not journaled',
    file: 'src/lock/machine.ts',
    find: '  effects.ended(slot, row, reason);',
    replace: '  if (reason === EndReason.expired) effects.ended(slot, row, reason);',
    profile: 'calm',
    seeds: 5,
  },
  {
    name: 'claims of a slot that was handed over begin anew',
    file: 'src/lane/recovery.ts',
    find: 'const timed = direct && ',
    replace: 'const timed = !direct && ',
    profile: 'moves',
    seeds: 20,
  },
  {
    name: 'times count for a term that the slot was not handed to',
    file: 'src/lane/recovery.ts',
    find: 'const timed = direct && record.segments.every((segment) => segment.term === me.term);',
    replace: 'const timed = direct || record.segments.length > 0;',
    profile: 'kills',
    seeds: 100,
  },
  {
    name: 'a slot is served on after it was frozen',
    file: 'src/lane/lane.ts',
    find: '    this.lose(shard, shard.currentTerm!.id, holds);\n',
    replace: '    void holds;\n',
    profile: 'moves',
    seeds: 10,
  },
  {
    name: 'a slot is handed over without what its journal has',
    file: 'src/lane/checkpoints.ts',
    find: 'const kept = counter === hold.checkpointCounter && (leaving',
    replace: 'const kept = leaving !== undefined || (leaving',
    profile: 'moves',
    seeds: 10,
  },
  {
    name: 'a slot is claimed by somebody else than whom it was handed to',
    file: 'src/lane/takeover.ts',
    find: '  if (me.early) return false;',
    replace: '  if (me.early) return false;\n  if (record.owner === null && last !== null) return true;',
    also: {
      find: 'if (last !== null && !direct) dead.add(last);',
      replace: 'if (record.owner !== null) dead.add(record.owner);',
    },
    profile: 'moves',
    seeds: 20,
  },
  {
    name: 'a lane takes ops that were routed before the front knew that it has the slot',
    file: 'src/lane/lane.ts',
    find: ' || hold.announcement > seen) this.bounceOne',
    replace: ') this.bounceOne',
    tests: 'test/lane/announcements.test.ts',
  },
  {
    name: 'slots do not move where they should be',
    file: 'src/lane/reign.ts',
    find: 'const moves = goes || this.planned.settled(now);',
    replace: 'const moves = goes;',
    profile: 'moves',
    seeds: 10,
  },
  {
    name: 'ops go on before those that come back from a lane',
    file: 'src/batch/announced.ts',
    find: 'return this.settlingLane[slot] === NOBODY && !this.successors.has(slot);',
    replace: 'return !this.successors.has(slot);',
    profile: 'storms',
    seeds: 200,
  },
  {
    name: 'ops that come back go behind those that wait',
    file: 'src/batch/parked.ts',
    find: 'return this.addTo(op, true);',
    replace: 'return this.addTo(op, false);',
    profile: 'storms',
    seeds: 200,
  },
  {
    name: 'ops of a slot go to its new owner while forwards to the old one are under way',
    file: 'src/batch/forwards.ts',
    find: 'return this.returning[slot] === 0 && this.term[slot] === term;',
    replace: 'return true;',
    profile: 'storms',
    seeds: 200,
  },
  {
    name: 'a forward goes to a later term of its process than the one that it was sent to',
    file: 'src/batch/routing.ts',
    find: 'if (served !== undefined) return served !== term;',
    replace: 'if (served !== undefined) return false;',
    tests: 'test/batch/forwarding.test.ts',
  },
  {
    name: 'a forward is forwarded again',
    file: 'src/batch/routing.ts',
    find: '      if (!mayBe) return false;',
    replace: '      if (!mayBe) return (this.route(op), true);',
    profile: 'moves',
    seeds: 20,
  },
  {
    name: 'a peer takes younger ops of a slot than the one that it refused',
    file: 'src/front/peer-socket.ts',
    find: 'return last !== undefined && ((last - seen) | 0) > 0;',
    replace: 'return last === undefined && seen < 0;',
    tests: 'test/peers/peer-socket.test.ts',
  },
  {
    name: 'a forward is taken however old it is',
    file: 'src/front/peer-socket.ts',
    find: 'const tooOld = ageMs > Math.min(LIMITS.peerSilenceMs, requestTimeoutMs / 2);',
    replace: 'const tooOld = false;',
    profile: 'peers',
    seeds: 60,
  },
  {
    name: 'what a forward had waited does not count',
    file: 'src/front/peer-socket.ts',
    find: 'op.receivedAt = now - waitedMs;',
    replace: 'op.receivedAt = now;',
    profile: 'kills',
    seeds: 20,
  },
  {
    name: 'forwards are sent again after they may have arrived',
    file: 'src/peers/link.ts',
    find: 'this.wire!.send(this.frame.seal(this.seenRefusals, this.begunAt + this.ahead, wanted));',
    replace:
      'this.last = this.frame.seal(this.seenRefusals, this.begunAt + this.ahead, wanted).slice();\n' +
      '    this.wire!.send(this.last);',
    also: {
      find: "'the link to a peer is up');",
      replace: "'the link to a peer is up');\n    if (this.last !== undefined) this.wire!.send(this.last);",
    },
    profile: 'peers',
    seeds: 40,
  },
  {
    name: 'an answer is given though the request was said to be unknown',
    file: 'src/peers/link.ts',
    find: '    for (const i of indexes) this.finish(i);\n',
    replace: '',
    tests: 'test/peers/link.test.ts',
  },
  {
    name: 'a late answer finds another forward than its own',
    file: 'src/peers/in-flight.ts',
    find: 'i < this.untouched && this.generation[i] === id >>> INDEX_BITS && ',
    replace: 'i < this.untouched && ',
    profile: 'peers',
    seeds: 100,
  },
  {
    name: 'a process that others do not reach keeps its slots',
    file: 'src/front/reachability.ts',
    find: 'if (this.doubtfulMs >= LIMITS.isolatedAfterMs) this.say(false);',
    replace: '',
    profile: 'isolation',
    seeds: 10,
  },
];
