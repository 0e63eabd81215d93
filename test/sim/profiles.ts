/**
 * What goes wrong in a run: the faults that there are, and the workload
 * profiles, each a mix of them.
 */
import { COPY_SHARE_MAX } from './client.ts';
import { CALM_CLIENTS, type ClientNetwork } from './cluster.ts';
import { CALM, type NetworkFaults } from './model-connection.ts';
import { CALM_PEERS, type PeerFaults } from './peer-network.ts';

/** Weights: how often each is picked. */
export interface Faults {
  readonly kill?: number;
  /** SIGTERM, and a new process there later. */
  readonly stop?: number;
  /** A process on a machine that has none. */
  readonly join?: number;
  readonly pauseProcess?: number;
  readonly pauseLane?: number;
  readonly pauseKeeper?: number;
  readonly pauseFront?: number;
  readonly endLease?: number;
  readonly partition?: number;
  /** Nothing that a store says is heard; often the lease ends meanwhile. */
  readonly deaf?: number;
  /** That, and what a term without an answer wrote is deleted before the answer comes: it ends, and others take over. */
  readonly forget?: number;
  readonly outage?: number;
  readonly full?: number;
  readonly storm?: number;
  /** Between two processes nothing passes, in one direction or both. */
  readonly cutPeers?: number;
  /** Between one process and all others, while every store is reached. */
  readonly isolate?: number;
  /** What is open between two processes breaks. */
  readonly breakPeers?: number;
  /** What a process sends to others, and they to it, takes long. */
  readonly slowPeers?: number;
  readonly stopClock?: number;
  readonly jumpWall?: number;
  readonly jumpClock?: number;
}

export interface Profile {
  readonly faults: Faults;
  /** Mean time between two faults, in ms. */
  readonly everyMs: number;
  readonly store: NetworkFaults;
  readonly clients: ClientNetwork;
  readonly peers: PeerFaults;
  /** What fails is no reason for anything to be late. */
  readonly prompt?: boolean;
  /** Machines that have a process from the start. */
  readonly machinesAtFirst?: number;
  /** Per message between two threads of a process: it takes long. */
  readonly slowHop?: number;
  /** For how long the terms must have stayed the same before slots move, in ms. */
  readonly settleMs?: number;
  /** Share of claims that are waited for; without it runs differ. */
  readonly waits?: number;
  /** Clients with sessions. */
  readonly sessions?: number;
  /** Instead of the default. */
  readonly requestTimeoutMs?: number;
  readonly reattachMs?: number;
  /** How long it may take until a wait has found its place again, in ms. */
  readonly resumedMs?: number;
  /** How often what dead terms left is deleted, in ms. */
  readonly sweepEveryMs?: number;
  /** Instead of a time that is longer than any run has patience for. */
  readonly isolatedAfterMs?: number;
}

const FLAKY_STORE: NetworkFaults = {
  delayMs: 1,
  refuse: 0.005,
  loseRequest: 0.003,
  loseReply: 0.006,
  late: 0.01,
  lateMsMax: 4_000,
  stall: 0.004,
  duplicate: 0.01,
  resetWatch: 0.01,
};
/** For a while nearly nothing goes right. */
export const STORM: NetworkFaults = {
  delayMs: 10,
  refuse: 0.1,
  loseRequest: 0.05,
  loseReply: 0.15,
  late: 0.15,
  lateMsMax: 8_000,
  stall: 0.1,
  duplicate: 0.1,
  resetWatch: 0.2,
};
const FLAKY_CLIENTS: ClientNetwork = {
  delayMs: 0.5,
  loseRequest: 0.01,
  loseReply: 0.02,
  duplicate: 0.03,
  late: 0.02,
  lateShareMax: COPY_SHARE_MAX,
  astray: 0.1,
};
const FLAKY_PEERS: PeerFaults = {
  delayMs: 0.5,
  refuse: 0.1,
  slowConnect: 0.1,
  slowConnectMsMax: 3_000,
  breakOff: 0.002,
  late: 0.004,
  lateMsMax: 3_000,
};

export const PROFILES = {
  calm: {
    faults: {},
    everyMs: 1_000,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
    prompt: true,
  },
  /** Nothing fails: processes come and go, and slots with them. */
  moves: {
    faults: { stop: 3, join: 2 },
    everyMs: 1_500,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
    prompt: true,
    machinesAtFirst: 1,
    settleMs: 100,
  },
  kills: {
    faults: { kill: 3, stop: 1 },
    everyMs: 2_500,
    store: CALM,
    clients: FLAKY_CLIENTS,
    peers: CALM_PEERS,
  },
  store: {
    faults: { partition: 3, deaf: 2, outage: 2, full: 1, storm: 3 },
    everyMs: 2_500,
    store: FLAKY_STORE,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
  },
  peers: {
    faults: { cutPeers: 4, breakPeers: 4, slowPeers: 2, isolate: 2, pauseFront: 2, stop: 1, join: 2 },
    everyMs: 1_200,
    store: CALM,
    clients: FLAKY_CLIENTS,
    peers: FLAKY_PEERS,
  },
  /** Slots go to and fro all the time while links break. */
  storms: {
    faults: { breakPeers: 4, cutPeers: 2, pauseFront: 3, endLease: 3, stop: 2, join: 3, isolate: 2 },
    everyMs: 700,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: FLAKY_PEERS,
    slowHop: 0.03,
    settleMs: 50,
  },
  /** One process at a time that the stores reach and the others do not. */
  isolation: {
    faults: { isolate: 1 },
    everyMs: 8_000,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
    isolatedAfterMs: 1_000,
  },
  pauses: {
    faults: { pauseProcess: 3, pauseLane: 3, pauseKeeper: 1, pauseFront: 2 },
    everyMs: 2_500,
    store: FLAKY_STORE,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
  },
  leases: {
    faults: { endLease: 4, deaf: 3, forget: 10, pauseKeeper: 2, storm: 1 },
    everyMs: 1_000,
    store: FLAKY_STORE,
    clients: FLAKY_CLIENTS,
    peers: CALM_PEERS,
    machinesAtFirst: 2,
    requestTimeoutMs: 2_500,
    sweepEveryMs: 300,
  },
  clocks: {
    faults: { stopClock: 3, jumpWall: 1, endLease: 1 },
    everyMs: 2_000,
    store: CALM,
    clients: FLAKY_CLIENTS,
    peers: CALM_PEERS,
  },
  jumps: {
    faults: { jumpClock: 3, endLease: 1 },
    everyMs: 2_000,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
  },
  /** Only the ways between processes break, and waits have time to find their places again. */
  links: {
    faults: { breakPeers: 1 },
    everyMs: 1_500,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
    prompt: true,
    waits: 0.8,
    // A break is heard of at once, or noticed by the silence.
    resumedMs: 4_000,
    reattachMs: 10_000,
  },
  /** Queues whose owners change, and whose clients and ways to them are lost. */
  waits: {
    faults: { kill: 2, stop: 3, join: 4, endLease: 2, breakPeers: 3, cutPeers: 2 },
    everyMs: 1_000,
    store: CALM,
    clients: CALM_CLIENTS,
    peers: CALM_PEERS,
    waits: 0.8,
    sessions: 2,
    settleMs: 200,
  },
  everything: {
    faults: {
      kill: 3,
      stop: 1,
      join: 1,
      pauseProcess: 3,
      pauseLane: 2,
      pauseKeeper: 1,
      pauseFront: 1,
      endLease: 2,
      partition: 2,
      deaf: 2,
      outage: 1,
      full: 1,
      storm: 3,
      cutPeers: 2,
      isolate: 1,
      breakPeers: 2,
      slowPeers: 1,
      stopClock: 1,
      jumpWall: 1,
    },
    everyMs: 1_500,
    store: FLAKY_STORE,
    clients: FLAKY_CLIENTS,
    peers: FLAKY_PEERS,
  },
} as const satisfies Record<string, Profile>;

export type ProfileName = keyof typeof PROFILES;
