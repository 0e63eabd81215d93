import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Acceptor, Opener, type PeerIdentity, type Step } from '../../src/peers/handshake.ts';
import { KEY, testRandom } from './rig.ts';

const A: PeerIdentity = { cluster: 'c', process: 'a', key: KEY };
const B: PeerIdentity = { cluster: 'c', process: 'b', key: KEY };

function sent(step: Step): Uint8Array {
  if (step.kind === 'refused' || step.send === undefined)
    throw new Error(`nothing was sent: ${JSON.stringify(step)}`);
  return step.send;
}

/** All four messages, or why one was refused. */
function shake(a: PeerIdentity, b: PeerIdentity, meant = b.process): string | Uint8Array[] {
  const opener = new Opener(a, meant, testRandom);
  const acceptor = new Acceptor(b, testRandom);
  const messages = [opener.hello()];
  for (let toAcceptor = true; ; toAcceptor = !toAcceptor) {
    const message = messages[messages.length - 1];
    const step = toAcceptor ? acceptor.message(message, 77.5) : opener.message(message);
    if (step.kind === 'refused') return step.reason;
    if (step.send === undefined) {
      expect(acceptor.opener).toBe(a.process);
      expect(opener.acceptorNow).toBe(77.5);
      return messages;
    }
    messages.push(step.send);
  }
}

describe('the handshake', () => {
  test('succeeds with the same key, or with none', () => {
    expect(shake(A, B)).toHaveLength(4);
    expect(shake({ ...A, key: undefined }, { ...B, key: undefined })).toHaveLength(4);
  });

  test.each<[string, Partial<PeerIdentity>, Partial<PeerIdentity>, string, RegExp]>([
    ['another key', {}, { key: Buffer.from('the secret of another') }, 'b', /another cluster key/],
    ['no key here', { key: undefined }, {}, 'b', /another cluster key/],
    ['no key there', {}, { key: undefined }, 'b', /another cluster key/],
    ['another cluster', { cluster: 'd' }, {}, 'b', /another cluster$/],
    ['another process than was meant', {}, {}, 'x', /another process/],
    ['this process itself', { process: 'b' }, {}, 'b', /itself/],
  ])('is refused with %s', (_, a, b, meant, reason) => {
    expect(shake({ ...A, ...a }, { ...B, ...b }, meant)).toMatch(reason);
  });

  test('is refused with another version of the protocol, by its number', () => {
    const hello = Buffer.from(new Opener(A, 'b', testRandom).hello());
    hello.writeUInt16LE(9, 1);
    expect(new Acceptor(B, testRandom).message(hello, 0)).toEqual({
      kind: 'refused',
      reason: 'it speaks version 9 of the peer protocol, this process 2',
    });
    // Whatever a later version has behind the number.
    expect(new Acceptor(B, testRandom).message(hello.subarray(0, 3), 0)).toMatchObject({ kind: 'refused' });
  });

  test('the key crosses the wire in no message', () => {
    for (const message of shake(A, B)) expect(Buffer.from(message as Uint8Array).includes(KEY)).toBe(false);
  });
});

describe('who does not know the key', () => {
  test('can not open with the messages of another handshake', () => {
    const [hello, , proof] = shake(A, B) as Uint8Array[];
    const acceptor = new Acceptor(B, testRandom);
    expect(acceptor.message(hello, 0).kind).toBe('send');
    expect(acceptor.message(proof, 0)).toMatchObject({
      kind: 'refused',
      reason: 'it has another cluster key',
    });
  });

  test('can not accept with the messages of another handshake', () => {
    const [, challenge, , welcome] = shake(A, B) as Uint8Array[];
    const opener = new Opener(A, 'b', testRandom);
    opener.hello();
    expect(opener.message(challenge).kind).toBe('send');
    expect(opener.message(welcome)).toMatchObject({ kind: 'refused', reason: 'it has another cluster key' });
  });

  test('can not accept with the proof that the opener gave, nor open with the welcome of the acceptor', () => {
    const opener = new Opener(A, 'b', testRandom);
    opener.hello();
    const proof = Buffer.from(sent(opener.message(Buffer.concat([Uint8Array.of(2), new Uint8Array(32)]))));
    const reflected = Buffer.concat([Uint8Array.of(4), proof.subarray(1), new Uint8Array(8)]);
    expect(opener.message(reflected).kind).toBe('refused');
  });

  test('gets no proof of the key from an acceptor that it has not proved it to', () => {
    const acceptor = new Acceptor(B, testRandom);
    const challenge = sent(acceptor.message(new Opener(A, 'b', testRandom).hello(), 0));
    expect(challenge).toHaveLength(33);
    expect(acceptor.message(Buffer.concat([Uint8Array.of(3), new Uint8Array(32)]), 0).kind).toBe('refused');
  });
});

test('every message that was cut, lengthened or flipped is refused', () => {
  const steps = [0, 1, 2, 3] as const;
  fc.assert(
    fc.property(
      fc.constantFrom(...steps),
      fc.nat(2_000),
      fc.integer({ min: -1, max: 3 }),
      (which, at, how) => {
        const opener = new Opener(A, 'b', testRandom);
        const acceptor = new Acceptor(B, testRandom);
        let message = opener.hello();
        let step: Step = { kind: 'done', send: undefined };
        for (const turn of steps) {
          if (turn === which) message = spoil(message, at, how);
          step = turn % 2 === 0 ? acceptor.message(message, 77.5) : opener.message(message);
          if (step.kind === 'refused' || step.send === undefined) break;
          message = step.send;
        }
        // Only the clock at the end of the welcome is not covered.
        const inClock = which === 3 && how >= 0 && (at >> 3) % 41 >= 33;
        if (!inClock) expect(step.kind).toBe('refused');
      },
    ),
    { numRuns: 3_000 },
  );
});

/** how −1: cut; 0–2: a bit; 3: a byte more. */
function spoil(message: Uint8Array, at: number, how: number): Uint8Array {
  if (how === -1) return message.subarray(0, at % message.length);
  if (how === 3) return Buffer.concat([message, Uint8Array.of(0)]);
  const spoilt = Uint8Array.from(message);
  spoilt[(at >> 3) % message.length] ^= 1 << (at & 7);
  return spoilt;
}
