use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};

/// Appends a time in the format of [`text`].
pub(super) fn write(time: SystemTime, out: &mut Vec<u8>) {
    out.extend_from_slice(text(time).as_bytes());
}

/// Formats a time by RFC 3339, in UTC, to the millisecond. A time before 1970 becomes the start
/// of 1970.
pub(crate) fn text(time: SystemTime) -> String {
    rfc_3339(time, SecondsFormat::Millis)
}

/// Formats a time as [`text`] does, to the second.
pub(crate) fn to_the_second(time: SystemTime) -> String {
    rfc_3339(time, SecondsFormat::Secs)
}

fn rfc_3339(time: SystemTime, precision: SecondsFormat) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(millis)
        .unwrap_or(DateTime::UNIX_EPOCH)
        .to_rfc3339_opts(precision, true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_in_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_210_096, "2024-02-29T12:34:56.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let mut out = Vec::new();
            write(
                UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7),
                &mut out,
            );
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
