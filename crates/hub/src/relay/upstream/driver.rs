use futures_core::Stream;
use futures_util::stream;
use reqwest::{Client, Response};
use tokio::time::{sleep, timeout};

use super::{
    Call, Fault, Item, Kind,
    open::{head, send},
    session::{Lost, Session, Step},
};
use crate::limits::UpstreamLimits;

/// An upstream that responded, or a feed that will reconnect. Dropping it closes the connection.
pub(crate) struct Upstream {
    http: Client,
    call: Call,
    limits: UpstreamLimits,
    session: Session,
    content_type: String,
    response: Option<Response>,
}

impl Upstream {
    pub(super) fn new(
        http: Client,
        call: Call,
        limits: UpstreamLimits,
        session: Session,
        content_type: String,
        response: Option<Response>,
    ) -> Self {
        Self {
            http,
            call,
            limits,
            session,
            content_type,
            response,
        }
    }

    /// Returns the upstream's content type unchanged, or `application/octet-stream` if there is
    /// none.
    pub(crate) fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Returns the kind of items that the body is split into.
    pub(crate) fn kind(&self) -> Kind {
        self.session.kind()
    }

    /// Returns the items, followed by the end or by a fault. Dropping the stream closes the
    /// connection at once.
    pub(crate) fn into_items(
        self,
    ) -> impl Stream<Item = Result<Item, Fault>> + Send + 'static + use<> {
        stream::unfold(Some(Box::new(self)), |upstream| async {
            let mut upstream = upstream?;
            match upstream.next().await {
                Ok(item) => Some((Ok(item?), Some(upstream))),
                Err(fault) => Some((Err(fault), None)),
            }
        })
    }

    /// Returns the next item, or `None` at the end. Not cancel-safe: a chunk that was received
    /// would be lost.
    async fn next(&mut self) -> Result<Option<Item>, Fault> {
        loop {
            match self.session.next() {
                Step::Give(item) => {
                    if self.session.is_over() {
                        self.response = None;
                    }
                    return Ok(Some(item));
                }
                Step::Read => self.read().await,
                Step::Connect(after) => {
                    self.response = None;
                    sleep(after).await;
                    self.connect().await;
                }
                Step::End => return Ok(None),
                Step::Fail(fault) => return Err(fault),
            }
        }
    }

    async fn read(&mut self) {
        let Some(response) = &mut self.response else {
            return self.session.lost(Lost::Cut);
        };
        let idle = self.limits.idle_timeout;
        match timeout(idle, response.chunk()).await {
            Ok(Ok(Some(chunk))) => self.session.chunk(chunk),
            Ok(Ok(None)) => self.session.end(),
            Ok(Err(_)) => self.session.lost(Lost::Cut),
            Err(_) => self.session.lost(Lost::Idle(idle)),
        }
    }

    async fn connect(&mut self) {
        let patience = self.limits.head_timeout;
        let id = self.session.last_event_id().clone();
        match timeout(patience, send(&self.http, &self.call, Some(&id))).await {
            Ok(Ok(response)) => {
                self.session.head(&head(&response));
                self.response = Some(response);
            }
            Ok(Err(error)) => self.session.lost(Lost::Unreachable(error.to_string())),
            Err(_) => self.session.lost(Lost::Idle(patience)),
        }
    }
}
