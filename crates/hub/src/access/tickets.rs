//! `POST /tickets`: credentials for clients that can't send headers.

use std::{sync::Arc, time::SystemTime};

use axum::extract::State;
use headwater::{Json, Problem, StatusCode, operation};
use headwater_auth::{TicketError, limits::TICKET_LIFE};
use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::Caller;
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
) -> Result<([(HeaderName, &'static str); 1], Json<Ticket>), Problem> {
    let (Some(access), Some(identity)) = (&hub.access, caller.identity()) else {
        return Err(Problem::not_found("this hub needs no tickets"));
    };
    let ticket = access.tickets.issue(identity.clone(), SystemTime::now());
    let ticket = ticket.map_err(|error| match error {
        TicketError::NoRandom(_) => Problem::internal(error),
        _ => Problem::new(StatusCode::TOO_MANY_REQUESTS)
            .detail(error.to_string())
            .with("code", "too_many_tickets"),
    })?;
    let ticket = Ticket {
        ticket,
        expires_in: TICKET_LIFE.as_secs(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(ticket)))
}
