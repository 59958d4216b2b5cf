//! The encoding of a log in memory, with its messages, for tests of the state's encoding.

use std::sync::Arc;

use bytes::Bytes;

use super::MemoryLog;
use crate::encoding::{Cursor, Malformed, put_bytes};
use crate::machine::Machine;

impl MemoryLog {
    /// Returns the encoded state.
    #[doc(hidden)]
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut frozen = self.streams.lock().machine.freeze();
        frozen.encode(&mut out, &mut put);
        out
    }

    /// Replaces the state by an encoded one. Followers see the log's end.
    ///
    /// # Errors
    ///
    /// The bytes aren't a state. The log is as it was.
    #[doc(hidden)]
    pub fn set_state(&self, state: &[u8]) -> Result<(), Malformed> {
        let mut streams = self.streams.lock();
        let (rules, head) = streams.machine.surroundings();
        let mut from = Cursor(state);
        let machine = Machine::decode(&mut from, rules, head, &mut take)?;
        from.end()?;
        streams.machine = machine;
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, messages: &Arc<[Bytes]>, _: usize) {
    messages.iter().for_each(|message| put_bytes(out, message));
}

fn take(from: &mut Cursor<'_>, count: usize) -> Result<Arc<[Bytes]>, Malformed> {
    let messages = (0..count).map(|_| from.bytes().map(Bytes::copy_from_slice));
    messages.collect()
}
