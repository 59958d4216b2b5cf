//! Rates: how much a sender may use.
//!
//! ```text
//! requests=100,messages=1000:5000,bytes=1MiB,created=60/m,open=50
//! ```

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use headwater_wire::amount;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::limits::LEAST_BYTES_PER_SECOND;

/// A rate with a burst: an amount in a period, and the amount that may be used at once.
///
/// As text, it is the amount, `/s`, `/m` or `/h` for the period, and `:` with the burst:
/// `100`, `60/m`, `1000/s:5000`. The period is a second and the burst is the amount unless they are
/// given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    amount: NonZeroU32,
    period: Period,
    burst: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Period {
    const ALL: [(&'static str, Self); 3] =
        [("s", Self::Second), ("m", Self::Minute), ("h", Self::Hour)];

    fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

impl Rate {
    /// Returns a rate of `amount` a second, which may be used at once.
    #[must_use]
    pub fn per_second(amount: NonZeroU32) -> Self {
        Self::new(amount, Period::Second)
    }

    /// Returns a rate of `amount` a minute, which may be used at once.
    #[must_use]
    pub fn per_minute(amount: NonZeroU32) -> Self {
        Self::new(amount, Period::Minute)
    }

    /// Returns a rate of `amount` an hour, which may be used at once.
    #[must_use]
    pub fn per_hour(amount: NonZeroU32) -> Self {
        Self::new(amount, Period::Hour)
    }

    fn new(amount: NonZeroU32, period: Period) -> Self {
        Self {
            amount,
            period,
            burst: amount,
        }
    }

    /// Sets the amount that may be used at once after a pause.
    #[must_use]
    pub fn burst(mut self, burst: NonZeroU32) -> Self {
        self.burst = burst;
        self
    }

    /// Returns the amount of one [`period`](Self::period).
    #[must_use]
    pub fn amount(&self) -> NonZeroU32 {
        self.amount
    }

    /// Returns the period: a second, a minute or an hour.
    #[must_use]
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.period.seconds())
    }

    /// Returns the amount that may be used at once.
    #[must_use]
    pub fn max_burst(&self) -> NonZeroU32 {
        self.burst
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.amount)?;
        match self.period {
            Period::Second => {}
            Period::Minute => f.write_str("/m")?,
            Period::Hour => f.write_str("/h")?,
        }
        if self.burst != self.amount {
            write!(f, ":{}", self.burst)?;
        }
        Ok(())
    }
}

/// The rates of one sender. `None` is no limit, and so is each member of the default.
///
/// As text: `requests=100,messages=1000:5000,bytes=1MiB,created=60/m,open=50`. Amounts may have the
/// suffixes `KiB`, `MiB` and `GiB`. An empty text is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rates {
    /// Requests.
    pub requests: Option<Rate>,
    /// Messages that are published.
    pub messages: Option<Rate>,
    /// Bytes of request bodies. At least [`LEAST_BYTES_PER_SECOND`].
    pub bytes: Option<Rate>,
    /// Streams that are created.
    pub created: Option<Rate>,
    /// Number of live readers at the same time.
    pub open: Option<u32>,
}

impl Rates {
    /// Returns `true` if nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the rates with those of `other` where it has some.
    #[must_use]
    pub fn overridden_by(self, other: &Self) -> Self {
        Self {
            requests: other.requests.or(self.requests),
            messages: other.messages.or(self.messages),
            bytes: other.bytes.or(self.bytes),
            created: other.created.or(self.created),
            open: other.open.or(self.open),
        }
    }
}

/// The fault of a text that isn't [`Rates`]. It names the part and shows the form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RatesError(String);

impl FromStr for Rates {
    type Err = RatesError;

    fn from_str(text: &str) -> Result<Self, RatesError> {
        let mut rates = Self::default();
        let parts = text.split(',').map(str::trim);
        for part in parts.filter(|part| !part.is_empty()) {
            let fault = |why: &str| RatesError(format!("{part:?}: {why}"));
            let (name, value) = part.split_once('=').ok_or_else(|| {
                fault("a limit is a name, `=` and a rate, like `requests=100` or `created=60/m:10`")
            })?;
            let (name, value) = (name.trim(), value.trim());
            let is_repeated = match name {
                "requests" => rates
                    .requests
                    .replace(rate(value).map_err(|why| fault(&why))?)
                    .is_some(),
                "messages" => rates
                    .messages
                    .replace(rate(value).map_err(|why| fault(&why))?)
                    .is_some(),
                "bytes" => {
                    let rate = rate(value).map_err(|why| fault(&why))?;
                    let least = LEAST_BYTES_PER_SECOND * rate.period.seconds();
                    if u64::from(rate.amount.get()) < least {
                        return Err(fault(&format!(
                            "a rate of bytes is at least {LEAST_BYTES_PER_SECOND} a second"
                        )));
                    }
                    rates.bytes.replace(rate).is_some()
                }
                "created" => rates
                    .created
                    .replace(rate(value).map_err(|why| fault(&why))?)
                    .is_some(),
                "open" => {
                    let open = value.parse().map_err(|_| {
                        fault(
                            "`open` is the number of live readers at the same time, like `open=50`",
                        )
                    })?;
                    rates.open.replace(open).is_some()
                }
                _ => {
                    return Err(fault(
                        "the names are `requests`, `messages`, `bytes`, `created` and `open`",
                    ));
                }
            };
            if is_repeated {
                return Err(fault("it is given twice"));
            }
        }
        Ok(rates)
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    let (rate, burst) = match text.split_once(':') {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (text, None),
    };
    let (number, period) = match rate.split_once('/') {
        Some((number, unit)) => {
            let found = Period::ALL
                .into_iter()
                .find(|(name, _)| *name == unit.trim());
            let (_, period) = found.ok_or("the period is `/s`, `/m` or `/h`")?;
            (number, period)
        }
        None => (rate, Period::Second),
    };
    let rate = Rate::new(amount(number)?, period);
    Ok(match burst {
        Some(burst) => rate.burst(amount(burst)?),
        None => rate,
    })
}

fn amount(text: &str) -> Result<NonZeroU32, String> {
    let amount = amount::parse(text.trim()).and_then(|amount| amount.try_into().ok());
    amount.and_then(NonZeroU32::new).ok_or_else(|| {
        format!(
            "an amount is a whole number from 1 to {}, like `100` or `1MiB`",
            u32::MAX
        )
    })
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = [
            ("requests", self.requests),
            ("messages", self.messages),
            ("bytes", self.bytes),
            ("created", self.created),
        ];
        let mut comma = "";
        for (name, rate) in rates {
            if let Some(rate) = rate {
                write!(f, "{comma}{name}={rate}")?;
                comma = ",";
            }
        }
        match self.open {
            Some(open) => write!(f, "{comma}open={open}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Rates, String> {
        text.parse().map_err(|error: RatesError| error.to_string())
    }

    #[test]
    fn rates_are_written_as_they_are_read() {
        for text in [
            "",
            "requests=100",
            "requests=100:1",
            "messages=60/m,open=0",
            "requests=1,messages=2,bytes=1048576:2097152,created=10/h:3,open=50",
        ] {
            assert_eq!(parsed(text).unwrap().to_string(), text);
        }
        let rates = parsed(" bytes = 1MiB/s : 2MiB , created = 5 / m ,").unwrap();
        assert_eq!(rates.to_string(), "bytes=1048576:2097152,created=5/m");
        assert_eq!(rates.bytes.unwrap().period(), Duration::from_secs(1));
        assert_eq!(rates.created.unwrap().period(), Duration::from_secs(60));
        assert!(parsed("").unwrap().is_unlimited());
    }

    #[test]
    fn a_wrong_text_is_explained() {
        for (text, expected) in [
            ("100", "a limit is a name"),
            ("speed=1", "the names are"),
            ("requests=0", "from 1 to 4294967295"),
            ("requests=-1", "a whole number"),
            ("requests=+1", "a whole number"),
            ("requests=1.5", "a whole number"),
            ("requests=4294967296", "a whole number"),
            ("bytes=4GiB", "a whole number"),
            ("requests=1/d", "`/s`, `/m` or `/h`"),
            ("requests=1:0", "from 1 to"),
            ("requests=1,requests=2", "twice"),
            ("open=many", "the number of live readers"),
            ("bytes=16383", "at least 16384 a second"),
            ("bytes=983039/m", "at least 16384 a second"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(
                error.contains(text.split(',').next_back().unwrap()),
                "{error}"
            );
        }
        assert!(parsed("bytes=16384,open=4294967295").is_ok());
        assert!(parsed("bytes=983040/m").is_ok());
        assert!(parsed("requests=4294967295").is_ok());
    }

    #[test]
    fn a_sender_has_its_own_rates_where_it_has_some() {
        let all = parsed("requests=1,bytes=1MiB,open=5").unwrap();
        let own = parsed("requests=9,created=2").unwrap();
        let both = all.overridden_by(&own);
        assert_eq!(
            both.to_string(),
            "requests=9,bytes=1048576,created=2,open=5"
        );
    }
}
