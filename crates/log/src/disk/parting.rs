//! New incarnations after a loss. If acknowledged commits are missing from the end, clients may have offsets
//! and positions of lost messages. New messages must not be taken for those.

use super::format::bytes::{Cursor, Malformed, put_number};
use super::format::keys;
use super::format::log_head::Head;
use super::store::Store;
use crate::error::Error;
use crate::name::StreamName;
use crate::offset::Offset;

/// Number of ids and positions that are skipped: more than lost commits can have used.
const SKIPPED: u64 = 1 << 32;
/// Number of streams that are looked at together.
const PAGE: usize = 1000;

/// An offset after which the messages of a stream have another incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parting {
    pub(crate) at: Offset,
    /// An id that no stream has, from which the incarnation is derived.
    pub(crate) id: u64,
}

pub(crate) fn encode(partings: &[Parting]) -> Vec<u8> {
    let mut out = Vec::new();
    for Parting { at, id } in partings {
        put_number(&mut out, at.number());
        put_number(&mut out, *id);
    }
    out
}

pub(crate) fn decode(value: &[u8]) -> Result<Vec<Parting>, Malformed> {
    let mut cursor = Cursor(value);
    let mut partings = Vec::new();
    while !cursor.0.is_empty() {
        let (at, id) = (cursor.number()?, cursor.number()?);
        if at > Offset::MAX.number() {
            return Err(Malformed);
        }
        let at = Offset::new(at);
        partings.push(Parting { at, id });
    }
    Ok(partings)
}

/// Gives another incarnation to what is appended from now on to each stream that may have lost messages, and
/// skips ids and positions. Writes a checkpoint with that. Returns the new state of the log.
pub(crate) fn part(store: &Store, mut head: Head) -> Result<Head, Error> {
    head.position += SKIPPED;
    head.next_id += SKIPPED;
    let (mut from, to) = (keys::name(""), keys::after_names());
    loop {
        let names = store.keys(&from, &to, PAGE)?;
        let Some(last) = names.last() else {
            break;
        };
        from = [last, &[0][..]].concat();
        let mut changes = Vec::with_capacity(names.len());
        for key in &names {
            let name = keys::name_of(key).and_then(|name| StreamName::new(name).ok());
            let name = name.ok_or_else(|| Error::damaged("a stream's name"))?;
            let Some(id) = store.id_of(&name)? else {
                continue;
            };
            // A closed stream takes no messages, and one that is being restored has no readers.
            let state = store.state(id)?;
            let Some(state) = state.filter(|state| !state.closed && !state.restoring) else {
                continue;
            };
            let mut partings = store.partings(id)?;
            partings.retain(|parting| parting.at.number() < state.tail);
            partings.push(Parting {
                at: Offset::new(state.tail),
                id: head.next_id,
            });
            head.next_id += 1;
            changes.push((keys::partings(id), Some(encode(&partings))));
        }
        store.apply(changes);
    }
    store.freeze(head);
    store.checkpoint()?;
    Ok(head)
}
