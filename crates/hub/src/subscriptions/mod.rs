//! Subscriptions: durable cursors that wake workers when streams have something new.
//!
//! A subscription watches streams, by pattern or by name, and keeps an offset of each: what is up to
//! it was processed. When any of them goes past its offset, a worker is woken: by a signed webhook, or by
//! an event in a wake stream, from which workers claim. A wake has a generation, which fences those
//! before it, and a lease, which bounds how long a worker that fell silent holds the rest up.
//!
//! # How it works
//!
//! ```text
//! HTTP ──► Command ──► Engine ──► Registry ──► what changed ──► Journal ──► answers, wakes
//! (http)               (engine)   (state: no I/O)               (journal)
//! log's order ───────────▲ ▲──────── what webhooks answered (delivery)
//! ```
//!
//! One task, the engine, does everything in turns. A turn reads what was appended (from the log's
//! hub-wide order, so that appending itself knows nothing of subscriptions), applies what workers
//! and users asked for, ends leases, issues wakes, writes what changed to the journal in one atomic
//! append, and only then answers and wakes. So an answer is never ahead of the disk, and a restart
//! finds what was told. While there are no subscriptions the log isn't read.
//!
//! # What is stored
//!
//! In reserved streams of the log itself, under [`RESERVED`]: no path of a user's stream may have that
//! first segment. Their form is in [`journal`]. Nothing is stored before the first subscription, or
//! before the first look at the signing key.

mod bodies;
mod delivery;
mod engine;
mod http;
mod journal;
mod keys;
mod limits;
mod options;
mod pattern;
mod refusal;
mod request;
mod state;
mod target;
mod views;

use std::sync::{Arc, OnceLock};

use headwater::App;
use headwater_log::{Log, StreamName};
use tokio::sync::mpsc;

use self::{
    engine::{Command, Engine},
    refusal::Refusal,
    state::{Config, Link},
};
pub(crate) use self::{options::SubscriptionOptions, pattern::Pattern, state::Bounds};
use crate::path::RESERVED;

/// How many requests wait for the engine; more wait to be let in.
const QUEUE: usize = 1024;

/// How many pages of the log's streams are looked through for one page of a subscription's.
const PAGES: usize = 64;

/// How many streams such a page of the log has.
const PAGE: usize = 256;

/// After how many of them others get their turn.
const PIECES: usize = 50;

/// Whether a stream's name is the hub's own: not to be reached by a path, nor listed, nor followed.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.split('/').next() == Some(RESERVED)
}

/// The subscriptions of one log. A clone is the same.
///
/// There is one for a log at a time: two would each take the journal for theirs alone.
#[derive(Clone)]
pub(crate) struct Subscriptions(Arc<Shared>);

struct Shared {
    log: Arc<dyn Log>,
    options: SubscriptionOptions,
    engine: OnceLock<mpsc::Sender<Command>>,
}

impl Subscriptions {
    /// Does nothing yet: the engine starts with the first [`routes`](Self::routes), or at the first
    /// request where that is called outside of a runtime. It ends when the log is closed, or the last
    /// clone is dropped.
    pub(crate) fn new(log: Arc<dyn Log>, options: SubscriptionOptions) -> Self {
        Self(Arc::new(Shared {
            log,
            options,
            engine: OnceLock::new(),
        }))
    }

    /// The routes, from the root of the streams: `/__ds/subscriptions/{id}` and so on. To be nested
    /// where streams are.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(&self) -> App<S> {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.engine();
        }
        http::routes().with_state(self.clone())
    }

    fn engine(&self) -> &mpsc::Sender<Command> {
        self.0.engine.get_or_init(|| {
            let (sender, commands) = mpsc::channel(QUEUE);
            let engine = Engine::new(Arc::clone(&self.0.log), self.0.options.clone(), commands);
            tokio::spawn(engine.run());
            sender
        })
    }

    /// A key for HMAC-SHA-256 that is made of the hub's, which is made and stored at the first use, for one purpose;
    /// `None` where that can't be done now.
    pub(crate) async fn derived_key(&self, purpose: &[u8]) -> Option<aws_lc_rs::hmac::Key> {
        let keys = self.ask(|answer| Command::Keys { answer }).await;
        keys.ok().map(|keys| keys.derive(purpose))
    }

    /// Streams after a name that the pattern of `config` matches, at least `limit` of them where there are as many; and up
    /// to which name there can be others that are not among them: `None` where these are all.
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
            let page = self.0.log.list(&prefix, after, PAGE).await;
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

    /// Has the engine do something, and waits for its answer.
    async fn ask<T>(&self, make: impl FnOnce(engine::Answer<T>) -> Command) -> Result<T, Refusal> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        if self.engine().send(make(answer)).await.is_err() {
            return Err(Refusal::Unavailable);
        }
        answered.await.unwrap_or(Err(Refusal::Unavailable))
    }
}
