use std::collections::{BTreeMap, VecDeque};

use super::GatherResult;

/// The results that weren't taken yet.
pub(super) enum Outbox {
    /// In the order of completion.
    AsTheyCome(VecDeque<GatherResult>),
    /// In the order of the calls.
    Ordered {
        next: u64,
        parked: BTreeMap<u64, GatherResult>,
        /// Their bodies.
        bytes: usize,
    },
}

/// Bodies of results that wait for an earlier one: of more, no other call is started.
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

    /// The next result to be given, if it is there.
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

    /// How many places are held by results that could be taken.
    pub(super) fn places(&self) -> usize {
        match self {
            Self::AsTheyCome(queue) => queue.len(),
            Self::Ordered { .. } => 0,
        }
    }

    /// How many results count as looked ahead.
    pub(super) fn parked(&self) -> usize {
        match self {
            Self::AsTheyCome(_) => 0,
            Self::Ordered { parked, .. } => parked.len(),
        }
    }

    /// The one call that may be started; none: any.
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
