//! Recovery at startup: resumes or closes the streams of jobs that were running when the previous
//! hub ended.

use std::{
    collections::HashSet,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

use headwater_log::{Append, Error, Info, Outcome, ReadFrom, StreamName};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Inner, OwnRecord, Source,
    outcome::interrupted,
    recovery_record::{Note, PREFIX, RecordBody, RecoveryRecord},
    task::Task,
    writer::published,
};
use crate::{limits::INGEST_RECOVERY, protocol::close_reason::written};

/// Number of records that are listed at once.
const PAGE: usize = 100;

/// Number of bytes of a record that are read. No record is larger.
const MARKER_BYTES: usize = 64 << 10;

/// Wait after the log could not be read or written.
const REST: Duration = Duration::from_secs(1);

/// A stream whose job was interrupted and is to be resumed.
#[derive(Debug)]
pub(crate) struct Interrupted {
    /// The stream.
    pub(crate) info: Info,
    /// The data that its [`IngestRequest`](super::IngestRequest) had for this.
    pub(crate) data: Value,
}

/// Returns the source from which an interrupted job continues, or `None` if it can't be resumed.
pub(crate) type Resume =
    Box<dyn Fn(Interrupted) -> Pin<Box<dyn Future<Output = Option<Source>> + Send>> + Send + Sync>;

/// Processes all records. Retries until it succeeds, or the log is closed or the hub stops.
pub(super) async fn recover(shared: Arc<Inner>) {
    loop {
        match all(&shared, |_| true).await {
            Ok(()) => return,
            Err(error) if error.is_closed() => return,
            Err(error) => {
                tracing::error!(%error, "the state of filled streams can't be read");
                sleep(REST).await;
            }
        }
        if shared.is_stopped() {
            return;
        }
    }
}

/// Processes records again and again, until the log is closed or the hub is gone. Appends of an earlier
/// owner of the log can arrive late, and so can what its jobs leave behind.
pub(super) async fn follow(shared: Weak<Inner>) {
    let mut missing = HashSet::new();
    loop {
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let before = std::mem::take(&mut missing);
        let processed = all(&shared, |name| {
            missing.insert(name.clone());
            before.contains(name)
        });
        let rest = match processed.await {
            Ok(()) => INGEST_RECOVERY,
            Err(error) if error.is_closed() => return,
            Err(error) => {
                tracing::error!(%error, "the state of filled streams can't be read");
                REST
            }
        };
        drop(shared);
        sleep(rest).await;
    }
}

/// Processes all records. `is_over` decides about one without a stream.
async fn all(
    shared: &Arc<Inner>,
    mut is_over: impl FnMut(&StreamName) -> bool + Send,
) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = shared.log.list(PREFIX, after, PAGE).await?;
        for found in page.streams {
            // A stopped hub can't resume a job. The next one does.
            if shared.is_stopped() {
                return Ok(());
            }
            if !shared.own.lock().contains(&found.name) {
                one(shared, found.name, &mut is_over).await?;
            }
        }
        after = page.after;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Processes one record that another process left behind.
async fn one(
    shared: &Arc<Inner>,
    name: StreamName,
    is_over: &mut (impl FnMut(&StreamName) -> bool + Send),
) -> Result<(), Error> {
    let log = &shared.log;
    let read = match log.read(&name, ReadFrom::Start, MARKER_BYTES).await {
        Err(error) if error.is_not_found() || error.is_gone() => return Ok(()),
        read => read?,
    };
    let life = read.next.number();
    let record = read
        .messages()
        .last()
        .and_then(|message| serde_json::from_slice::<RecordBody>(&message.bytes).ok());
    let stream = record
        .as_ref()
        .map(|record| StreamName::new(&record.stream));
    let (Some(record), Some(Ok(stream))) = (record, stream) else {
        tracing::warn!(record = %name, "a record of a filled stream can't be read");
        return Ok(());
    };
    let record = RecoveryRecord::found(name, record);
    // Before the stream is looked at: what is appended after this is noticed.
    let found = async {
        let published = published(&**log, &stream).await?;
        Ok::<_, Error>((published, log.info(&stream).await?))
    };
    let found = match found.await {
        Ok(found) => Some(found),
        Err(error) if error.is_not_found() || error.is_gone() => None,
        Err(error) => return Err(error),
    };
    let is_of = |info: &Info| !info.closed && Note::is_of(info, &record);
    let (published, info) = match found {
        None if !is_over(record.name()) => return Ok(()),
        Some((published, info)) if is_of(&info) => (published, info),
        _ => {
            record.remove(&**log).await;
            return Ok(());
        }
    };
    if let Some(data) = record.record.resume.clone()
        && let Some(resume) = shared.resume.get()
        && let Ok(place) = shared.permit()
        && let Some(source) = resume(Interrupted {
            info: info.clone(),
            data,
        })
        .await
    {
        let own_record = OwnRecord::new(shared, &record);
        record.write(&**log, life).await?;
        tracing::info!(stream = %info.name, "the ingest job of a stream is resumed");
        let task = Task::new(shared, &info, record, own_record, life, place);
        let task = task.continuing(published);
        tokio::spawn(task.run(move || source));
        return Ok(());
    }
    let append = Append::closing().closing_for(written(&interrupted()));
    match log.append(&info.name, append).await {
        Ok(Outcome::Refused(_) | Outcome::Appended(_) | Outcome::Duplicate(_)) => {
            tracing::info!(stream = %info.name, "the ingest job of a stream was interrupted");
        }
        Err(error) if error.is_not_found() || error.is_gone() => {}
        Err(error) => return Err(error),
    }
    record.remove(&**log).await;
    Ok(())
}
