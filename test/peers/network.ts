/** The network in memory between links and peer sockets: every message waits until the test lets it arrive. */
import { type PeerContext, type PeerOutlet, PeerSocket } from '../../src/front/peer-socket.ts';
import type { OpenWire, Wire, WireEvents } from '../../src/peers/wire.ts';

/** Who takes links at an address. */
interface Listener {
  readonly context: PeerContext;
  readonly sockets: PeerSocket[];
}

interface Message {
  readonly size: number;
  readonly arrive: () => void;
}

/** One WebSocket: two lines of messages, each of which can be held up. */
export class Cable {
  readonly there: Message[] = [];
  readonly back: Message[] = [];
  readonly sent: Uint8Array[] = [];
  holdThere = false;
  holdBack = false;
  closedWith: { code: number; reason: string } | undefined;
  readonly cut: (reason: string) => void;

  constructor(cut: (reason: string) => void) {
    this.cut = cut;
  }
}

/** Connects links with the owners that are registered at addresses. */
export class Network {
  readonly cables: Cable[] = [];
  readonly owners = new Map<string, Listener>();
  from = '127.0.0.1';
  /** Messages are lost, as to a machine that went without a word. */
  dead = false;

  readonly open: OpenWire = (address, events) => {
    const owner = this.owners.get(address);
    const { wire, cable } = owner === undefined ? this.refuse(events) : this.connect(owner, events);
    this.cables.push(cable);
    return wire;
  };

  get cable(): Cable {
    return this.cables[this.cables.length - 1];
  }

  /** Delivers what is under way until nothing is, with the ends of turns in between. */
  run(...turns: { end(): void }[]): void {
    for (let i = 0; i < 10; i++) {
      for (const turn of turns) turn.end();
      for (const cable of [...this.cables]) {
        if (!cable.holdThere) for (const message of cable.there.splice(0)) message.arrive();
        if (!cable.holdBack) for (const message of cable.back.splice(0)) message.arrive();
      }
    }
  }

  private refuse(events: WireEvents): { wire: Wire; cable: Cable } {
    const cable = new Cable(() => {});
    if (!this.dead) cable.back.push({ size: 0, arrive: () => events.closed('connect ECONNREFUSED') });
    return { cable, wire: { send() {}, unsent: 0, close: () => void cable.back.splice(0) } };
  }

  private connect(owner: Listener, events: WireEvents): { wire: Wire; cable: Cable } {
    let over = false;
    let gone = false;
    let socket: PeerSocket | undefined;
    const leave = (): void => {
      if (gone) return;
      gone = true;
      socket?.closed();
    };
    const end = (reason: string): void => {
      if (over) return;
      over = true;
      events.closed(reason);
    };
    const cable = new Cable((reason) => {
      cable.there.splice(0);
      cable.back.splice(0);
      leave();
      end(reason);
    });
    const put = (line: Message[], size: number, arrive: () => void): void => {
      if (!this.dead) line.push({ size, arrive });
    };
    const outlet: PeerOutlet = {
      send: (message) => {
        const copy = Uint8Array.from(message);
        put(cable.back, copy.length, () => over || events.message(copy));
      },
      end: (code, reason) => {
        cable.closedWith ??= { code, reason };
        put(cable.back, 0, () => end(reason));
        put(cable.back, 0, leave);
      },
      cut: () => void put(cable.back, 0, () => cable.cut('cut')),
      gone: () => {},
    };
    put(cable.there, 0, () => {
      socket = new PeerSocket(owner.context, outlet, this.from);
      owner.sockets.push(socket);
      put(cable.back, 0, () => over || events.opened());
    });
    const wire: Wire = {
      send: (frame) => {
        const copy = Uint8Array.from(frame);
        cable.sent.push(copy);
        put(cable.there, copy.length, () => gone || socket?.message(copy.buffer, true));
      },
      get unsent() {
        return cable.holdThere ? cable.there.reduce((sum, { size }) => sum + size, 0) : 0;
      },
      close: () => {
        over = true;
        put(cable.there, 0, leave);
      },
    };
    return { wire, cable };
  }
}
