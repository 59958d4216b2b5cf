//! The part of a stream that changes.
//!
//! ```text
//! n = a number as LEB128, text = length n, then the bytes
//! stream    flags u8 │ floor n │ tail − floor n │ bytes n │ forks n │ expires n │ due n │ last append n │ producers n
//!           │ [closed by: id text │ epoch n │ seq n] │ [seq text] │ [trimmed n] │ [reason text]
//!           flags  1 closed  2 closed by  4 hidden  8 seq  16 trimmed  32 reason  64 restoring
//! ```
//!
//! Times are in milliseconds. *bytes*, *forks* and *producers* count. *due* is the time of the stream's
//! entry in the timetable, or 0. *trimmed* is the position after the newest message that the caps removed.

use std::sync::Arc;

use bytes::Bytes;

use super::{Cursor, Malformed, put_bytes, put_number};
use crate::append::Producer;
use crate::append_rules::State;

const CLOSED: u8 = 1;
const CLOSED_BY: u8 = 2;
const HIDDEN: u8 = 4;
const SEQ: u8 = 8;
const TRIMMED: u8 = 16;
const REASON: u8 = 32;
const RESTORING: u8 = 64;
const ALL: u8 = CLOSED | CLOSED_BY | HIDDEN | SEQ | TRIMMED | REASON | RESTORING;

pub(crate) fn encode(state: &State) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let mut flags = 0;
    flags |= if state.closed { CLOSED } else { 0 };
    flags |= if state.closed_by.is_some() {
        CLOSED_BY
    } else {
        0
    };
    flags |= if state.hidden { HIDDEN } else { 0 };
    flags |= if state.seq.is_some() { SEQ } else { 0 };
    flags |= if state.trimmed > 0 { TRIMMED } else { 0 };
    flags |= if state.reason.is_some() { REASON } else { 0 };
    flags |= if state.restoring { RESTORING } else { 0 };
    out.push(flags);
    for number in [
        state.floor,
        state.tail - state.floor,
        state.bytes,
        u64::from(state.forks),
        state.expires,
        state.due,
        state.appended,
        u64::from(state.producers),
    ] {
        put_number(&mut out, number);
    }
    if let Some(producer) = &state.closed_by {
        put_bytes(&mut out, producer.id.as_bytes());
        put_number(&mut out, producer.epoch);
        put_number(&mut out, producer.seq);
    }
    if let Some(seq) = &state.seq {
        put_bytes(&mut out, seq.as_bytes());
    }
    if state.trimmed > 0 {
        put_number(&mut out, state.trimmed);
    }
    if let Some(reason) = &state.reason {
        put_bytes(&mut out, reason);
    }
    out
}

pub(crate) fn decode(value: &[u8]) -> Result<State, Malformed> {
    let mut cursor = Cursor(value);
    let flags = cursor.byte()?;
    if flags & !ALL != 0 {
        return Err(Malformed);
    }
    let mut state = State {
        floor: cursor.number()?,
        closed: flags & CLOSED != 0,
        hidden: flags & HIDDEN != 0,
        restoring: flags & RESTORING != 0,
        ..State::default()
    };
    state.tail = state.floor.checked_add(cursor.number()?).ok_or(Malformed)?;
    state.bytes = cursor.number()?;
    state.forks = small(&mut cursor)?;
    state.expires = cursor.number()?;
    state.due = cursor.number()?;
    state.appended = cursor.number()?;
    state.producers = small(&mut cursor)?;
    if flags & CLOSED_BY != 0 {
        let id = cursor.text()?.to_owned();
        state.closed_by = Some(Producer {
            id,
            epoch: cursor.number()?,
            seq: cursor.number()?,
        });
    }
    if flags & SEQ != 0 {
        state.seq = Some(Arc::from(cursor.text()?));
    }
    if flags & TRIMMED != 0 {
        state.trimmed = cursor.number()?;
    }
    if flags & REASON != 0 {
        state.reason = Some(Bytes::copy_from_slice(cursor.bytes()?));
    }
    cursor.end()?;
    Ok(state)
}

fn small(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
    u32::try_from(cursor.number()?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_state_round_trips(
            numbers: (u32, u32, u32, u64, u64), flags: (bool, bool, bool, bool),
            seq in prop::option::of(".{0,9}"), by in prop::option::of((".{1,9}", any::<u64>())),
            reason in prop::option::of(".{0,9}"),
        ) {
            let (floor, more, forks, bytes, time) = numbers;
            let state = State {
                floor: floor.into(),
                tail: u64::from(floor) + u64::from(more),
                bytes,
                closed: flags.0,
                closed_by: by.map(|(id, epoch)| Producer { id, epoch, seq: 7 }),
                reason: reason.map(Bytes::from),
                hidden: flags.1,
                restoring: flags.3,
                forks,
                expires: time,
                due: time / 2,
                appended: time,
                seq: seq.map(Arc::from),
                producers: more,
                trimmed: if flags.2 { time } else { 0 },
            };
            prop_assert_eq!(decode(&encode(&state)), Ok(state));
        }
    }
}
