//! The list of calls, parsed from a request's body as it arrives.

use axum::body::Body;
use bytes::Bytes;
use futures_core::Stream;
use headwater::{Problem, StatusCode};
use headwater_client::{egress::retain_end_to_end, gather::Call};
use headwater_wire::{Decoder, Format, json, ndjson::Splitter};
use http::{HeaderMap, Method, header};
use tokio::time::timeout;

use super::run::Run;
use crate::{
    error::Failure,
    limits::{BODY_PATIENCE, JSON_DEPTH, Limits},
    protocol::{headers, media_type::essence},
    requests::{body, lines::next_line},
};

/// The format of a list of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListFormat {
    Array,
    Lines,
}

impl ListFormat {
    /// Returns the format for the content type of a request.
    ///
    /// # Errors
    /// 415: the body has another type.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let content_type = headers::text(headers, &header::CONTENT_TYPE)?.unwrap_or_default();
        let essence = essence(content_type);
        match &*essence {
            "application/json" => Ok(Self::Array),
            "application/x-ndjson" | "application/jsonl" => Ok(Self::Lines),
            _ => Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the calls are an array of application/json, or lines of application/x-ndjson",
            )),
        }
    }
}

/// A call of a list, or the reason for which the entry isn't one.
pub(super) type Listed = Result<Call, BadCall>;

/// An entry of a list that isn't a call.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadCall(String);

/// Reads a list of calls.
pub(super) struct Calls {
    body: Body,
    cutter: Cutter,
    ended: bool,
    /// Number of calls so far. `bytes` is the number of bytes of the body so far.
    calls: usize,
    bytes: usize,
    most_calls: usize,
    most_bytes: usize,
}

/// Splits a list into calls.
enum Cutter {
    Array(Box<Decoder>),
    /// With the maximum size of a line.
    Lines(Box<Splitter>, usize),
}

impl Calls {
    pub(super) fn new(format: ListFormat, body: Body, limits: &Limits) -> Self {
        let item = headwater_wire::Limits::default()
            .with_max_item_bytes(limits.line_bytes)
            .with_max_depth(JSON_DEPTH);
        let cutter = match format {
            ListFormat::Array => Cutter::Array(Box::new(Decoder::new(Format::JsonArray, item))),
            ListFormat::Lines => Cutter::Lines(Box::new(Splitter::new(item)), limits.line_bytes),
        };
        Self {
            body,
            cutter,
            ended: false,
            calls: 0,
            bytes: 0,
            most_calls: limits.gather_calls,
            most_bytes: limits.body_bytes,
        }
    }

    /// Returns the calls for a run. An error that ends the list early is reported to the run.
    pub(super) fn into_stream(self, run: &Run) -> impl Stream<Item = Listed> + Send + 'static {
        let told = run.told();
        futures_util::stream::unfold((self, told), async |(mut calls, told)| {
            match calls.next(|bytes| told.hold(bytes)).await {
                Ok(call) => call.map(|call| (call, (calls, told))),
                Err(failure) => {
                    told.fail(failure);
                    None
                }
            }
        })
    }

    /// Returns all calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub(super) async fn all(mut self) -> Result<Vec<Listed>, Failure> {
        let mut all = Vec::new();
        while let Some(call) = self.next(|_| Ok(())).await? {
            all.push(call);
        }
        Ok(all)
    }

    /// Returns the next call, or `None` at the end. `hold` is called with the size of each chunk of
    /// the body.
    ///
    /// # Errors
    /// The rest of the list can't be read: it isn't a list, it exceeds a limit, or the body ended
    /// early.
    async fn next(
        &mut self,
        hold: impl Fn(usize) -> Result<(), Failure>,
    ) -> Result<Option<Listed>, Failure> {
        loop {
            if let Some(call) = self.cutter.next()? {
                self.calls += 1;
                if self.calls > self.most_calls {
                    let most = self.most_calls;
                    let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
                        .detail(format!("one request has at most {most} calls"));
                    return Err(problem.with("limit", most).into());
                }
                return Ok(Some(call));
            }
            if self.ended {
                return Ok(None);
            }
            let late = || Failure::new(StatusCode::REQUEST_TIMEOUT, "the body stopped arriving");
            let piece = timeout(BODY_PATIENCE, body::next(&mut self.body))
                .await
                .map_err(|_| late())??;
            let Some(piece) = piece else {
                self.ended = true;
                self.cutter.finish();
                continue;
            };
            self.bytes += piece.len();
            if self.bytes > self.most_bytes {
                return Err(Failure::too_large("the body", self.most_bytes));
            }
            hold(piece.len())?;
            self.cutter.push(piece);
        }
    }
}

impl Cutter {
    fn push(&mut self, piece: Bytes) {
        match self {
            Self::Array(decoder) => decoder.push(piece),
            Self::Lines(lines, _) => lines.push(piece),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Array(decoder) => decoder.finish(),
            Self::Lines(lines, _) => lines.finish(),
        }
    }

    /// Returns the next call that is complete.
    fn next(&mut self) -> Result<Option<Listed>, Failure> {
        match self {
            Self::Array(decoder) => {
                let element = decoder.next().map_err(|error| {
                    let status = match error.is_too_large() {
                        true => StatusCode::PAYLOAD_TOO_LARGE,
                        false => StatusCode::BAD_REQUEST,
                    };
                    Failure::new(
                        status,
                        format!("the list of calls is not a JSON array: {error}"),
                    )
                })?;
                let Some(element) = element else {
                    return Ok(None);
                };
                let call = serde_json::from_str(&element.data);
                // The result has the call's number.
                Ok(Some(
                    call.map_err(|error| bad("", &json::message_of(&error)))
                        .and_then(|call| passed_on("", call)),
                ))
            }
            Self::Lines(lines, limit) => {
                let Some((number, line)) = next_line(lines, *limit) else {
                    return Ok(None);
                };
                let line = line.map_err(|failure| failure.with("line", number))?;
                let place = format!("line {number}: ");
                let call = match std::str::from_utf8(&line) {
                    Ok(line) => line
                        .parse()
                        .map_err(|error: headwater_client::Error| bad(&place, &error.to_string())),
                    Err(_) => Err(BadCall(format!("{place}not UTF-8"))),
                };
                Ok(Some(call.and_then(|call| passed_on(&place, call))))
            }
        }
    }
}

/// The methods of calls. All of them request the resource that the URL names, so that the egress
/// rules apply.
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Checks a call's method, and removes the headers about the client's own connection.
fn passed_on(place: &str, mut call: Call) -> Listed {
    if !METHODS.contains(call.method()) {
        let known = METHODS.map(|method| method.to_string()).join(", ");
        return Err(BadCall(format!("{place}`method` is one of {known}")));
    }
    retain_end_to_end(call.headers_mut());
    Ok(call)
}

/// Describes an invalid call without the contents of its strings, which may be secret.
fn bad(place: &str, text: &str) -> BadCall {
    let found = text
        .find("string \"")
        .zip(text.rfind("\", expected"))
        .filter(|(start, end)| start < end);
    let text = match found {
        Some((start, end)) => format!("{}a string{}", &text[..start], &text[end + 1..]),
        None => text.to_owned(),
    };
    BadCall(format!("{place}{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(
        format: ListFormat,
        limits: &Limits,
        body: &str,
    ) -> (Vec<String>, Option<Problem>) {
        let mut shown = Vec::new();
        let mut calls = Calls::new(format, Body::from(body.to_owned()), limits);
        loop {
            match calls.next(|_| Ok(())).await {
                Ok(Some(Ok(call))) => shown.push(call.url().to_owned()),
                Ok(Some(Err(bad))) => shown.push(bad.to_string()),
                Ok(None) => return (shown, None),
                Err(failure) => return (shown, Some(failure.into_problem())),
            }
        }
    }

    #[tokio::test]
    async fn a_list_is_an_array_or_lines_and_bad_entries_are_reported() {
        let limits = Limits::default();
        let (array, failed) = read(
            ListFormat::Array,
            &limits,
            r#"[{"url":"http://a/"}, {"ulr":1}, {"url":"http://b/","headers":"Bearer \"secret\""}, 7, "http://c/"]"#,
        )
        .await;
        assert!(failed.is_none());
        assert_eq!(array[0], "http://a/");
        assert!(array[1].starts_with("unknown field `ulr`"), "{array:?}");
        assert!(
            array[2].starts_with("invalid type: a string, expected"),
            "{array:?}"
        );
        assert!(array[3].starts_with("invalid type: "), "{array:?}");
        assert!(
            !array.iter().any(|text| text.contains(" at line ")),
            "{array:?}"
        );
        assert_eq!(array[4], "http://c/");
        let (lines, failed) = read(
            ListFormat::Lines,
            &limits,
            "http://a/\n\n{\"url\":\"http://b/\"}\r\n{oops\n{\"url\":\"http://c/\"}",
        )
        .await;
        assert!(failed.is_none());
        assert_eq!(
            (&*lines[0], &*lines[1], &*lines[3]),
            ("http://a/", "http://b/", "http://c/")
        );
        assert!(lines[2].starts_with("line 4: "), "{lines:?}");
    }

    #[tokio::test]
    async fn a_call_has_a_supported_method() {
        let list = r#"[{"url":"http://a/","method":"CONNECT"},{"url":"http://b/","method":"trace"},
            {"url":"http://c/","method":"PURGE"},{"url":"http://d/","method":"delete"}]"#;
        let (calls, failed) = read(ListFormat::Array, &Limits::default(), list).await;
        assert!(failed.is_none());
        for call in &calls[..3] {
            let is_told = call.starts_with("`method` is one of ") && call.contains("PATCH");
            assert!(is_told, "{call}");
        }
        assert_eq!(calls[3], "http://d/");
    }

    #[tokio::test]
    async fn the_calls_and_bytes_of_a_list_are_limited() {
        let mut limits = Limits {
            gather_calls: 2,
            ..Limits::default()
        };
        let two = "http://a/\nhttp://b/\n";
        assert!(read(ListFormat::Lines, &limits, two).await.1.is_none());
        let (first, failed) = read(
            ListFormat::Lines,
            &limits,
            "http://a/\nhttp://b/\nhttp://c/",
        )
        .await;
        assert_eq!(first.len(), 2);
        assert_eq!(failed.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
        limits.body_bytes = two.len();
        assert!(read(ListFormat::Lines, &limits, two).await.1.is_none());
        limits.body_bytes -= 1;
        let (_, failed) = read(ListFormat::Lines, &limits, two).await;
        assert_eq!(failed.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn a_broken_array_is_refused_after_the_calls_before_it() {
        for (body, calls) in [
            ("{}", 0),
            ("", 0),
            (r#"[{"url":"http://a/"}"#, 1),
            ("[}", 0),
        ] {
            let (read, failed) = read(ListFormat::Array, &Limits::default(), body).await;
            assert_eq!(read.len(), calls, "{body}");
            assert_eq!(failed.unwrap().status(), StatusCode::BAD_REQUEST, "{body}");
        }
    }
}
