/**
 * The general engine: what prepared frames cannot do. Many clients share some
 * sockets; each does its steps one after the other, all calls of a step at
 * once. It costs several microseconds an op, and knows all modes, waits,
 * sessions and protocols.
 *
 *   free ─arrival─► calling(step) ─answered─► calling(next step) … ─► free
 *                      │  ▲
 *              answered▼  │due
 *                     holding
 *
 * An acquire that may have taken effect though its answer is an error, or never
 * came, is followed by a release, so that the next client finds the lock free.
 */
import { MODE_NAMES } from '../../src/op.ts';
import { Clock, type EngineHooks } from '../clock.ts';
import { namesOf, type Names } from '../names.ts';
import { Recorder } from '../recorder.ts';
import type { LoadResult, Safety } from '../result.ts';
import { SafetyChecker, type ClaimObserver } from '../safety.ts';
import { Mix, type LoadSettings } from '../settings.ts';
import type { Second } from '../timeline.ts';
import type { CallStep, Part } from '../workload.ts';
import { BinaryCodec } from './binary.ts';
import { newToken, type Call, type Transport } from './call.ts';
import { Client, type Held } from './client.ts';
import { Due } from './due.ts';
import { HandOffs } from './hand-offs.ts';
import { HttpTransport } from './http.ts';
import { JsonCodec } from './json.ts';
import { Labels } from './labels.ts';
import { Picker } from './picker.ts';
import { WebSocketTransport } from './web-socket.ts';

/** Clients at a time that do what comes before and after the measured time. */
const QUIET_CLIENTS = 256;
/** Claims of one process: their numbers must be exact as doubles. */
const CLAIMS_OF_A_PROCESS = 2 ** 40;
/** The status that is expected; a 200 to an acquire is that of a repeat. */
const EXPECTED: Readonly<Record<Call['kind'], number>> = {
  acquire: 201,
  renew: 200,
  release: 204,
  get: 200,
  cached: 200,
  'session.open': 201,
  'session.keepalive': 200,
  'session.end': 204,
};

/** A call and whose it is; without a client it only cleans up. */
interface OpenCall extends Call {
  readonly client: Client | undefined;
  readonly held: Held | undefined;
  sentAt: number;
}

export class ClientsEngine {
  readonly #settings: LoadSettings;
  readonly #recorder: Recorder;
  readonly #labels: Labels;
  readonly #clock: Clock;
  readonly #mix: Mix;
  readonly #names: Names;
  readonly #picker: Picker;
  readonly #transport: Transport;
  readonly #checker: SafetyChecker | undefined;
  readonly #observer: ClaimObserver;
  readonly #handOffs: HandOffs;
  readonly #clients: Client[];
  /** First in, first out, from `#firstFree` on. */
  #free: Client[] = [];
  #firstFree = 0;
  readonly #holding = new Due<Client>();
  #claims = 0;
  #open = 0;
  #isMeasuring = false;
  /** A code of what failed outside of the measured time. */
  #failedBefore = '';
  #onFree: (client: Client) => void = (client) => this.#free.push(client);

  /**
   * @param onSecond hears of each second as it ends, with the ops that are open and the errors so far
   * @param observer hears of claims instead of a checker of this process
   */
  constructor(
    settings: LoadSettings,
    onSecond: (second: Second, open: number, errors: number) => void,
    observer?: ClaimObserver,
  ) {
    this.#settings = settings;
    const { workload, names, clients, process } = settings;
    this.#labels = new Labels(workload);
    const recorded = { ...settings, ...this.#labels, workload: workload.name };
    this.#recorder = new Recorder(recorded, (second) =>
      onSecond(second, this.#open, this.#recorder.failures),
    );
    this.#clock = new Clock(settings, this.#recorder, 1);
    this.#mix = new Mix(workload);
    this.#names = namesOf(settings, names);
    this.#checker = observer === undefined ? new SafetyChecker((i) => this.#names.nameOf(i)) : undefined;
    this.#observer = observer ?? this.#checker!;
    this.#handOffs = new HandOffs(names, this.#recorder);
    this.#picker = new Picker(workload.popularity, names, clients);
    this.#claims = process * CLAIMS_OF_A_PROCESS;
    this.#transport = this.#newTransport();
    const [part] = workload.parts;
    this.#clients = Array.from(
      { length: clients },
      (_, i) => new Client(i, i % settings.sockets, this.#picker.firstNameOf(i), part),
    );
  }

  /** Connects, sets claims up, runs the clock, takes claims down. */
  async run(hooks: EngineHooks): Promise<LoadResult> {
    await this.#transport.open();
    await this.#everyClient((part) => part.before);
    if (this.#failedBefore !== '') {
      throw new Error(`what comes before the measured time failed: ${this.#failedBefore}`);
    }
    const startAt = await hooks.ready();
    this.#free = [...this.#clients];
    this.#firstFree = 0;
    this.#isMeasuring = true;
    await this.#clock.run(startAt, {
      hasFree: () => this.#firstFree < this.#free.length,
      arrive: (dueAt) => this.#arrive(dueAt),
      turn: (now) => this.#turn(now),
    });
    await this.#drain();
    this.#isMeasuring = false;
    const result = this.#recorder.result(this.#open, this.#safety());
    await this.#everyClient((part) => part.after);
    this.#transport.end();
    return result;
  }

  /** The measured time ends now. */
  stop(): void {
    this.#clock.stop();
  }

  #newTransport(): Transport {
    const { protocol, url, sockets, opsPerFrame, pipelining } = this.#settings;
    const onAnswer = (call: Call): void => this.#answered(call as OpenCall);
    if (protocol === 'http') return new HttpTransport(url, sockets, pipelining, onAnswer);
    const codec = protocol === 'json' ? new JsonCodec() : new BinaryCodec();
    return new WebSocketTransport(url, sockets, opsPerFrame, codec, onAnswer);
  }

  #safety(): Safety {
    return this.#checker?.safety ?? { twoHolders: 0, fallingFences: 0, examples: [] };
  }

  #arrive(dueAt: number): void {
    const client = this.#free[this.#firstFree++];
    if (this.#firstFree > 1024 && this.#firstFree * 2 > this.#free.length) {
      this.#free = this.#free.slice(this.#firstFree);
      this.#firstFree = 0;
    }
    client.part = this.#settings.workload.parts[this.#mix.next()];
    this.#start(client, client.part.cycle, dueAt);
  }

  #turn(now: number): void {
    while (this.#holding.nextAt <= now) {
      const client = this.#holding.shift();
      client.place++;
      this.#go(client);
    }
    this.#transport.flush();
  }

  async #drain(): Promise<void> {
    const until = performance.now() + this.#settings.drainSeconds * 1000;
    while (this.#open + this.#holding.size > 0 && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      this.#turn(performance.now());
    }
  }

  /** What comes before or after, for all clients, some at a time; nothing of it is measured. */
  async #everyClient(stepsOf: (part: Part) => Part['cycle']): Promise<void> {
    const [part] = this.#settings.workload.parts;
    const steps = stepsOf(part);
    if (steps.length === 0) return;
    const idle = this.#clients.filter(({ pending }) => pending === 0);
    let left = idle.length;
    let next = 0;
    const timer = setInterval(() => this.#turn(performance.now()), 5);
    await new Promise<void>((resolve) => {
      const more = (): void => {
        if (next < idle.length) this.#start(idle[next++], steps, performance.now());
      };
      this.#onFree = () => {
        if (--left === 0) resolve();
        more();
      };
      for (let i = 0; i < QUIET_CLIENTS; i++) more();
    });
    clearInterval(timer);
    this.#onFree = (client) => this.#free.push(client);
  }

  #start(client: Client, steps: Part['cycle'], dueAt: number): void {
    client.steps = steps;
    client.place = 0;
    client.dueAt = dueAt;
    client.hasFailed = false;
    this.#go(client);
  }

  /** Does the client's step, and those after it that need no answer. */
  #go(client: Client): void {
    for (; client.place < client.steps.length && !client.hasFailed; client.place++) {
      const step = client.steps[client.place];
      if (step.call !== 'hold') {
        this.#call(client, step);
        if (client.pending > 0) return;
      } else if (client.held.size > 0 || client.session !== undefined) {
        const [least, most] = step.ms;
        client.dueAt += least + Math.random() * (most - least);
        return this.#holding.add(client.dueAt, client);
      }
    }
    if (client.hasFailed) this.#abandon(client);
    this.#onFree(client);
  }

  /** All calls of a step at once. */
  #call(client: Client, step: CallStep): void {
    switch (step.call) {
      case 'acquire': {
        const names = this.#picker.pick(client, step.times);
        client.pending += names.length;
        for (const name of names) this.#acquire(client, step, name);
        return;
      }
      case 'renew':
      case 'release': {
        const held = [...client.held.values()];
        client.pending += held.length;
        for (const one of held) this.#send(client, step, one.name, one);
        return;
      }
      case 'get':
      case 'cached': {
        const [mine] = client.held.values();
        const names = mine === undefined ? this.#picker.pick(client, step.times) : [mine.name];
        client.pending += names.length;
        for (const name of names) this.#send(client, step, name, undefined);
        return;
      }
      default:
        if (step.call === 'session.open') client.session = newToken();
        else if (client.session === undefined) return;
        client.pending++;
        this.#send(client, step, -1, undefined);
    }
  }

  #acquire(client: Client, step: CallStep, name: number): void {
    const held = { number: ++this.#claims, name, token: newToken() };
    this.#observer.asked(performance.now(), held.number, name, MODE_NAMES.indexOf(step.mode), step.limit);
    if (step.waitMs > 0) this.#handOffs.asked(name);
    this.#send(client, step, name, held);
  }

  #send(client: Client, step: CallStep, name: number, held: Held | undefined): void {
    const sentAt = performance.now();
    const call = this.#newCall(client, step, name, held, client.dueAt, sentAt);
    if (step.call === 'release' && held !== undefined) this.#letGo(client, held, sentAt);
    if (step.call === 'session.end') {
      for (const one of [...client.held.values()]) this.#letGo(client, one, sentAt);
    }
    if (this.#isMeasuring) {
      this.#recorder.offered(client.dueAt, 1);
      this.#open++;
    }
    this.#transport.send(call);
  }

  #newCall(
    client: Client,
    step: CallStep,
    name: number,
    held: Held | undefined,
    dueAt: number,
    sentAt: number,
  ): OpenCall {
    return {
      kind: step.call,
      client,
      held,
      socket: client.socket,
      name: name < 0 ? '' : this.#names.nameOf(name),
      token: held?.token,
      session: client.session,
      ttlMs: step.ttlMs,
      mode: MODE_NAMES.indexOf(step.mode),
      limit: step.limit,
      waitMs: step.waitMs,
      dueAt,
      sentAt,
      status: 0,
      code: '',
      fencingToken: 0,
      waitedMs: 0,
      expiresInMs: 0,
      wasQueued: false,
    };
  }

  /** From now on the client does not believe any more that it holds the lock. */
  #letGo(client: Client, held: Held, now: number): void {
    this.#observer.ended(now, held.number);
    this.#handOffs.released(held.name, now);
    client.held.delete(held.number);
  }

  #answered(call: OpenCall): void {
    const { client } = call;
    // What only cleaned up: nobody waits for it.
    if (client === undefined) return;
    const now = performance.now();
    const isGood = call.status === EXPECTED[call.kind];
    const wasPassedOn = this.#noteClaim(client, call, isGood, now);
    if (this.#isMeasuring) this.#note(call, isGood, wasPassedOn, now);
    else if (!isGood) this.#failedBefore = call.code;
    if (!isGood && call.kind.startsWith('session.')) client.hasFailed = true;
    if (--client.pending > 0) return;
    client.dueAt = now;
    client.place++;
    this.#go(client);
  }

  #note(call: OpenCall, isGood: boolean, wasPassedOn: boolean, now: number): void {
    this.#open--;
    const { kind, dueAt, status, code } = call;
    const isExpected = this.#settings.workload.expect.includes(code);
    const label = this.#labels.of(kind, isGood, call.wasQueued || wasPassedOn || code === 'wait_timeout');
    if (isGood) this.#recorder.answered(label, dueAt, now, 1);
    else if (isExpected) this.#recorder.refused(label, code, dueAt, now);
    else if (status === 0) this.#recorder.cut(dueAt, 1);
    else this.#recorder.failed(code);
  }

  /** Returns whether a lock was passed on to the client. */
  #noteClaim(client: Client, call: OpenCall, isGood: boolean, now: number): boolean {
    const { kind, held } = call;
    const until = call.sentAt + call.waitedMs + call.expiresInMs;
    if (kind === 'session.keepalive' && isGood) {
      for (const one of client.held.values()) this.#observer.renewed(now, one.number, until, 0);
    }
    if (kind === 'session.end') client.session = undefined;
    if (held === undefined) return false;
    if (kind === 'renew') {
      if (isGood) this.#observer.renewed(now, held.number, until, call.fencingToken);
      else this.#letGo(client, held, now);
    }
    if (kind !== 'acquire') return false;
    if (isGood) {
      client.held.set(held.number, held);
      this.#observer.granted(now, held.number, until, call.fencingToken);
    } else {
      this.#observer.ended(now, held.number);
      if (call.status === 0 || call.status >= 500) this.#cleanUp(call);
    }
    return call.waitMs > 0 && this.#handOffs.answered(held.name, call.sentAt, now, isGood);
  }

  /** Nobody knows whether it took effect. */
  #cleanUp(call: OpenCall): void {
    this.#transport.send({ ...call, kind: 'release', client: undefined } as OpenCall);
  }

  /** A session that has failed takes its locks with it. */
  #abandon(client: Client): void {
    const now = performance.now();
    for (const held of [...client.held.values()]) this.#letGo(client, held, now);
    client.session = undefined;
  }
}
