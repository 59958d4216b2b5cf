//! The heartbeat interval that a client requests: `?heartbeat=SECONDS` or
//! `Prefer: heartbeat=SECONDS` (RFC 7240).

use std::time::Duration;

use http::{HeaderMap, HeaderName, Uri};

use crate::{BadParameter, Problem, query_parameter};

/// Name of the preference, and of the query parameter for clients that can't set headers.
pub(crate) const NAME: &str = "heartbeat";

/// Bounds of a client's interval, in seconds.
const INTERVALS: (f64, f64) = (1.0, 3600.0);

/// Returns the requested interval; zero requests no heartbeats. The query takes precedence. A
/// preference that is not a number of seconds is ignored: "the preference is ignored" if it isn't
/// understood (RFC 7240 §2).
///
/// # Errors
/// The value in the query is not a number of seconds, or is given twice.
pub(super) fn wanted(uri: &Uri, headers: &HeaderMap) -> Result<Option<Duration>, NoInterval> {
    let query = uri.query().unwrap_or_default();
    // A fast path: most requests have neither.
    if query.contains(NAME)
        && let Some(value) = query_parameter(Some(query), NAME)?
    {
        return match seconds(&value) {
            None => Err(NoInterval::Invalid(value.into_owned())),
            wanted => Ok(wanted),
        };
    }
    const PREFER: HeaderName = HeaderName::from_static("prefer");
    let values = headers.get_all(PREFER).iter();
    Ok(values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(preference))
}

/// An invalid value of `?heartbeat=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoInterval {
    Invalid(String),
    Parameter(BadParameter),
}

impl From<BadParameter> for NoInterval {
    fn from(bad: BadParameter) -> Self {
        Self::Parameter(bad)
    }
}

impl From<NoInterval> for Problem {
    fn from(refusal: NoInterval) -> Self {
        match refusal {
            NoInterval::Invalid(value) => Self::bad_request(format!(
                "heartbeat is {value:?} in the query: it is a number of seconds, from 1 to 3600, or 0 for none"
            )),
            NoInterval::Parameter(bad) => bad.into(),
        }
    }
}

/// Returns the interval of one preference, if it is a heartbeat.
fn preference(text: &str) -> Option<Duration> {
    let (name, value) = text.split(';').next()?.split_once('=')?;
    let is_ours = name.trim().eq_ignore_ascii_case(NAME);
    is_ours.then(|| seconds(value.trim().trim_matches('"')))?
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok().filter(|seconds| *seconds >= 0.0)?;
    let (least, most) = INTERVALS;
    Some(match seconds {
        0.0 => Duration::ZERO,
        seconds => Duration::from_secs_f64(seconds.clamp(least, most)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, prefer: &[&str], expected: Option<f64>) {
        let mut headers = HeaderMap::new();
        for value in prefer {
            headers.append("prefer", value.parse().unwrap());
        }
        let found = wanted(&uri.parse().unwrap(), &headers);
        assert_eq!(
            found,
            Ok(expected.map(Duration::from_secs_f64)),
            "{uri} {prefer:?}"
        );
    }

    #[test]
    fn the_interval_is_read_from_the_query_or_a_preference() {
        check("/", &[], None);
        check("/?heartbeat=20", &[], Some(20.0));
        check("/?a=b&heartbeat=2.5", &["heartbeat=9"], Some(2.5));
        check("/", &["heartbeat=9"], Some(9.0));
        check(
            "/",
            &["return=minimal", "wait=5, HeartBeat = \"9\";x=1"],
            Some(9.0),
        );
        check("/?heartbeat=0", &[], Some(0.0));
    }

    #[test]
    fn the_interval_is_bounded_and_only_an_invalid_query_is_refused() {
        check("/?heartbeat=0.001", &[], Some(1.0));
        check("/?heartbeat=1e300", &[], Some(3600.0));
        check("/?heartbeat=inf", &[], Some(3600.0));
        for none in ["", "x", "-1", "NaN", "1s"] {
            let uri = format!("/?heartbeat={none}").parse().unwrap();
            let found = wanted(&uri, &HeaderMap::new());
            assert_eq!(found, Err(NoInterval::Invalid(none.to_owned())));
            check("/", &[&format!("heartbeat={none}")], None);
        }
        let twice = "/?heartbeat=3&heartbeat=3".parse().unwrap();
        let found = wanted(&twice, &HeaderMap::new());
        assert!(matches!(found, Err(NoInterval::Parameter(_))), "{found:?}");
        check("/?noheartbeat=3", &["heartbeats=3, heartbeat"], None);
    }
}
