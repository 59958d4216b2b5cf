//! The interpretation of the response to an append. Pure.

use std::time::Duration;

use http::StatusCode;

use super::super::{Offset, call::Reply, closed, names, number};
use crate::error::{Error, Kind};

/// The append that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    /// `true` for the first append of a writer that takes over its producer id, while no attempt
    /// can have been stored yet.
    pub(super) claims: bool,
}

/// The action that a response calls for.
#[derive(Debug)]
pub(super) enum Verdict {
    Stored(Stored),
    /// Retry with a later epoch than this.
    Claim {
        current: u64,
    },
    /// An earlier append hasn't arrived yet.
    Early {
        expected: u64,
    },
    /// Send it again, after this delay at the earliest.
    Retry {
        after: Option<Duration>,
        error: Error,
    },
    Fail(Error),
}

/// The append is stored.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) next: Option<Offset>,
}

pub(super) fn judge(reply: &Reply, sent: Sent) -> Verdict {
    let headers = &reply.headers;
    let status = reply.status;
    if status.is_success() {
        // A server that doesn't echo the epoch has ignored the producer's headers, and can't
        // deduplicate.
        if number(headers, names::PRODUCER_EPOCH) != Some(sent.epoch) {
            return Verdict::Fail(Error::new(Kind::NoHub));
        }
        return Verdict::Stored(Stored {
            next: reply.offset(),
        });
    }
    match status {
        StatusCode::FORBIDDEN => match number(headers, names::PRODUCER_EPOCH) {
            Some(current) if sent.claims => Verdict::Claim { current },
            Some(current) => {
                let current = Some(current);
                Verdict::Fail(Error::new(Kind::Fenced { current }))
            }
            None => Verdict::Fail(reply.error()),
        },
        StatusCode::CONFLICT if closed(headers) => Verdict::Fail(Error::new(Kind::StreamClosed)),
        // The producer has published other messages than this append continues: another writer
        // publishes.
        StatusCode::CONFLICT if number(headers, names::PRODUCER_MESSAGES).is_some() => {
            let current = number(headers, names::PRODUCER_EPOCH);
            Verdict::Fail(Error::new(Kind::Fenced { current }))
        }
        StatusCode::CONFLICT => match number(headers, names::EXPECTED_SEQ) {
            Some(expected) if expected < sent.seq => Verdict::Early { expected },
            // Another append has this sequence in this epoch.
            Some(expected) if expected > sent.seq && sent.claims => Verdict::Claim {
                current: sent.epoch,
            },
            Some(expected) if expected > sent.seq => Verdict::Fail(Error::new(Kind::Reused)),
            _ => Verdict::Fail(reply.error()),
        },
        status if is_passing(status) => Verdict::Retry {
            after: reply.retry_after(),
            error: reply.error(),
        },
        _ => Verdict::Fail(reply.error()),
    }
}

/// Returns `true` if the same request may succeed later.
fn is_passing(status: StatusCode) -> bool {
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => false,
        status => status.is_server_error(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, headers: &[(&'static str, &'static str)], claims: bool) -> String {
        let sent = Sent {
            epoch: 7,
            seq: 3,
            claims,
        };
        match judge(&Reply::of(status, headers), sent) {
            Verdict::Stored(_) => "stored".to_owned(),
            Verdict::Claim { current } => format!("claim {current}"),
            Verdict::Early { expected } => format!("early {expected}"),
            Verdict::Retry { after, .. } => format!("retry {after:?}"),
            Verdict::Fail(error) if error.is_stream_closed() => "closed".to_owned(),
            Verdict::Fail(error) if error.is_fenced() => "fenced".to_owned(),
            Verdict::Fail(error) => format!("fail {:?}", error.status().map(|s| s.as_u16())),
        }
    }

    #[test]
    fn every_response_has_one_verdict() {
        let epoch = ("producer-epoch", "7");
        let seq = ("producer-seq", "5");
        for (status, headers, expected) in [
            (200, &[epoch][..], "stored"),
            (204, &[epoch, seq][..], "stored"),
            (200, &[][..], "fail None"),
            (200, &[("producer-epoch", "8")][..], "fail None"),
            (403, &[("producer-epoch", "9")][..], "fenced"),
            (403, &[][..], "fail Some(403)"),
            (409, &[("stream-closed", "true")][..], "closed"),
            (409, &[("producer-expected-seq", "1")][..], "early 1"),
            (409, &[("producer-expected-seq", "4")][..], "fenced"),
            (409, &[("producer-expected-seq", "3")][..], "fail Some(409)"),
            (409, &[("producer-messages", "4")][..], "fenced"),
            (
                409,
                &[("producer-messages", "4"), ("producer-epoch", "9")][..],
                "fenced",
            ),
            (409, &[][..], "fail Some(409)"),
            (429, &[("retry-after", "2")][..], "retry Some(2s)"),
            (503, &[][..], "retry None"),
            (507, &[][..], "retry None"),
            (501, &[][..], "fail Some(501)"),
            (400, &[][..], "fail Some(400)"),
            (404, &[][..], "fail Some(404)"),
            (413, &[][..], "fail Some(413)"),
        ] {
            assert_eq!(
                verdict(status, headers, false),
                expected,
                "{status} {headers:?}"
            );
        }
    }

    #[test]
    fn only_the_first_append_of_a_writer_that_takes_over_claims_a_later_epoch() {
        let headers = [("producer-epoch", "9")];
        assert_eq!(verdict(403, &headers, true), "claim 9");
        assert_eq!(verdict(403, &headers, false), "fenced");
        // Another append was the first of this epoch.
        let headers = [("producer-expected-seq", "4")];
        assert_eq!(verdict(409, &headers, true), "claim 7");
    }
}
