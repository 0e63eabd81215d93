/**
 * Acquire, hold and release over HTTP, with k6:
 *
 *   k6 run loadtest/k6/http.js -e URL=http://127.0.0.1:7420 -e RATE=500 -e SECONDS=30
 *
 * An open model: RATE locks a second are taken, whatever the server does; each
 * is an acquire and a release. It fails when a threshold is missed, or when a
 * lock's fencing token did not rise.
 *
 *   URL      http://127.0.0.1:7420
 *   API_KEY  none
 *   RATE     500 locks a second
 *   SECONDS  30
 *   HOLD_MS  0
 *   VUS      200 at first, ten times as many at most
 *   P50_MS, P95_MS   20, 60: what requests may take
 */
import { check, sleep } from 'k6';
import exec from 'k6/execution';
import http from 'k6/http';
import { Counter, Rate } from 'k6/metrics';

const env = (name, usual) => __ENV[name] ?? usual;
const number = (name, usual) => Number(env(name, usual));

const URL = env('URL', 'http://127.0.0.1:7420').replace(/\/$/, '');
const VUS = number('VUS', 200);
const HOLD_MS = number('HOLD_MS', 0);
const P50_MS = number('P50_MS', 20);
const P95_MS = number('P95_MS', 60);
/** Runs leave nothing behind that another would meet. */
const RUN = `k6-${Date.now().toString(36)}`;

const failed = new Rate('holdfast_failed');
const fallingFences = new Counter('holdfast_falling_fences');

export const options = {
  scenarios: {
    locks: {
      executor: 'constant-arrival-rate',
      rate: number('RATE', 500),
      timeUnit: '1s',
      duration: `${number('SECONDS', 30)}s`,
      preAllocatedVUs: VUS,
      maxVUs: VUS * 10,
    },
  },
  thresholds: {
    'http_req_duration{op:acquire}': [`p(50)<${P50_MS}`, `p(95)<${P95_MS}`],
    'http_req_duration{op:release}': [`p(50)<${P50_MS}`, `p(95)<${P95_MS}`],
    holdfast_failed: ['rate<0.001'],
    holdfast_falling_fences: ['count==0'],
    // Iterations for which no VU was free: the rate was not offered.
    dropped_iterations: ['count<1'],
  },
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
  discardResponseBodies: false,
};

/** Each VU has names of its own, so that their fencing tokens come in order. */
const highest = new Map();
const NAMES_EACH = 8;

function headers(more) {
  const key = env('API_KEY', '');
  return key === '' ? more : { ...more, Authorization: `Bearer ${key}` };
}

export default function () {
  const name = `${env('RUN', RUN)}-${exec.vu.idInTest}-${exec.vu.iterationInInstance % NAMES_EACH}`;
  const path = `${URL}/v1/locks/${encodeURIComponent(name)}`;
  const json = headers({ 'Content-Type': 'application/json' });
  const granted = http.post(path, JSON.stringify({ ttlMs: 30000 }), {
    headers: json,
    tags: { op: 'acquire', name: 'POST /v1/locks/{name}' },
  });
  const isGranted = check(granted, { 'granted (201)': ({ status }) => status === 201 });
  failed.add(!isGranted);
  if (!isGranted) return;
  const { lockToken, fencingToken } = granted.json();
  const isRising = fencingToken > (highest.get(name) ?? 0);
  check(isRising, { 'the fencing token rose': (rose) => rose });
  if (!isRising) fallingFences.add(1);
  highest.set(name, fencingToken);
  if (HOLD_MS > 0) sleep(HOLD_MS / 1000);
  const released = http.del(path, null, {
    headers: headers({ 'Holdfast-Lock-Token': lockToken }),
    tags: { op: 'release', name: 'DELETE /v1/locks/{name}' },
  });
  failed.add(!check(released, { 'released (204)': ({ status }) => status === 204 }));
}
