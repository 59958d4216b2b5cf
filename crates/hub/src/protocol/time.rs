//! Timestamps as text (RFC 3339 §5.6), between the years 1970 and 9999.

use headwater::Problem;
use headwater_log::Timestamp;

const DAY: i64 = 86_400;

/// Parses a timestamp. Fractions beyond milliseconds are truncated; a leap second is the second
/// after it.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| {
        let part = text.get(from..to)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse::<i64>().ok())?
    };
    let at =
        |index: usize, wanted: &[u8]| bytes.get(index).is_some_and(|byte| wanted.contains(byte));
    let marks = at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":");
    if !marks {
        return None;
    }
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let is_time = hour < 24 && minute < 60 && second <= 60;
    if !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) || !is_time {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return None;
        }
        millis = format!("{:0<3.3}", &fraction[..length])
            .parse::<i64>()
            .ok()?;
        rest = &fraction[length..];
    }
    let ahead = zone(rest)?;
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - ahead;
    u64::try_from(seconds * 1000 + millis).ok().map(Timestamp)
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

/// Returns the number of seconds by which local time is ahead of UTC, from the text of the zone.
fn zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let part = |text: &str, below: i64| {
        let ok = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        ok.then(|| text.parse::<i64>().ok())?
            .filter(|number| *number < below)
    };
    Some(sign * (part(hours, 24)? * 3600 + part(minutes, 60)? * 60))
}

/// Formats a time in UTC, with milliseconds if it has any.
pub(crate) fn format(moment: Timestamp) -> String {
    let seconds = moment.0 / 1000;
    let (year, month, day) = date(seconds / DAY.unsigned_abs());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = match moment.0 % 1000 {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Returns the days from 1970-01-01 to a date. Years start in March, so that the leap day is the
/// last day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Returns the date that is this many days after 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day = days % 146_097;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
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
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
