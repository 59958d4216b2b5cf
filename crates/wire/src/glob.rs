//! Globs over the segments of a path.

/// A segment of a glob.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Matches an equal segment.
    Exactly(Box<[u8]>),
    /// `*`: matches any one segment that isn't empty.
    One,
    /// `**`: matches any number of segments.
    Any,
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
            (Some(Part::Exactly(wanted)), Some(found)) => **wanted == *found,
            (Some(_), Some(found)) => !found.is_empty(),
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
