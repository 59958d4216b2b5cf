//! The head of a JetStream message.

use bytes::{Buf, Bytes};

use super::bytes::{Malformed, Reader};

/// The first byte of every message.
const MAGIC: u8 = 0xb5;
/// The version of the format.
pub(crate) const VERSION: u8 = 1;

/// Bytes of the head.
pub(crate) const HEAD: usize = 22;

/// One message of the log: a batch, or a part of a large one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The writer's random number.
    pub(crate) session: u64,
    /// The number of the batch in its session, from 1.
    pub(crate) number: u64,
    /// The index of the part, and the number of parts of the batch.
    pub(crate) index: u16,
    pub(crate) of: u16,
    pub(crate) data: Bytes,
}

/// A message that isn't a part.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPart {
    /// Another program has published it.
    #[error("it isn't a record of Headwater")]
    Foreign,
    #[error("it is of format {0}, and this version reads {VERSION}")]
    Version(u8),
}

impl Part {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.data.len());
        out.extend([MAGIC, VERSION]);
        out.extend(self.session.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.extend(self.index.to_le_bytes());
        out.extend(self.of.to_le_bytes());
        out.extend_from_slice(&self.data);
        out
    }

    pub(crate) fn decode(message: Bytes) -> Result<Self, NoPart> {
        let version = match message.as_ref() {
            [MAGIC, version, ..] => *version,
            _ => return Err(NoPart::Foreign),
        };
        if version != VERSION {
            return Err(NoPart::Version(version));
        }
        Self::fields(message).map_err(|_| NoPart::Foreign)
    }

    fn fields(message: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message.clone());
        reader.fixed::<2>()?;
        let session = u64::from_le_bytes(reader.fixed()?);
        let number = u64::from_le_bytes(reader.fixed()?);
        let index = u16::from_le_bytes(reader.fixed()?);
        let of = u16::from_le_bytes(reader.fixed()?);
        if index >= of || number == 0 {
            return Err(Malformed::Field);
        }
        let mut data = message;
        data.advance(HEAD);
        Ok(Self {
            session,
            number,
            index,
            of,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_part_round_trips(session: u64, number in 1_u64.., index in 0..u16::MAX, data: Vec<u8>) {
            let of = index + 1;
            let part = Part { session, number, index, of, data: data.into() };
            prop_assert_eq!(Part::decode(part.encode().into()), Ok(part));
        }

        #[test]
        fn other_messages_are_told_from_parts(bytes: Vec<u8>) {
            let decoded = Part::decode(bytes.clone().into());
            prop_assert_eq!(decoded.is_ok(), false, "{:?}", bytes);
        }
    }

    #[test]
    fn a_newer_version_and_a_number_out_of_range_are_refused() {
        let part = Part {
            session: 1,
            number: 1,
            index: 0,
            of: 1,
            data: Bytes::new(),
        };
        let with = |at: usize, byte| {
            let mut bytes = part.encode();
            bytes[at] = byte;
            Part::decode(bytes.into())
        };
        assert_eq!(with(1, 2), Err(NoPart::Version(2)));
        assert_eq!(with(20, 0), Err(NoPart::Foreign));
        assert_eq!(with(10, 0), Err(NoPart::Foreign));
        assert_eq!(part.encode().len(), HEAD);
    }
}
