//! Streams in which a response met damage.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::limits::DAMAGED_STREAMS;

/// Streams of which a response was cut, because messages in its middle are damaged. Later responses
/// have what one read of the log returns, so a reader gets all that precedes the damage.
///
/// Streams are known by their [number](headwater_log::Info::id).
#[derive(Debug, Default)]
pub(crate) struct DamagedStreams(Mutex<HashSet<u64>>);

impl DamagedStreams {
    /// Adds a stream. Beyond [`DAMAGED_STREAMS`], all others are forgotten.
    pub(super) fn add(&self, stream: u64) {
        let mut streams = self.0.lock();
        if streams.len() >= DAMAGED_STREAMS {
            streams.clear();
        }
        streams.insert(stream);
    }

    pub(crate) fn contains(&self, stream: u64) -> bool {
        self.0.lock().contains(&stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_streams_is_bounded() {
        let streams = DamagedStreams::default();
        let most = DAMAGED_STREAMS as u64;
        for stream in 0..most {
            streams.add(stream);
        }
        assert!(streams.contains(0) && streams.contains(most - 1));
        streams.add(most);
        assert!(streams.contains(most) && !streams.contains(0));
    }
}
