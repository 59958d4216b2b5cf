//! Open responses, and the end of the permission behind them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::response::{IntoResponse as _, Response};
use headwater_auth::{Action, Identity, IdentityKind};
use headwater_log::StreamName;
use http_body::Body as _;
use pin_project_lite::pin_project;

use super::{Access, Denied, hook::Question};

/// Longest wait until an expiry is compared with the clock again, which may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The permission behind a response, in the response's extensions. The response ends when it isn't
/// valid any more: at the latest within a second of the token's expiry or the key's revocation, or when
/// its grants have changed.
#[derive(Clone)]
pub(crate) struct Lease {
    access: Arc<Access>,
    identity: Identity,
    action: Action,
    stream: Option<StreamName>,
    /// Confirms the identity when it expires.
    question: Option<Arc<Question>>,
}

impl Lease {
    /// Returns the lease of a permission, unless it holds for ever.
    pub(super) fn new(
        access: &Arc<Access>,
        identity: Identity,
        action: Action,
        stream: Option<&StreamName>,
    ) -> Option<Self> {
        (*identity.kind() != IdentityKind::Anonymous).then(|| Self {
            access: Arc::clone(access),
            identity,
            action,
            stream: stream.cloned(),
            question: None,
        })
    }

    /// Has the app asked again when the identity expires.
    pub(super) fn asking(self, question: Option<Arc<Question>>) -> Self {
        Self { question, ..self }
    }

    /// Ends a response with its lease, if it has one.
    pub(crate) fn apply(mut response: Response) -> Response {
        match response.extensions_mut().remove::<Self>() {
            Some(lease) => {
                let problem = async { lease.end().await.map(|denied| denied.problem()) };
                headwater::end_early(response, problem)
            }
            None => response,
        }
    }

    /// Waits until the permission ends. Returns the reason, if a client has to know it.
    pub(super) async fn end(mut self) -> Option<Denied> {
        let mut changes = self.access.changes.subscribe();
        loop {
            match self.check().await {
                Ok(true) => {}
                // The client continues with the new grants when it reconnects.
                Ok(false) => return None,
                Err(denied) => return Some(denied),
            }
            let expires = self.identity.expires();
            let left = expires.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
            let left = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        // The hub is gone, and with it the streams.
                        std::future::pending::<()>().await;
                    }
                }
                // Rounded up: an early look would find it still valid.
                () = tokio::time::sleep(left + Duration::from_millis(1)) => {}
            }
        }
    }

    /// Checks the permission again. Returns `false` if the response no longer has what is granted.
    async fn check(&mut self) -> Result<bool, Denied> {
        let now = SystemTime::now();
        let present = match &self.question {
            Some(question) if self.identity.is_expired(now) => question.ask_again().await?,
            _ => {
                let present = self.access.authenticator.recheck(&self.identity, now);
                present.map_err(Denied::Unknown)?
            }
        };
        if !present.may(self.action, self.stream.as_ref().map(StreamName::as_str)) {
            return Err(Denied::Lacks(self.action));
        }
        // A reader of several streams sees what was granted when it began.
        if self.stream.is_none() && present.grants() != self.identity.grants() {
            return Ok(false);
        }
        self.identity = present;
        Ok(true)
    }
}

/// The end of a lease. It has the reason, if a client has to know it.
type End = Pin<Box<dyn Future<Output = Option<Denied>> + Send>>;

pin_project! {
    /// A response on its way, and the permission behind it.
    pub(super) struct Leased<F> {
        #[pin]
        response: F,
        lease: Option<Lease>,
        // A response that has to be waited for is refused when the permission ends.
        waits: bool,
        // Made when the response has to be waited for: most are ready at once.
        end: Option<End>,
    }
}

impl<F> Leased<F> {
    pub(super) fn new(response: F, lease: Option<Lease>, waits: bool) -> Self {
        Self {
            response,
            lease,
            waits,
            end: None,
        }
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Leased<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if let Poll::Ready(Ok(mut response)) = this.response.poll(cx) {
            // A body without anything to come can't end early.
            if let Some(lease) = this.lease.take()
                && !response.body().is_end_stream()
            {
                response.extensions_mut().insert(lease);
            }
            return Poll::Ready(Ok(response));
        }
        if *this.waits
            && let Some(lease) = this.lease
        {
            let end = this
                .end
                .get_or_insert_with(|| Box::pin(lease.clone().end()));
            if let Poll::Ready(denied) = end.as_mut().poll(cx) {
                if let Some(denied) = denied {
                    return Poll::Ready(Ok(denied.into_response()));
                }
                // With other grants that still allow the request, it continues.
                (*this.waits, *this.end) = (false, None);
            }
        }
        Poll::Pending
    }
}
