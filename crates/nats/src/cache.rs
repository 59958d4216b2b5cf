//! Records in memory, and fetching those that aren't.

use std::collections::HashMap;

use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use headwater_log::Error;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::format::part::Part;
use crate::limits::{FETCH_ATTEMPTS, FETCHED_AT_ONCE, REQUEST_TIMEOUT, RETRY_PAUSE};

/// Memory of an entry besides its bytes.
const PER_RECORD: u64 = 128;

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<u64, Bytes> for ByBytes {
    fn weight(&self, _: &u64, data: &Bytes) -> u64 {
        PER_RECORD + data.len() as u64
    }
}

/// The data of the newest and the most recently read records, by their sequence numbers.
#[derive(Debug)]
pub(crate) struct Records {
    cache: Cache<u64, Bytes, ByBytes>,
    stream: Stream<()>,
}

impl Records {
    pub(crate) fn new(stream: Stream<()>, bytes: u64) -> Self {
        /// The expected size of a record, from which the cache derives its number of entries.
        const TYPICAL: u64 = 4 << 10;
        let entries = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX);
        Self {
            cache: Cache::with_weighter(entries.max(1), bytes, ByBytes),
            stream,
        }
    }

    pub(crate) fn put(&self, sequence: u64, data: Bytes) {
        self.cache.insert(sequence, data);
    }

    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.cache.contains_key(&sequence)
    }

    /// Returns records, from memory or the cluster. `None` if one of them is not there any more.
    pub(crate) async fn get(&self, wanted: Vec<u64>) -> Result<Option<HashMap<u64, Bytes>>, Error> {
        let fetches = wanted.into_iter().map(|sequence| async move {
            let data = self.one(sequence).await?;
            Ok::<_, Error>(data.map(|data| (sequence, data)))
        });
        let fetched: Vec<_> = stream::iter(fetches)
            .buffered(FETCHED_AT_ONCE)
            .try_collect()
            .await?;
        Ok(fetched.into_iter().collect())
    }

    async fn one(&self, sequence: u64) -> Result<Option<Bytes>, Error> {
        if let Some(data) = self.cache.get(&sequence) {
            return Ok(Some(data));
        }
        let Some(message) = self.fetch(sequence).await? else {
            return Ok(None);
        };
        let part = Part::decode(message)
            .map_err(|error| Error::damaged(format!("record {sequence}: {error}")))?;
        self.cache.insert(sequence, part.data.clone());
        Ok(Some(part.data))
    }

    async fn fetch(&self, sequence: u64) -> Result<Option<Bytes>, Error> {
        let mut last = String::new();
        for attempt in 0..FETCH_ATTEMPTS {
            match tokio::time::timeout(REQUEST_TIMEOUT, self.request(sequence, attempt)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => last = error,
                Err(_) => "no answer in time".clone_into(&mut last),
            }
            if attempt > 0 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Err(Error::unavailable(format!(
            "record {sequence} can't be fetched: {last}"
        )))
    }

    /// Requests a record. Any replica answers the first attempt, and only the leader the others, as a
    /// replica can be behind.
    async fn request(&self, sequence: u64, attempt: usize) -> Result<Option<Bytes>, String> {
        if attempt == 0 {
            let got = self.stream.direct_get(sequence).await;
            return got
                .map(|message| Some(message.payload))
                .map_err(|error| error.to_string());
        }
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}
