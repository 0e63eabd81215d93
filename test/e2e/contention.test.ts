/** Exactly one holder, rising tokens, nothing acknowledged lost: with the server killed and started again under load. */
import { expect, test } from 'vitest';
import { checkClaims } from '../chaos/checker.ts';
import { Contenders } from '../chaos/contenders.ts';
import { pause } from '../servers/holdfast.ts';
import { onEachStore } from './stores.ts';

const NAMES = 100;
const LOAD_MS = 2_500;

onEachStore('2,000 clients at 100 locks', (stage) => {
  test('one holder at a time and rising tokens, also across kill -9', async () => {
    const contenders = new Contenders({
      wsUrl: () => stage.server.wsUrl,
      names: Array.from({ length: NAMES }, (_, i) => `fought-over/${i}`),
      sockets: 40,
      clientsPerSocket: 50,
      ttlMs: 8_000,
    });
    contenders.start();
    await pause(LOAD_MS);
    const before = contenders.held.length;
    await stage.server.kill();
    await stage.start({ port: stage.server.port });
    await pause(LOAD_MS);
    await contenders.stop();
    console.log(
      `${stage.store}: ${contenders.held.length} claims on ${NAMES} locks, acquires by status ` +
        `${JSON.stringify(Object.fromEntries(contenders.statuses))}, longest ${contenders.longestMs.toFixed(0)} ms`,
    );
    expect(contenders.wrong.slice(0, 5)).toEqual([]);
    expect(checkClaims(contenders.held).slice(0, 5)).toEqual([]);
    expect(before).toBeGreaterThan(NAMES);
    expect(contenders.held.length).toBeGreaterThan(before + NAMES);
    expect(new Set(contenders.held.map(({ name }) => name)).size).toBe(NAMES);
    expect(contenders.statuses.get(409)).toBeGreaterThan(NAMES);
  }, 120_000);
});
