//! Globs over the segments of a path.

/// A segment of a glob.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Matches an equal segment.
    Exactly(Box<[u8]>),
    /// `*`: matches any one segment that isn't empty.
    One,
    /// `**`: matches any number of segments.
    Any,
    /// Matches a segment that begins with `before` and ends with `after`, and has at least one byte
    /// between them.
    Around {
        /// The start of the segment.
        before: Box<[u8]>,
        /// The end of the segment.
        after: Box<[u8]>,
    },
}

impl Part {
    /// Returns `true` if the part may stand for a segment. [`Part::Any`] may stand for each one.
    #[must_use]
    pub fn meets(&self, segment: &[u8]) -> bool {
        match self {
            Self::Exactly(wanted) => **wanted == *segment,
            Self::One => !segment.is_empty(),
            Self::Any => true,
            Self::Around { before, after } => {
                before.len() + after.len() < segment.len()
                    && segment.starts_with(before)
                    && segment.ends_with(after)
            }
        }
    }
}

/// Returns `true` if the parts match the segments.
///
/// It backtracks to the last [`Part::Any`] only. If that one has consumed too few segments, it
/// consumes one more; an earlier one doesn't need to, because the parts between them have already
/// matched. The time is therefore at most the product of both numbers.
#[doc(hidden)]
#[must_use]
pub fn matches<'a>(
    mut parts: &[Part],
    mut segments: impl Iterator<Item = &'a [u8]> + Clone,
) -> bool {
    let mut retry = None;
    loop {
        let segment = match parts.first() {
            Some(Part::Any) => {
                parts = &parts[1..];
                retry = Some((parts, segments.clone()));
                continue;
            }
            _ => segments.next(),
        };
        let is_met = match (parts.first(), segment) {
            (None, None) => return true,
            (Some(part), Some(found)) => part.meets(found),
            _ => false,
        };
        if is_met {
            parts = &parts[1..];
            continue;
        }
        let Some((after, rest)) = &mut retry else {
            return false;
        };
        if rest.next().is_none() {
            return false;
        }
        (parts, segments) = (*after, rest.clone());
    }
}
