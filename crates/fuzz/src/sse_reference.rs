//! The SSE decoder against a reference of the standard's algorithm.

use headwater_wire::{Format, Limits};

use crate::chunking::{Cuts, decode};

#[path = "../../wire/src/sse/reference.rs"]
mod reference;

/// Checks that the decoder returns the events that the standard's algorithm does.
///
/// # Panics
/// If it doesn't.
pub fn sse_reference(input: &[u8]) {
    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    let outcome = decode(Format::Sse, Limits::default(), cuts.chunks(stream));
    let expected = reference::interpret(stream);
    let events: Vec<_> = outcome
        .results
        .into_iter()
        .map(|result| result.expect("the input is smaller than the limit"))
        .map(|event| {
            (
                event.data.to_string(),
                event.event.to_string(),
                event.id.to_string(),
            )
        })
        .collect();
    assert_eq!(events, expected.events);
    assert_eq!(outcome.last_event_id, expected.last_event_id);
    assert_eq!(
        outcome.retry.map(|retry| retry.as_millis()),
        expected.retry.map(u128::from)
    );
}
