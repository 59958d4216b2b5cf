//! `Retry-After`.

use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// Parses `Retry-After`: seconds, or a date (RFC 9110 §10.2.3). A date in the past is zero. Returns
/// `None` if it is neither.
///
/// ```
/// use std::time::Duration;
///
/// use http::HeaderValue;
///
/// let value = HeaderValue::from_static("120");
/// assert_eq!(headwater_client::retry_after(&value), Some(Duration::from_secs(120)));
/// ```
#[must_use]
pub fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let read = |text: &'static str| retry_after(&HeaderValue::from_static(text));
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let hour = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
        let seconds = retry_after(&HeaderValue::from_str(&hour).unwrap())
            .unwrap()
            .as_secs();
        assert!((3590..=3600).contains(&seconds), "{seconds}");
        assert_eq!(read("soon"), None);
    }
}
