//! One request to a hub, for which the head of the response is what matters.

use std::{pin::Pin, task::Context, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use tokio::time::timeout;

use super::{names, offset::Offset, text};
use crate::{
    error::Error,
    plan::Plan,
    redirect::{self, SeeOther},
    retry_after::retry_after,
    session::{readable_type, refusal},
    token::{Bearer, Renewal},
};

/// Maximum number of bytes read from a body for its error message.
const MAX_BODY: usize = 64 * 1024;

/// A response, successful or not.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: BytesMut,
}

impl Reply {
    /// The response as an error.
    pub(super) fn error(&self) -> Error {
        refusal(self.status, &readable_type(&self.headers), &self.body)
    }

    /// The stream's tail.
    pub(super) fn offset(&self) -> Option<Offset> {
        text(&self.headers, names::NEXT_OFFSET).map(Offset::from)
    }

    /// The wait that the server requests.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry_after(self.headers.get(header::RETRY_AFTER)?)
    }

    #[cfg(test)]
    pub(super) fn of(status: u16, headers: &[(&'static str, &'static str)]) -> Self {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, http::HeaderValue::from_static(value))
            })
            .collect();
        Self {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: BytesMut::new(),
        }
    }
}

/// Sends a request and waits for the whole response. If the server refuses the token, sends it again
/// with another: a refused request was not applied (RFC 9110 §15.5.2).
pub(super) async fn send(http: &reqwest::Client, plan: &Plan) -> Result<Reply, Error> {
    let Some(token) = plan.token() else {
        return Ok(send_once(http, plan, None).await?.0);
    };
    let patience = plan.settings.idle_timeout;
    let mut renewal = Renewal::default();
    let mut last = None;
    loop {
        let asking = token.clone().ask(last.clone());
        let bearer = within(patience, "the token", asking).await??;
        if let Some(refusal) = renewal.take() {
            if last.as_ref() == Some(&bearer) {
                return Ok(refusal);
            }
            plan.settings.tell_renewal(&refusal.error());
        }
        let (reply, is_refused) = send_once(http, plan, Some(&bearer)).await?;
        if !is_refused {
            return Ok(reply);
        }
        if let Some(reply) = renewal.refused(reply) {
            return Ok(reply);
        }
        last = Some(bearer);
    }
}

/// Sends a request once. Returns `true` with the reply if that refuses the token.
async fn send_once(
    http: &reqwest::Client,
    plan: &Plan,
    bearer: Option<&Bearer>,
) -> Result<(Reply, bool), Error> {
    let mut request = plan.request("")?;
    if let Some(bearer) = bearer {
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, bearer.header()?);
    }
    let patience = plan.settings.idle_timeout;
    // A 303 in response to an append doesn't tell if the message is stored.
    let sending = redirect::send(
        http.clone(),
        plan.settings.egress.clone(),
        request,
        SeeOther::Refuse,
    );
    let response = within(patience, "the response", sending).await??;
    let is_here = plan.is_at_origin_of(response.url());
    let response = http::Response::from(response);
    let (head, mut content) = response.into_parts();
    let mut body = BytesMut::new();
    let reading = async {
        while body.len() < MAX_BODY {
            let frame =
                std::future::poll_fn(|cx: &mut Context<'_>| Pin::new(&mut content).poll_frame(cx));
            match frame.await {
                Some(Ok(frame)) => {
                    if let Some(chunk) = frame.data_ref() {
                        body.extend_from_slice(chunk);
                    }
                }
                None | Some(Err(_)) => break,
            }
        }
    };
    // If the body breaks, or comes byte by byte, the head is still valid. A body that is read to its end leaves the
    // connection reusable.
    let _ = within(patience, "the body", reading).await;
    let is_refused = bearer.is_some() && is_here && head.status == StatusCode::UNAUTHORIZED;
    let reply = Reply {
        status: head.status,
        headers: head.headers,
        body,
    };
    Ok((reply, is_refused))
}

/// Waits for at most `patience`, or without limit if it is zero.
async fn within<F: Future>(
    patience: Duration,
    waited_for: &'static str,
    future: F,
) -> Result<F::Output, Error> {
    if patience.is_zero() {
        return Ok(future.await);
    }
    let output = timeout(patience, future).await;
    output.map_err(|_| Error::idle(patience, waited_for))
}
