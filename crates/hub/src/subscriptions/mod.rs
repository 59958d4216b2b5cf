//! Subscriptions: durable cursors that wake workers when streams have new messages.
//!
//! A subscription watches streams, by pattern or by name, and keeps an offset for each: everything
//! before it is processed. When any stream's tail moves past its offset, a worker is woken, by a
//! signed webhook or by an event in a wake stream from which workers claim. A wake has a
//! generation, which fences earlier ones, and a lease, which bounds how long a silent worker delays
//! the others.
//!
//! # Design
//!
//! ```text
//! HTTP ──► Command ──► Engine ──► Registry ──► changes ──► Journal ──► responses, wakes
//! (http)               (engine)   (state: no I/O)         (journal)
//! log's order ───────────▲ ▲──────── responses of webhooks (delivery)
//! ```
//!
//! One task, the engine, does all work in turns. A turn reads new appends (from the log's global
//! order, so that appends themselves don't depend on subscriptions), applies the requests of
//! workers and users, ends leases, issues wakes, writes all changes to the journal in one atomic
//! append, and only then responds and sends wakes. Therefore a response is never ahead of the disk,
//! and state that was reported survives a restart. While there are no subscriptions the log isn't
//! read.
//!
//! # Storage
//!
//! All state is in reserved streams of the log itself, under [`RESERVED`]. Paths of users' streams
//! can't have this first segment. The format is documented in [`journal`]. Nothing is stored before
//! the first subscription is created or the signing key is first used.

mod delivery;
mod engine;
mod http;
mod journal;
mod keys;
mod limits;
mod options;
mod refusal;
mod request;
mod request_bodies;
mod response_bodies;
mod state;
#[cfg(feature = "webhooks")]
mod webhooks;
#[cfg(not(feature = "webhooks"))]
#[path = "no_webhooks.rs"]
mod webhooks;

use std::sync::Arc;

use headwater::App;
use headwater_log::{Log, StreamName};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::{
    engine::{Command, Engine},
    refusal::Refusal,
    state::{Config, Link},
};
use crate::access::Guards;
use crate::ownership::Lease;

pub(crate) use self::{options::SubscriptionOptions, state::Bounds};

/// Capacity of the engine's queue. Beyond it, requests wait to be queued.
const QUEUE: usize = 1024;

/// Maximum number of pages of the log's streams that are searched for one page of a subscription's
/// streams.
const PAGES: usize = 64;

/// Number of streams in such a page of the log.
const PAGE: usize = 256;

/// Number of streams after which the task yields.
const PIECES: usize = 50;

/// The subscriptions of one log. A clone shares the same state.
///
/// At most one instance may run for a log, as each assumes that it alone writes the journal. On a log
/// that hubs share, the [lease](Lease) sees to that.
#[derive(Clone)]
pub(crate) struct Subscriptions(Arc<Shared>);

struct Shared {
    log: Arc<dyn Log>,
    options: SubscriptionOptions,
    engine: Mutex<Option<Running>>,
}

/// A running engine.
struct Running {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Subscriptions {
    /// Creates an instance without an engine. Until that is [started](Self::start), requests are refused.
    pub(crate) fn new(log: Arc<dyn Log>, options: SubscriptionOptions) -> Self {
        Self(Arc::new(Shared {
            log,
            options,
            engine: Mutex::default(),
        }))
    }

    /// Returns the routes, relative to the root of the streams: `/__ds/subscriptions/{id}` and so
    /// on. Nest them under the path of the streams.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(&self, guards: &Guards) -> App<S> {
        http::routes(guards).with_state(self.clone())
    }

    /// Starts the engine, which delivers what is pending, in place of a running one. It ends when the log
    /// is closed, or the last clone is dropped. On a log that hubs share, it needs the lease.
    pub(crate) fn start(&self, lease: Option<Lease>) {
        let (sender, commands) = mpsc::channel(QUEUE);
        let (log, options) = (Arc::clone(&self.0.log), self.0.options.clone());
        let engine = Engine::new(log, options, commands, lease);
        self.stop();
        *self.0.engine.lock() = Some(Running {
            commands: sender,
            task: tokio::spawn(engine.run()),
        });
    }

    /// Ends the engine, and the calls of webhooks that it makes. Their wakes are stored, and the next
    /// engine repeats those that weren't acknowledged when their leases have ended.
    pub(crate) fn stop(&self) {
        if let Some(running) = self.0.engine.lock().take() {
            running.task.abort();
        }
    }

    /// Returns a key for HMAC-SHA-256 that is derived from the hub's key for one purpose. The hub's
    /// key is created and stored at the first use. `None` if that fails now.
    #[cfg(feature = "relay")]
    pub(crate) async fn derived_key(&self, purpose: &[u8]) -> Option<ring::hmac::Key> {
        let keys = self.ask(|answer| Command::Keys { answer }).await;
        keys.ok().map(|keys| keys.derive(purpose))
    }

    /// Returns streams after a name that match the pattern of `config`, at least `limit` of them if
    /// there are that many. Also returns the name up to which the result is complete, or `None` if
    /// there are no more.
    async fn matching(
        &self,
        config: &Config,
        mut after: Option<StreamName>,
        limit: usize,
    ) -> Result<(Vec<(StreamName, Link)>, Option<StreamName>), Refusal> {
        let mut matching = Vec::new();
        let Some(pattern) = &config.pattern else {
            return Ok((matching, None));
        };
        let prefix = pattern.prefix();
        for _ in 0..PAGES {
            let page = self.0.log.list(prefix, after, PAGE).await;
            let page = page.map_err(|error| Refusal::from(&error))?;
            after = page.after;
            for (count, info) in page.streams.into_iter().enumerate() {
                if count % PIECES == PIECES - 1 {
                    tokio::task::yield_now().await;
                }
                if config.matches(&info.name) {
                    matching.push((info.name.clone(), Link::at_tail(&info)));
                }
            }
            if after.is_none() || matching.len() >= limit {
                break;
            }
        }
        Ok((matching, after))
    }

    fn options(&self) -> &SubscriptionOptions {
        &self.0.options
    }

    /// Returns the queue of the engine, if it runs.
    fn commands(&self) -> Option<mpsc::Sender<Command>> {
        let running = self.0.engine.lock();
        running.as_ref().map(|running| running.commands.clone())
    }

    /// Sends a command to the engine and waits for its response.
    async fn ask<T>(&self, make: impl FnOnce(engine::Answer<T>) -> Command) -> Result<T, Refusal> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let commands = self.commands().ok_or(Refusal::Unavailable)?;
        if commands.send(make(answer)).await.is_err() {
            return Err(Refusal::Unavailable);
        }
        answered.await.unwrap_or(Err(Refusal::Unavailable))
    }
}
