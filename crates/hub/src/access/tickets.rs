//! `POST /tickets`: credentials for clients that can't send headers.

use std::{sync::Arc, time::SystemTime};

use axum::extract::State;
use futures_util::TryFutureExt as _;
use headwater::{Json, Problem, StatusCode, operation};
use headwater_auth::{Identity, TicketError, limits::TICKET_LIFE};
use http::{HeaderMap, HeaderName, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Access, Caller, Denied, shared_tickets::in_time};
use crate::state::HubState;

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
    headers: HeaderMap,
) -> Result<([(HeaderName, &'static str); 1], Json<Ticket>), Problem> {
    let (Some(access), Some(identity)) = (&hub.access, caller.identity()) else {
        return Err(Problem::not_found("this hub needs no tickets"));
    };
    let ticket = access.issue(identity, &headers).await?;
    let ticket = Ticket {
        ticket,
        expires_in: TICKET_LIFE.as_secs(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ticket)))
}

impl Access {
    /// Issues a ticket for an identity: one that all hubs on the log accept, if the request has a key or a token
    /// that they can verify.
    async fn issue(&self, identity: &Identity, headers: &HeaderMap) -> Result<String, Problem> {
        let now = SystemTime::now();
        let shared = (self.records.as_ref())
            .and_then(|records| Some((records, self.credential_of(identity, headers)?)));
        let Some((records, credential)) = shared else {
            return self.tickets.issue(identity.clone(), now).map_err(refused);
        };
        let ticket = self.tickets.issue_shared(identity.clone(), now);
        let ticket = ticket.map_err(refused)?;
        let stored = records.store(&ticket, credential, now);
        let stored = in_time(stored.map_err(Denied::tickets)).await;
        stored.map_err(|denied| {
            self.tickets.release(&ticket);
            denied.problem()
        })
    }
}

fn refused(error: TicketError) -> Problem {
    match error {
        TicketError::NoRandom(_) => Problem::internal(error),
        _ => Problem::new(StatusCode::TOO_MANY_REQUESTS)
            .detail(error.to_string())
            .with("code", "too_many_tickets"),
    }
}
