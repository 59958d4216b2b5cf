//! The response to a request whose head can't be parsed.
//!
//! hyper answers it with a status and an empty body. `Io` withholds that response, and a problem
//! that explains the fault is written instead.

use std::time::SystemTime;

use axum::response::IntoResponse as _;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Duration, timeout},
};

use super::stream::Stream;
use crate::Problem;

/// Time limit for writing the refusal.
const PATIENCE: Duration = Duration::from_secs(5);

/// hyper's own limit on the number of header fields.
const MAX_HEADERS: usize = 100;

/// Overhead of a field in addition to its name and value (RFC 9113 §6.5.2).
const FIELD_OVERHEAD: usize = 32;

/// Finds the start of hyper's own response at the end of `bytes`: an error without a body and
/// without headers that an app would set. Returns `None` if there is none.
pub(super) fn find(bytes: &[u8]) -> Option<(usize, StatusCode)> {
    const START: &[u8] = b"HTTP/1.1 4";
    // All of hyper's headers together are shorter.
    const LONGEST: usize = 256;
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let tail = &bytes[bytes.len().saturating_sub(LONGEST)..];
    // This is called for every write. A capital H is rare in a head.
    let begin = memchr::memrchr_iter(START[0], tail).find(|at| tail[*at..].starts_with(START))?;
    let text = std::str::from_utf8(&tail[begin..]).ok()?;
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let status = lines.next()?.get(9..12)?.parse().ok()?;
    let is_bare = lines.clone().any(|line| line == "content-length: 0")
        && lines.all(|line| {
            let (name, _) = line.split_once(": ").unwrap_or_default();
            matches!(name, "connection" | "content-length" | "date")
        });
    is_bare.then_some((bytes.len() - tail.len() + begin, status))
}

/// Describes the fault of a head that hyper refuses with `status`.
fn problem(status: StatusCode, error: &hyper::Error, max_head_bytes: u32) -> Problem {
    let problem = Problem::new(status);
    match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => too_large(max_head_bytes),
        StatusCode::URI_TOO_LONG => problem.detail("the request's target is too long"),
        _ => {
            // "invalid HTTP method parsed"
            let what = error.to_string().replace(" parsed", "");
            problem.detail(format!("the request can't be read: {what}"))
        }
    }
}

fn too_large(max_head_bytes: u32) -> Problem {
    Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        .detail(format!(
            "the request's line and headers may have {max_head_bytes} bytes together, and no more than {MAX_HEADERS} headers"
        ))
        .with("limit", max_head_bytes)
}

/// Checks the size of an HTTP/2 request's head, computed as HTTP/2 defines it.
///
/// # Errors
/// 431: the head is too large.
pub(super) fn check_size(
    uri: &Uri,
    headers: &HeaderMap,
    max_head_bytes: u32,
) -> Result<(), Problem> {
    let target = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len())
        + uri
            .path_and_query()
            .map_or(0, |target| target.as_str().len());
    let fields = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
    let size = target + fields.sum::<usize>();
    if size > max_head_bytes as usize || headers.len() > MAX_HEADERS {
        return Err(too_large(max_head_bytes));
    }
    Ok(())
}

/// Writes the response to a request that hyper refuses with `status` because of `error`.
pub(super) async fn write(
    stream: &mut Stream,
    status: StatusCode,
    error: &hyper::Error,
    max_head_bytes: u32,
) {
    let (parts, body) = problem(status, error, max_head_bytes)
        .into_response()
        .into_parts();
    let Ok(body) = body.collect().await else {
        return;
    };
    let body = body.to_bytes();
    let reason = status.canonical_reason().unwrap_or_default();
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut response = format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).into_bytes();
    for (name, value) in &parts.headers {
        response.extend_from_slice(name.as_str().as_bytes());
        response.extend_from_slice(b": ");
        response.extend_from_slice(value.as_bytes());
        response.extend_from_slice(b"\r\n");
    }
    let length = body.len();
    let rest = format!("content-length: {length}\r\nconnection: close\r\ndate: {date}\r\n\r\n");
    response.extend_from_slice(rest.as_bytes());
    response.extend_from_slice(&body);
    // A client that doesn't read it in time doesn't receive it.
    let _ = timeout(PATIENCE, stream.write_all(&response)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hypers_own_refusals_are_recognised() {
        let bare =
            "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        let found =
            |text: &str| find(text.as_bytes()).map(|(begin, status)| (begin, status.as_u16()));
        assert_eq!(found(bare), Some((0, 400)));
        assert_eq!(found(&format!("hello{bare}")), Some((5, 400)));
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n",
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 4\r\n\r\n",
            "hello",
            "",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
    }
}
