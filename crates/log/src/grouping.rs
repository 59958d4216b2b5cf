//! Grouping of messages into records, the units of trimming, checking and storage.

use std::ops::Range;

use bytes::Bytes;

/// Maximum bytes of messages in a record of more than one message.
pub(crate) const RECORD_BYTES: usize = 64 << 10;
/// Maximum number of messages in a record.
pub(crate) const RECORD_MESSAGES: usize = 4096;

/// Splits messages into records.
pub(crate) fn split(messages: &[Bytes]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == messages.len() {
            return None;
        }
        let mut bytes = messages[start].len();
        let mut end = start + 1;
        while end < messages.len() && end - start < RECORD_MESSAGES {
            bytes += messages[end].len();
            if bytes > RECORD_BYTES {
                break;
            }
            end += 1;
        }
        let record = start..end;
        start = end;
        Some(record)
    })
}

/// Returns the runs of equal times.
pub(crate) fn runs<T: PartialEq + Copy>(
    times: &[T],
) -> impl Iterator<Item = (T, Range<usize>)> + '_ {
    let mut start = 0;
    times.chunk_by(|a, b| a == b).map(move |run| {
        let range = start..start + run.len();
        start = range.end;
        (run[0], range)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_every_message_once_and_respect_their_limits() {
        let sizes = [
            0,
            1,
            RECORD_BYTES,
            1,
            RECORD_BYTES - 1,
            1,
            3 * RECORD_BYTES,
            5,
        ];
        let messages: Vec<Bytes> = sizes.iter().map(|&size| vec![0; size].into()).collect();
        let records: Vec<_> = split(&messages).collect();
        assert_eq!(records, [0..2, 2..3, 3..5, 5..6, 6..7, 7..8]);
        assert_eq!(split(&[]).count(), 0);
        let small = vec![Bytes::new(); RECORD_MESSAGES + 1];
        assert_eq!(split(&small).count(), 2);
    }
}
