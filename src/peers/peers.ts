/**
 * The links to all other processes, and the way to them for routing: an op goes
 * to the process of the term that owns its slot.
 *
 * A process that leaves the list may still answer what is under way to it, so
 * its link retires; when the process comes back under another address it gets
 * another link.
 */
import type { Forwarder } from '../batch/routing.ts';
import type { TermInfo } from '../lane/messages.ts';
import type { Op } from '../op.ts';
import { type LinkSettings, type LinkState, PeerLink } from './link.ts';

/** A process and the HOST:PORT at which peers reach it. */
export interface PeerAddress {
  readonly id: string;
  readonly address: string;
}

/** As `/v1/cluster` shows it. */
export interface PeerReport {
  readonly process: string;
  readonly address: string;
  readonly state: LinkState;
  /** Why it is not up; '' while nothing is wrong. */
  readonly detail: string;
  /** Forwards without an answer. */
  readonly open: number;
}

export class Peers implements Forwarder {
  private readonly settings: LinkSettings;
  private readonly links = new Map<string, PeerLink>();
  /** Those that were replaced and wait for their last answers. */
  private retired: PeerLink[] = [];
  private wanted: Uint16Array = new Uint16Array(0);

  constructor(settings: LinkSettings) {
    this.settings = settings;
  }

  /** All living processes, whenever they change; this one may be among them. */
  update(processes: readonly PeerAddress[]): void {
    const wanted = new Map(processes.map(({ id, address }) => [id, address]));
    wanted.delete(this.settings.identity.process);
    for (const [process, link] of this.links) {
      if (wanted.get(process) === link.address) continue;
      this.links.delete(process);
      this.retired.push(link);
      link.retire();
    }
    for (const [process, address] of wanted) {
      if (this.links.has(process)) continue;
      const link = this.linkTo(process, address);
      link.want(this.wanted);
      this.links.set(process, link);
    }
    this.forgetClosed();
  }

  forward(term: TermInfo, op: Op): 'taken' | 'noLink' | 'full' {
    return this.links.get(term.process)?.forward(term.id, op) ?? 'noLink';
  }

  abandon(process: string, slots: ReadonlySet<number>): void {
    for (const link of [...this.links.values(), ...this.retired]) {
      if (link.process === process) link.abandon(slots);
    }
  }

  endStanding(process: string, slots: ReadonlySet<number>): void {
    for (const link of [...this.links.values(), ...this.retired]) {
      if (link.process === process) link.endStanding(slots);
    }
  }

  /**
   * All peers are told that requests of this process wait for these slots, in
   * rising order: whoever inherits them reads them back first. Not changed afterwards.
   */
  want(slots: Uint16Array): void {
    this.wanted = slots;
    for (const link of this.links.values()) link.want(slots);
  }

  /** Several times a second: connects, pings, gives up what is late. */
  sweep(now: number): void {
    for (const link of this.links.values()) link.sweep(now);
    for (const link of this.retired) link.sweep(now);
    this.forgetClosed();
  }

  report(): PeerReport[] {
    return [...this.links.values()].map(({ process, address, state, detail, open }) => {
      return { process, address, state, detail, open };
    });
  }

  /** What is still under way is given up. */
  close(): void {
    for (const link of [...this.links.values(), ...this.retired]) link.close();
    this.links.clear();
    this.retired = [];
  }

  /** A process that was gone for a moment only has its link still. */
  private linkTo(process: string, address: string): PeerLink {
    const known = this.retired.find((link) => link.process === process && link.address === address);
    if (known === undefined || !known.resume()) return new PeerLink(this.settings, process, address);
    this.retired = this.retired.filter((link) => link !== known);
    return known;
  }

  private forgetClosed(): void {
    if (this.retired.length > 0) this.retired = this.retired.filter((link) => link.state !== 'closed');
  }
}
