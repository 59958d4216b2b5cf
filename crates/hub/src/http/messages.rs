//! Splits bodies into messages.

use bytes::Bytes;
use headwater::offload;

use crate::{
    error::Failure,
    fanout::stream::{Shape, preframed},
    protocol::{json, media_type::is_json},
};

/// Size in bytes above which a body is split off the async workers.
const SMALL_BYTES: usize = 256 << 10;

/// Returns the messages of a body for a stream of `content_type`: see [`json::messages`] and
/// [`preframed::messages`].
///
/// # Errors
/// The body doesn't match the stream's type, or has more than `most` messages.
pub(crate) async fn of_body(
    content_type: &str,
    body: Bytes,
    most: usize,
) -> Result<Vec<Bytes>, Failure> {
    let shape = match is_json(content_type) {
        true => None,
        false => Some(Shape::of(content_type)),
    };
    let is_small = body.len() <= SMALL_BYTES;
    let take_apart = move || match shape {
        None => json::messages(body, most),
        Some(shape) => preframed::messages(shape, body, most),
    };
    if is_small {
        take_apart()
    } else {
        offload(move |_| take_apart()).await
    }
}
