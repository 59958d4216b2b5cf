use bytes::Bytes;
use headwater_wire::{
    Limits,
    json::{self, CheckError, Document, DocumentError},
    json_array::Decoder,
};

use crate::protocol::json::on_one_line;
use crate::relay::upstream::Fault;

/// Returns the elements of an array as they arrive, or any other value when it is complete.
pub(in super::super) struct Json {
    limits: Limits,
    state: State,
}

enum State {
    /// No array so far.
    Value(Document),
    Array(Box<Decoder>),
}

impl Json {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Value(Document::new(limits)),
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        match &mut self.state {
            State::Array(decoder) => decoder.push(chunk),
            State::Value(document) => {
                if let Some(array) = document.push(chunk) {
                    let mut decoder = Box::new(Decoder::new(self.limits));
                    decoder.push(array);
                    self.state = State::Array(decoder);
                }
            }
        }
    }

    pub(super) fn finish(&mut self) {
        match &mut self.state {
            State::Array(decoder) => decoder.finish(),
            State::Value(document) => document.finish(),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match &mut self.state {
            State::Array(decoder) => element(decoder, self.limits),
            State::Value(document) => {
                let is_blank = document.is_blank();
                match document.value() {
                    Ok(value) => Ok(value.map(|value| on_one_line(value.into_bytes()))),
                    Err(DocumentError::TooLarge { limit }) => Err(Fault::ItemTooLarge {
                        limit,
                        place: "the value".to_owned(),
                    }),
                    Err(DocumentError::Invalid(error)) if error.is_end() && !is_blank => {
                        Err(Fault::Truncated)
                    }
                    Err(DocumentError::Invalid(error)) => Err(invalid(&error, document.offset())),
                }
            }
        }
    }
}

fn element(decoder: &mut Decoder, limits: Limits) -> Result<Option<Bytes>, Fault> {
    let event = decoder.next();
    let event = event.map_err(|error| Fault::of_decoder(&error, limits.max_item_bytes))?;
    let Some(event) = event else {
        return Ok(None);
    };
    let element = event.data.into_bytes();
    // Its brackets are known to match. The rest of its grammar is checked here.
    json::check(&element, limits.max_depth).map_err(|error| {
        Fault::Invalid(format!("element {} of the array, {error}", decoder.items()))
    })?;
    Ok(Some(on_one_line(element)))
}

/// The fault of a value that starts at `offset` of the body.
fn invalid(error: &CheckError, offset: usize) -> Fault {
    Fault::Invalid(match error.expected() {
        Some(expected) => format!("byte {}: {expected}", offset + error.offset()),
        None => format!("{error} (of the value)"),
    })
}
