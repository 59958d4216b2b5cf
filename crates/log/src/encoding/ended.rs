//! The end of a stream. Its position isn't part of it.
//!
//! ```text
//! n = a number as LEB128
//! end    cause u8 (0 deleted, 1 expired, 2 restored) │ id n │ time n │ tail n │ incarnation of the tail n │ name (length n, bytes)
//! ```

use super::{Cursor, Malformed, put_bytes, put_number};
use crate::clock::Timestamp;
use crate::incarnation::{Incarnation, Mark};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::read::{EndCause, Ended};

const DELETED: u8 = 0;
const EXPIRED: u8 = 1;
const RESTORED: u8 = 2;

pub(crate) fn encode(end: &Ended) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + end.stream.as_str().len());
    out.push(match end.cause {
        EndCause::Deleted => DELETED,
        EndCause::Expired => EXPIRED,
        EndCause::Restored => RESTORED,
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

pub(crate) fn decode(position: u64, value: &[u8]) -> Result<Ended, Malformed> {
    let mut cursor = Cursor(value);
    let cause = match cursor.byte()? {
        DELETED => EndCause::Deleted,
        EXPIRED => EndCause::Expired,
        RESTORED => EndCause::Restored,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incarnation::Identity;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_end_round_trips(numbers: [u64; 4], name in "[a-z]{1,9}(/[a-z]{1,9}){0,3}", cause in 0..3_usize) {
            let [position, id, time, tail] = numbers;
            let end = Ended {
                position: Position::new(position),
                stream: StreamName::new(&name).unwrap(),
                id,
                cause: [EndCause::Deleted, EndCause::Expired, EndCause::Restored][cause],
                time: Timestamp(time),
                tail: Mark { at: Offset::new(tail), incarnation: Identity::new(id).stream(id) },
            };
            prop_assert_eq!(decode(position, &encode(&end)), Ok(end));
        }
    }
}
