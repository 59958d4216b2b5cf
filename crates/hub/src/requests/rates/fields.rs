//! The header fields and the problem of rates
//! ([draft-ietf-httpapi-ratelimit-headers-11](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/)).
//!
//! | field | sent |
//! |---|---|
//! | `RateLimit-Policy` (§3) | with each response of a limited sender. "The field value SHOULD remain consistent over a sequence of HTTP responses" |
//! | `RateLimit` (§4) | with each refusal, and for each quantity of which less than half of the burst is left. §6.2: "an implementer concerned with performance might provide `RateLimit` header fields only when a given quota is close to exhaustion" |
//! | `Retry-After` (RFC 9110 §10.2.3) | with each refusal. It equals the effective window `t`, as §6 requires that it is no earlier |
//!
//! The units that §3.1.2 defines are requests, content-bytes and concurrent-requests. The policy of streams that are
//! created counts the requests that create one. Messages have no unit, so neither field has them: their refusal has
//! `Retry-After` alone.

use std::{fmt::Write as _, time::Duration};

use headwater::{Problem, StatusCode};
use headwater_auth::{Rate, Rates};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{
    bucket::Spent,
    usage::{Excess, Quantity, Usage},
};
use crate::{error::Failure, limits::OPEN_RETRY};

pub(crate) const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(crate) const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The problem type of an exceeded quota (§5.1).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Returns the value of `RateLimit-Policy`. `None` if no quantity has a unit that is defined.
pub(super) fn policy(rates: &Rates) -> Option<HeaderValue> {
    let mut policies = Vec::new();
    let mut add = |quantity: Quantity, rate: Option<Rate>, unit: &str| {
        if let Some(rate) = rate {
            let (name, quota) = (quantity.name(), rate.max_burst());
            policies.push(format!("\"{name}\";q={quota}{unit};w={}", window(&rate)));
        }
    };
    add(Quantity::Requests, rates.requests, "");
    add(Quantity::Bytes, rates.bytes, ";qu=\"content-bytes\"");
    add(Quantity::Created, rates.created, "");
    if let Some(open) = rates.open {
        let name = Quantity::Open.name();
        policies.push(format!("\"{name}\";q={open};qu=\"concurrent-requests\""));
    }
    if policies.is_empty() {
        return None;
    }
    HeaderValue::try_from(policies.join(", ")).ok()
}

/// Returns the time in seconds in which the burst is refilled, rounded up.
fn window(rate: &Rate) -> u128 {
    let time = u128::from(rate.max_burst().get()) * u128::from(rate.period().as_secs());
    time.div_ceil(u128::from(rate.amount().get()))
}

/// Returns whole seconds that aren't shorter, and at least one.
fn seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
        .max(1)
}

/// Adds the fields to a response.
pub(super) fn note(headers: &mut HeaderMap, usage: &Usage) {
    if let Some(policy) = &usage.policy {
        headers.insert(RATELIMIT_POLICY, policy.clone());
    }
    if headers.contains_key(RATELIMIT) {
        // A refusal's, which is exact.
        return;
    }
    let mut text = String::new();
    let rates = usage.rates();
    for (quantity, rate) in [
        (Quantity::Requests, rates.requests),
        (Quantity::Bytes, rates.bytes),
        (Quantity::Created, rates.created),
    ] {
        let (Some(rate), Some(left)) = (rate, usage.left(quantity)) else {
            continue;
        };
        let (left, time) = match left {
            Ok(left) if left >= rate.max_burst().get().div_ceil(2) => continue,
            Ok(left) => (left, usage.refill(quantity, left)),
            Err(Spent(wait)) => (0, wait),
        };
        let comma = if text.is_empty() { "" } else { ", " };
        let (name, time) = (quantity.name(), seconds(time));
        let _ = write!(text, "{comma}\"{name}\";r={left};t={time}");
    }
    if let Ok(value) = HeaderValue::try_from(text)
        && !value.is_empty()
    {
        headers.insert(RATELIMIT, value);
    }
}

/// Returns a number of things of a name.
fn count(number: u32, name: &str) -> String {
    match number {
        1 => format!("1 {name}"),
        _ => format!("{number} {name}s"),
    }
}

/// Returns the response to a use that isn't allowed now.
pub(super) fn refusal(excess: Excess, usage: &Usage) -> Failure {
    let rates = usage.rates();
    let Excess { quantity, wait } = excess;
    let name = quantity.name();
    let time = seconds(wait.unwrap_or(OPEN_RETRY));
    let of = |rate: Option<Rate>, what: &str| match rate {
        Some(rate) => {
            let period = match rate.period().as_secs() {
                1 => "second",
                60 => "minute",
                _ => "hour",
            };
            let (amount, burst) = (rate.amount(), rate.max_burst());
            let amount = count(amount.get(), what);
            format!("at most {amount} a {period}, and {burst} at once")
        }
        None => String::new(),
    };
    let allowed = match quantity {
        Quantity::Requests => of(rates.requests, "request"),
        Quantity::Messages => of(rates.messages, "message"),
        Quantity::Bytes => of(rates.bytes, "byte"),
        Quantity::Created => of(rates.created, "new stream"),
        Quantity::Open => {
            let open = count(rates.open.unwrap_or(0), "live reader");
            format!("at most {open} at the same time")
        }
    };
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS)
        .type_uri(QUOTA_EXCEEDED)
        .title("Request cannot be satisfied as assigned quota has been exceeded")
        .detail(format!("this sender may have {allowed}: retry in {time} s"))
        .with("code", "rate_limited")
        .with("violated-policies", vec![name]);
    let item = match (quantity, wait) {
        (Quantity::Messages, _) => None,
        (_, Some(_)) => Some(format!("\"{name}\";r=0;t={time}")),
        (_, None) => Some(format!("\"{name}\";r=0")),
    };
    let fields = [
        (RATELIMIT, item.and_then(|item| item.try_into().ok())),
        (RATELIMIT_POLICY, usage.policy.clone()),
    ];
    let failure = Failure::from(problem).header(header::RETRY_AFTER, time.into());
    fields
        .into_iter()
        .fold(failure, |failure, field| match field {
            (name, Some(value)) => failure.header(name, value),
            (_, None) => failure,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
        let value = headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_policy_has_the_units_that_the_draft_defines() {
        let policy = |rates: &str| {
            let policy = policy(&rates.parse().unwrap());
            policy.map(|policy| policy.to_str().unwrap().to_owned())
        };
        assert_eq!(
            policy("requests=10:25,messages=1,bytes=1MiB,created=1,open=5").as_deref(),
            Some(
                "\"requests\";q=25;w=3, \"bytes\";q=1048576;qu=\"content-bytes\";w=1, \
                 \"created\";q=1;w=1, \"open\";q=5;qu=\"concurrent-requests\""
            )
        );
        assert_eq!(
            policy("requests=60/m:1").as_deref(),
            Some("\"requests\";q=1;w=1")
        );
        assert_eq!(policy("messages=10"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_reported_once_it_is_less_than_half() {
        let usage = Usage::new("requests=10,created=60/m:2".parse().unwrap());
        let mut reported = Vec::new();
        for _ in 0..=11 {
            let mut headers = HeaderMap::new();
            note(&mut headers, &usage);
            assert_eq!(
                text(&headers, &RATELIMIT_POLICY).as_deref(),
                Some("\"requests\";q=10;w=1, \"created\";q=2;w=2")
            );
            reported.push(text(&headers, &RATELIMIT));
            let _ = usage.take(Quantity::Requests, 1);
        }
        assert!(reported[..6].iter().all(Option::is_none), "{reported:?}");
        assert_eq!(reported[6].as_deref(), Some("\"requests\";r=4;t=1"));
        assert_eq!(reported[10].as_deref(), Some("\"requests\";r=0;t=1"));
        usage.owe(Quantity::Created, 5);
        let mut headers = HeaderMap::new();
        note(&mut headers, &usage);
        let both = "\"requests\";r=0;t=1, \"created\";r=0;t=4";
        assert_eq!(text(&headers, &RATELIMIT).as_deref(), Some(both));
    }

    #[tokio::test(start_paused = true)]
    async fn each_reported_limit_has_a_policy() {
        let rates = "requests=4,messages=4,bytes=16KiB,created=4,open=4";
        let usage = Usage::new(rates.parse().unwrap());
        let mut all = Vec::new();
        for quantity in [
            Quantity::Requests,
            Quantity::Messages,
            Quantity::Bytes,
            Quantity::Created,
            Quantity::Open,
        ] {
            let _ = usage.take(quantity, 16 << 10);
            let wait = (quantity != Quantity::Open).then_some(OPEN_RETRY);
            all.push(refusal(Excess { quantity, wait }, &usage).into_parts().1);
        }
        let mut noted = HeaderMap::new();
        note(&mut noted, &usage);
        assert_eq!(text(&noted, &RATELIMIT).unwrap().matches("r=0").count(), 3);
        all.push(noted);
        let names = |field: &str| -> Vec<String> {
            let items = field.split(", ");
            items
                .map(|item| item.split(';').next().unwrap().to_owned())
                .collect()
        };
        for headers in all {
            let policies = names(&text(&headers, &RATELIMIT_POLICY).unwrap());
            for name in names(&text(&headers, &RATELIMIT).unwrap_or_default()) {
                assert!(name.is_empty() || policies.contains(&name), "{headers:?}");
            }
        }
    }

    #[test]
    fn a_refusal_names_the_limit_and_the_time() {
        let usage = Usage::new("requests=90/m:5,open=3".parse().unwrap());
        let excess = Excess {
            quantity: Quantity::Requests,
            wait: Some(Duration::from_millis(1001)),
        };
        let (problem, headers) = refusal(excess, &usage).into_parts();
        assert_eq!(problem.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(text(&headers, &header::RETRY_AFTER).as_deref(), Some("2"));
        assert_eq!(
            text(&headers, &RATELIMIT).as_deref(),
            Some("\"requests\";r=0;t=2")
        );
        let problem = serde_json::to_value(&problem).unwrap();
        assert_eq!(problem["type"], QUOTA_EXCEEDED);
        assert_eq!(problem["violated-policies"][0], "requests");
        let detail =
            "this sender may have at most 90 requests a minute, and 5 at once: retry in 2 s";
        assert_eq!(problem["detail"], detail);

        let usage = Usage::new("requests=1,open=1".parse().unwrap());
        let excess = Excess {
            quantity: Quantity::Requests,
            wait: Some(Duration::from_secs(1)),
        };
        let (problem, _) = refusal(excess, &usage).into_parts();
        let problem = serde_json::to_value(&problem).unwrap();
        let detail = "this sender may have at most 1 request a second, and 1 at once: retry in 1 s";
        assert_eq!(problem["detail"], detail);

        let excess = Excess {
            quantity: Quantity::Open,
            wait: None,
        };
        let (problem, headers) = refusal(excess, &usage).into_parts();
        let problem = serde_json::to_value(&problem).unwrap();
        let detail = "this sender may have at most 1 live reader at the same time: retry in";
        assert!(
            problem["detail"].as_str().unwrap().starts_with(detail),
            "{problem}"
        );
        assert_eq!(text(&headers, &RATELIMIT).as_deref(), Some("\"open\";r=0"));
        let retry = OPEN_RETRY.as_secs().to_string();
        assert_eq!(text(&headers, &header::RETRY_AFTER), Some(retry));
    }
}
