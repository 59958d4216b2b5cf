//! The client's session and the items, as [`Upstream`](super::super::Upstream) joins them, but
//! without a network.

use std::time::Duration;

use bytes::Bytes;
use headwater_client::{
    Error,
    internals::{self, Head, Policy},
};
use http::{HeaderMap, StatusCode};

use crate::{
    limits::UpstreamLimits,
    relay::upstream::{Fault, Item, Kind, Resume, items::Items, open},
};

#[derive(Debug, PartialEq)]
pub(in crate::relay::upstream) enum Step {
    Give(Item),
    Read,
    Connect(Duration),
    End,
    Fail(Fault),
}

#[derive(Clone, Copy)]
pub(in crate::relay::upstream) enum Lost {
    Cut,
    Idle(Duration),
}

pub(in crate::relay::upstream) struct Session {
    session: internals::Session,
    items: Items,
}

impl Session {
    /// A session whose response has arrived.
    pub(in crate::relay::upstream) fn new(
        kind: Kind,
        reconnect: bool,
        limits: UpstreamLimits,
        seed: u64,
    ) -> Self {
        let (reading, policy) = (open::reading(&limits), policy(&limits, reconnect));
        let session = internals::Session::new(reading, policy, "".into(), seed);
        let items = Items::new(kind, limits);
        let mut session = Self { session, items };
        let content_type = match kind {
            Kind::Sse => "text/event-stream",
            _ => "text/x",
        };
        session.head(&head(StatusCode::OK, content_type));
        session
    }

    pub(in crate::relay::upstream) fn resume(
        resume: &Resume,
        limits: UpstreamLimits,
        seed: u64,
    ) -> Self {
        let (reading, policy) = (open::reading(&limits), policy(&limits, true));
        let id = resume.last_event_id.clone();
        Self {
            session: internals::Session::resume(reading, policy, id, seed),
            items: Items::resume(resume, limits),
        }
    }

    pub(in crate::relay::upstream) fn next(&mut self) -> Step {
        loop {
            match self.items.next() {
                Ok(Some(item)) => return Step::Give(item),
                Err(fault) => return Step::Fail(fault),
                Ok(None) if self.items.is_over() => return Step::End,
                Ok(None) => {}
            }
            match self.session.next() {
                Ok(internals::Step::Piece(piece)) => self.items.piece(piece, &mut self.session),
                Ok(internals::Step::Read) => return Step::Read,
                Ok(internals::Step::Connect(after)) => return Step::Connect(after),
                Ok(internals::Step::End) => self.items.end(),
                Err(error) => self.items.fail(&error, &HeaderMap::new()),
            }
        }
    }

    pub(in crate::relay::upstream) fn chunk(&mut self, chunk: Bytes) {
        self.session.chunk(chunk);
    }

    pub(in crate::relay::upstream) fn end(&mut self) {
        self.session.end();
    }

    pub(in crate::relay::upstream) fn lost(&mut self, lost: Lost) {
        self.session.lost(match lost {
            Lost::Cut => Error::truncated(),
            Lost::Idle(time) => Error::idle(time, "data"),
        });
    }

    pub(in crate::relay::upstream) fn head(&mut self, head: &Head) {
        self.session.head(head);
        // The body of a refusal is read, as it may have the server's error message.
        if !head.status.is_success() {
            self.session.end();
        }
    }

    pub(in crate::relay::upstream) fn is_over(&self) -> bool {
        self.items.is_over()
    }

    pub(in crate::relay::upstream) fn last_event_id(&self) -> &str {
        self.session.last_event_id()
    }
}

pub(in crate::relay::upstream) fn head(status: StatusCode, content_type: &str) -> Head {
    Head {
        status,
        content_type: Some(content_type.to_owned()),
        ..Head::default()
    }
}

fn policy(limits: &UpstreamLimits, reconnect: bool) -> Policy {
    Policy {
        reconnect,
        replayable: true,
        retry_first_connect: false,
        max_attempts: limits.attempts,
        backoff: open::backoff(limits),
    }
}
