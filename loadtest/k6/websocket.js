/**
 * Acquire, hold and release over WebSockets (holdfast.v1.json), with k6:
 *
 *   k6 run loadtest/k6/websocket.js -e URL=ws://127.0.0.1:7420 -e SOCKETS=100 -e RATE=2000
 *
 * SOCKETS programs with a socket each take RATE locks a second together,
 * whatever the server does; latencies count from the time at which a lock
 * should have been asked for. It fails when a threshold is missed, when a
 * request stayed without answer, or when a lock's fencing token did not rise.
 *
 *   URL      ws://127.0.0.1:7420
 *   API_KEY  none
 *   SOCKETS  50
 *   RATE     1000 locks a second, all sockets together
 *   SECONDS  30
 *   HOLD_MS  0
 *   P50_MS, P95_MS   20, 60
 */
import exec from 'k6/execution';
import { Counter, Rate, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/experimental/websockets';

const env = (name, usual) => __ENV[name] ?? usual;
const number = (name, usual) => Number(env(name, usual));

const URL = `${env('URL', 'ws://127.0.0.1:7420').replace(/^http/, 'ws').replace(/\/$/, '')}/v1/ws`;
const SOCKETS = number('SOCKETS', 50);
const RATE = number('RATE', 1000);
const SECONDS = number('SECONDS', 30);
const HOLD_MS = number('HOLD_MS', 0);
const P50_MS = number('P50_MS', 20);
const P95_MS = number('P95_MS', 60);
/** How long the last answers are waited for. */
const DRAIN_MS = 10000;
/** Names of a socket; one that is not free again is passed over. */
const NAMES_EACH = 256;
const EVERY_MS = (1000 * SOCKETS) / RATE;
/** Its timers are late by some milliseconds: this often it is looked what is due. */
const TICK_MS = Math.max(1, Math.min(EVERY_MS, 4));

const acquire = new Trend('holdfast_acquire', true);
const release = new Trend('holdfast_release', true);
const failed = new Rate('holdfast_failed');
const locks = new Counter('holdfast_locks');
const unanswered = new Counter('holdfast_unanswered');
const fallingFences = new Counter('holdfast_falling_fences');

export const options = {
  scenarios: {
    sockets: {
      executor: 'per-vu-iterations',
      vus: SOCKETS,
      iterations: 1,
      maxDuration: `${SECONDS + DRAIN_MS / 1000 + 30}s`,
    },
  },
  thresholds: {
    holdfast_acquire: [`p(50)<${P50_MS}`, `p(95)<${P95_MS}`],
    holdfast_release: [`p(50)<${P50_MS}`, `p(95)<${P95_MS}`],
    holdfast_failed: ['rate<0.001'],
    holdfast_unanswered: ['count==0'],
    holdfast_falling_fences: ['count==0'],
    holdfast_locks: [`count>${Math.floor(0.99 * RATE * SECONDS)}`],
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export function setup() {
  return { run: `k6-${Date.now().toString(36)}` };
}

export default function ({ run }) {
  const key = env('API_KEY', '');
  const headers = key === '' ? {} : { Authorization: `Bearer ${key}` };
  const socket = new WebSocket(URL, 'holdfast.v1.json', { headers });
  socket.addEventListener('open', () => new Client(socket, `${run}-${exec.vu.idInTest}`).start());
  socket.addEventListener('error', (event) => {
    failed.add(true);
    exec.test.abort(`the socket failed: ${event.error}`);
  });
}

class Client {
  constructor(socket, prefix) {
    this.socket = socket;
    this.prefix = prefix;
    /** Open requests by id, names that are in use, and the highest fencing token of each. */
    this.open = new Map();
    this.busy = new Set();
    this.highest = new Map();
    this.nextId = 1;
    this.nextName = 0;
  }

  start() {
    const { socket } = this;
    socket.addEventListener('message', ({ data }) => {
      const parsed = JSON.parse(data);
      for (const answer of Array.isArray(parsed) ? parsed : [parsed]) this.answered(answer);
    });
    // Sockets begin one after the other, evenly spread.
    this.dueAt = Date.now() + EVERY_MS * Math.random();
    const endAt = this.dueAt + SECONDS * 1000;
    const timer = setInterval(() => {
      const now = Date.now();
      for (; this.dueAt <= now && this.dueAt < endAt; this.dueAt += EVERY_MS) this.acquire(this.dueAt);
      if (now >= endAt) {
        clearInterval(timer);
        this.finish(endAt + DRAIN_MS);
      }
    }, TICK_MS);
  }

  finish(until) {
    const timer = setInterval(() => {
      if (this.open.size > 0 && Date.now() < until) return;
      clearInterval(timer);
      unanswered.add(this.open.size);
      this.socket.close();
    }, 20);
  }

  send(op, name, dueAt, more) {
    const id = this.nextId++;
    this.open.set(id, { op, name, dueAt });
    this.socket.send(JSON.stringify({ id, op, name, ...more }));
  }

  acquire(dueAt) {
    for (let i = 0; i < NAMES_EACH; i++) {
      const name = `${this.prefix}-${this.nextName++ % NAMES_EACH}`;
      if (this.busy.has(name)) continue;
      this.busy.add(name);
      this.send('acquire', name, dueAt, { ttlMs: 30000 });
      return;
    }
    failed.add(true);
  }

  answered(answer) {
    const request = this.open.get(answer.id);
    if (request === undefined || answer.event !== undefined) return;
    this.open.delete(answer.id);
    const now = Date.now();
    const { op, name, dueAt } = request;
    const isGood = answer.status === (op === 'acquire' ? 201 : 204);
    failed.add(!isGood);
    if (isGood && op === 'acquire') this.granted(answer, name, now - dueAt);
    else if (isGood) release.add(now - dueAt);
    if (!isGood || op === 'release') this.busy.delete(name);
  }

  granted({ fencingToken, lockToken }, name, latencyMs) {
    acquire.add(latencyMs);
    locks.add(1);
    if (fencingToken <= (this.highest.get(name) ?? 0)) fallingFences.add(1);
    this.highest.set(name, fencingToken);
    const letGo = () => this.send('release', name, Date.now(), { lockToken });
    if (HOLD_MS > 0) setTimeout(letGo, HOLD_MS);
    else letGo();
  }
}
