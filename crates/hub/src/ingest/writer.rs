//! Appends to a job's stream, one at a time and each exactly once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_log::{Append, Error, Info, Log, Outcome, Published, Refusal, StreamName};
use headwater_wire::Backoff;
use tokio::time::{Instant, sleep};

use super::outcome::JobOutcome;
use crate::{error::problem, limits::INGEST_PATIENCE};

/// The producer id of ingest jobs.
const PRODUCER: &str = "__ds/filling";

/// The waits between retries. They have no jitter: only this process calls the log.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));

/// The reason for which no more can be appended.
#[derive(Debug)]
pub(super) enum WriteLoss {
    /// The stream was deleted, or was closed by others.
    Over,
    /// The log is closed: the hub ends.
    LogClosed,
    /// Another hub runs the job, or has appended to the stream since this one looked.
    Superseded,
    /// The messages can't be appended.
    Failed(Problem),
}

/// Appends to one stream, as one producer.
pub(super) struct Writer {
    log: Arc<dyn Log>,
    name: StreamName,
    epoch: u64,
    seq: u64,
    /// All that earlier epochs may have appended before the first append.
    continues: Option<Published>,
}

/// Returns all that jobs have appended to a stream.
pub(super) async fn published(log: &dyn Log, stream: &StreamName) -> Result<Published, Error> {
    let known = log.producer(stream, PRODUCER).await?;
    Ok(known.map(|known| known.published).unwrap_or_default())
}

impl Writer {
    /// Creates a writer. It has to be the only one with this epoch.
    pub(super) fn new(log: Arc<dyn Log>, info: &Info, epoch: u64) -> Self {
        Self {
            log,
            name: info.name.clone(),
            epoch,
            seq: 0,
            continues: None,
        }
    }

    /// Has the first append refused if earlier epochs have appended anything else.
    pub(super) fn continues(&mut self, published: Published) {
        self.continues = Some(published);
    }

    /// Appends messages, and closes the stream with the last of them if `end` is set. Messages that
    /// exceed the limits of one append are split into several. A failed or full disk is retried for
    /// [`INGEST_PATIENCE`].
    ///
    /// After an error, the messages before the one that can't be stored are in the stream, and the
    /// stream is open.
    pub(super) async fn append(
        &mut self,
        messages: Vec<Bytes>,
        end: Option<&JobOutcome>,
    ) -> Result<(), WriteLoss> {
        let mut rest = &messages[..];
        let mut most = rest.len();
        loop {
            let (part, after) = rest.split_at(most.min(rest.len()));
            let mut append = Append::new(part.to_vec()).by(PRODUCER, self.epoch, self.seq);
            // A stream can be closed without a look at it.
            append.continues = self.continues.filter(|_| self.seq == 0 && !part.is_empty());
            if let Some(end) = end.filter(|_| after.is_empty()) {
                append.close = true;
                append.reason = end.reason();
            }
            match self.once(append).await {
                Ok(Outcome::Appended(_) | Outcome::Duplicate(_)) => {
                    self.seq += 1;
                    rest = after;
                    if rest.is_empty() {
                        return Ok(());
                    }
                }
                Ok(Outcome::Refused(Refusal::Closed { .. })) => return Err(WriteLoss::Over),
                Ok(Outcome::Refused(Refusal::StaleEpoch { .. } | Refusal::Diverged { .. })) => {
                    return Err(WriteLoss::Superseded);
                }
                Ok(Outcome::Refused(refusal)) => {
                    tracing::error!(?refusal, stream = %self.name, "a filled stream refuses messages");
                    let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR);
                    return Err(WriteLoss::Failed(problem));
                }
                Err(error) if error.is_too_large() || error.is_too_many() => {
                    if part.len() <= 1 {
                        return Err(WriteLoss::Failed(problem(error)));
                    }
                    most = part.len() / 2;
                }
                Err(error) if error.is_not_found() || error.is_gone() => {
                    return Err(WriteLoss::Over);
                }
                Err(error) if error.is_closed() => return Err(WriteLoss::LogClosed),
                Err(error) => return Err(WriteLoss::Failed(problem(error))),
            }
        }
    }

    /// Retries an append until the log reports its outcome. A full disk may have room again soon, and
    /// a cluster a leader.
    async fn once(&self, append: Append) -> Result<Outcome, Error> {
        let until = Instant::now() + INGEST_PATIENCE;
        let mut failures = 0;
        loop {
            match self.log.append(&self.name, append.clone()).await {
                Err(error)
                    if (error.is_storage_full()
                        || error.is_unavailable()
                        || error.is_outcome_unknown())
                        && Instant::now() < until => {}
                result => return result,
            }
            sleep(RETRIES.bound(failures)).await;
            failures += 1;
        }
    }
}
