//! Schemas of streams: read from a header, compiled once, and what their messages are checked by.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use headwater::{Problem, StatusCode, schema::Schema};
use headwater_log::Info;
use headwater_wire::json::without_bom;
use percent_encoding::percent_decode;
use serde_json::Value;

use crate::{error::Failure, limits::COMPILED_SCHEMAS};

/// Reads the schema that a stream is to be created with: percent-encoded JSON.
///
/// # Errors
/// It is no schema, or asks for too much.
pub(crate) fn read(header: &[u8]) -> Result<Bytes, Failure> {
    let document: Vec<u8> = percent_decode(header).collect();
    let document: Value = serde_json::from_slice(without_bom(&document)).map_err(|error| {
        Failure::bad_request(format!("Stream-Schema is percent-encoded JSON: {error}"))
    })?;
    Schema::compile(&document)
        .map_err(|error| Failure::bad_request(format!("Stream-Schema: {error}")))?;
    Ok(document.to_string().into())
}

/// The compiled schemas of the streams that were appended to last.
#[derive(Debug, Default)]
pub(crate) struct Schemas(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_stream: HashMap<u64, (Schema, u64)>,
    /// Counts the uses, and so tells which was the last.
    uses: u64,
}

impl Schemas {
    /// The schema of a stream, if it has one.
    pub(crate) fn of(&self, info: &Info) -> Result<Option<Schema>, Problem> {
        let Some(document) = &info.settings.schema else {
            return Ok(None);
        };
        if let Some(schema) = self.lock().get(info.id) {
            return Ok(Some(schema));
        }
        let document: Value = serde_json::from_slice(document)?;
        let schema = Schema::compile(&document)?;
        self.lock().put(info.id, schema.clone());
        Ok(Some(schema))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn get(&mut self, stream: u64) -> Option<Schema> {
        self.uses += 1;
        let (schema, used) = self.by_stream.get_mut(&stream)?;
        *used = self.uses;
        Some(schema.clone())
    }

    fn put(&mut self, stream: u64, schema: Schema) {
        if self.by_stream.len() >= COMPILED_SCHEMAS {
            let oldest = self.by_stream.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(stream, _)| *stream) {
                self.by_stream.remove(&oldest);
            }
        }
        self.uses += 1;
        self.by_stream.insert(stream, (schema, self.uses));
    }
}

/// Checks messages, of which the first is the one of this index. No object in them may have a name twice: the check could
/// be of one of its members, and a reader could take the other (RFC 7493 §2.3).
///
/// # Errors
/// 422 with the index of the first that doesn't fit, and all its faults.
pub(crate) fn check(schema: &Schema, messages: &[Bytes], first: u64) -> Result<(), Failure> {
    for (index, message) in (first..).zip(messages) {
        let checked = schema
            .check_text(message)
            .map_err(|error| Failure::bad_request(format!("message {index}: {error}")))?;
        if let Err(faults) = checked {
            let errors = serde_json::to_value(&faults).unwrap_or_default();
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
                .detail(format!(
                    "message {index} is not what the stream's schema says: {faults}"
                ))
                .with("index", index)
                .with("errors", errors)
                .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_schema_that_was_used_longest_ago_makes_room() {
        let schema = Schema::compile(&json!({"type": "object"})).unwrap();
        let mut kept = Kept::default();
        for stream in 0..COMPILED_SCHEMAS as u64 {
            kept.put(stream, schema.clone());
        }
        assert!(kept.get(0).is_some());
        kept.put(u64::MAX, schema);
        assert_eq!(kept.by_stream.len(), COMPILED_SCHEMAS);
        assert!(kept.get(0).is_some() && kept.get(1).is_none());
    }

    #[test]
    fn the_first_message_that_does_not_fit_is_named_with_its_faults() {
        let schema = Schema::compile(&json!({"type": "integer", "minimum": 3})).unwrap();
        let messages = ["3", "2", "x"].map(|text| Bytes::from_static(text.as_bytes()));
        let Err(failure) = check(&schema, &messages, 10) else {
            panic!("it was let through")
        };
        let problem = serde_json::to_value(failure.into_problem()).unwrap();
        assert_eq!(problem["status"], 422);
        assert_eq!(problem["index"], 11);
        assert_eq!(problem["errors"][0]["allowed"], json!({"minimum": 3}));
    }
}
