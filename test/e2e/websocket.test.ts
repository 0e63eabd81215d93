import { randomBytes, randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { CODES } from '../../src/errors.ts';
import { BinarySocket, JsonSocket } from './sockets.ts';
import { onEachStore } from './stores.ts';

onEachStore('WebSockets', (stage) => {
  describe('holdfast.v1.json', () => {
    test('does the main job, one request a frame', async () => {
      const socket = await JsonSocket.open(stage.server.wsUrl);
      expect(socket.socket.protocol).toBe('holdfast.v1.json');
      const taken = await socket.ask({ op: 'acquire', name: 'ws/1', ttlMs: 30_000, owner: 'me' });
      expect(taken).toMatchObject({
        status: 201,
        name: 'ws/1',
        mode: 'exclusive',
        owner: 'me',
        ttlMs: 30_000,
      });
      const { lockToken, fencingToken } = taken;
      const refused = await socket.ask({ op: 'acquire', name: 'ws/1' });
      expect(refused).toMatchObject({
        status: 409,
        code: 'lock_held',
        retryable: true,
        holder: { owner: 'me' },
      });
      expect(await socket.ask({ op: 'renew', name: 'ws/1', lockToken })).toMatchObject({
        status: 200,
        fencingToken,
      });
      expect(await socket.ask({ op: 'get', name: 'ws/1' })).toMatchObject({ status: 200, held: true });
      expect(await socket.ask({ op: 'verify', name: 'ws/1', fencingToken })).toMatchObject({
        status: 200,
        current: true,
      });
      expect(await socket.ask({ op: 'release', name: 'ws/1', lockToken })).toMatchObject({ status: 204 });
      expect(await socket.ask({ op: 'release', name: 'ws/1', lockToken })).toMatchObject({
        status: 410,
        code: 'not_held',
      });
      expect(await socket.ask({ op: 'ping' })).toMatchObject({ status: 200 });
      socket.close();
      await socket.closed;
    });

    test('is spoken when the client offers no protocol, and takes arrays', async () => {
      const socket = await JsonSocket.open(stage.server.wsUrl, { protocols: [] });
      const names = Array.from({ length: 300 }, (_, i) => `ws/array/${i}`);
      const taken = await socket.askAll(names.map((name) => ({ op: 'acquire', name })));
      expect(taken.map(({ status, name }) => [status, name])).toEqual(names.map((name) => [201, name]));
      socket.close();
      await socket.closed;
      // The socket is gone, its locks stay.
      expect((await stage.http.get(names[0])).body.held).toBe(true);
    });

    test('an unparsable frame and a wrong request are answered, the socket lives on', async () => {
      const socket = await JsonSocket.open(stage.server.wsUrl);
      socket.socket.send('{"id":1,');
      const answer = await socket.ask({ op: 'acquire', name: 'ws/wrong', ttlMs: 1 });
      expect(answer).toMatchObject({ status: 400, code: 'bad_request', retryable: false });
      expect(socket.others).toMatchObject([{ id: null, status: 400 }]);
      for (const request of [
        { op: 'dance', name: 'x' },
        { op: 'acquire', name: 'x', colour: 'red' },
        { op: 'watch' },
        { op: 'acquire', name: 'x', mode: 'semaphore' },
        { op: 'session.keepalive' },
      ]) {
        expect(await socket.ask(request)).toMatchObject({ status: 400, code: 'bad_request' });
      }
      expect(await socket.ask({ op: 'ping' })).toMatchObject({ status: 200 });
      socket.close();
    });

    test('an Origin that is not allowed is refused', async () => {
      const headers = { origin: 'http://evil.example' };
      await expect(JsonSocket.open(stage.server.wsUrl, { headers })).rejects.toThrow('403');
    });
  });

  describe('holdfast.v1.bin', () => {
    test('does the main job, many requests a frame', async () => {
      const socket = await BinarySocket.open(stage.server.wsUrl);
      const token = randomBytes(16);
      const answers = await socket.askAll([
        { op: 'acquire', name: 'bin/1', token, ttlMs: 30_000, owner: 'me' },
        { op: 'acquire', name: 'bin/1', token, ttlMs: 30_000, owner: 'me' },
        { op: 'acquire', name: 'bin/1', token: randomBytes(16) },
        { op: 'renew', name: 'bin/1', token },
        { op: 'get', name: 'bin/1' },
        { op: 'verify', name: 'bin/1', token },
        { op: 'release', name: 'bin/1', token },
        { op: 'release', name: 'bin/1', token },
        { op: 'ping' },
      ]);
      expect(answers.map(({ status }) => status)).toEqual([201, 200, 409, 200, 200, 200, 204, 410, 200]);
      const { fencingToken } = answers[0];
      expect(answers[1].fencingToken).toBe(fencingToken);
      expect(answers[2]).toMatchObject({ code: CODES.lock_held.wire, owner: 'me', fencingToken });
      expect(answers[3]).toMatchObject({ fencingToken, ttlMs: 30_000 });
      expect(answers[4]).toMatchObject({ held: true, owner: 'me', fencingToken });
      expect(answers[5]).toMatchObject({ current: true, fencingToken });
      expect(answers[7].code).toBe(CODES.not_held.wire);
      socket.close();
    });

    test('the server makes a token when the client sends none; HTTP shows it as a UUID', async () => {
      const socket = await BinarySocket.open(stage.server.wsUrl);
      const { status, token } = await socket.ask({ op: 'acquire', name: 'bin/made' });
      expect(status).toBe(201);
      expect(token).toHaveLength(16);
      const hex = Buffer.from(token!).toString('hex');
      const uuid = [
        hex.slice(0, 8),
        hex.slice(8, 12),
        hex.slice(12, 16),
        hex.slice(16, 20),
        hex.slice(20),
      ].join('-');
      expect(await stage.http.acquire('bin/made', { lockToken: uuid })).toMatchObject({ status: 200 });
      expect((await stage.http.release('bin/made', uuid)).status).toBe(204);
      socket.close();
    });

    test('a token from HTTP releases here', async () => {
      const lockToken = randomUUID();
      await stage.http.acquire('bin/http', { lockToken });
      const socket = await BinarySocket.open(stage.server.wsUrl);
      const token = Buffer.from(lockToken.replaceAll('-', ''), 'hex');
      expect((await socket.ask({ op: 'release', name: 'bin/http', token })).status).toBe(204);
      socket.close();
    });

    test('a wrong request spoils only itself; a malformed frame closes nothing but is refused', async () => {
      const socket = await BinarySocket.open(stage.server.wsUrl);
      const [wrong, right] = await socket.askAll([
        { op: 'acquire', name: 'bin/wrong', ttlMs: 1 },
        { op: 'acquire', name: 'bin/right' },
      ]);
      expect(wrong).toMatchObject({ status: 400, code: CODES.bad_request.wire });
      expect(wrong.detail).not.toBe('');
      expect(right.status).toBe(201);
      for (const garbage of [Buffer.from([5, 0, 1]), randomBytes(300), Buffer.alloc(0)])
        socket.socket.send(garbage);
      const other = await BinarySocket.open(stage.server.wsUrl);
      expect((await other.ask({ op: 'ping' })).status).toBe(200);
      socket.close();
      other.close();
    });

    test('a frame over 1 MiB closes that socket only', async () => {
      const socket = await BinarySocket.open(stage.server.wsUrl);
      socket.socket.on('error', () => {});
      socket.socket.send(Buffer.alloc(1024 * 1024 + 1));
      const { code } = await socket.closed;
      expect([1006, 1009]).toContain(code);
      expect((await stage.http.get('bin/right')).status).toBe(200);
    });
  });
});
