//! Timestamps as text (RFC 3339 §5.6), between the years 1970 and 9999.

use chrono::{DateTime, SecondsFormat};
use headwater::Problem;
use headwater_log::Timestamp;

/// The last millisecond of the year 9999.
const LAST: u64 = 253_402_300_799_999;

/// Parses a timestamp. Fractions beyond milliseconds are truncated; a leap second is the second
/// after it.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    // chrono also accepts U+2212 as a minus sign.
    if !text.is_ascii() {
        return None;
    }
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(time.timestamp_millis()).ok().map(Timestamp)
}

/// Parses a timestamp in a query parameter.
///
/// # Errors
/// It is invalid. The problem contains the value as it was read. If a plus sign became a space,
/// because it wasn't percent-encoded, the problem also contains the correct form.
pub(crate) fn parse_in_query(parameter: &str, value: &str) -> Result<Timestamp, Problem> {
    if let Some(moment) = parse(value) {
        return Ok(moment);
    }
    let value: String = value.chars().take(100).collect();
    let with_plus = value
        .rsplit_once(' ')
        .map(|(time, zone)| (time, format!("{time}+{zone}"), zone));
    let detail = match with_plus {
        Some((time, whole, zone)) if parse(&whole).is_some() => format!(
            "{parameter} was read as {value:?}: in a query a \"+\" is a space unless it is percent-encoded; write \
             {parameter}={time}%2B{zone}"
        ),
        _ => format!(
            "{parameter} was read as {value:?}: it is a time like 2030-01-31T12:00:00Z or \
                      2030-01-31T12:00:00%2B02:00 (RFC 3339, \"+\" percent-encoded)"
        ),
    };
    Err(Problem::bad_request(detail))
}

/// Formats a time in UTC, with milliseconds if it has any. A time after the year 9999, which has no
/// text, becomes the last one before.
pub(crate) fn format(moment: Timestamp) -> String {
    let millis = moment.0.min(LAST).cast_signed();
    DateTime::from_timestamp_millis(millis)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, millis: u64, again: &str) {
        assert_eq!(parse(text), Some(Timestamp(millis)), "{text}");
        assert_eq!(format(Timestamp(millis)), again);
    }

    #[test]
    fn timestamps_round_trip() {
        check("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z");
        check(
            "2000-02-29T23:59:59.25z",
            951_868_799_250,
            "2000-02-29T23:59:59.250Z",
        );
        check(
            "2024-10-09T02:00:00+02:00",
            1_728_432_000_000,
            "2024-10-09T00:00:00Z",
        );
        check(
            "2026-12-31T18:30:00.1239-05:30",
            1_798_761_600_123,
            "2027-01-01T00:00:00.123Z",
        );
        check(
            "9999-12-31T23:59:59Z",
            253_402_300_799_000,
            "9999-12-31T23:59:59Z",
        );
    }

    #[test]
    fn a_leap_second_is_the_second_after_it() {
        let after = parse("2017-01-01T00:00:00.5Z");
        assert_eq!(parse("2016-12-31T23:59:60.5Z"), after);
        assert_eq!(parse("2017-01-01T01:59:60.5+02:00"), after);
    }

    #[test]
    fn a_time_after_the_year_9999_is_formatted_as_the_last_before() {
        for millis in [LAST + 1, u64::MAX] {
            assert_eq!(format(Timestamp(millis)), "9999-12-31T23:59:59.999Z");
        }
    }

    #[test]
    fn invalid_timestamps_are_refused() {
        for bad in [
            "",
            "tomorrow",
            "2026-01-01",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+2:00",
            "2026-01-01T00:00:00Zx",
            "1969-12-31T23:59:59Z",
            "2026-01-01T00:00:0é",
            "2026-01-01T00:00:00\u{2212}01:00",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
