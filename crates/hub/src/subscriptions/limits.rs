//! Bounds on subscriptions. Bounds that a schema can express (number of streams by name, duration
//! of a lease, and so on) are in [`bodies`](super::request_bodies), so that they are part of the OpenAPI
//! document.

use std::time::Duration;

use headwater_wire::Backoff;

/// Maximum number of streams for which one subscription keeps a cursor. Beyond it, the cursor of a
/// stream that came by a pattern and has nothing pending is dropped.
pub(crate) const LINKS: usize = 10_000;
/// Approximate memory of a cursor in bytes, without the stream's name, which is shared.
pub(crate) const LINK_BYTES: usize = 192;
/// Approximate memory of a stream by name in bytes, without the name.
pub(crate) const EXPLICIT_BYTES: usize = 448;
/// Number of cursors by pattern that each subscription may keep regardless of the others.
pub(crate) const LINKS_SHARE: usize = 64;
/// Maximum number of streams by name of one subscription. Beyond it, requests are refused with 429.
pub(crate) const EXPLICIT_LINKS: usize = 5000;
/// Maximum number of streams in one wake. Those with pending messages come first. The rest are in
/// the next wake.
pub(crate) const SNAPSHOT_STREAMS: usize = 1000;
/// Approximate maximum size in bytes of the streams in one wake. The first one is always included.
pub(crate) const SNAPSHOT_BYTES: usize = 256 << 10;
/// Maximum number of a subscription's streams in one response.
pub(crate) const SHOWN_STREAMS: usize = 1000;
/// Approximate maximum size in bytes of the streams in one response. The first one is always
/// included.
pub(crate) const SHOWN_BYTES: usize = 256 << 10;
/// Maximum size of a subscription's id, in bytes.
pub(crate) const ID_BYTES: usize = 256;
/// Duration of a lease unless the subscription sets it.
pub(crate) const LEASE_DEFAULT: Duration = Duration::from_secs(30);
/// Lifetime of a token. A worker that renews its lease for longer has to claim again.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// Timeout of a webhook call, from the first byte sent to the last one received. A shorter lease
/// ends it earlier. A handler that needs longer responds at once and calls back.
pub(crate) const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of concurrent webhook calls. Further calls wait for their turn.
pub(crate) const DELIVERIES: usize = 256;
/// Waits before retries.
pub(crate) const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
