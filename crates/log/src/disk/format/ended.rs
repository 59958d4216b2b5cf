//! The end of a stream, and the number of ends that are kept.
//!
//! ```text
//! n = a number as LEB128
//! end    cause u8 (0 deleted, 1 expired) │ id n │ time n │ tail n │ incarnation of the tail n │ name (length n, bytes)
//! ends   number that is kept n │ position after the newest dropped one n, or 0
//! ```

use super::bytes::{Cursor, Malformed, decode_numbers, encode_numbers, put_bytes, put_number};
use super::keys;
use crate::clock::Timestamp;
use crate::incarnation::{Incarnation, Mark};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::read::{EndCause, Ended};

const DELETED: u8 = 0;
const EXPIRED: u8 = 1;

pub(crate) fn encode(end: &Ended) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + end.stream.as_str().len());
    out.push(match end.cause {
        EndCause::Deleted => DELETED,
        EndCause::Expired => EXPIRED,
    });
    for number in [
        end.id,
        end.time.0,
        end.tail.at.number(),
        end.tail.incarnation.number(),
    ] {
        put_number(&mut out, number);
    }
    put_bytes(&mut out, end.stream.as_str().as_bytes());
    out
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Ended, Malformed> {
    let position = keys::end_of(key).ok_or(Malformed)?;
    let mut cursor = Cursor(value);
    let cause = match cursor.byte()? {
        DELETED => EndCause::Deleted,
        EXPIRED => EndCause::Expired,
        _ => return Err(Malformed),
    };
    let (id, time) = (cursor.number()?, Timestamp(cursor.number()?));
    let tail = Mark {
        at: Offset::new(cursor.number()?),
        incarnation: Incarnation::new(cursor.number()?).ok_or(Malformed)?,
    };
    let stream = StreamName::new(cursor.text()?).map_err(|_| Malformed)?;
    cursor.end()?;
    Ok(Ended {
        position: Position::new(position),
        stream,
        id,
        cause,
        time,
        tail,
    })
}

/// The count of kept ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) kept: u64,
    /// The position after the newest dropped end, or 0. All kept ends come after it.
    pub(crate) forgotten: u64,
}

impl Ends {
    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_numbers(&[self.kept, self.forgotten])
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let [kept, forgotten] = decode_numbers(value)?;
        Ok(Self { kept, forgotten })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incarnation::Identity;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_end_round_trips(numbers: [u64; 4], name in "[a-z]{1,9}(/[a-z]{1,9}){0,3}", is_expired: bool) {
            let [position, id, time, tail] = numbers;
            let end = Ended {
                position: Position::new(position),
                stream: StreamName::new(&name).unwrap(),
                id,
                cause: if is_expired { EndCause::Expired } else { EndCause::Deleted },
                time: Timestamp(time),
                tail: Mark { at: Offset::new(tail), incarnation: Identity::new(id).stream(id) },
            };
            let key = keys::end(end.position.number());
            prop_assert_eq!(decode(&key, &encode(&end)), Ok(end));
        }

        #[test]
        fn the_number_of_kept_ends_round_trips(kept: u64, forgotten: u64) {
            let ends = Ends { kept, forgotten };
            prop_assert_eq!(Ends::decode(&ends.encode()), Ok(ends));
        }
    }
}
