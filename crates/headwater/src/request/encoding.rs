//! Compressed request bodies, decoded while they are read (RFC 9110 §8.4).

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt as _, stream::MapErr};
use headwater_wire::causes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body::{Body as _, Frame};
use tokio::io::AsyncBufRead;
use tokio_util::io::{StreamReader, poll_read_buf};

use crate::Problem;

/// The supported codings, as the value of `Accept-Encoding`.
pub(super) const SUPPORTED: &str = "gzip, deflate";

/// Maximum size of a decoded chunk, in bytes, independent of the compression ratio.
const CHUNK: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    /// With zlib's header and checksum, as HTTP defines the name.
    Deflate,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }
}

/// Replaces a request's body by its decoded form and removes `Content-Encoding`. Limits that
/// readers apply count decoded bytes.
///
/// # Errors
/// 415: the body's coding is unknown, or there are several.
pub(super) fn decode(request: &mut Request<Body>) -> Result<(), Problem> {
    if !request.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(());
    }
    // An empty body needs no decoding.
    let coding = match request.body().is_end_stream() {
        true => None,
        false => coding(request.headers())?,
    };
    request.headers_mut().remove(header::CONTENT_ENCODING);
    if let Some(coding) = coding {
        request.headers_mut().remove(header::CONTENT_LENGTH);
        let body = std::mem::take(request.body_mut());
        *request.body_mut() = Body::new(Decoded::new(coding, body));
    }
    Ok(())
}

/// Refuses transfer codings but `chunked`, which the server has removed. What is left of a body with another one
/// is still encoded.
///
/// # Errors
/// 501: "A server that receives a request message with a transfer coding it does not understand SHOULD
/// respond with 501 (Not Implemented)" (RFC 9112 §6.1).
pub(super) fn check_transfer(headers: &HeaderMap) -> Result<(), Problem> {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if values.all(is_chunked) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::NOT_IMPLEMENTED).detail(format!(
        "Transfer-Encoding is only `chunked` here; compress the content itself, with Content-Encoding: {SUPPORTED}"
    )))
}

fn coding(headers: &HeaderMap) -> Result<Option<Coding>, Problem> {
    let mut found = None;
    for value in headers.get_all(header::CONTENT_ENCODING) {
        for name in value.to_str().unwrap_or("\u{fffd}").split(',') {
            let name = name.trim().to_ascii_lowercase();
            let coding = match &*name {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                _ => {
                    return Err(unsupported(&format!(
                        "the coding {name:?} is not supported"
                    )));
                }
            };
            if found.replace(coding).is_some() {
                return Err(unsupported("the body is encoded more than once"));
            }
        }
    }
    Ok(found)
}

fn unsupported(what: &str) -> Problem {
    let detail = format!("{what}; Content-Encoding is one of {SUPPORTED}, or left out");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .detail(detail)
        .with("encodings", SUPPORTED.split(", ").collect::<Vec<_>>())
}

type IntoIo = fn(axum::Error) -> io::Error;
type Reader = StreamReader<MapErr<BodyDataStream, IntoIo>, Bytes>;

/// A decoded body.
struct Decoded {
    coding: Coding,
    decoder: Decoder,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Everything is decoded. More input is an error.
    Ended,
    Over,
}

enum Decoder {
    Gzip(GzipDecoder<Reader>),
    Deflate(ZlibDecoder<Reader>),
}

impl Decoded {
    fn new(coding: Coding, body: Body) -> Self {
        // Its errors are axum's, in I/O errors.
        let pieces = body.into_data_stream().map_err(io::Error::other as IntoIo);
        let reader = StreamReader::new(pieces);
        let decoder = match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(reader);
                // Concatenated members form one body (RFC 1952 §2.2).
                decoder.multiple_members(true);
                Decoder::Gzip(decoder)
            }
            Coding::Deflate => Decoder::Deflate(ZlibDecoder::new(reader)),
        };
        Self {
            coding,
            decoder,
            state: State::Open,
        }
    }

    fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.state == State::Open {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let read = match &mut self.decoder {
                Decoder::Gzip(decoder) => poll_read_buf(Pin::new(decoder), cx, &mut chunk),
                Decoder::Deflate(decoder) => poll_read_buf(Pin::new(decoder), cx, &mut chunk),
            };
            if ready!(read)? > 0 {
                return Poll::Ready(Ok(Some(chunk.freeze())));
            }
            self.state = State::Ended;
        }
        let rest = match &mut self.decoder {
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
        };
        match ready!(Pin::new(rest).poll_fill_buf(cx))? {
            [] => Poll::Ready(Ok(None)),
            _ => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "something follows its end",
            ))),
        }
    }
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.state == State::Over {
            return Poll::Ready(None);
        }
        let error = match ready!(self.poll_decode(cx)) {
            Ok(Some(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Ok(None) => {
                self.state = State::Over;
                return Poll::Ready(None);
            }
            Err(error) => error,
        };
        self.state = State::Over;
        let coding = self.coding.name();
        // Errors of the underlying body are passed on unchanged.
        let error = match error.downcast::<axum::Error>() {
            Ok(broken) => broken.into(),
            Err(error) => Undecodable { coding, error }.into(),
        };
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Over
    }
}

/// The error of a request's body that isn't valid in its `Content-Encoding`. Bodies read behind
/// [`layer`](crate::layer) or [`serve`](crate::serve) return it.
#[derive(Debug, thiserror::Error)]
#[error("the body is {}", fault(coding, error))]
pub struct Undecodable {
    coding: &'static str,
    #[source]
    error: io::Error,
}

impl Undecodable {
    /// Returns the `Undecodable` among a body's error and its sources, if there is one.
    #[must_use]
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        causes::find(error)
    }
}

/// Describes the fault of a body in a coding.
fn fault(coding: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => format!("{coding} that ends too early"),
        _ => format!("not valid {coding}: {error}"),
    }
}
