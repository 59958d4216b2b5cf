//! The state of a producer.
//!
//! ```text
//! n = a number as LEB128
//! producer  epoch n │ seq n │ offset after its last append n │ last use n │ messages n │ digest (16 bytes)
//!           │ fingerprint u32, little-endian … up to 32, the newest last
//! ```
//!
//! Times are in milliseconds.

use headwater_wire::Digest;

use super::{Cursor, Malformed, put_number};
use crate::limits::PRODUCER_WINDOW;
use crate::producers::{ProducerState, Published, Window};

pub(crate) fn encode(state: &ProducerState) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 4 * state.window.iter().len());
    for number in [state.epoch, state.seq, state.next, state.used] {
        put_number(&mut out, number);
    }
    put_number(&mut out, state.published.messages);
    out.extend_from_slice(&state.published.digest.to_bytes());
    for hash in state.window.iter() {
        out.extend_from_slice(&hash.to_le_bytes());
    }
    out
}

pub(crate) fn decode(value: &[u8]) -> Result<ProducerState, Malformed> {
    let mut cursor = Cursor(value);
    let (epoch, seq) = (cursor.number()?, cursor.number()?);
    let (next, used) = (cursor.number()?, cursor.number()?);
    let messages = cursor.number()?;
    let digest = *cursor.take(16)?.first_chunk().ok_or(Malformed)?;
    let mut window = Window::default();
    let (hashes, rest) = cursor.0.as_chunks();
    if !rest.is_empty() || hashes.len() > PRODUCER_WINDOW {
        return Err(Malformed);
    }
    for hash in hashes {
        window.push(u32::from_le_bytes(*hash));
    }
    Ok(ProducerState {
        epoch,
        seq,
        next,
        used,
        published: Published {
            messages,
            digest: Digest::from_bytes(digest),
        },
        window,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_state_of_a_producer_round_trips(
            numbers: [u64; 5], digest: [u8; 16], hashes in prop::collection::vec(any::<u32>(), 0..50),
        ) {
            let [epoch, seq, next, used, messages] = numbers;
            let mut window = Window::default();
            hashes.into_iter().for_each(|hash| window.push(hash));
            let published = Published { messages, digest: Digest::from_bytes(digest) };
            let state = ProducerState { epoch, seq, next, used, published, window };
            prop_assert_eq!(decode(&encode(&state)), Ok(state));
        }
    }
}
