//! How much of anything subscriptions may be. What a schema can say of a request (how many streams it
//! names, how long a lease is, and so on) is in [`bodies`](super::bodies), where the document shows it.

use std::time::Duration;

/// The most streams that one subscription keeps a cursor of. Past that, a cursor of a stream that a
/// pattern brought, and that has nothing pending, makes room.
pub(crate) const LINKS: usize = 10_000;
/// About how many bytes a cursor takes in memory, without the stream's name, which is shared.
pub(crate) const LINK_BYTES: usize = 192;
/// About how many bytes a stream takes that was named, without its name.
pub(crate) const EXPLICIT_BYTES: usize = 448;
/// How many cursors that its pattern brought a subscription may keep whatever the others keep.
pub(crate) const LINKS_SHARE: usize = 64;
/// The most streams that one subscription can name. One more is refused with 429.
pub(crate) const EXPLICIT_LINKS: usize = 5000;
/// The most streams that one wake tells of, those with something pending first. What is left
/// over is told of in the next wake.
pub(crate) const SNAPSHOT_STREAMS: usize = 1000;
/// About how many bytes of streams one wake tells of at the most, but for the first.
pub(crate) const SNAPSHOT_BYTES: usize = 256 << 10;
/// The most streams that one answer shows of a subscription.
pub(crate) const SHOWN_STREAMS: usize = 1000;
/// About how many bytes of streams one answer shows at the most, but for the first.
pub(crate) const SHOWN_BYTES: usize = 256 << 10;
/// The longest id of a subscription, in bytes.
pub(crate) const ID_BYTES: usize = 256;
/// The longest webhook URL, in bytes.
pub(crate) const URL_BYTES: usize = 2048;
/// How long a lease is unless the subscription says.
pub(crate) const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// How long a token is good for. A worker that renews its lease for longer than this has to claim
/// anew.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a webhook's answer may take, from the first byte sent to the last received. A lease
/// that is shorter ends it earlier. A handler that needs longer answers at once and calls back.
pub(crate) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting to a webhook may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of a webhook's answer is read. A longer one counts as an answer without `done`.
pub(crate) const WEBHOOK_ANSWER_BYTES: usize = 64 << 10;
/// How many webhooks are called at the same time. More wait for their turn.
pub(crate) const DELIVERIES: usize = 256;
/// The wait before the first retry; each further one doubles it.
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a retry.
pub(crate) const RETRY_LAST: Duration = Duration::from_secs(60);
