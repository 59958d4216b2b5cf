//! The operations of a batch.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_log::machine::{Cursor, put_restore, take_restore};
use headwater_log::{
    Append, Create, Digest, Expiry, ForkFrom, Incarnation, Limits, Offset, Producer, Published,
    Restore, Settings, Skip, StreamName, Timestamp,
};

use super::bytes::{Malformed, Reader, put_bytes, put_number};
use super::layout::Layout;

/// An operation on the state of the streams.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(StreamName, Create),
    Append(StreamName, Append),
    Restore(StreamName, Restore),
    Touch(StreamName),
    Delete(StreamName),
    /// Ends a stream if its expiry has passed.
    Expire(StreamName),
    /// Ends expired streams and trims old messages, for this many due streams.
    Sweep(u32),
    /// Sets the limits that the state depends on.
    Limit(Limits),
}

const CREATE: u8 = 1;
const APPEND: u8 = 2;
const TOUCH: u8 = 3;
const DELETE: u8 = 4;
const EXPIRE: u8 = 5;
const SWEEP: u8 = 6;
const LIMIT: u8 = 7;
const RESTORE: u8 = 8;

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The writer's time.
    pub(crate) time: Timestamp,
    /// `true` if the writer's clock is set by hand, so that it can't be compared with another one.
    pub(crate) by_hand: bool,
    /// The last record that the writer had applied, or 0.
    pub(crate) after: u64,
    /// The hash of that record.
    pub(crate) hash: u64,
}

/// A decoded operation, with the place of its messages in the batch.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) op: Op,
    pub(crate) layout: Arc<Layout>,
}

/// Encodes operations.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn new(head: Head) -> Self {
        let mut out = Vec::new();
        put_number(&mut out, head.time.0);
        out.push(u8::from(head.by_hand));
        put_number(&mut out, head.after);
        out.extend(head.hash.to_le_bytes());
        Self(out)
    }

    pub(crate) fn put(&mut self, op: &Op) {
        let out = &mut self.0;
        let named = |out: &mut Vec<u8>, kind, name: &StreamName| {
            out.push(kind);
            put_bytes(out, name.as_str().as_bytes());
        };
        match op {
            Op::Create(name, create) => {
                named(out, CREATE, name);
                put_create(out, create);
            }
            Op::Append(name, append) => {
                named(out, APPEND, name);
                put_append(out, append);
            }
            Op::Restore(name, restore) => {
                named(out, RESTORE, name);
                let mut step = Vec::new();
                put_restore(&mut step, name, restore);
                put_bytes(out, &step);
                if let Restore::Messages { messages, .. } = restore {
                    Layout::put(out, messages);
                }
            }
            Op::Touch(name) => named(out, TOUCH, name),
            Op::Delete(name) => named(out, DELETE, name),
            Op::Expire(name) => named(out, EXPIRE, name),
            Op::Sweep(steps) => {
                out.push(SWEEP);
                put_number(out, (*steps).into());
            }
            Op::Limit(limits) => {
                out.push(LIMIT);
                for limit in [limits.streams, limits.producers.into(), limits.ended.into()] {
                    put_number(out, limit);
                }
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(self) -> Bytes {
        self.0.into()
    }
}

/// Decodes a batch. The messages are slices of it.
pub(crate) fn decode(batch: Bytes) -> Result<(Head, Vec<Placed>), Malformed> {
    let mut reader = Reader::new(batch);
    let head = Head {
        time: Timestamp(reader.number()?),
        by_hand: flag(&mut reader)?,
        after: reader.number()?,
        hash: u64::from_le_bytes(reader.fixed()?),
    };
    let mut ops = Vec::new();
    while !reader.is_empty() {
        ops.push(op(&mut reader)?);
    }
    Ok((head, ops))
}

fn op(reader: &mut Reader) -> Result<Placed, Malformed> {
    let kind = reader.byte()?;
    let mut layout = Layout::empty();
    let op = match kind {
        CREATE => {
            let name = name(reader)?;
            let (create, place) = create(reader)?;
            layout = place;
            Op::Create(name, create)
        }
        APPEND => {
            let name = name(reader)?;
            let (append, place) = append(reader)?;
            layout = place;
            Op::Append(name, append)
        }
        RESTORE => {
            let name = name(reader)?;
            let step = reader.bytes()?;
            let mut from = Cursor(&step);
            let mut restore = take_restore(&mut from).map_err(|_| Malformed::Field)?;
            from.end().map_err(|_| Malformed::Field)?;
            if let Restore::Messages {
                times, messages, ..
            } = &mut restore
            {
                (*messages, layout) = Layout::take(reader)?;
                if messages.len() != times.len() {
                    return Err(Malformed::Field);
                }
            }
            Op::Restore(name, restore)
        }
        TOUCH => Op::Touch(name(reader)?),
        DELETE => Op::Delete(name(reader)?),
        EXPIRE => Op::Expire(name(reader)?),
        SWEEP => Op::Sweep(small(reader)?),
        LIMIT => {
            let mut limits = Limits::default();
            limits.streams = reader.number()?;
            limits.producers = small(reader)?;
            limits.ended = small(reader)?;
            Op::Limit(limits)
        }
        other => return Err(Malformed::Kind(other)),
    };
    Ok(Placed {
        op,
        layout: Arc::new(layout),
    })
}

fn small(reader: &mut Reader) -> Result<u32, Malformed> {
    u32::try_from(reader.number()?).map_err(|_| Malformed::Field)
}

fn name(reader: &mut Reader) -> Result<StreamName, Malformed> {
    StreamName::new(&reader.text()?).map_err(|_| Malformed::Field)
}

/// Appends `Some` as 1 and the value, and `None` as 0.
fn put_option<T>(out: &mut Vec<u8>, value: Option<&T>, put: impl FnOnce(&mut Vec<u8>, &T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn option<T>(
    reader: &mut Reader,
    read: impl FnOnce(&mut Reader) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    match reader.byte()? {
        0 => Ok(None),
        1 => read(reader).map(Some),
        _ => Err(Malformed::Field),
    }
}

fn flag(reader: &mut Reader) -> Result<bool, Malformed> {
    Ok(option(reader, |_| Ok(()))?.is_some())
}

fn put_create(out: &mut Vec<u8>, create: &Create) {
    put_settings(out, &create.settings);
    put_option(out, create.fork.as_ref(), put_fork);
    out.push(u8::from(create.closed));
    Layout::put(out, &create.messages);
}

fn create(reader: &mut Reader) -> Result<(Create, Layout), Malformed> {
    let mut create = Create::new(settings(reader)?);
    create.fork = option(reader, fork)?;
    create.closed = flag(reader)?;
    let (messages, layout) = Layout::take(reader)?;
    create.messages = messages;
    Ok((create, layout))
}

pub(crate) fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    put_bytes(out, settings.content_type.as_bytes());
    match settings.expiry {
        None => out.push(0),
        Some(Expiry::Idle(span)) => {
            out.push(1);
            put_number(out, millis(span));
        }
        Some(Expiry::At(time)) => {
            out.push(2);
            put_number(out, time.0);
        }
    }
    put_option(out, settings.max_age.as_ref(), |out, age| {
        put_number(out, millis(*age));
    });
    put_option(out, settings.max_bytes.as_ref(), |out, most| {
        put_number(out, *most);
    });
    put_option(out, settings.schema.as_ref(), |out, schema| {
        put_bytes(out, schema);
    });
    put_bytes(out, &settings.note);
}

pub(crate) fn settings(reader: &mut Reader) -> Result<Settings, Malformed> {
    let mut settings = Settings::of_type(&reader.text()?);
    let span = |reader: &mut Reader| reader.number().map(Duration::from_millis);
    settings.expiry = match reader.byte()? {
        0 => None,
        1 => Some(Expiry::Idle(span(reader)?)),
        2 => Some(Expiry::At(Timestamp(reader.number()?))),
        _ => return Err(Malformed::Field),
    };
    settings.max_age = option(reader, span)?;
    settings.max_bytes = option(reader, Reader::number)?;
    settings.schema = option(reader, copied)?;
    settings.note = copied(reader)?;
    Ok(settings)
}

/// Returns bytes that don't share the memory of the batch, as they are kept for longer.
fn copied(reader: &mut Reader) -> Result<Bytes, Malformed> {
    reader.bytes().map(|bytes| Bytes::copy_from_slice(&bytes))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn put_fork(out: &mut Vec<u8>, from: &ForkFrom) {
    put_bytes(out, from.source.as_str().as_bytes());
    put_option(out, from.at.as_ref(), |out, at| {
        put_number(out, at.number());
    });
    put_option(out, from.of.as_ref(), |out, of| {
        put_bytes(out, of.to_string().as_bytes());
    });
    let (kind, count) = match from.skip {
        Skip::Messages(count) => (0, count),
        Skip::Bytes(count) => (1, count),
    };
    out.push(kind);
    put_number(out, count);
}

fn fork(reader: &mut Reader) -> Result<ForkFrom, Malformed> {
    Ok(ForkFrom {
        source: name(reader)?,
        at: option(reader, |reader| reader.number().map(Offset::new))?,
        of: option(reader, |reader| {
            let text = reader.text()?;
            text.parse::<Incarnation>().map_err(|_| Malformed::Field)
        })?,
        skip: match reader.byte()? {
            0 => Skip::Messages(reader.number()?),
            1 => Skip::Bytes(reader.number()?),
            _ => return Err(Malformed::Field),
        },
    })
}

fn put_append(out: &mut Vec<u8>, append: &Append) {
    put_option(out, append.stream.as_ref(), |out, stream| {
        put_number(out, *stream);
    });
    put_option(out, append.producer.as_ref(), |out, producer| {
        put_bytes(out, producer.id.as_bytes());
        put_number(out, producer.epoch);
        put_number(out, producer.seq);
    });
    put_option(out, append.continues.as_ref(), |out, published| {
        put_number(out, published.messages);
        out.extend_from_slice(&published.digest.to_bytes());
    });
    put_option(out, append.seq.as_ref(), |out, seq| {
        put_bytes(out, seq.as_bytes());
    });
    out.push(u8::from(append.close));
    put_option(out, append.reason.as_ref(), |out, reason| {
        put_bytes(out, reason);
    });
    Layout::put(out, &append.messages);
}

fn append(reader: &mut Reader) -> Result<(Append, Layout), Malformed> {
    let mut append = Append::default();
    append.stream = option(reader, Reader::number)?;
    append.producer = option(reader, |reader| {
        Ok(Producer {
            id: reader.text()?,
            epoch: reader.number()?,
            seq: reader.number()?,
        })
    })?;
    append.continues = option(reader, |reader| {
        Ok(Published {
            messages: reader.number()?,
            digest: Digest::from_bytes(reader.fixed()?),
        })
    })?;
    append.seq = option(reader, Reader::text)?;
    append.close = flag(reader)?;
    append.reason = option(reader, copied)?;
    let (messages, layout) = Layout::take(reader)?;
    append.messages = messages;
    Ok((append, layout))
}

#[cfg(test)]
mod tests;
