//! The client by which a hub reaches the owner.

use std::{
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_client::internals;
use headwater_wire::causes;
use http::{HeaderValue, Method, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use reqwest::{Client, redirect};

use super::{FORWARDED, headers, refusal};
use crate::{
    error::Failure,
    limits::{FORWARD_CONNECT, FORWARD_PROBES},
};

/// A client, which is created at the first use.
#[derive(Default)]
pub(super) struct Sender(OnceLock<Client>);

impl Sender {
    fn client(&self) -> Result<&Client, Box<dyn std::error::Error>> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        // HTTP/1.1, which has the request's own `Host`. Responses are passed on as they are. They may be
        // silent for as long as their stream is, so only probes tell that the owner's machine is gone.
        let client = internals::http1()?
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(FORWARD_CONNECT)
            .tcp_keepalive(FORWARD_PROBES)
            .tcp_keepalive_interval(FORWARD_PROBES)
            .tcp_keepalive_retries(3)
            .build()?;
        Ok(self.0.get_or_init(|| client))
    }

    /// Sends a request to a hub at `url`, and returns its response, if it has the `mark` of the log. If `over` is ready first, the hub isn't
    /// the owner any more, and the response fails.
    ///
    /// # Errors
    /// 503: the hub can't be reached, and the request can be repeated. 502: it may have arrived.
    pub(super) async fn send(
        &self,
        url: &str,
        parts: Parts,
        body: Body,
        mark: HeaderValue,
        over: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Response, Failure> {
        let unreachable = |error: &(dyn std::error::Error + 'static)| {
            let error = causes::text(error);
            tracing::warn!(url, error, "the owner of the log can't be reached");
            let detail = "the hub that owns the log can't be reached; if it is gone, another one takes over within seconds";
            refusal("owner_unreachable", detail)
        };
        let client = self.client().map_err(|error| unreachable(&*error))?;
        let target = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = client
            .request(parts.method.clone(), format!("{url}{target}"))
            .headers(headers::forwarded(&parts));
        if !body.is_end_stream() {
            let body = reqwest::Body::wrap_stream(body.into_data_stream());
            request = request.body(body);
        }
        let is_repeatable = matches!(parts.method, Method::GET | Method::HEAD);
        let lost = || match is_repeatable {
            true => refusal(
                "owner_lost",
                "the hub that owns the log was lost before it responded",
            ),
            false => {
                let detail = "the hub that owns the log was lost before it responded; the request may or may not have \
                              taken effect";
                let problem = Problem::new(StatusCode::BAD_GATEWAY).detail(detail);
                problem.with("code", "owner_lost").into()
            }
        };
        let mut over: Over = Box::pin(over);
        let response = tokio::select! {
            biased;
            response = request.send() => response,
            () = &mut over => return Err(lost()),
        };
        let response = response.map_err(|error| {
            let error = error.without_url();
            match error.is_connect() || error.is_builder() {
                true => unreachable(&error),
                false => {
                    let error = causes::text(&error);
                    tracing::warn!(url, error, "the owner of the log was lost");
                    lost()
                }
            }
        })?;
        let (mut head, body) = http::Response::<reqwest::Body>::from(response).into_parts();
        if head.headers.remove(FORWARDED) != Some(mark) {
            tracing::warn!(
                url,
                "the URL that the owner of the log advertises isn't that of a hub of the log"
            );
            let detail =
                "the URL that the owner of the log advertises isn't that of a hub of the log";
            return Err(refusal("owner_unreachable", detail));
        }
        headers::remove_hop_by_hop(&mut head.headers);
        head.extensions = http::Extensions::new();
        head.version = http::Version::HTTP_11;
        Ok(Response::from_parts(head, Body::new(Passed { body, over })))
    }
}

/// Is ready when the hub that responds isn't the owner any more.
type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A response's body on its way to the client.
struct Passed {
    body: reqwest::Body,
    over: Over,
}

/// The error of a body whose end doesn't arrive.
#[derive(Debug, thiserror::Error)]
#[error("the hub that responds isn't the owner of the log any more")]
struct OwnerLost;

impl http_body::Body for Passed {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        self.over
            .as_mut()
            .poll(cx)
            .map(|()| Some(Err(OwnerLost.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
