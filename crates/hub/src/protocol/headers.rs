//! Parsing of request headers.

use std::time::Duration;

use headwater::Problem;
use headwater_log::{Expiry, Producer, Published, Timestamp, limits};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    header_names::{self, spelled},
    time,
};
use crate::limits::SECONDS;

/// Returns the value of a header that may occur once (RFC 9110 §5.3), if it is present.
///
/// # Errors
/// It occurs several times.
pub(crate) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Problem::bad_request(format!(
            "{} is given twice",
            spelled(name)
        ))),
    }
}

/// Returns the value of a header as text, if it is present.
///
/// # Errors
/// It contains bytes other than visible ASCII, or occurs several times.
pub(crate) fn text<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, Problem> {
    let value = one(headers, name)?.map(|value| value.to_str());
    value
        .transpose()
        .map_err(|_| Problem::bad_request(format!("{} is not visible ASCII", spelled(name))))
}

/// Returns `true` if the request closes the stream. The protocol (§4.1) treats any value other than
/// `true` as absent, and doesn't allow a server to refuse it.
///
/// # Errors
/// The header occurs several times.
pub(crate) fn closed(headers: &HeaderMap) -> Result<bool, Problem> {
    let value = one(headers, &header_names::STREAM_CLOSED)?;
    Ok(value.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true")))
}

/// Returns `true` if a missing stream should be created.
///
/// # Errors
/// The value is neither `true` nor `false`.
pub(crate) fn create(headers: &HeaderMap) -> Result<bool, Problem> {
    let Some(value) = one(headers, &header_names::STREAM_CREATE)? else {
        return Ok(false);
    };
    let is = |word: &[u8]| value.as_bytes().eq_ignore_ascii_case(word);
    match (is(b"true"), is(b"false")) {
        (false, false) => Err(Problem::bad_request("Stream-Create is true or false")),
        (wanted, _) => Ok(wanted),
    }
}

/// Returns an integer from 0 to `most`, in decimal digits only and without leading zeros.
pub(crate) fn number(
    headers: &HeaderMap,
    name: &HeaderName,
    most: u64,
) -> Result<Option<u64>, Problem> {
    let Some(text) = text(headers, name)? else {
        return Ok(None);
    };
    let is_plain = text == "0" || !text.starts_with('0');
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_plain && digits) {
        return Err(Problem::bad_request(format!(
            "{} is a whole number in decimal digits, without a sign or zeros before it",
            spelled(name)
        )));
    }
    // Digits alone are a number, perhaps one over 64 bits.
    match text.parse() {
        Ok(number) if number <= most => Ok(Some(number)),
        _ => Err(Problem::bad_request(format!(
            "{} is at most {most}",
            spelled(name)
        ))),
    }
}

/// Returns a duration in whole seconds.
pub(crate) fn seconds(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Duration>, Problem> {
    Ok(number(headers, name, SECONDS)?.map(Duration::from_secs))
}

/// Returns the expiry of a stream, from `Stream-TTL` or `Stream-Expires-At`, of which at most one
/// may be present.
///
/// # Errors
/// A value is invalid, or the time has passed at `now`: such a stream would end as it begins.
pub(crate) fn expiry(headers: &HeaderMap, now: Timestamp) -> Result<Option<Expiry>, Problem> {
    let ttl = seconds(headers, &header_names::STREAM_TTL)?;
    let at = text(headers, &header_names::STREAM_EXPIRES_AT)?;
    match (ttl, at) {
        (Some(_), Some(_)) => Err(Problem::bad_request(
            "a stream has either Stream-TTL or Stream-Expires-At, not both",
        )),
        (Some(span), None) => Ok(Some(Expiry::Idle(span))),
        (None, Some(at)) => match time::parse(at) {
            Some(moment) if moment <= now => Err(Problem::bad_request(format!(
                "Stream-Expires-At is {at}, which has passed: it is {} here",
                time::format(now)
            ))),
            Some(moment) => Ok(Some(Expiry::At(moment))),
            None => Err(Problem::bad_request(
                "Stream-Expires-At is a timestamp of RFC 3339",
            )),
        },
        (None, None) => Ok(None),
    }
}

/// Returns the producer, epoch and sequence of an append. The three headers have to be used
/// together.
pub(crate) fn producer(headers: &HeaderMap) -> Result<Option<Producer>, Problem> {
    let id = text(headers, &header_names::PRODUCER_ID)?;
    let number = |name: &_| number(headers, name, limits::PRODUCER_NUMBER);
    let epoch = number(&header_names::PRODUCER_EPOCH)?;
    let seq = number(&header_names::PRODUCER_SEQ)?;
    let (id, epoch, seq) = match (id, epoch, seq) {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        _ => {
            let detail = "Producer-Id, Producer-Epoch and Producer-Seq must be sent together";
            return Err(Problem::bad_request(detail));
        }
    };
    let id = checked_id(id)?;
    Ok(Some(Producer {
        id: id.to_owned(),
        epoch,
        seq,
    }))
}

/// Returns the producer id of a request.
pub(crate) fn producer_id(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    text(headers, &header_names::PRODUCER_ID)?
        .map(checked_id)
        .transpose()
}

fn checked_id(id: &str) -> Result<&str, Problem> {
    let most = limits::PRODUCER_ID_BYTES;
    if id.is_empty() || id.len() > most {
        let detail = format!("Producer-Id has 1 to {most} bytes");
        return Err(Problem::bad_request(detail));
    }
    Ok(id)
}

/// Returns the messages that the producer must have published before. Both headers have to be used
/// together, with the first append of an epoch.
pub(crate) fn continues(
    headers: &HeaderMap,
    producer: Option<&Producer>,
) -> Result<Option<Published>, Problem> {
    let messages = number(headers, &header_names::PRODUCER_MESSAGES, u64::MAX)?;
    let digest = text(headers, &header_names::PRODUCER_DIGEST)?;
    let (messages, digest) = match (messages, digest) {
        (None, None) => return Ok(None),
        (Some(messages), Some(digest)) => (messages, digest),
        _ => {
            let detail = "Producer-Messages and Producer-Digest must be sent together";
            return Err(Problem::bad_request(detail));
        }
    };
    if producer.is_none_or(|producer| producer.seq != 0) {
        let detail = "Producer-Messages and Producer-Digest need Producer-Id and Producer-Seq 0";
        return Err(Problem::bad_request(detail));
    }
    let digest = digest
        .parse()
        .map_err(|_| Problem::bad_request("Producer-Digest is 32 hexadecimal digits"))?;
    Ok(Some(Published { messages, digest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_number_has_one_form() {
        let read = |text| {
            number(
                &headers(&[(header_names::STREAM_TTL, text)]),
                &header_names::STREAM_TTL,
                u64::MAX,
            )
        };
        assert_eq!(read("0").unwrap(), Some(0));
        assert_eq!(read("3600").unwrap(), Some(3600));
        for bad in ["", "+1", "-1", "01", "00", "1.0", "1e3", " 1"] {
            let why = read(bad).unwrap_err().to_string();
            assert!(
                why.contains("Stream-TTL is a whole number"),
                "{bad:?}: {why}"
            );
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_refused_with_the_largest() {
        let read = |text, most| {
            number(
                &headers(&[(header_names::PRODUCER_SEQ, text)]),
                &header_names::PRODUCER_SEQ,
                most,
            )
        };
        assert_eq!(read("7", 7).unwrap(), Some(7));
        assert_eq!(
            read("18446744073709551615", u64::MAX).unwrap(),
            Some(u64::MAX)
        );
        for (text, most) in [
            ("8", 7),
            ("18446744073709551616", u64::MAX),
            ("99999999999999999999999", 7),
        ] {
            let why = read(text, most).unwrap_err().to_string();
            let told = format!("Producer-Seq is at most {most}");
            assert!(why.contains(&told), "{text}: {why}");
        }
    }

    #[test]
    fn a_header_with_one_value_is_refused_if_it_is_repeated() {
        let twice = |name: &HeaderName, values: [&'static str; 2]| {
            headers(&values.map(|value| (name.clone(), value)))
        };
        let id = twice(&header_names::PRODUCER_ID, ["a", "b"]);
        let why = producer(&id).unwrap_err().to_string();
        assert!(why.contains("Producer-Id is given twice"), "{why}");
        assert!(producer_id(&id).is_err());
        assert!(closed(&twice(&header_names::STREAM_CLOSED, ["true", "false"])).is_err());
        assert!(create(&twice(&header_names::STREAM_CREATE, ["true", "true"])).is_err());
        assert!(expiry(&twice(&header_names::STREAM_TTL, ["5", "5"]), Timestamp(0)).is_err());
    }

    #[test]
    fn a_stream_expires_in_the_future() {
        let at = headers(&[(header_names::STREAM_EXPIRES_AT, "1970-01-01T01:00:02+01:00")]);
        let expiry = |now| expiry(&at, Timestamp(now));
        assert_eq!(expiry(1999).unwrap(), Some(Expiry::At(Timestamp(2000))));
        for now in [2000, 2001] {
            let why = expiry(now).unwrap_err().to_string();
            assert!(why.contains("which has passed"), "{why}");
        }
    }

    #[test]
    fn a_span_is_as_long_as_the_limit_and_no_longer() {
        let read = |text| {
            seconds(
                &headers(&[(header_names::STREAM_TTL, text)]),
                &header_names::STREAM_TTL,
            )
        };
        assert_eq!(
            read("9007199254740").unwrap(),
            Some(Duration::from_secs(SECONDS))
        );
        assert!(read("9007199254741").is_err());
    }

    #[test]
    fn a_producer_has_all_three_headers_within_their_bounds() {
        let producer = |epoch, seq| {
            producer(&headers(&[
                (header_names::PRODUCER_ID, "p"),
                (header_names::PRODUCER_EPOCH, epoch),
                (header_names::PRODUCER_SEQ, seq),
            ]))
        };
        let greatest = "9007199254740991";
        assert_eq!(
            producer(greatest, greatest).unwrap().unwrap().seq,
            limits::PRODUCER_NUMBER
        );
        assert!(producer("0", "9007199254740992").is_err());
        assert!(super::producer(&headers(&[(header_names::PRODUCER_ID, "p")])).is_err());
        assert!(super::producer(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn continuing_a_producer_takes_both_headers_and_starts_an_epoch() {
        let digest = "0123456789abcdef0123456789abcdef";
        let continues = |pairs: &[_], seq| {
            let producer = Producer {
                id: "p".to_owned(),
                epoch: 1,
                seq,
            };
            continues(&headers(pairs), Some(&producer))
        };
        let both = [
            (header_names::PRODUCER_MESSAGES, "3"),
            (header_names::PRODUCER_DIGEST, digest),
        ];
        let published = continues(&both, 0).unwrap().unwrap();
        assert_eq!(published.messages, 3);
        assert_eq!(published.digest.to_string(), digest);
        assert!(continues(&[], 0).unwrap().is_none());
        assert!(continues(&both[..1], 0).is_err());
        assert!(continues(&both[1..], 0).is_err());
        assert!(continues(&both, 1).is_err());
        assert!(super::continues(&headers(&both), None).is_err());
        let short = [both[0].clone(), (header_names::PRODUCER_DIGEST, "0123")];
        assert!(continues(&short, 0).is_err());
    }

    #[test]
    fn only_true_closes_a_stream() {
        for (value, expected) in [
            ("true", true),
            ("TRUE", true),
            ("1", false),
            ("yes", false),
            ("", false),
        ] {
            assert_eq!(
                closed(&headers(&[(header_names::STREAM_CLOSED, value)])).unwrap(),
                expected,
                "{value:?}"
            );
        }
    }

    #[test]
    fn a_stream_is_created_by_true_and_other_values_are_refused() {
        let create = |value| create(&headers(&[(header_names::STREAM_CREATE, value)]));
        assert!(create("true").unwrap() && create("TRUE").unwrap());
        assert!(!create("false").unwrap());
        assert!(!super::create(&HeaderMap::new()).unwrap());
        for bad in ["1", "yes", "", "true, true"] {
            assert!(create(bad).is_err(), "{bad:?}");
        }
    }
}
