use std::mem;

use bytes::Bytes;
use headwater_wire::{
    Limits,
    json::{self, SkipBom},
    json_array::Decoder,
};

use crate::protocol::json::on_one_line;
use crate::relay::upstream::Fault;

/// Returns the elements of an array as they arrive, or any other value when it is complete.
pub(in super::super) struct Json {
    limits: Limits,
    bom: SkipBom,
    state: State,
}

enum State {
    /// Only white space so far, of this many bytes.
    Blank(usize),
    Array(Box<Decoder>),
    Value(Value),
    Over,
}

#[derive(Default)]
struct Value {
    /// Number of bytes before the value.
    offset: usize,
    text: Vec<u8>,
    is_too_large: bool,
    finished: bool,
}

impl Json {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            bom: SkipBom::default(),
            state: State::Blank(0),
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        let mut chunk = self.bom.piece(chunk);
        if let State::Blank(blank) = &mut self.state {
            let space = |byte: &u8| b" \t\n\r".contains(byte);
            let Some(start) = chunk.iter().position(|byte| !space(byte)) else {
                *blank += chunk.len();
                return;
            };
            let offset = *blank + start;
            chunk = chunk.split_off(start);
            self.state = if chunk[0] == b'[' {
                State::Array(Box::new(Decoder::new(self.limits)))
            } else {
                State::Value(Value {
                    offset,
                    ..Value::default()
                })
            };
        }
        match &mut self.state {
            State::Array(decoder) => decoder.push(chunk),
            State::Value(value) => value.push(&chunk, self.limits.max_item_bytes),
            State::Blank(_) | State::Over => {}
        }
    }

    pub(super) fn finish(&mut self) {
        match &mut self.state {
            State::Blank(offset) => {
                self.state = State::Value(Value {
                    offset: *offset,
                    finished: true,
                    ..Value::default()
                });
            }
            State::Array(decoder) => decoder.finish(),
            State::Value(value) => value.finished = true,
            State::Over => {}
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let limits = self.limits;
        match &mut self.state {
            State::Array(decoder) => {
                let event = decoder.next();
                let event =
                    event.map_err(|error| Fault::of_decoder(&error, limits.max_item_bytes))?;
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
            State::Value(value) if value.is_too_large => Err(Fault::ItemTooLarge {
                limit: limits.max_item_bytes,
                place: "the value".to_owned(),
            }),
            State::Value(value) if value.finished => {
                let value = mem::take(value);
                self.state = State::Over;
                value.take(limits.max_depth).map(Some)
            }
            State::Blank(_) | State::Value(_) | State::Over => Ok(None),
        }
    }
}

impl Value {
    fn push(&mut self, chunk: &[u8], limit: usize) {
        self.is_too_large |= self.text.len() + chunk.len() > limit;
        if !self.is_too_large {
            self.text.extend_from_slice(chunk);
        }
    }

    fn take(self, max_depth: usize) -> Result<Bytes, Fault> {
        if let Err(error) = json::check(&self.text, max_depth) {
            return Err(match error.expected() {
                Some(_) if error.is_end() && !self.text.is_empty() => Fault::Truncated,
                Some(expected) => {
                    let offset = self.offset + error.offset();
                    Fault::Invalid(format!("byte {offset}: {expected}"))
                }
                None => Fault::Invalid(format!("{error} (of the value)")),
            });
        }
        let text = Bytes::from(self.text);
        let value = text.slice_ref(text.trim_ascii());
        Ok(on_one_line(value))
    }
}
