/**
 * How two processes make sure of each other before anything is forwarded. Both
 * prove that they know the cluster's key; the key itself never travels.
 *
 *   opener                                acceptor
 *     hello     ──────────────────────►     checks version, cluster, that it is meant
 *               ◄──────────────────────   challenge
 *     proof     ──────────────────────►     checks the proof
 *     checks    ◄──────────────────────   welcome
 *
 *   hello     := 1:u8 version:u16 cluster opener acceptor nonce:32       little-endian
 *   challenge := 2:u8 nonce:32
 *   proof     := 3:u8 mac:32
 *   welcome   := 4:u8 mac:32 now:f64          the acceptor's clock, as in an answer to a ping
 *   cluster, opener, acceptor := length:u8 text      ids of the cluster and the two processes
 *
 *   mac := HMAC-SHA-256(key, role version hello's nonce, challenge's nonce, cluster, opener, acceptor)
 *
 * Without a key the empty one is used; then both ends must be loopback
 * addresses. The opener proves itself first: the acceptor's port is open to
 * more strangers than the opener's connection. The handshake does not encrypt:
 * what follows is as safe as the network between the processes.
 *
 * Every version begins its hello with kind and version.
 */
import { Buffer } from 'node:buffer';
import { createHmac, timingSafeEqual } from 'node:crypto';

/** Raised whenever frames change their meaning. Only processes with the same one talk to each other. */
export const PEER_PROTOCOL = 2;

export interface PeerIdentity {
  /** Id of the cluster. */
  readonly cluster: string;
  /** Id of this process. */
  readonly process: string;
  /** What the processes of a cluster share; undefined: only loopback addresses are trusted. */
  readonly key: Uint8Array | undefined;
}

/** Fills bytes that nobody can foresee. */
export type RandomBytes = (bytes: Uint8Array) => void;

/**
 * - send: the other side's turn
 * - done: both know each other; `send` goes out first
 * - refused: the link is to be closed; `reason` is one line
 */
export type Step =
  | { readonly kind: 'send'; readonly send: Uint8Array }
  | { readonly kind: 'done'; readonly send: Uint8Array | undefined }
  | { readonly kind: 'refused'; readonly reason: string };

const HELLO = 1;
const CHALLENGE = 2;
const PROOF = 3;
const WELCOME = 4;

const NONCE_BYTES = 32;
const MAC_BYTES = 32;
const TEXT_BYTES_MAX = 255;

const OUT_OF_TURN: Step = { kind: 'refused', reason: 'a message that does not belong to the handshake' };
const OTHER_KEY: Step = { kind: 'refused', reason: 'it has another cluster key' };

interface Parties {
  readonly cluster: string;
  readonly opener: string;
  readonly acceptor: string;
  readonly openerNonce: Uint8Array;
  readonly acceptorNonce: Uint8Array;
}

/** The side that opened the link. */
export class Opener {
  /** On the acceptor's clock: a time that had come when it wrote its welcome. */
  acceptorNow = 0;
  private readonly identity: PeerIdentity;
  private readonly acceptor: string;
  private readonly nonce = new Uint8Array(NONCE_BYTES);
  private parties: Parties | undefined;

  /** `acceptor`: the process that is to be reached. */
  constructor(identity: PeerIdentity, acceptor: string, random: RandomBytes) {
    this.identity = identity;
    this.acceptor = acceptor;
    random(this.nonce);
  }

  hello(): Uint8Array {
    const { cluster, process } = this.identity;
    const version = Buffer.alloc(2);
    version.writeUInt16LE(PEER_PROTOCOL);
    const texts = [cluster, process, this.acceptor].map(textField);
    return Buffer.concat([Uint8Array.of(HELLO), version, ...texts, this.nonce]);
  }

  message(bytes: Uint8Array): Step {
    if (this.parties === undefined) return this.challenged(bytes);
    if (bytes[0] !== WELCOME || bytes.length !== 1 + MAC_BYTES + 8) return OUT_OF_TURN;
    if (!sameMac(bytes, this.identity.key, 'acceptor', this.parties)) return OTHER_KEY;
    this.acceptorNow = new DataView(bytes.buffer, bytes.byteOffset).getFloat64(1 + MAC_BYTES, true);
    return Number.isFinite(this.acceptorNow) ? { kind: 'done', send: undefined } : OUT_OF_TURN;
  }

  private challenged(bytes: Uint8Array): Step {
    if (bytes[0] !== CHALLENGE || bytes.length !== 1 + NONCE_BYTES) return OUT_OF_TURN;
    const { cluster, process, key } = this.identity;
    const parties = {
      cluster,
      opener: process,
      acceptor: this.acceptor,
      openerNonce: this.nonce,
      acceptorNonce: Uint8Array.from(bytes.subarray(1)),
    };
    this.parties = parties;
    return { kind: 'send', send: Buffer.concat([Uint8Array.of(PROOF), macOf(key, 'opener', parties)]) };
  }
}

/** The side that was called. */
export class Acceptor {
  /** The process that opened the link; to be believed when the handshake is done. */
  opener = '';
  private readonly identity: PeerIdentity;
  private readonly nonce = new Uint8Array(NONCE_BYTES);
  private parties: Parties | undefined;

  constructor(identity: PeerIdentity, random: RandomBytes) {
    this.identity = identity;
    random(this.nonce);
  }

  /** `now`: on this process's clock. */
  message(bytes: Uint8Array, now: number): Step {
    if (this.parties === undefined) return this.greeted(bytes);
    if (bytes[0] !== PROOF || bytes.length !== 1 + MAC_BYTES) return OUT_OF_TURN;
    const { key } = this.identity;
    if (!sameMac(bytes, key, 'opener', this.parties)) return OTHER_KEY;
    const clock = Buffer.alloc(8);
    clock.writeDoubleLE(now);
    const send = Buffer.concat([Uint8Array.of(WELCOME), macOf(key, 'acceptor', this.parties), clock]);
    return { kind: 'done', send };
  }

  private greeted(bytes: Uint8Array): Step {
    const hello = Buffer.from(bytes);
    if (hello[0] !== HELLO || hello.length < 3) return OUT_OF_TURN;
    const version = hello.readUInt16LE(1);
    if (version !== PEER_PROTOCOL) {
      return {
        kind: 'refused',
        reason: `it speaks version ${version} of the peer protocol, this process ${PEER_PROTOCOL}`,
      };
    }
    const texts: string[] = [];
    let at = 3;
    for (let i = 0; i < 3; i++) {
      if (at + 1 > hello.length) return OUT_OF_TURN;
      const end = at + 1 + hello[at];
      texts.push(hello.toString('utf8', at + 1, end));
      at = end;
    }
    if (at + NONCE_BYTES !== hello.length) return OUT_OF_TURN;
    const [cluster, opener, acceptor] = texts;
    if (cluster !== this.identity.cluster) return { kind: 'refused', reason: 'it is of another cluster' };
    if (acceptor !== this.identity.process) {
      return { kind: 'refused', reason: 'it means another process than the one at this address' };
    }
    if (opener === acceptor) return { kind: 'refused', reason: 'a process has no link to itself' };
    this.opener = opener;
    this.parties = { cluster, opener, acceptor, openerNonce: hello.subarray(at), acceptorNonce: this.nonce };
    return { kind: 'send', send: Buffer.concat([Uint8Array.of(CHALLENGE), this.nonce]) };
  }
}

/** Of a fixed length or with their length in front, so that no two sets of parts give the same bytes. */
function macOf(key: Uint8Array | undefined, role: 'opener' | 'acceptor', parties: Parties): Buffer {
  const mac = createHmac('sha256', key ?? new Uint8Array(0));
  mac.update(textField(`holdfast peer ${PEER_PROTOCOL} ${role}`));
  mac.update(parties.openerNonce).update(parties.acceptorNonce);
  for (const text of [parties.cluster, parties.opener, parties.acceptor]) mac.update(textField(text));
  return mac.digest();
}

function sameMac(
  message: Uint8Array,
  key: Uint8Array | undefined,
  role: 'opener' | 'acceptor',
  parties: Parties,
): boolean {
  return timingSafeEqual(message.subarray(1, 1 + MAC_BYTES), macOf(key, role, parties));
}

function textField(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > TEXT_BYTES_MAX) throw new RangeError(`an id of ${bytes.length} bytes`);
  return Buffer.concat([Uint8Array.of(bytes.length), bytes]);
}
