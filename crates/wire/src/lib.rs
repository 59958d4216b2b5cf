//! Streaming formats, bytes in and events out, with no I/O.
//!
//! | format | media type | module |
//! |---|---|---|
//! | Server-Sent Events | `text/event-stream` | [`sse`] |
//! | newline-delimited JSON | `application/x-ndjson`, `application/jsonl` | [`ndjson`] |
//! | JSON text sequence (RFC 7464) | `application/json-seq` | [`json_seq`] |
//! | one JSON array, streamed | `application/json` | [`json_array`] |
//! | plain text | `text/plain` | [`text`] |
//!
//! An [`Encoder`] appends one item at a time to a `Vec<u8>`. A [`Decoder`] accepts chunks that are
//! cut anywhere and returns complete [`Event`]s. The events don't depend on the chunking. The work
//! is linear in the input, and [`Limits`] bounds the memory.
//!
//! ```
//! use headwater_wire::{Decoder, Encoder, Format, Limits, Meta};
//!
//! let mut out = Vec::new();
//! let mut encoder = Encoder::new(Format::Sse);
//! encoder.item(&Meta::default().id("1"), &["a", "b"], &mut out)?;
//! assert_eq!(out, b"id: 1\ndata: [\"a\",\"b\"]\n\n");
//!
//! let mut decoder = Decoder::new(Format::Sse, Limits::default());
//! for chunk in out.chunks(3) {
//!     decoder.push(chunk.to_vec().into());
//! }
//! decoder.finish();
//! let event = decoder.next()?.expect("one event was written");
//! assert_eq!((&*event.id, &*event.data), ("1", r#"["a","b"]"#));
//! assert!(decoder.next()?.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A few parts are here as well because several crates share them: [`Backoff`], the growing waits
//! between attempts, the [`causes`] of errors, [`glob`], names of HTTP statuses ([`status`]), and
//! macros for methods that many types have.
//!
//! Not here: sockets, timers and HTTP. The fuzz targets of every decoder are in `crates/fuzz`.

#[doc(hidden)]
pub mod amount;
mod backoff;
#[doc(hidden)]
pub mod causes;
mod decoder;
mod digest;
mod encoder;
mod error;
mod event;
mod format;
#[doc(hidden)]
pub mod glob;
mod input;
pub mod json;
pub mod json_array;
pub mod json_seq;
mod limits;
mod lines;
mod macros;
pub mod ndjson;
pub mod sse;
#[doc(hidden)]
pub mod status;
mod str_bytes;
pub mod terminal;
pub mod text;
mod work_counter;

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod testing;

pub use backoff::{Backoff, DEFAULT_MAX_SERVER_DELAY};
pub use decoder::Decoder;
pub use digest::{Digest, NoDigest};
pub use encoder::{Encoder, Meta};
pub use error::{DecodeError, EncodeError};
pub use event::Event;
pub use format::Format;
pub use limits::Limits;
pub use str_bytes::Str;
