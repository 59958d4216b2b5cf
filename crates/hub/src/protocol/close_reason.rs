//! Close reasons: the problem with which a stream was closed.
//!
//! `Stream-Error` contains it as JSON. Anything but visible ASCII, and `%`, is percent-encoded.

use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_log::{Info, limits::REASON_BYTES};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::{header_names, headers};
use crate::limits::ERROR_HEADER_BYTES;

const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Returns the problem with which a stream was closed, if any.
pub(crate) fn of(info: &Info) -> Option<Problem> {
    let reason = info.reason.as_ref()?;
    // An invalid reason, from any writer of the log, is still not a regular end.
    let problem = serde_json::from_slice(reason);
    let problem = problem.unwrap_or_else(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR));
    Some(problem.permanent())
}

/// Encodes a problem as a close reason of the log: complete if it fits, otherwise only its status.
pub(crate) fn written(problem: &Problem) -> Bytes {
    let mut text = json(problem);
    if text.len() > REASON_BYTES {
        text = json(&Problem::new(problem.status()));
    }
    text.into()
}

fn json(problem: &Problem) -> String {
    // Strings, numbers and JSON values under string keys can always be serialised.
    serde_json::to_string(problem).unwrap_or_default()
}

/// Adds `Stream-Error` to the headers if the stream was closed with a problem.
pub(crate) fn note(headers: &mut HeaderMap, info: &Info) {
    let Some(problem) = of(info) else {
        return;
    };
    let encode = |problem: &Problem| utf8_percent_encode(&json(problem), ENCODED).to_string();
    let mut value = encode(&problem);
    if value.len() > ERROR_HEADER_BYTES {
        value = encode(&Problem::new(problem.status()));
    }
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(header_names::STREAM_ERROR, value);
    }
}

/// Returns the close reason in a request.
///
/// # Errors
/// It is not a problem or too long, or the request doesn't close the stream.
pub(crate) fn given(sent: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let Some(text) = headers::text(sent, &header_names::STREAM_ERROR)? else {
        return Ok(None);
    };
    if !headers::closed(sent)? {
        let detail = "Stream-Error is the reason of a close: it needs Stream-Closed: true";
        return Err(Problem::bad_request(detail));
    }
    let text = percent_decode_str(text).decode_utf8();
    let problem = text
        .ok()
        .and_then(|text| serde_json::from_str::<Problem>(&text).ok());
    let Some(problem) = problem else {
        let detail = "Stream-Error is a problem as JSON, like {\"status\":502,\"detail\":\"why\"}; percent-encoded \
                      where it isn't visible ASCII";
        return Err(Problem::bad_request(detail));
    };
    let text = json(&problem);
    if text.len() > REASON_BYTES {
        let detail = format!("Stream-Error is over the limit of {REASON_BYTES} bytes");
        return Err(Problem::bad_request(detail).with("limit", REASON_BYTES));
    }
    Ok(Some(text.into()))
}
