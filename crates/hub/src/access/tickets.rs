//! `POST /tickets`: credentials for clients that can't send headers.

use std::{sync::Arc, time::SystemTime};

use axum::extract::State;
use futures_util::TryFutureExt as _;
use headwater::{Json, Operation, Problem, StatusCode, operation};
use headwater_auth::{Identity, IdentityKind, TicketError, limits::TICKET_LIFE};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Access, Caller, Denied, shared_tickets::in_time};
use crate::{error::Failure, requests::peer::Peer, state::HubState};

/// A ticket.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ticket {
    /// The value of the query parameter `ticket`, for one request.
    ticket: String,
    /// Number of seconds for which it can be used.
    expires_in: u64,
}

/// Issues a ticket for one request with the caller's grants.
///
/// An `EventSource` can't send an `Authorization` header. A page gets a ticket with its credentials and
/// opens the stream with `?ticket=…`. The ticket is valid once and for a short time, so it is of no use
/// in logs and histories. The stream ends when the credentials behind the ticket expire.
#[operation]
pub(crate) async fn issue_ticket(
    State(hub): State<Arc<HubState>>,
    caller: Caller,
    peer: Option<Peer>,
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], Json<Ticket>), Failure> {
    let (Some(access), Some(identity)) = (&hub.access, caller.identity()) else {
        return Err(Problem::not_found("this hub needs no tickets").into());
    };
    let ticket = access.issue(identity, peer, &headers).await?;
    let ticket = Ticket {
        ticket,
        expires_in: TICKET_LIFE.as_secs(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ticket)))
}

/// Documents the refusal of a ticket.
pub(crate) fn describe_tickets(operation: &mut Operation) {
    let status = StatusCode::TOO_MANY_REQUESTS;
    let excess = "Too many tickets wait to be used, of this sender or of all";
    operation.error(status, excess);
    let time = "Number of seconds after which those tickets have expired";
    operation.reply_header(status, "Retry-After", time);
}

impl Access {
    /// Issues a ticket for an identity: one that all hubs on the log accept, if the request has a key or a token
    /// that they can verify.
    async fn issue(
        &self,
        identity: &Identity,
        peer: Option<Peer>,
        headers: &HeaderMap,
    ) -> Result<String, Failure> {
        let now = SystemTime::now();
        let sender = sender(identity, peer);
        let sender = sender.as_deref();
        let shared = (self.records.as_ref())
            .and_then(|records| Some((records, self.credential_of(identity, headers)?)));
        let Some((records, credential)) = shared else {
            let ticket = self.tickets.issue(identity.clone(), sender, now);
            return ticket.map_err(refused);
        };
        let ticket = self.tickets.issue_shared(identity.clone(), sender, now);
        let ticket = ticket.map_err(refused)?;
        let stored = records.store(&ticket, credential, now);
        let stored = in_time(stored.map_err(Denied::tickets)).await;
        stored.map_err(|denied| {
            self.tickets.release(&ticket);
            denied.into()
        })
    }
}

/// Returns the name of the sender whose tickets are limited together: its key, its subject, or its address without
/// either.
fn sender(identity: &Identity, peer: Option<Peer>) -> Option<String> {
    match (identity.kind(), identity.subject()) {
        (IdentityKind::Key { id }, _) => Some(format!("key {id}")),
        (_, "") => peer.map(|peer| format!("address {peer}")),
        (_, subject) => Some(format!("subject {subject}")),
    }
}

fn refused(error: TicketError) -> Failure {
    if let TicketError::NoRandom(_) = error {
        return Problem::internal(error).into();
    }
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS).detail(error.to_string());
    // Those that wait have expired then.
    let life = HeaderValue::from(TICKET_LIFE.as_secs());
    Failure::from(problem.with("code", "too_many_tickets")).header(header::RETRY_AFTER, life)
}
