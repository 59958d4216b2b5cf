//! Recovery at startup: resumes or closes the streams of jobs that were running when the previous
//! hub ended.

use std::{pin::Pin, sync::Arc, time::Duration};

use headwater_log::{Append, Error, Info, Outcome, ReadFrom, StreamName};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    Inner, OwnRecord, Source,
    outcome::interrupted,
    recovery_record::{Note, PREFIX, RecordBody, RecoveryRecord},
    task::Task,
};
use crate::protocol::close_reason::written;

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
        match all(&shared).await {
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

async fn all(shared: &Arc<Inner>) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = shared.log.list(PREFIX, after, PAGE).await?;
        for found in page.streams {
            // A stopped hub can't resume a job. The next one does.
            if shared.is_stopped() {
                return Ok(());
            }
            if !shared.own.lock().contains(&found.name) {
                one(shared, found.name).await?;
            }
        }
        after = page.after;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Processes one record that another process left behind.
async fn one(shared: &Arc<Inner>, name: StreamName) -> Result<(), Error> {
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
    let info = match log.info(&stream).await {
        Ok(info) => Some(info),
        Err(error) if error.is_not_found() || error.is_gone() => None,
        Err(error) => return Err(error),
    };
    let Some(info) = info.filter(|info| !info.closed && Note::is_of(info, &record)) else {
        record.remove(&**log).await;
        return Ok(());
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
