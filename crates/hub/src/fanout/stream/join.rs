//! Messages as they are stored, joined for a response: without a look at each message where that is
//! possible.

use std::vec;

use bytes::Bytes;
use headwater_log::Block;

use crate::{fanout::send_budget::Memory, limits::CHUNK_BYTES};

/// Minimum size of data that is sent as it is stored. Smaller data is copied together.
const SHARED_BYTES: usize = 16 << 10;

/// The form in which messages are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joint {
    /// Elements of a JSON array: after `[` if it opens here, and before `]` if it closes here.
    Array { opens: bool, closes: bool },
    /// JSON values, each with a line feed after it.
    Lines,
    /// Nothing between messages.
    Plain,
}

impl Joint {
    /// Returns the byte after each message.
    fn separator(self) -> Option<u8> {
        match self {
            Self::Array { .. } => Some(b','),
            Self::Lines => Some(b'\n'),
            Self::Plain => None,
        }
    }

    /// Returns the length of `count` messages with `bytes` bytes in total.
    pub(crate) fn length(self, count: u64, bytes: u64) -> u64 {
        let separators = if self.separator().is_some() { count } else { 0 };
        let brackets = match self {
            // The bracket takes the place of the last comma.
            Self::Array { opens, closes } => u64::from(opens) + u64::from(closes && count == 0),
            _ => 0,
        };
        bytes + separators + brackets
    }
}

/// Joins messages in frames of about one chunk. A frame is encoded when it is taken.
pub(crate) struct Join {
    blocks: vec::IntoIter<Block>,
    joint: Joint,
    /// Bytes that belong before the next block.
    before: Vec<u8>,
    /// Bytes that are not yet in a frame.
    left: u64,
}

/// A part of a response.
enum Frame {
    /// It was copied, and has about a chunk at most.
    Own(Bytes),
    /// A part of the log's buffer.
    Shared(Bytes),
}

impl Frame {
    fn into_bytes(self) -> Bytes {
        match self {
            Self::Own(bytes) | Self::Shared(bytes) => bytes,
        }
    }
}

impl Join {
    pub(crate) fn new(joint: Joint, blocks: Vec<Block>) -> Self {
        let count = blocks.iter().map(Block::count).sum();
        let bytes = blocks.iter().map(|block| block.bytes() as u64).sum();
        let before = match joint {
            Joint::Array { opens: true, .. } => vec![b'['],
            _ => Vec::new(),
        };
        Self {
            blocks: blocks.into_iter(),
            joint,
            before,
            left: joint.length(count, bytes),
        }
    }

    /// Returns a copy of all of it, as one frame.
    pub(crate) fn copied(mut self) -> Bytes {
        let mut all = Vec::new();
        while let Some(frame) = self.next() {
            match frame {
                Frame::Own(bytes) if all.is_empty() && self.left == 0 => return bytes,
                frame => all.extend_from_slice(&frame.into_bytes()),
            }
        }
        all.into()
    }

    fn next(&mut self) -> Option<Frame> {
        if self.left == 0 {
            return None;
        }
        let frame = self.encode();
        let (Frame::Own(bytes) | Frame::Shared(bytes)) = &frame;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        (!bytes.is_empty()).then_some(frame)
    }

    fn encode(&mut self) -> Frame {
        let mut frame = std::mem::take(&mut self.before);
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        while let Some(block) = self.blocks.as_slice().first() {
            if let Some(bytes) = shared(self.joint, block) {
                if !frame.is_empty() {
                    return Frame::Own(frame.into());
                }
                if block.lines().is_none() {
                    self.before.extend(self.joint.separator());
                }
                self.blocks.next();
                return Frame::Shared(bytes);
            }
            let length = block.bytes() + usize::try_from(block.count()).unwrap_or_default();
            if frame.len() > 1 && frame.len() + length > CHUNK_BYTES {
                return Frame::Own(frame.into());
            }
            if frame.len() <= 1 {
                frame.reserve(room.min(CHUNK_BYTES).max(length));
            }
            put(self.joint, block, &mut frame);
            self.blocks.next();
        }
        if let Joint::Array { closes: true, .. } = self.joint {
            // The array has no comma after its last element.
            frame.pop_if(|last| *last == b',');
            frame.push(b']');
        }
        // Nothing follows, also if a block doesn't have what it says.
        self.left = frame.len() as u64;
        Frame::Own(frame.into())
    }
}

/// Returns the data of a block if it is large and sent as it is stored. A separator follows it if
/// the block isn't stored as lines.
fn shared(joint: Joint, block: &Block) -> Option<Bytes> {
    let bytes = match (block.lines(), joint) {
        (Some(lines), Joint::Lines) => Some(lines.clone()),
        (Some(_), _) => None,
        (None, _) => block.messages().next().map(|message| message.bytes),
    };
    bytes.filter(|bytes| bytes.len() >= SHARED_BYTES)
}

/// Appends the messages of a block, each with the separator after it.
fn put(joint: Joint, block: &Block, out: &mut Vec<u8>) {
    match (block.lines(), joint) {
        (Some(lines), Joint::Lines) => out.extend_from_slice(lines),
        (Some(lines), Joint::Array { .. }) => {
            // A value has no line feed in it, so each one is the end of a value.
            let comma = |byte: &u8| if *byte == b'\n' { b',' } else { *byte };
            out.extend(lines.iter().map(comma));
        }
        _ => {
            for message in block.messages() {
                out.extend_from_slice(&message.bytes);
                out.extend(joint.separator());
            }
        }
    }
}

/// A join for which the budget of all readers has memory.
pub(crate) struct Piece {
    /// Frames that are encoded already.
    frames: vec::IntoIter<Frame>,
    join: Join,
    memory: Memory,
}

impl Piece {
    /// Creates a piece of messages that `memory` was taken for. Memory beyond their size is returned.
    pub(crate) fn new(mut join: Join, mut memory: Memory) -> Self {
        let bytes = usize::try_from(join.left).unwrap_or(usize::MAX);
        memory.shrink(charge(bytes));
        // Small messages that are stored one by one take more as blocks than as bytes.
        let mut frames = Vec::new();
        if size_of_val(join.blocks.as_slice()) > bytes {
            frames.extend(std::iter::from_fn(|| join.next()));
            join.blocks = Vec::new().into_iter();
        }
        Self {
            frames: frames.into_iter(),
            join,
            memory,
        }
    }
}

impl Iterator for Piece {
    type Item = Bytes;

    /// Returns the next frame. A shared one holds its part of the memory until it was sent.
    fn next(&mut self) -> Option<Bytes> {
        let frame = self.frames.next().or_else(|| self.join.next());
        Some(match frame? {
            Frame::Own(bytes) => bytes,
            Frame::Shared(bytes) => {
                let memory = self.memory.split(bytes.len().saturating_mul(2));
                charged(bytes, memory)
            }
        })
    }
}

/// Bytes of messages that a response reads at once if the budget of all readers has memory for them.
pub(crate) const PIECE_BYTES: usize = 512 << 10;

/// Returns the memory to take for messages: twice their bytes, and a little more for few messages, as
/// the log's buffers are larger than the messages.
pub(crate) fn charge(bytes: usize) -> usize {
    let slack = (2 * PIECE_BYTES).saturating_sub(bytes.saturating_mul(2));
    bytes.saturating_mul(2) + slack.min(2 * CHUNK_BYTES)
}

/// Returns a frame that holds memory until it was sent.
fn charged(frame: Bytes, memory: Option<Memory>) -> Bytes {
    struct Charged(
        Bytes,
        #[allow(dead_code, reason = "held until the frame was sent")] Option<Memory>,
    );

    impl AsRef<[u8]> for Charged {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    Bytes::from_owner(Charged(frame, memory))
}
