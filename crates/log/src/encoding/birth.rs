//! The part of a stream that doesn't change: its name, its settings and its fork point.
//!
//! ```text
//! n = a number as LEB128, text = length n, then the bytes
//! flags u8 │ name text │ created n │ content type text │ [expiry n] │ [maximum age n] │ [maximum bytes n]
//! │ [schema text] │ note text │ [fork: source id n │ source text │ at n │ own n │ skip n │ [cut n]]
//! │ [restored: (offset n │ incarnation n) … up to the end]
//! flags  1 expires when idle for  2 expires at  4 maximum age  8 maximum bytes  16 schema  32 fork
//!        64 cut  128 skip counts bytes, otherwise messages
//! ```
//!
//! Times are in milliseconds. *restored* is there for a stream that was moved here: the incarnations of its original,
//! each with the last offset that has it.

use std::time::Duration;

use bytes::Bytes;

use super::{Cursor, Malformed, put_bytes, put_number};
use crate::clock::{Timestamp, millis};
use crate::incarnation::{Incarnation, Lineage, Mark};
use crate::limits;
use crate::name::StreamName;
use crate::offset::Offset;
use crate::settings::{Expiry, ForkPoint, Settings, Skip, fork_lineage};

/// The immutable part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) name: StreamName,
    pub(crate) created: u64,
    pub(crate) settings: Settings,
    pub(crate) fork: Option<Fork>,
    /// The [marks](crate::Lineage::marks) of the original, if the stream was restored from elsewhere. It
    /// is no fork then.
    pub(crate) marks: Vec<Mark>,
}

impl Birth {
    /// Returns the lineage of the stream. `source` is that of the stream that it was forked from.
    pub(crate) fn lineage(&self, own: Incarnation, source: Option<&Lineage>) -> Lineage {
        match (&self.fork, source) {
            (Some(fork), Some(source)) => fork_lineage(source, own, fork.point.own, fork.cut),
            _ if self.marks.is_empty() => Lineage::new(own),
            _ => Lineage::restored(own, &self.marks),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fork {
    /// The source's id.
    pub(crate) id: u64,
    pub(crate) point: ForkPoint,
    /// Number of bytes of the last inherited message, if it is shortened.
    pub(crate) cut: Option<usize>,
}

const IDLE: u8 = 1;
const AT: u8 = 2;
const AGE: u8 = 4;
const BYTES: u8 = 8;
const SCHEMA: u8 = 16;
const FORK: u8 = 32;
const CUT: u8 = 64;
const SKIP_BYTES: u8 = 128;

pub(crate) fn encode(birth: &Birth) -> Vec<u8> {
    let mut out = vec![0];
    let mut flags = 0;
    let settings = &birth.settings;
    put_bytes(&mut out, birth.name.as_str().as_bytes());
    put_number(&mut out, birth.created);
    put_bytes(&mut out, settings.content_type.as_bytes());
    match settings.expiry {
        Some(Expiry::Idle(span)) => {
            flags |= IDLE;
            put_number(&mut out, millis(span));
        }
        Some(Expiry::At(moment)) => {
            flags |= AT;
            put_number(&mut out, moment.0);
        }
        None => {}
    }
    if let Some(age) = settings.max_age {
        flags |= AGE;
        put_number(&mut out, millis(age));
    }
    if let Some(bytes) = settings.max_bytes {
        flags |= BYTES;
        put_number(&mut out, bytes);
    }
    if let Some(schema) = &settings.schema {
        flags |= SCHEMA;
        put_bytes(&mut out, schema);
    }
    put_bytes(&mut out, &settings.note);
    if let Some(fork) = &birth.fork {
        flags |= FORK;
        put_number(&mut out, fork.id);
        put_bytes(&mut out, fork.point.source.as_str().as_bytes());
        put_number(&mut out, fork.point.at.number());
        put_number(&mut out, fork.point.own.number());
        match fork.point.skip {
            Skip::Messages(count) => put_number(&mut out, count),
            Skip::Bytes(count) => {
                flags |= SKIP_BYTES;
                put_number(&mut out, count);
            }
        }
        if let Some(cut) = fork.cut {
            flags |= CUT;
            put_number(&mut out, cut as u64);
        }
    }
    for mark in &birth.marks {
        put_number(&mut out, mark.at.number());
        put_number(&mut out, mark.incarnation.number());
    }
    out[0] = flags;
    out
}

pub(crate) fn decode(value: &[u8]) -> Result<Birth, Malformed> {
    let mut cursor = Cursor(value);
    let flags = cursor.byte()?;
    let has = |flag| flags & flag != 0;
    let name = name(&mut cursor)?;
    let created = cursor.number()?;
    let mut settings = Settings::of_type(cursor.text()?);
    if has(IDLE) {
        settings.expiry = Some(Expiry::Idle(Duration::from_millis(cursor.number()?)));
    } else if has(AT) {
        settings.expiry = Some(Expiry::At(Timestamp(cursor.number()?)));
    }
    if has(AGE) {
        settings.max_age = Some(Duration::from_millis(cursor.number()?));
    }
    if has(BYTES) {
        settings.max_bytes = Some(cursor.number()?);
    }
    if has(SCHEMA) {
        settings.schema = Some(Bytes::copy_from_slice(cursor.bytes()?));
    }
    settings.note = Bytes::copy_from_slice(cursor.bytes()?);
    let mut fork = None;
    if has(FORK) {
        let id = cursor.number()?;
        let source = self::name(&mut cursor)?;
        let at = Offset::new(cursor.number()?);
        let own = Offset::new(cursor.number()?);
        let skip = cursor.number()?;
        let skip = if has(SKIP_BYTES) {
            Skip::Bytes(skip)
        } else {
            Skip::Messages(skip)
        };
        let cut = if has(CUT) {
            Some(usize::try_from(cursor.number()?).map_err(|_| Malformed)?)
        } else {
            None
        };
        fork = Some(Fork {
            id,
            point: ForkPoint {
                source,
                at,
                skip,
                own,
            },
            cut,
        });
    }
    let mut marks: Vec<Mark> = Vec::new();
    while !cursor.0.is_empty() {
        let at = cursor.number()?;
        let is_next = marks.last().is_none_or(|last| last.at.number() <= at);
        if fork.is_some() || !is_next || at > Offset::MAX.number() || marks.len() == limits::MARKS {
            return Err(Malformed);
        }
        marks.push(Mark {
            at: Offset::new(at),
            incarnation: Incarnation::new(cursor.number()?).ok_or(Malformed)?,
        });
    }
    Ok(Birth {
        name,
        created,
        settings,
        fork,
        marks,
    })
}

fn name(cursor: &mut Cursor<'_>) -> Result<StreamName, Malformed> {
    StreamName::new(cursor.text()?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incarnation::Identity;
    use proptest::prelude::*;

    fn expiry() -> impl Strategy<Value = Option<Expiry>> {
        prop_oneof![
            Just(None),
            any::<u64>().prop_map(|ms| Some(Expiry::Idle(Duration::from_millis(ms)))),
            any::<u64>().prop_map(|ms| Some(Expiry::At(Timestamp(ms)))),
        ]
    }

    proptest! {
        #[test]
        fn settings_round_trip(
            expiry in expiry(), age in prop::option::of(any::<u64>()),
            max_bytes: Option<u64>, schema in prop::option::of(".{0,20}"), note in ".{0,20}",
            fork in prop::option::of((any::<u64>(), any::<bool>(), prop::option::of(any::<usize>()))),
            marks in prop::collection::btree_map(0..=Offset::MAX.number(), any::<u64>(), 0..4),
        ) {
            let settings = Settings {
                content_type: "text/plain".into(),
                expiry,
                max_age: age.map(Duration::from_millis),
                max_bytes,
                schema: schema.map(Bytes::from),
                note: note.into(),
            };
            let fork = fork.map(|(id, bytes, cut)| {
                let skip = if bytes { Skip::Bytes(id) } else { Skip::Messages(id) };
                let source = StreamName::new("source").unwrap();
                let point = ForkPoint { source, at: Offset::new(4), skip, own: Offset::new(5) };
                Fork { id, point, cut }
            });
            let marks = marks.into_iter().filter(|_| fork.is_none());
            let marks = marks.map(|(at, id)| Mark {
                at: Offset::new(at),
                incarnation: Identity::new(id).stream(1),
            });
            let marks = marks.collect();
            let birth = Birth { name: StreamName::new("n").unwrap(), created: 9, settings, fork, marks };
            prop_assert_eq!(decode(&encode(&birth)), Ok(birth));
        }
    }
}
