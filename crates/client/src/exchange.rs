//! Runs a [`Session`] over reqwest. It makes no decisions: it performs the session's steps and
//! reports their results.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use headwater_wire::{Backoff, Str, causes};
use http::{HeaderMap, StatusCode, Version, header};
use http_body::{Body as _, Frame};
use reqwest::Body;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    egress::Refused,
    error::{Error, Kind, named},
    idle::Idle,
    plan::{Plan, renewal_reason},
    redirect::{self, SeeOther},
    retry_after::retry_after,
    session::{Head, Piece, Policy, Reading, Session, Step, content_encoding},
    token::Bearer,
};

type Asking = Pin<Box<dyn Future<Output = Result<Bearer, Error>> + Send>>;
type Sending = Pin<Box<dyn Future<Output = Result<reqwest::Response, Error>> + Send>>;

/// A request and its responses, over the network.
pub struct Exchange {
    session: Session,
    /// The time at which the newest body began.
    opened: Option<Instant>,
    /// The number of connections in a row that lasted less than [`SHORT`].
    short: u32,
    io: Io,
    idle: Idle,
    http: reqwest::Client,
    plan: Plan,
    /// The status of the last accepted response.
    status: StatusCode,
    headers: HeaderMap,
    /// `true` if the response came from another URL than the plan's.
    redirected: bool,
    /// The reason for which the last attempt failed or the last body ended.
    reason: String,
    /// The token that was sent last.
    sent: Option<Bearer>,
    /// The token that replaces a refused one, until it is sent.
    renewed: Option<Bearer>,
}

enum Io {
    Nothing,
    /// Waits for a token.
    Asking(Asking),
    Pausing(Pin<Box<Sleep>>),
    Sending(Sending),
    Body {
        body: Body,
        version: Version,
    },
}

impl Exchange {
    /// Sends the request and waits for the head of a readable response.
    pub async fn open(http: reqwest::Client, plan: Plan, reading: Reading) -> Result<Self, Error> {
        let mut exchange = Self::new(http, plan, reading, Session::new);
        let opened = std::future::poll_fn(|cx| exchange.poll_open(cx)).await;
        match opened {
            Ok(()) => Ok(exchange),
            Err(error) => Err(exchange.located(error)),
        }
    }

    /// Resumes a stream that an earlier exchange read. Nothing is sent before the first piece is
    /// polled.
    pub fn resume(http: reqwest::Client, plan: Plan, reading: Reading) -> Self {
        Self::new(http, plan, reading, Session::resume)
    }

    fn new(
        http: reqwest::Client,
        plan: Plan,
        reading: Reading,
        session: fn(Reading, Policy, Str, u64) -> Session,
    ) -> Self {
        let (id, seed) = (plan.last_event_id.clone(), fastrand::u64(..));
        Self {
            session: session(reading, plan.policy(), id, seed),
            opened: None,
            short: 0,
            io: Io::Nothing,
            idle: Idle::new(plan.settings.idle_timeout),
            http,
            plan,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            redirected: false,
            reason: String::new(),
            sent: None,
            renewed: None,
        }
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to report [progress](Session::progressed) to.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The status of the last accepted response.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers of the newest response.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Removes and returns the headers of the newest response.
    pub(crate) fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// Returns `true` if the newest response came from another URL than the requested one.
    pub(crate) fn is_redirected(&self) -> bool {
        self.redirected
    }

    /// Releases the connection. Returns `true` if there was one to release.
    pub fn close(&mut self) -> bool {
        !matches!(std::mem::replace(&mut self.io, Io::Nothing), Io::Nothing)
    }

    pub(crate) fn located(&self, error: Error) -> Error {
        error.at(&self.plan.place())
    }

    /// Returns a piece that has already been received. `None` leaves the result to
    /// [`poll_next`](Self::poll_next).
    #[inline]
    pub(crate) fn ready(&mut self) -> Option<Result<Piece, Error>> {
        match self.session.next() {
            Ok(Step::Piece(piece)) => Some(Ok(piece)),
            Ok(_) => None,
            Err(error) => Some(Err(self.located(error))),
        }
    }

    /// Returns the JSON of an item that has already been received. `None` has no meaning.
    #[inline]
    pub(crate) fn ready_json(&mut self) -> Option<Str> {
        self.session.next_json()
    }

    /// Returns the next piece, or `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Piece, Error>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Polls for the next piece; `None` at the end. Cancel-safe: all state is in `self`.
    #[inline]
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Error>>> {
        loop {
            match self.session.next() {
                Ok(Step::Piece(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(Step::End) => {
                    self.io = Io::Nothing;
                    return Poll::Ready(None);
                }
                Ok(step) => ready!(self.poll_io(&step, cx)),
                Err(error) => return Poll::Ready(Some(Err(self.located(error)))),
            }
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.session.is_open() {
            match self.session.next() {
                // No item is decoded before the body is open.
                Ok(Step::End | Step::Piece(_)) => break,
                Ok(step) => ready!(self.poll_io(&step, cx)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Performs the I/O for which the session waits, and passes the result to the session.
    fn poll_io(&mut self, step: &Step, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.io {
            Io::Pausing(sleep) => {
                ready!(sleep.as_mut().poll(cx));
                self.authorize();
            }
            Io::Asking(asking) => match asking.as_mut().poll(cx) {
                Poll::Ready(token) => self.asked(token),
                Poll::Pending => ready!(self.poll_idle("the token", cx)),
            },
            Io::Sending(sending) => match sending.as_mut().poll(cx) {
                Poll::Ready(response) => self.responded(response),
                Poll::Pending => ready!(self.poll_idle("the response", cx)),
            },
            Io::Body { body, version } if *step == Step::Read => {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Ready(frame) => {
                        // hyper treats a reset with NO_ERROR as the end, but a response without
                        // END_STREAM is incomplete (RFC 9113 §8.1).
                        let is_cut =
                            frame.is_none() && *version == Version::HTTP_2 && !body.is_end_stream();
                        self.received(frame, is_cut);
                    }
                    Poll::Pending => ready!(self.poll_idle("more of the body", cx)),
                }
            }
            Io::Nothing | Io::Body { .. } => match step {
                // A pause comes after it, so that a source without another token ends the request
                // at once.
                Step::Connect(_) if self.session.is_refused() => self.authorize(),
                Step::Connect(Duration::ZERO) => self.authorize(),
                Step::Connect(after) => {
                    let after = self.least_wait().max(*after);
                    if let Some(on_wait) = &self.plan.settings.on_wait {
                        on_wait.tell(after, &self.reason);
                    }
                    self.io = Io::Pausing(Box::pin(sleep(after)));
                }
                Step::Read | Step::Piece(_) | Step::End => {
                    self.lost(Error::truncated());
                }
            },
        }
        Poll::Ready(())
    }

    fn received(&mut self, frame: Option<reqwest::Result<Frame<Bytes>>>, is_cut: bool) {
        // The body of a refusal has this time in all: it is only for the error's message.
        if !self.session.reads_refusal() {
            self.idle.rearm(self.plan.settings.idle_timeout);
        }
        match frame {
            Some(Ok(frame)) => {
                if let Ok(chunk) = frame.into_data() {
                    self.session.chunk(chunk);
                }
            }
            Some(Err(error)) => {
                self.lost(Error::truncated().with_source(error.without_url()));
            }
            None if is_cut => self.lost(Error::truncated()),
            None => {
                self.io = Io::Nothing;
                self.reason.clear();
                self.reason.push_str("the response ended");
                self.session.end();
            }
        }
    }

    fn poll_idle(&mut self, waited_for: &'static str, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.idle.poll(cx));
        self.lost(Error::idle(self.idle.timeout, waited_for));
        Poll::Ready(())
    }

    fn lost(&mut self, error: Error) {
        self.io = Io::Nothing;
        self.reason = error.to_string();
        self.session.lost(error);
    }

    /// Returns the minimum wait before the next connection. It grows with each connection in a row
    /// that lasted less than [`SHORT`], even if that yielded items, so that a server without a
    /// `retry:` time isn't called hundreds of times. It is at most the backoff's cap.
    fn least_wait(&mut self) -> Duration {
        match self.opened.take() {
            Some(opened) if opened.elapsed() < SHORT => {
                self.short = self.short.saturating_add(1);
                let cap = SHORT.min(self.plan.settings.backoff.cap);
                Backoff::new(Backoff::MIN, cap).bound(self.short)
            }
            Some(_) => {
                self.short = 0;
                Duration::ZERO
            }
            None => Duration::ZERO,
        }
    }

    /// Asks for a token if the request needs one, and otherwise sends the request.
    fn authorize(&mut self) {
        if let Some(renewed) = self.renewed.take() {
            return self.send(Some(renewed));
        }
        let Some(token) = self.plan.token() else {
            return self.send(None);
        };
        let refused = self.sent.clone().filter(|_| self.session.is_refused());
        let asking = token.clone().ask(refused);
        self.idle.rearm(self.plan.settings.idle_timeout);
        self.io = Io::Asking(Box::pin(asking));
    }

    fn asked(&mut self, token: Result<Bearer, Error>) {
        self.io = Io::Nothing;
        let token = match token {
            Ok(token) => token,
            Err(error) => return self.lost(error),
        };
        if !self.session.is_refused() {
            return self.send(Some(token));
        }
        let is_same = self.sent.as_ref() == Some(&token);
        if let Some(refusal) = self.session.renewed(is_same) {
            self.reason = renewal_reason(&refusal);
            self.renewed = Some(token);
            if self.session.connects_at_once() {
                self.plan.settings.tell_renewal(&refusal);
            }
        }
    }

    fn send(&mut self, token: Option<Bearer>) {
        let settings = &self.plan.settings;
        let patience = settings.head_timeout.unwrap_or(settings.idle_timeout);
        self.idle.rearm(patience);
        let request = self.plan.request(self.session.last_event_id());
        self.sent = token;
        match request.and_then(|request| authorized(request, self.sent.as_ref())) {
            Ok(request) => {
                let (http, egress) = (self.http.clone(), self.plan.settings.egress.clone());
                self.io = Io::Sending(match self.plan.follow_redirects {
                    true => Box::pin(redirect::send(http, egress, request, SeeOther::Get)),
                    false => {
                        Box::pin(async move { http.execute(request).await.map_err(connect_error) })
                    }
                });
            }
            Err(error) => self.lost(error),
        }
    }

    fn responded(&mut self, response: Result<reqwest::Response, Error>) {
        self.idle.rearm(self.plan.settings.idle_timeout);
        let response = match response {
            Ok(response) => response,
            Err(error) => return self.lost(error),
        };
        self.opened = Some(Instant::now());
        self.redirected = !self.plan.is_for(response.url());
        let is_renewable = self.sent.is_some() && self.plan.is_at_origin_of(response.url());
        let response = http::Response::from(response);
        let (head, body) = response.into_parts();
        self.io = Io::Body {
            body,
            version: head.version,
        };
        let text = |name| Some(String::from_utf8_lossy(head.headers.get(name)?.as_bytes()).into());
        self.session.head(&Head {
            status: head.status,
            content_type: text(header::CONTENT_TYPE),
            content_encoding: content_encoding(&head.headers),
            retry_after: head.headers.get(header::RETRY_AFTER).and_then(retry_after),
            is_renewable,
        });
        self.reason = format!("the server answered {}", named(head.status));
        self.status = head.status;
        self.headers = head.headers;
    }
}

/// Adds the token to a request, in place of other credentials.
fn authorized(
    mut request: reqwest::Request,
    token: Option<&Bearer>,
) -> Result<reqwest::Request, Error> {
    if let Some(token) = token {
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, token.header()?);
    }
    Ok(request)
}

pub(crate) fn connect_error(error: reqwest::Error) -> Error {
    // The egress rules' refusal of a redirect or a name.
    if let Some(refused) = causes::find::<Refused>(&error) {
        return Error::refused(refused.clone());
    }
    let kind = if error.is_builder() {
        Kind::Request("the request can't be sent".to_owned())
    } else {
        Kind::Connect
    };
    Error::new(kind).with_source(error.without_url())
}

/// A connection that ends sooner lengthens the wait before the next one.
const SHORT: Duration = Duration::from_secs(1);
