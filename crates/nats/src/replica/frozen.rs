//! The encoding of the state after a record. `format.md` documents it.

use std::collections::HashMap;

use bytes::Bytes;
use headwater_log::machine::{self, Cursor, Machine, Malformed, put_bytes};
use headwater_log::{Identity, Limits, Position, Timestamp};
use tokio::sync::watch;

use super::{Partial, Replica, Session, rules};
use crate::format::bytes::put_number;
use crate::format::places::{Batches, Handles, after};
use crate::limits::{HASHES, PARTS};
use crate::located::Located;

/// The first byte of a snapshot.
const MAGIC: u8 = 0xb6;
/// The version of the format.
const VERSION: u8 = 1;

/// A copy of the state after a record. It shares the streams with the [`Replica`] until they change.
#[derive(Debug)]
pub(crate) struct Frozen {
    state: machine::Frozen<Located>,
    identity: Identity,
    limits: Limits,
    sessions: Vec<(u64, Session)>,
    partial: Vec<(u64, Partial)>,
    /// The sequence number of the last record.
    pub(crate) applied: u64,
    /// Bytes of all records up to the last one.
    pub(crate) written: u64,
    hashes: Vec<u64>,
}

impl Replica {
    pub(crate) fn freeze(&self, identity: Identity) -> Frozen {
        let sessions = self.sessions.iter().map(|(&id, &session)| (id, session));
        let partial = self.partial.iter();
        Frozen {
            state: self.machine.freeze(),
            identity,
            limits: self.limits.clone(),
            sessions: sessions.collect(),
            partial: partial.map(|(&id, part)| (id, part.clone())).collect(),
            applied: self.applied,
            written: self.written,
            hashes: self.hashes.iter().copied().collect(),
        }
    }

    /// Decodes the state of the log with this identity. It reports the end of the order to `head`.
    pub(crate) fn decode(
        snapshot: &[u8],
        identity: Identity,
        head: watch::Sender<Position>,
    ) -> Result<Self, Malformed> {
        let mut from = Cursor(snapshot);
        if [from.byte()?, from.byte()?] != [MAGIC, VERSION]
            || fixed(&mut from)? != identity.number()
        {
            return Err(Malformed);
        }
        let (applied, written) = (from.number()?, from.number()?);
        let (batches, parts) = take_places(&mut from)?;
        let last = parts.values().filter_map(|(_, sequences)| sequences.last());
        if last.copied().fold(batches.last(), u64::max) > applied {
            return Err(Malformed);
        }
        let mut limits = Limits::default();
        limits.streams = from.number()?;
        limits.producers = small(&mut from)?;
        limits.ended = small(&mut from)?;
        let count = from.number()?;
        if count > applied.min(HASHES as u64) {
            return Err(Malformed);
        }
        let hashes = (0..count).map(|_| fixed(&mut from));
        let hashes = hashes.collect::<Result<_, _>>()?;
        let sessions = take_sessions(&mut from)?;
        let mut partial = HashMap::new();
        for (session, (number, sequences)) in parts {
            let data = sequences.iter().map(|_| from.bytes());
            let data = data.map(|data| data.map(Bytes::copy_from_slice));
            let part = Partial {
                number,
                data: data.collect::<Result<_, _>>()?,
                sequences,
            };
            partial.insert(session, part);
        }
        let mut handles = Handles::default();
        let mut take = |from: &mut Cursor<'_>, count: usize| handles.take(from, count, &batches);
        let machine = Machine::decode(&mut from, rules(&limits, identity), head, &mut take)?;
        from.end()?;
        Ok(Self {
            machine,
            limits,
            sessions,
            partial,
            applied,
            written,
            hashes,
        })
    }
}

impl Frozen {
    /// Returns the hash of the last record, or 0 if there is none.
    pub(crate) fn hash(&self) -> u64 {
        self.hashes.last().copied().unwrap_or_default()
    }

    /// Returns the encoding. It is the same for equal states.
    pub(crate) fn encode(mut self) -> Bytes {
        self.sessions.sort_unstable_by_key(|(id, _)| *id);
        self.partial.sort_unstable_by_key(|(id, _)| *id);
        let mut out = vec![MAGIC, VERSION];
        out.extend(self.identity.number().to_le_bytes());
        put_number(&mut out, self.applied);
        put_number(&mut out, self.written);
        Batches::of(self.state.handles()).put(&mut out);
        self.put_parts(&mut out);
        let limits = &self.limits;
        for limit in [limits.streams, limits.producers.into(), limits.ended.into()] {
            put_number(&mut out, limit);
        }
        put_number(&mut out, self.hashes.len() as u64);
        for hash in &self.hashes {
            out.extend(hash.to_le_bytes());
        }
        put_number(&mut out, self.sessions.len() as u64);
        for (id, session) in &self.sessions {
            out.extend(id.to_le_bytes());
            put_number(&mut out, session.last);
            put_number(&mut out, session.used.0);
        }
        for (_, part) in &self.partial {
            part.data.iter().for_each(|data| put_bytes(&mut out, data));
        }
        let mut handles = Handles::default();
        let mut put = |out: &mut Vec<u8>, handle: &Located, count: usize| {
            handles.put(out, handle, count);
        };
        self.state.encode(&mut out, &mut put);
        out.into()
    }

    /// Appends the places of incomplete batches.
    fn put_parts(&self, out: &mut Vec<u8>) {
        put_number(out, self.partial.len() as u64);
        for (session, part) in &self.partial {
            out.extend(session.to_le_bytes());
            put_number(out, part.number);
            put_number(out, part.sequences.len() as u64);
            let mut before = 0;
            for &sequence in &part.sequences {
                put_number(out, sequence - before);
                before = sequence;
            }
        }
    }
}

/// Returns the sequence numbers of all records that a snapshot needs, in order.
pub(crate) fn places(snapshot: &[u8]) -> Result<Vec<u64>, Malformed> {
    let mut from = Cursor(snapshot);
    if [from.byte()?, from.byte()?] != [MAGIC, VERSION] {
        return Err(Malformed);
    }
    fixed(&mut from)?;
    let _ = (from.number()?, from.number()?);
    let (batches, parts) = take_places(&mut from)?;
    let parts = parts.into_values().flat_map(|(_, sequences)| sequences);
    let mut places: Vec<u64> = batches.sequences().chain(parts).collect();
    places.sort_unstable();
    Ok(places)
}

/// The places of incomplete batches by their sessions: the number of the batch, and its parts.
type Parts = std::collections::BTreeMap<u64, (u64, Vec<u64>)>;

fn take_places(from: &mut Cursor<'_>) -> Result<(Batches, Parts), Malformed> {
    let batches = Batches::take(from)?;
    let mut parts = Parts::new();
    for _ in 0..from.number()? {
        let session = fixed(from)?;
        let number = from.number()?;
        let count = from.number()?;
        if number == 0 || !(1..PARTS as u64).contains(&count) {
            return Err(Malformed);
        }
        let mut sequences = Vec::new();
        let mut last = 0;
        for _ in 0..count {
            last = after(last, from)?;
            sequences.push(last);
        }
        if parts.insert(session, (number, sequences)).is_some() {
            return Err(Malformed);
        }
    }
    Ok((batches, parts))
}

fn take_sessions(from: &mut Cursor<'_>) -> Result<HashMap<u64, Session>, Malformed> {
    let mut sessions = HashMap::new();
    for _ in 0..from.number()? {
        let id = fixed(from)?;
        let session = Session {
            last: from.number()?,
            used: Timestamp(from.number()?),
        };
        if sessions.insert(id, session).is_some() {
            return Err(Malformed);
        }
    }
    Ok(sessions)
}

fn fixed(from: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let bytes = from.take(8)?.first_chunk().ok_or(Malformed)?;
    Ok(u64::from_le_bytes(*bytes))
}

fn small(from: &mut Cursor<'_>) -> Result<u32, Malformed> {
    u32::try_from(from.number()?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests;
