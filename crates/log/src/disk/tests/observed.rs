//! Everything that can be read of a log.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;

use super::model::check;
use crate::{DiskLog, Ended, Entry, Error, Info, Log, Offset, Position, ReadFrom, Trimmed, Usage};

/// Number of producers that a load has.
pub(super) const PRODUCERS: u8 = 3;

/// The reason for which a log couldn't be read.
#[derive(Debug)]
pub(super) enum Unread {
    Failed(Error),
    /// The reads contradict each other.
    Wrong(String),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<String> for Unread {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// A stream.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) info: Info,
    /// From its floor on.
    messages: Vec<Bytes>,
    /// The last sequence number of each producer.
    pub(super) producers: BTreeMap<u8, u64>,
}

impl Seen {
    pub(super) fn message(&self, offset: u64) -> Option<&Bytes> {
        let at = offset.checked_sub(self.info.floor.number())?;
        self.messages.get(usize::try_from(at).unwrap())
    }
}

#[derive(Debug)]
pub(super) struct Observed {
    pub(super) usage: Usage,
    /// The streams that can be used, by their ids.
    pub(super) streams: BTreeMap<u64, Seen>,
    pub(super) entries: Vec<Entry>,
    pub(super) trimmed: Vec<Trimmed>,
    pub(super) ended: Vec<Ended>,
}

fn budget(rng: &mut Rng) -> usize {
    match rng.u8(..4) {
        0 => rng.usize(..300),
        1 => rng.usize(..20_000),
        _ => usize::MAX,
    }
}

/// Reads everything, in parts of random sizes.
pub(super) async fn observe(log: &DiskLog, rng: &mut Rng) -> Result<Observed, Unread> {
    let mut seen = Observed {
        usage: log.usage(),
        streams: BTreeMap::new(),
        entries: Vec::new(),
        trimmed: Vec::new(),
        ended: Vec::new(),
    };
    let mut after = None;
    loop {
        let page = log.list("", after, rng.usize(1..20)).await?;
        for info in page.streams {
            let messages = messages(log, &info, rng).await?;
            let mut producers = BTreeMap::new();
            for producer in 0..PRODUCERS {
                let known = log.producer(&info.name, &format!("p{producer}")).await?;
                producers.extend(known.map(|known| (producer, known.seq)));
            }
            let stream = Seen {
                messages,
                producers,
                info,
            };
            let name = stream.info.name.clone();
            let before = seen.streams.insert(stream.info.id, stream);
            check!(before.is_none(), "{name} is listed twice");
        }
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    let mut from = Position::START;
    let most = budget(rng);
    loop {
        let chunk = log.read_order(from, most, None).await?;
        seen.entries.extend(chunk.entries);
        seen.trimmed.extend(chunk.trimmed);
        seen.ended.extend(chunk.ended);
        check!(
            chunk.next > from || chunk.at_head,
            "a read of the order stands still"
        );
        from = chunk.next;
        if chunk.at_head {
            break;
        }
    }
    Ok(seen)
}

/// Reads the messages of a stream, all of them twice if `rng` says so.
async fn messages(log: &DiskLog, info: &Info, rng: &mut Rng) -> Result<Vec<Bytes>, Unread> {
    let mut messages = Vec::new();
    let mut from = ReadFrom::Start;
    let mut next = info.floor;
    let most = budget(rng);
    while next < info.tail {
        let chunk = log.read(&info.name, from, most).await?;
        for message in chunk.messages() {
            let offset = message.offset;
            check!(
                offset == next,
                "{} has {offset} instead of {next}",
                info.name
            );
            next = Offset::new(next.number() + 1);
        }
        check!(
            chunk.next == next,
            "{} continues at {}, and not {next}",
            info.name,
            chunk.next
        );
        check!(
            !chunk.is_empty() || next >= info.tail,
            "{} has no more",
            info.name
        );
        messages.extend(chunk.messages().map(|message| message.bytes));
        from = ReadFrom::At(next);
    }
    check!(next == info.tail, "{} has more than it says", info.name);
    if rng.u8(..4) == 0 {
        for (offset, bytes) in (info.floor.number()..).zip(&messages) {
            let from = ReadFrom::At(Offset::new(offset));
            let chunk = log.read(&info.name, from, rng.usize(..2000)).await?;
            let first = chunk.messages().next();
            let first = first.map(|it| (it.offset.number(), it.bytes));
            check!(
                first.as_ref() == Some(&(offset, bytes.clone())),
                "{} has another message at {offset}",
                info.name
            );
            measured(log, info, &messages, offset, rng).await?;
        }
    }
    Ok(messages)
}

/// Checks the extent of the messages from an offset on.
async fn measured(
    log: &DiskLog,
    info: &Info,
    messages: &[Bytes],
    from: u64,
    rng: &mut Rng,
) -> Result<(), Unread> {
    let most = budget(rng) as u64;
    let at = ReadFrom::At(Offset::new(from));
    let extent = log.measure(&info.name, at, most).await?;
    let start = usize::try_from(from - info.floor.number()).unwrap();
    let mut wanted = (from, 0);
    for message in &messages[start..] {
        let bytes = wanted.1 + message.len() as u64;
        if bytes > most {
            break;
        }
        wanted = (wanted.0 + 1, bytes);
    }
    let found = (extent.next.number(), extent.bytes);
    check!(
        found == wanted && extent.at_tail == (extent.next == info.tail),
        "{} has {extent:?} from {from} within {most} bytes, and not {wanted:?}",
        info.name
    );
    Ok(())
}
