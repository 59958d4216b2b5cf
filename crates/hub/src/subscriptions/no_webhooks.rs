//! Takes the place of webhooks in a build without them. No URL is accepted, so nothing is called.

use std::convert::Infallible;

use headwater::App;

use super::{
    Subscriptions,
    delivery::{Call, Delivered},
};

/// The URL of a webhook. There is none.
#[derive(Debug)]
pub(super) struct Url(Infallible);

/// Refuses the URL of a webhook.
pub(super) fn check(_: &str, _: bool) -> Result<Url, &'static str> {
    Err("this hub is built without webhooks; workers can claim, with the type `pull-wake`")
}

#[derive(Debug)]
pub(super) struct Caller;

impl Caller {
    pub(super) fn new(_: bool) -> Self {
        Self
    }

    #[expect(clippy::needless_pass_by_value, reason = "as with webhooks")]
    pub(super) fn call(&self, call: Call) -> impl Future<Output = Delivered> + Send + use<> {
        async move { match call.url.0 {} }
    }
}

/// Adds no routes.
pub(super) fn routes(app: App<Subscriptions>) -> App<Subscriptions> {
    app
}
