//! Every bound of this engine.

use std::time::Duration;

/// The oldest version of the servers that is accepted.
pub(crate) const SERVER_VERSION: (u64, u64) = (2, 12);
/// The least number of replicas with which an acknowledged message survives the loss of a machine.
pub(crate) const REPLICAS: usize = 3;
/// The greatest number of replicas that JetStream has.
pub(crate) const MAX_REPLICAS: usize = 5;
/// Maximum length of the prefix of names and subjects, in bytes.
pub(crate) const PREFIX_BYTES: usize = 32;

/// Maximum bytes of one JetStream message, whatever the server accepts.
pub(crate) const PART_BYTES: usize = 1 << 20;
/// Bytes of the server's `max_payload` that are left free, for the head of a part and for headers.
pub(crate) const PART_MARGIN: usize = 1 << 10;
/// The least `max_payload` of a server that is accepted.
pub(crate) const MIN_PAYLOAD: usize = 16 << 10;
/// Maximum number of parts of a batch.
pub(crate) const PARTS: usize = 65_535;
/// Bytes from which a batch takes no further operation.
pub(crate) const BATCH_BYTES: usize = 1 << 20;
/// Maximum number of operations of a batch.
pub(crate) const BATCH_OPS: usize = 16_384;
/// Maximum bytes of a batch of one operation: of the largest append and its head.
pub(crate) const LARGEST_BATCH: usize = (1 << 31) - 1;

/// The time that the cluster has to acknowledge a message before it is sent again.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// The time that an operation has before its outcome is reported as unknown.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// The pause after an attempt that the cluster refused at once, for want of a leader.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The time for which an operation is sent again while the cluster is full. A leader without space is replaced in it
/// if another server has some.
pub(crate) const FULL_PATIENCE: Duration = Duration::from_secs(1);
/// The time without an operation after which a cluster that was full is tried.
pub(crate) const FULL_CHECK: Duration = Duration::from_secs(5);
/// The time that a read waits for the cluster to name its end.
pub(crate) const READ_DEADLINE: Duration = Duration::from_secs(10);
/// The time that the leader has to answer one request.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// The time since most of the replicas answered the leader, up to which it counts as the leader. It is
/// less than the time without a leader after which replicas elect another one, 4 s, minus the interval of
/// the leader's heartbeats, 1 s.
pub(crate) const HEARD: Duration = Duration::from_secs(2);
/// The time without an answer of the leader after which a hub connects to another server, and the least
/// time between such moves.
pub(crate) const MOVE: Duration = Duration::from_secs(5);
/// The time without an answer of the leader after which a hub isn't ready. Elections take less.
pub(crate) const LEADERLESS: Duration = Duration::from_secs(15);
/// The time to connect at the start.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that the servers have to tell whether they sync.
pub(crate) const SYSTEM_DEADLINE: Duration = Duration::from_secs(5);
/// The longest pause between attempts to connect again.
pub(crate) const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// The time without a record after which the cluster is asked for its end.
pub(crate) const IDLE_CHECK: Duration = Duration::from_secs(1);
/// The time without progress, while records are missing, after which the consumer is replaced.
pub(crate) const STALLED: Duration = Duration::from_secs(1);
/// The time for which a live record may be missing until a consumer is asked for it.
pub(crate) const LIVE_STALLED: Duration = Duration::from_millis(100);
/// Maximum bytes of live records that wait for others before them.
pub(crate) const EARLY_BYTES: usize = 8 << 20;
/// Number of live records that wait to be applied. A consumer delivers further ones.
pub(crate) const LIVE_RECORDS: usize = 128;
/// Number of records that a hub requests ahead.
pub(crate) const AHEAD: i64 = 64;
/// The time for reading the whole log at the start without any progress.
pub(crate) const REPLAY_STALLED: Duration = Duration::from_secs(30);

/// Number of records that one read fetches from the cluster.
pub(crate) const FETCHED: usize = 64;
/// Number of records that one read requests at a time.
pub(crate) const FETCHED_AT_ONCE: usize = 16;
/// Attempts to fetch a record.
pub(crate) const FETCH_ATTEMPTS: usize = 5;

/// Bytes of records after which a snapshot is stored.
pub(crate) const SNAPSHOT_BYTES: u64 = 64 << 20;
/// Number of records after which a snapshot is stored.
pub(crate) const SNAPSHOT_RECORDS: u64 = 1 << 16;
/// Maximum bytes of a snapshot. A larger state isn't stored, and the log keeps its records.
pub(crate) const SNAPSHOT_LENGTH: u64 = 16 << 30;
/// Number of complete snapshots that are kept.
pub(crate) const SNAPSHOTS: usize = 2;
/// Interval at which a hub looks whether a snapshot is due.
pub(crate) const SNAPSHOT_CHECK: Duration = Duration::from_secs(5);
/// The time for which a snapshot is there before records are removed for the next one, if the servers needn't sync what
/// they acknowledge. By default they sync every two minutes.
pub(crate) const SNAPSHOT_SYNC: Duration = Duration::from_secs(300);
/// Number of single records that are removed at a time.
pub(crate) const REMOVED_AT_ONCE: usize = 8;
/// Number of single records that are removed between two pauses.
pub(crate) const REMOVED_BETWEEN_PAUSES: usize = 64;
/// The pause in the removal of single records, which leaves the cluster to appends.
pub(crate) const REMOVAL_PAUSE: Duration = Duration::from_millis(10);

/// The time after which a writer without a batch is forgotten.
pub(crate) const SESSION_IDLE: Duration = Duration::from_secs(24 * 3600);
/// Number of the newest records whose hashes are kept, to compare them with those of other hubs.
pub(crate) const HASHES: usize = 4096;
/// The time for which the leader may know less of the log than was delivered. After it, records are
/// lost.
pub(crate) const BEHIND: Duration = Duration::from_secs(5);
/// Maximum deviation of a hub's clock from that of the cluster's leader.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Number of due streams that an append or a creation processes first.
pub(crate) const SWEEP: usize = 16;
/// Number of due streams that one operation of the background task processes.
pub(crate) const SWEEP_STEP: u32 = 256;
