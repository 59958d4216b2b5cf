use super::state::Bounds;

/// How a hub's subscriptions work.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubscriptionOptions {
    /// Whether webhooks may be at `http://localhost`, `http://127.0.0.x` and `http://[::1]`.
    pub(crate) loopback_webhooks: bool,
    /// How clients reach the server: scheme, host and port, without a slash at the end. By the `Host` of
    /// the request that subscribes, and its `X-Forwarded-Proto`, where there is none.
    pub(crate) public_url: Option<String>,
    /// How much there may be.
    pub(crate) bounds: Bounds,
}
