use std::collections::{BTreeMap, VecDeque};

use super::GatherResult;

/// The results that haven't been consumed.
pub(super) enum Outbox {
    /// In the order of completion.
    AsTheyCome(VecDeque<GatherResult>),
    /// In the order of the calls.
    Ordered {
        next: u64,
        parked: BTreeMap<u64, GatherResult>,
        /// The total size of their bodies.
        bytes: usize,
    },
}

/// Maximum size of the bodies that wait for an earlier result. Above it, no other call is started.
const MAX_PARKED_BYTES: usize = 64 * 1024 * 1024;

impl Outbox {
    pub(super) fn new(ordered: bool) -> Self {
        if !ordered {
            return Self::AsTheyCome(VecDeque::new());
        }
        Self::Ordered {
            next: 0,
            parked: BTreeMap::new(),
            bytes: 0,
        }
    }

    pub(super) fn push(&mut self, result: GatherResult) {
        match self {
            Self::AsTheyCome(queue) => queue.push_back(result),
            Self::Ordered { parked, bytes, .. } => {
                *bytes += size(&result);
                parked.insert(result.index, result);
            }
        }
    }

    /// Returns the next result, if it is available.
    pub(super) fn pop(&mut self) -> Option<GatherResult> {
        match self {
            Self::AsTheyCome(queue) => queue.pop_front(),
            Self::Ordered {
                next,
                parked,
                bytes,
            } => {
                let result = parked.remove(next)?;
                *bytes -= size(&result);
                *next += 1;
                Some(result)
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::AsTheyCome(queue) => queue.is_empty(),
            Self::Ordered { parked, .. } => parked.is_empty(),
        }
    }

    /// The number of concurrency slots that are held by results that could be consumed.
    pub(super) fn places(&self) -> usize {
        match self {
            Self::AsTheyCome(queue) => queue.len(),
            Self::Ordered { .. } => 0,
        }
    }

    /// The number of results that count against the look-ahead.
    pub(super) fn parked(&self) -> usize {
        match self {
            Self::AsTheyCome(_) => 0,
            Self::Ordered { parked, .. } => parked.len(),
        }
    }

    /// The only call that may be started; `None` allows any.
    pub(super) fn only(&self, max_parked: usize) -> Option<u64> {
        match self {
            Self::Ordered {
                next,
                parked,
                bytes,
            } if parked.len() >= max_parked || *bytes >= MAX_PARKED_BYTES => Some(*next),
            _ => None,
        }
    }
}

fn size(result: &GatherResult) -> usize {
    result.answer().map_or(0, |answer| answer.bytes().len())
}
