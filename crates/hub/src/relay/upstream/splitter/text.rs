use std::{collections::VecDeque, mem};

use bytes::Bytes;

use crate::limits::UPSTREAM_CHUNK_BYTES;

/// Returns text as it arrives, except that a character which is split between two chunks is
/// returned with the second one. Bytes that aren't UTF-8 pass unchanged.
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

/// Returns the number of bytes at the end that are the start of an incomplete character.
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
