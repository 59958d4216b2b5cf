//! A step of restoring a stream, without the bytes of messages.
//!
//! ```text
//! n = a number as LEB128, bytes = length n, then the bytes
//! restore   0 │ bytes of the birth │ bytes of the state                                  begin
//!           1 │ count n │ (id bytes │ bytes of the producer's state) …                   producers
//!           2 │ offset n │ messages n │ (time, minus that of the message before n) …       messages
//!           3                                                                            end
//! ```
//!
//! The state is that of a stream without messages. Differences are taken modulo 2^64.

use super::{Cursor, Malformed, birth, producer, put_bytes, put_number, state};
use crate::clock::Timestamp;
use crate::name::StreamName;
use crate::offset::Offset;
use crate::restore::{Image, ProducerImage, Restore};

const BEGIN: u8 = 0;
const PRODUCERS: u8 = 1;
const MESSAGES: u8 = 2;
const END: u8 = 3;

/// Appends the encoding of a step of restoring a stream, without the bytes of its messages.
pub fn put_restore(out: &mut Vec<u8>, name: &StreamName, restore: &Restore) {
    match restore {
        Restore::Begin(image) => {
            out.push(BEGIN);
            put_bytes(out, &birth::encode(&image.birth(name)));
            put_bytes(out, &state::encode(&image.state()));
        }
        Restore::Producers(producers) => {
            out.push(PRODUCERS);
            put_number(out, producers.len() as u64);
            for image in producers {
                put_bytes(out, image.producer.id.as_bytes());
                put_bytes(out, &producer::encode(&image.state(u64::MAX)));
            }
        }
        Restore::Messages { at, times, .. } => {
            out.push(MESSAGES);
            put_number(out, at.number());
            put_number(out, times.len() as u64);
            let mut before = 0;
            for time in times {
                put_number(out, time.0.wrapping_sub(before));
                before = time.0;
            }
        }
        Restore::End => out.push(END),
    }
}

/// Decodes a step of restoring a stream. It has no messages, only their times.
///
/// # Errors
///
/// The bytes aren't a step.
pub fn take_restore(from: &mut Cursor<'_>) -> Result<Restore, Malformed> {
    Ok(match from.byte()? {
        BEGIN => {
            let birth = birth::decode(from.bytes()?)?;
            if birth.fork.is_some() || birth.marks.is_empty() {
                return Err(Malformed);
            }
            let state = state::decode(from.bytes()?)?;
            Restore::Begin(Box::new(Image::from_parts(birth, &state)))
        }
        PRODUCERS => {
            let mut producers = Vec::new();
            for _ in 0..from.number()? {
                let id = from.text()?.to_owned();
                let state = producer::decode(from.bytes()?)?;
                producers.push(ProducerImage::of(id, &state));
            }
            Restore::Producers(producers)
        }
        MESSAGES => {
            let at = Offset::new(from.number()?);
            let mut times = Vec::new();
            let mut time = 0_u64;
            for _ in 0..from.number()? {
                time = time.wrapping_add(from.number()?);
                times.push(Timestamp(time));
            }
            Restore::Messages {
                at,
                times,
                messages: Vec::new(),
            }
        }
        END => Restore::End,
        _ => return Err(Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use crate::append::Producer;
    use crate::incarnation::{Identity, Mark};

    fn check(restore: &Restore) {
        let mut out = Vec::new();
        put_restore(&mut out, &StreamName::new("n").unwrap(), restore);
        let mut from = Cursor(&out);
        assert_eq!(take_restore(&mut from).as_ref(), Ok(restore));
        assert!(from.0.is_empty());
    }

    proptest! {
        #[test]
        fn a_step_round_trips(
            at in 0..1_u64 << 50, times in prop::collection::vec(any::<u64>(), 0..9),
            producers in prop::collection::vec((".{1,9}", 0..9_u64, prop::collection::vec(any::<u32>(), 0..33)), 0..9),
            closed: bool, seq in prop::option::of(".{0,9}"),
        ) {
            let times = times.into_iter().map(Timestamp).collect();
            check(&Restore::Messages { at: Offset::new(at), times, messages: Vec::new() });
            let producers = producers.into_iter().map(|(id, seq, appends)| ProducerImage {
                appends,
                used: Timestamp(at),
                ..ProducerImage::new(Producer { id, epoch: at, seq })
            });
            check(&Restore::Producers(producers.collect()));
            let tail = Mark { at: Offset::new(at), incarnation: Identity::new(at).stream(1) };
            check(&Restore::Begin(Box::new(Image { closed, seq, marks: vec![tail], ..Image::default() })));
            check(&Restore::End);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = take_restore(&mut Cursor(&bytes));
        }
    }
}
