//! A read's messages in the stream's own type: JSON as one array, everything else concatenated.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use axum::body::Body;
use bytes::Bytes;
use headwater_log::Block;

use super::encode::{SHARED_BYTES, Shape};
use crate::{fanout::send_budget::Memory, limits::CHUNK_BYTES};

/// Joins messages in frames of about one chunk. A frame is encoded when it is taken.
pub(crate) struct Join {
    blocks: vec::IntoIter<Block>,
    is_json: bool,
    is_begun: bool,
    /// Bytes that are not yet in a frame.
    left: u64,
}

impl Join {
    pub(crate) fn new(shape: Shape, blocks: Vec<Block>) -> Self {
        let is_json = shape == Shape::Json;
        let separators = match blocks.iter().map(Block::count).sum::<u64>() {
            _ if !is_json => 0,
            0 => 2,
            // One less between them, and two around them.
            count => count + 1,
        };
        let bytes: u64 = blocks.iter().map(|block| block.bytes() as u64).sum();
        Self {
            blocks: blocks.into_iter(),
            is_json,
            is_begun: false,
            left: bytes + separators,
        }
    }

    /// Returns a body of known length. Its frames are encoded when they are sent, and it holds memory until
    /// then.
    pub(crate) fn into_body(self, memory: Memory) -> Body {
        Body::new(Frames {
            join: self,
            _memory: memory,
        })
    }

    /// Returns all of it as one frame.
    pub(crate) fn whole(mut self) -> Bytes {
        let first = self.next().unwrap_or_default();
        if self.left == 0 {
            return first;
        }
        let mut all = Vec::from(first);
        self.for_each(|frame| all.extend_from_slice(&frame));
        all.into()
    }

    fn encode(&mut self) -> Bytes {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut frame = Vec::with_capacity(room.min(CHUNK_BYTES));
        if self.is_json && !self.is_begun {
            frame.push(b'[');
        }
        self.is_begun = true;
        while let Some(block) = self.blocks.as_slice().first() {
            let length = block.bytes() + usize::try_from(block.count()).unwrap_or_default();
            if frame.len() > 1 && frame.len() + length > CHUNK_BYTES {
                return frame.into();
            }
            let is_shared = !self.is_json && block.lines().is_none();
            if is_shared && length >= SHARED_BYTES {
                match frame.is_empty() {
                    true => return self.shared(),
                    false => return frame.into(),
                }
            }
            frame.reserve(length);
            match self.is_json {
                true => put_elements(block, &mut frame),
                false => block
                    .messages()
                    .for_each(|message| frame.extend_from_slice(&message.bytes)),
            }
            self.blocks.next();
        }
        if self.is_json {
            // The array has no comma after its last element.
            frame.pop_if(|last| *last == b',');
            frame.push(b']');
        }
        frame.into()
    }

    /// Returns the next block, of one message.
    fn shared(&mut self) -> Bytes {
        let block = self.blocks.next();
        let message = block.as_ref().and_then(|block| block.messages().next());
        message.map(|message| message.bytes).unwrap_or_default()
    }
}

impl Iterator for Join {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let frame = self.encode();
        self.left = self.left.saturating_sub(frame.len() as u64);
        Some(frame)
    }
}

struct Frames {
    join: Join,
    _memory: Memory,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let frame = self.join.next();
        Poll::Ready(frame.map(|bytes| Ok(http_body::Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.join.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.join.left)
    }
}

/// Encodes JSON values, each with a comma after it.
fn put_elements(block: &Block, out: &mut Vec<u8>) {
    let Some(lines) = block.lines() else {
        for message in block.messages() {
            out.extend_from_slice(&message.bytes);
            out.push(b',');
        }
        return;
    };
    let start = out.len();
    out.extend_from_slice(lines);
    // A value has no line feed in it, so each one is the end of a value.
    for byte in &mut out[start..] {
        *byte = if *byte == b'\n' { b',' } else { *byte };
    }
}
