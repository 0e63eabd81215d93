/**
 * Every bound of the service in one place, each with its unit (last in the
 * name) and its reason. What a bound refuses, it refuses before any work is
 * done for it.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

export const LIMITS = {
  // ---- words of the contract
  nameBytesMax: 512,
  ownerBytesMax: 256,
  metadataBytesMax: 1 * KiB,
  /** A lock token is 16 bytes when it is a UUID, else 22–64 characters. */
  tokenBytesMax: 64,
  tokenBytesMin: 22,
  ttlMsMin: 1_000,
  ttlMsMax: 86_400_000,
  ttlMsDefault: 30_000,
  waitMsMax: 300_000,
  /** Semaphore places, and holders of a shared lock: all of them stand in the answer to a get. */
  holdersMax: 10_000,
  /** Of the places in the answer to a get: beyond it they come without metadata. */
  statePlacesBytesMax: 1 * MiB,
  /** Waiters of one name; each is a place in the queue that is walked when the lock comes free. */
  waitersMax: 1_000,
  lockDelayMsMax: 300_000,
  /** A part of a key, and of every record of a claim. */
  namespaceBytesMax: 64,
  principalBytesMax: 64,
  /** Why a lock was released by force: kept in the journal. */
  reasonBytesMax: 256,
  /** API keys of a process: their file is read on the main thread, at a reload too, which takes 0.2–0.5 s for so many. */
  keysMax: 1_000,
  /** A name is compared with each of them. */
  keyPrefixesMax: 64,
  idempotencyKeyBytesMax: 255,
  /** How long the end of a claim with an Idempotency-Key is remembered. */
  idempotencyWindowMs: 300_000,
  sessionLocksMax: 100_000,
  listLimitMax: 1_000,
  listLimitDefault: 100,

  // ---- requests
  bodyBytesMax: 64 * KiB,
  batchBytesMax: 1 * MiB,
  batchOpsMax: 1_000,
  /** Of a body that is too large, what is read and dropped before the connection is cut. */
  bodyBytesSkippedMax: 8 * MiB,
  /** A WebSocket frame of either protocol. */
  frameBytesMax: 1 * MiB,
  requestTimeoutMsDefault: 8_000,
  requestTimeoutMsMin: 100,
  requestTimeoutMsMax: 60_000,

  // ---- front
  socketsMax: 20_000,
  /** Open requests of one socket: a second of one eighth of a million ops a second. */
  socketRequestsMax: 131_072,
  /** Open requests of the process; past it `overloaded`. 512 Ki × ~300 B is 150 MB. */
  processRequestsMax: 524_288,
  /** Bytes a slow reader may leave unsent before its socket is closed. */
  socketBackpressureBytesMax: 16 * MiB,
  socketIdleSecondsMax: 120,
  /** Waits and watches that stand: of the process, and of one socket. Each keeps its request, ~500 B. */
  standingMax: 131_072,
  socketStandingMax: 16_384,
  /** How soon a wait or watch whose owner was lost is sent again; doubled up to the second while it fails. */
  resumeMs: 20,
  resumeMsMax: 500,
  /** Calls of one request to many slots that are under way at once: a keep-alive of a large session has thousands. */
  fanOutMax: 512,
  /** What the process remembers of sessions that pass through it, in slots of sessions: about 10 MiB. */
  knownSessionSlotsMax: 131_072,
  /** Size at which a batch is sealed before the event-loop turn ends. */
  batchSealBytes: 128 * KiB,
  /** Buffers of that size that a thread keeps for reuse: 4 MiB. */
  spareBuffersMax: 32,

  // ---- lane
  /** Ops that wait in a lane for one shard that does not answer or for room in the entry. */
  parkedOpsMax: 262_144,
  /** What is left of a batch waits in its own buffer if it is as much as this, else it is copied: a quarter of the buffer. */
  parkedWholeBytes: 16 * KiB,
  /** Entry plus checkpoint chunks: etcd refuses requests over 1.5 MiB. */
  commitBytesMax: 1_228_800,
  /**
   * Effects in one entry. Larger entries would fit, but their rounds fall out of
   * the processor's caches and hold the lane's thread up (docs/decisions.md).
   */
  entryBytesMax: 256 * KiB,
  /** Answers that leave with one round trip, and their bytes. */
  roundAnswersMax: 65_536,
  roundAnswerBytesMax: 8 * MiB,
  /** And of states for watchers; the others hear of the next ones. */
  roundWatchBytesMax: 4 * MiB,
  /** How often a lane looks for ended claims and requests: a claim is freed at most this late. */
  laneTickMs: 20,
  /** The same of a lane that has nothing to do and no claim that ends before. Less than its lease by far. */
  laneRestMs: 200,
  /** Rows looked at for one page of a listing, beyond which it ends early with a cursor. */
  listRowsMax: 50_000,
  /** Bytes of such a page, beyond which it ends early as well. */
  listPageBytesMax: 1 * MiB,
  /** A commit under way for longer than this stops the lane from deciding more: a refusal stays honest. */
  stallMs: 250,
  /** After a take-over: waiters whose client has not come back by then lose their place. */
  reattachMs: 5_000,
  /** Claims of an atomic batch that is not confirmed end by themselves after this. */
  pendingMs: 10_000,
  /** What a client is told to wait when it was refused for want of a shard. */
  retryAfterMs: 250,
  checkpointChunkBytes: 256 * KiB,
  /** Journal kept before slots are checkpointed; the larger of this and the state's size. */
  journalBytesMax: 64 * MiB,
  /** Journal that may be deleted piles up to this before a commit carries the deletion. */
  journalTrimBytes: 2 * MiB,
  /** Checkpoints that any commit may carry; a larger entry carries as much again. */
  checkpointShareBytes: 64 * KiB,
  slotBytesMax: 64 * MiB,
  /** Ended tokens remembered a slot; the oldest are forgotten first. */
  endedTokensMax: 65_536,

  // ---- shard
  leaseTtlMs: 4_000,
  /** How often a lane looks which terms live and which slot records name it. */
  termPollMs: 200,
  /** The same while there is no other process: nobody to take over from, or to hand a slot to. */
  termPollAloneMs: 1_000,
  recordPollMs: 10_000,
  commitTimeoutMs: 1_500,
  callTimeoutMs: 3_000,
  /** etcd's default: compares, and operations, of one Txn. */
  txnOpsMax: 128,
  /** A page of a range read: replies over 4 MiB fail. */
  pageBytesMax: 1 * MiB,
  /** History kept in etcd before Holdfast compacts it. */
  compactEveryMs: 1_500,
  /** How often a lane asks how full the store is, and deletes what dead terms left. */
  statusEveryMs: 5_000,
  sweepEveryMs: 30_000,

  // ---- several processes
  /** How long the living terms must have stayed the same before slots are moved by plan. */
  settleMs: 3_000,
  /** Slots handed over that their new owner has not claimed yet; more would only wait in its queue. */
  handoversOpenMax: 32,
  /** Forwarded requests under way to one peer. */
  peerRequestsMax: 131_072,
  /** Bytes that a slow peer may leave unsent before requests for it are refused. */
  peerBacklogBytesMax: 16 * MiB,
  /** How often a link to a peer is tried, and after what silence it is given up. */
  peerPingMs: 500,
  peerSilenceMs: 2_000,
  peerConnectMs: 250,
  /** After `not_owner` from the owner that the map names: the map or the owner is behind by about this. */
  notOwnerRetryMs: 20,
  /** It doubles up to this while nothing changes. */
  notOwnerRetryMsMax: 500,
  /** Reached by fewer than half of the others for this long, an owner hands its slots over: longer than a lease, or it would give them to a process that has just died. */
  isolatedAfterMs: 6_000,

  // ---- slots
  slots: 4_096,
  workersMax: 64,
} as const;

/**
 * How much longer the owner keeps a claim than it promised, in milliseconds:
 * two clocks may each be off by 250 ppm, and timers are exact to about 10 ms.
 */
export function ttlPadMs(ttlMs: number): number {
  return 10 + ttlMs * 0.0005;
}
