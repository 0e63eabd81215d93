/**
 * Batches of acquires of which all are held or none is kept.
 *
 *   joining ─► taking ─► activating ─► confirming ─► checking ─► held
 *      │          └──────────┴─► undoing ◄─┤            │
 *      └─────────────► failed ◄─────┘      └─ taking back
 *
 *   joining      slots that sessions have no locks in yet: sessionJoin at home
 *   taking       a try of every lock, one owner after the other in an order that
 *                all processes share, so that of two batches with locks in
 *                common one gets them. The claims are pending: they keep others
 *                out, are no claims to anybody, and end after LIMITS.pendingMs
 *   activating   sessionActivate for new slots of sessions
 *   confirming   one op a slot, all slots at once: its claims become real in one
 *                step, if none of them has ended. Begun only while pending
 *                claims have at least half of their time left
 *   checking     verify, where the answers so far don't say how long a claim
 *                lasts (of sessions) or whether it is real (not_held to the
 *                repeat of a confirm: a first one may have come through)
 *   undoing      the batch's stubs are ended, and with them all pending claims;
 *                waited for until the time is up: they would end anyhow, and
 *                no confirm of this batch is ever sent any more
 *   taking back  a slot was too late though others are confirmed: these claims
 *                are released as well
 *
 * A lock that the same token held before (200) is none of the batch's: a failed
 * batch leaves it as it is. So after outcome_unknown a repeat with the same
 * tokens finds what was confirmed, takes the rest, and is told all. What is
 * unknown is never taken back afterwards: a repeat may have been told of it.
 * Should this process die half-way, pending claims end by themselves, and what
 * was confirmed ends by its TTL.
 */
import { CODES, codeOfWire, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { Kind, Op } from '../op.ts';
import { type Answer, AnswerBytes } from '../protocol/answer.ts';
import { copyOf } from '../protocol/bytes.ts';
import { writeRefusal } from '../protocol/refusal.ts';
import { type AtomicItem, BatchItems, type BatchPart, type Membership } from './atomic-items.ts';
import { Again, type Calls, type Done, type Reply } from './calls.ts';
import type { AtomicBatch, AtomicBatches, BatchTarget } from './coordination.ts';
import { fanOut } from './fan-out.ts';
import type { KnownSessions } from './known-sessions.ts';
import { promisedUntil, tellTimes } from './promises.ts';

export interface AtomicSettings {
  readonly calls: Calls;
  readonly known: KnownSessions;
}

export class Atomic implements AtomicBatches {
  private readonly settings: AtomicSettings;

  constructor(settings: AtomicSettings) {
    this.settings = settings;
  }

  begin(target: BatchTarget): AtomicBatch | undefined {
    if (this.settings.calls.full(LIMITS.batchOpsMax)) return undefined;
    return new Batch(this.settings, target);
  }
}

/** Why a batch fails: the refusal of one item, or a fault that is no item's own. */
interface Failure {
  /** The smallest is told: a held lock, then any other refusal, then faults. */
  readonly rank: number;
  readonly index: number;
  readonly code: ErrorCode;
  readonly answer: AnswerBytes;
}

const FAULTS: readonly ErrorCode[] = [
  'moving',
  'shard_unavailable',
  'outcome_unknown',
  'overloaded',
  'draining',
];

const op = new Op();

class Batch implements AtomicBatch {
  private readonly calls: Calls;
  private readonly known: KnownSessions;
  private target: BatchTarget | undefined;
  private readonly batch = new BatchItems();
  private failure: Failure | undefined;
  /** When the first acquire was sent. */
  private takenFrom = 0;
  /** Something may be left of claims that are taken back. */
  private isLeft = false;

  constructor({ calls, known }: AtomicSettings, target: BatchTarget) {
    this.calls = calls;
    this.known = known;
    this.target = target;
  }

  add(request: Op): void {
    const { slots } = this.calls;
    const { bytes, keyAt, keyLength, namespaceLength } = request;
    const slot = slots.slotOfKey(bytes, keyAt, keyLength, namespaceLength);
    this.batch.add(request, slot, slots.map.at(slot)?.id ?? '');
  }

  submit(): void {
    this.calls.defer(() => this.begin());
  }

  leave(): void {
    this.target = undefined;
  }

  private begin(): void {
    const { batch } = this;
    if (batch.bytes > LIMITS.batchBytesMax) return this.refuse('too_large');
    const full = batch.memberships.find(({ name }) => this.known.isFull(name));
    if (full !== undefined) return this.refuseItem(full.first, 'quota_exceeded');
    const unknown = batch.memberships.filter(({ name, slot }) => !this.known.isActive(name, slot));
    fanOut({
      items: unknown,
      send: ({ name, slot }, done) => {
        name.atHome(op, Kind.sessionJoin, batch.receivedAt, slot);
        this.calls.call(op, Again.unknown, done);
      },
      answered: (membership, reply) => this.joined(membership, reply),
      finished: () => (this.failure === undefined ? this.take(batch.groups(), 0) : this.fail()),
    });
  }

  private joined(membership: Membership, reply: Reply): void {
    const { answer } = reply;
    if (answer.code !== 0) return this.refused(membership.first, reply);
    membership.isNew = answer.detailBytes[answer.detailAt] !== 1;
    membership.ttlMs = answer.ttlMs;
  }

  private take(groups: readonly (readonly BatchPart[])[], next: number): void {
    if (this.failure !== undefined || this.target === undefined) return this.undo();
    if (next === groups.length) return this.activate();
    if (next === 0) this.takenFrom = this.calls.clock.now();
    for (const part of groups[next]) part.isSent = true;
    fanOut({
      items: groups[next].flatMap(({ items }) => items),
      send: (item, done) => {
        this.batch.acquire(op, item);
        this.calls.callAt(item.slot, op, Again.unserved, done);
      },
      answered: (item, reply) => this.taken(item, reply),
      finished: () => this.take(groups, next + 1),
    });
  }

  private taken(item: AtomicItem, reply: Reply): void {
    const { answer, source, at, end } = reply;
    if (answer.code !== 0) {
      const { membership, index } = item;
      if (answer.code === CODES.session_ended.wire && membership !== undefined) {
        this.known.forgetSlot(membership.name, membership.slot);
        // Its home said that it lives: it ended just now, or its stub here did. A repeat is told.
        if (membership.isNew) return this.fault('shard_unavailable');
      }
      return this.refused(index, reply);
    }
    item.answer = copyOf(source.bytes, at, end);
    item.ttlMs = answer.ttlMs;
    item.isNew = answer.status === 201;
    if (item.isNew) item.part.taken++;
    else item.until = promisedUntil(answer, this.batch.receivedAt);
  }

  private activate(): void {
    const { batch, known } = this;
    fanOut({
      items: batch.memberships.filter(({ isNew }) => isNew),
      send: ({ name, slot }, done) => {
        name.atHome(op, Kind.sessionActivate, batch.receivedAt, slot);
        this.calls.call(op, Again.shed, done);
      },
      answered: ({ name, slot, first }, reply) => {
        if (reply.answer.code !== 0) return this.refused(first, reply);
        known.activated(name, slot);
      },
      finished: () => {
        const isOver = this.calls.clock.now() - this.takenFrom > LIMITS.pendingMs / 2;
        if (isOver) this.fault('shard_unavailable');
        if (this.failure !== undefined || this.target === undefined) this.undo();
        else this.confirm();
      },
    });
  }

  private confirm(): void {
    const { batch, calls } = this;
    fanOut({
      items: batch.parts.filter(({ taken }) => taken > 0),
      send: (part, done) => {
        part.confirmedFrom = calls.clock.now();
        batch.ofStub(op, Kind.confirm, batch.receivedAt);
        op.fencingToken = part.taken;
        calls.callAt(part.slot, op, Again.shed, done);
      },
      answered: (part, reply) => this.confirmed(part, reply),
      finished: () => this.check(),
    });
  }

  private confirmed(part: BatchPart, { answer, repeated }: Reply): void {
    const code = codeOfWire(answer.code);
    if (code === undefined) part.state = 'confirmed';
    else if (code === 'outcome_unknown') part.state = 'doubtful';
    else if (code === 'not_held') part.state = repeated ? 'toCheck' : 'failed';
    else part.state = FAULTS.includes(code) ? 'unconfirmed' : 'failed';
    if (part.state !== 'confirmed') return;
    // What the claims were taken for begins with the confirm, which was sent then or later.
    for (const item of part.items) if (item.isNew) item.until = part.confirmedFrom + item.ttlMs;
  }

  private check(): void {
    const { batch, calls } = this;
    const checks: AtomicItem[] = [];
    const checked = new Set<Membership | undefined>([undefined]);
    for (const item of batch.items) {
      const { part, membership, isNew } = item;
      if (!isNew || (part.state !== 'toCheck' && part.state !== 'confirmed')) continue;
      // All claims of a session in a slot end with its stub: one tells for all.
      if (part.state === 'confirmed' && checked.has(membership)) continue;
      checked.add(membership);
      checks.push(item);
    }
    for (const { part } of checks) if (part.state === 'toCheck') part.state = 'confirmed';
    fanOut({
      items: checks,
      send: (item, done) => {
        item.checkedFrom = calls.clock.now();
        batch.ofClaim(op, Kind.verify, item);
        calls.callAt(item.slot, op, Again.shed, done);
      },
      answered: (item, { answer }) => this.checked(item, answer),
      finished: () => this.settle(),
    });
  }

  private checked(item: AtomicItem, { code, current, expiresInMs }: Answer): void {
    const { part, membership } = item;
    if (code !== 0) {
      if (part.state === 'confirmed') part.state = 'doubtful';
      return;
    }
    if (!current) {
      part.state = 'failed';
      return;
    }
    item.until = item.checkedFrom + expiresInMs;
    if (membership !== undefined) membership.until = item.until;
  }

  private settle(): void {
    const parts = this.batch.parts.filter(({ taken }) => taken > 0);
    const isConfirmed = parts.some(({ state }) => state === 'confirmed');
    if (parts.every(({ state }) => state === 'confirmed')) return this.hold();
    if (parts.some(({ state }) => state === 'failed')) {
      this.fault('shard_unavailable');
      return this.takeBack();
    }
    if (isConfirmed || parts.some(({ state }) => state === 'doubtful')) return this.refuse('outcome_unknown');
    this.fault('shard_unavailable');
    this.undo();
  }

  private hold(): void {
    const { batch } = this;
    const out = new AnswerBytes();
    const starts = [0];
    const now = this.calls.clock.now();
    for (const item of batch.items) {
      const answer = item.answer!;
      const at = out.length;
      out.ensure(answer.length);
      out.bytes.set(answer, at);
      out.view.setUint32(at + 4, item.index, true);
      out.length += answer.length;
      starts.push(out.length);
      const isSessions = item.isNew && item.membership !== undefined;
      const until = isSessions ? item.membership!.until : item.until;
      if (!tellTimes(out, at, until, batch.receivedAt, now)) return this.refuse('outcome_unknown');
    }
    this.over()?.held(out, starts);
  }

  // ---- its end without claims

  private undo(): void {
    const { calls, batch } = this;
    const { clock } = calls;
    fanOut({
      items: batch.parts.filter(({ isSent }) => isSent),
      send: ({ slot }, done) => {
        batch.ofStub(op, Kind.stubEnd, clock.now());
        calls.callAt(slot, op, Again.shed, done);
      },
      answered() {},
      finished: () => this.fail(),
      time: { clock, until: batch.receivedAt + calls.requestTimeoutMs },
    });
  }

  private takeBack(): void {
    const { calls, batch } = this;
    const end = ({ slot }: BatchPart) => ({ slot, item: undefined });
    const release = (item: AtomicItem) => ({ slot: item.slot, item });
    const claims = batch.items.filter(({ isNew }) => isNew);
    fanOut<{ slot: number; item: AtomicItem | undefined }>({
      items: [...batch.parts.map(end), ...claims.map(release)],
      send: ({ slot, item }, done: Done) => {
        if (item === undefined) batch.ofStub(op, Kind.stubEnd, batch.receivedAt);
        else batch.ofClaim(op, Kind.release, item);
        calls.callAt(slot, op, Again.shed, done);
      },
      answered: (_, { answer }) => {
        if (answer.code !== 0 && answer.code !== CODES.not_held.wire) this.isLeft = true;
      },
      finished: () => this.fail(),
    });
  }

  /** A lane refused the item, or no lane did anything. */
  private refused(index: number, { answer, source, at, end }: Reply): void {
    const code = codeOfWire(answer.code) ?? 'internal';
    const rank = FAULTS.includes(code) ? 2 : code === 'lock_held' ? 0 : 1;
    const bytes = copyOf(source.bytes, at, end);
    this.note({ rank, index, code, answer: new AnswerBytes(bytes.buffer, bytes.length) });
  }

  /** Of no item. */
  private fault(code: ErrorCode): void {
    this.note({ rank: 2, index: Infinity, code, answer: new AnswerBytes() });
  }

  private note(failure: Failure): void {
    const { failure: before } = this;
    const isFirst = before === undefined || failure.rank < before.rank;
    if (isFirst || (failure.rank === before.rank && failure.index < before.index)) this.failure = failure;
  }

  private fail(): void {
    const { failure } = this;
    if (failure === undefined) return;
    if (this.isLeft) return this.refuse('outcome_unknown');
    const { rank, index, code, answer } = failure;
    if (rank < 2) return this.over()?.failed(index, answer, 0, answer.length);
    // Nothing was confirmed. But where a token held its lock before, the client is in a repeat, and to go on with it.
    const isRepeat = this.batch.items.some((item) => item.answer !== undefined && !item.isNew);
    if (code !== 'outcome_unknown') return this.refuse(code);
    this.refuse(isRepeat ? 'outcome_unknown' : 'shard_unavailable');
  }

  /** Before anything was taken. */
  private refuseItem(index: number, code: ErrorCode): void {
    const out = new AnswerBytes(new ArrayBuffer(128));
    writeRefusal(out, 0, code);
    this.over()?.failed(index, out, 0, out.length);
  }

  private refuse(code: ErrorCode): void {
    this.over()?.refused(code);
  }

  private over(): BatchTarget | undefined {
    const { target } = this;
    this.target = undefined;
    return target;
  }
}
