//! The time in which a certificate is valid (RFC 5280 §4.1.2.5).

use std::{
    cmp::Ordering,
    fmt,
    time::{Duration, SystemTime},
};

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The certificate's version, which the first one omits.
const VERSION: u8 = 0xa0;

/// The times at which a certificate's validity begins and ends, in seconds after 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    not_before: u64,
    not_after: u64,
}

impl Validity {
    /// Reads the validity of a certificate in DER. Returns `None` if it isn't one.
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let (mut certificate, _) = value(certificate, SEQUENCE)?;
        let mut signed = take(&mut certificate, SEQUENCE)?;
        if signed.first() == Some(&VERSION) {
            take(&mut signed, VERSION)?;
        }
        const INTEGER: u8 = 0x02;
        // Serial number, signature's algorithm, issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            take(&mut signed, tag)?;
        }
        let mut validity = take(&mut signed, SEQUENCE)?;
        Some(Self {
            not_before: time(&mut validity)?,
            not_after: time(&mut validity)?,
        })
    }

    /// Returns `Less` before the validity, `Equal` within it, and `Greater` after it.
    pub(super) fn at(self, now: SystemTime) -> Ordering {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_secs());
        if now < self.not_before {
            Ordering::Less
        } else if now > self.not_after {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    }

    pub(super) fn not_before(self) -> impl fmt::Display {
        shown(self.not_before)
    }

    pub(super) fn not_after(self) -> impl fmt::Display {
        shown(self.not_after)
    }
}

/// Returns a time as in a `Date` header. Its years end at 9999, as those of certificates do.
fn shown(seconds: u64) -> impl fmt::Display {
    httpdate::HttpDate::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Returns the value with this tag at the start of `der`, and what follows.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, der) = der.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, der) = der.split_first()?;
    // The short form is the length, the long form the number of its bytes.
    let (length, der) = match first {
        0..=0x7f => (usize::from(first), der),
        0x81..=0x84 => {
            let (length, der) = der.split_at_checked(usize::from(first - 0x80))?;
            let length = length
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte));
            (length, der)
        }
        _ => return None,
    };
    der.split_at_checked(length)
}

fn take<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (value, rest) = value(der, tag)?;
    *der = rest;
    Some(value)
}

/// Reads a time, which ends in `Z` and has seconds (RFC 5280 §4.1.2.5.1).
fn time(der: &mut &[u8]) -> Option<u64> {
    let is_utc = der.first() == Some(&UTC_TIME);
    let tag = if is_utc { UTC_TIME } else { GENERALIZED_TIME };
    let text = std::str::from_utf8(take(der, tag)?).ok()?;
    let digits = text.strip_suffix('Z')?;
    let (year, rest) = digits.split_at_checked(if is_utc { 2 } else { 4 })?;
    if rest.len() != 10 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: u64 = year.parse().ok()?;
    // Two digits mean 1950 to 2049.
    let year = match is_utc {
        true if year >= 50 => 1900 + year,
        true => 2000 + year,
        false => year,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
    let (month, day, hour) = (part(0)?, part(2)?, part(4)?);
    let (minute, second) = (part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days(year, month, day)?;
    // A time before 1970 has passed in any case.
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Returns the days after 1970-01-01, or 0 before it.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years begin in March, so that the leap day is the last day.
    let year = if month <= 2 {
        year.checked_sub(1)?
    } else {
        year
    };
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    // From 0000-03-01.
    const EPOCH: u64 = 719_468;
    Some(days.saturating_sub(EPOCH))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(tag: u8, text: &str) -> Option<u64> {
        let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
        der.extend_from_slice(text.as_bytes());
        time(&mut &der[..])
    }

    #[test]
    fn times_of_both_forms_are_read() {
        assert_eq!(encoded(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(encoded(UTC_TIME, "240229123456Z"), Some(1_709_210_096));
        assert_eq!(encoded(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(encoded(UTC_TIME, "500101000000Z"), Some(0), "1950");
        let last = encoded(GENERALIZED_TIME, "99991231235959Z").unwrap();
        assert_eq!(last, 253_402_300_799);
        assert_eq!(shown(last).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
        for bad in [
            "",
            "Z",
            "7001010000Z",
            "700101000000",
            "7013010000000Z",
            "70010100000xZ",
        ] {
            assert_eq!(encoded(UTC_TIME, bad), None, "{bad}");
        }
    }

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let validity = Validity::of(certificate.der()).unwrap();
        assert_eq!(
            validity.not_before().to_string(),
            "Sat, 29 Feb 2020 00:00:00 GMT"
        );
        assert_eq!(
            validity.not_after().to_string(),
            "Sun, 01 Jan 2051 00:00:00 GMT"
        );
        let at = |seconds| validity.at(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(validity.not_before - 1), Ordering::Less);
        assert_eq!(at(validity.not_before), Ordering::Equal);
        assert_eq!(at(validity.not_after), Ordering::Equal);
        assert_eq!(at(validity.not_after + 1), Ordering::Greater);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, cut in 0_usize..600, flip in 0_usize..600) {
            let _ = Validity::of(&bytes);
            let certified = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
            let mut der = certified.cert.der().to_vec();
            if let Some(byte) = der.get_mut(flip) {
                *byte ^= 0x41;
            }
            der.truncate(cut);
            let _ = Validity::of(&der);
        }
    }
}
