use super::state::Bounds;

/// The configuration of a hub's subscriptions.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubscriptionOptions {
    /// If `true`, webhooks may be at `http://localhost`, `http://127.0.0.x` and `http://[::1]`.
    pub(crate) loopback_webhooks: bool,
    /// The URL by which clients reach the server: scheme, host and port, without a trailing slash.
    /// Without it, the scheme and the host by which the subscribing request reached the hub apply.
    pub(crate) public_url: Option<String>,
    /// Bounds on subscriptions.
    pub(crate) bounds: Bounds,
}
