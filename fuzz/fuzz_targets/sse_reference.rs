#![no_main]

use headwater_fuzz::{Cuts, decode};
use headwater_wire::{Format, Limits};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/wire/src/sse/reference.rs"]
mod reference;

fuzz_target!(|input: &[u8]| {
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
});
