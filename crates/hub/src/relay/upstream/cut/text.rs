use std::{collections::VecDeque, mem};

use bytes::Bytes;

use crate::limits::UPSTREAM_CHUNK_BYTES;

/// Gives text as it arrives, but for a character that two chunks share: it goes with the second one. What
/// isn't UTF-8 passes as it is.
#[derive(Default)]
pub(in super::super) struct Text {
    chunks: VecDeque<Bytes>,
    /// The start of a character, at most three bytes.
    carry: Vec<u8>,
    finished: bool,
}

impl Text {
    pub(super) fn push(&mut self, chunk: Bytes) {
        self.chunks.push_back(chunk);
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn next(&mut self) -> Option<Bytes> {
        while let Some(mut chunk) = self.chunks.pop_front() {
            if !self.carry.is_empty() {
                self.carry.extend_from_slice(&chunk);
                chunk = mem::take(&mut self.carry).into();
            }
            let most = chunk.len().min(UPSTREAM_CHUNK_BYTES);
            let rest = chunk.split_off(most - unfinished(&chunk[..most]));
            if most == UPSTREAM_CHUNK_BYTES {
                self.chunks.push_front(rest);
            } else {
                self.carry = rest.to_vec();
            }
            if !chunk.is_empty() {
                return Some(chunk);
            }
        }
        let rest = mem::take(&mut self.carry);
        if self.finished && !rest.is_empty() {
            return Some(rest.into());
        }
        self.carry = rest;
        None
    }
}

/// How many of the last bytes are the start of a character that isn't complete.
fn unfinished(text: &[u8]) -> usize {
    for (before, byte) in text.iter().rev().take(3).enumerate() {
        let length = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 0,
        };
        let there = before + 1;
        return if length > there { there } else { 0 };
    }
    0
}
