//! Schemas of streams: parsed from a header, compiled once, and used to check messages.

use std::collections::HashMap;

use bytes::Bytes;
use headwater::{
    Problem, StatusCode, offload,
    schema::{CheckBudget, Faults, Schema},
};
use headwater_log::Info;
use headwater_wire::json::without_bom;
use parking_lot::Mutex;
use percent_encoding::percent_decode;
use serde_json::Value;

use crate::{
    error::Failure,
    limits::{COMPILED_SCHEMAS, COMPILED_SCHEMAS_BYTES},
};

/// Parses the schema of a new stream: percent-encoded JSON. Returns its document and the compiled
/// schema.
///
/// # Errors
/// It isn't a schema, or exceeds a limit.
pub(crate) async fn read(header: &[u8]) -> Result<(Bytes, Schema), Failure> {
    let document: Vec<u8> = percent_decode(header).collect();
    // Readers may disagree about which of two members with the same name applies (RFC 7493 §2.3).
    let any = Schema::compile(&Value::Bool(true)).map_err(Problem::from)?;
    let document = any
        .check_text(without_bom(&document))
        .map_err(|error| {
            Failure::bad_request(format!("Stream-Schema is percent-encoded JSON: {error}"))
        })?
        .map_err(|repeated| Failure::bad_request(format!("Stream-Schema: {repeated}")))?;
    let text = document.to_string().into();
    let schema = offload(move |_| Schema::compile(&document)).await;
    let schema = schema.map_err(|error| Failure::bad_request(format!("Stream-Schema: {error}")))?;
    Ok((text, schema))
}

/// Compiles the schema of a stream. It was valid when the stream was created.
pub(crate) async fn compile(document: Bytes) -> Result<Schema, Problem> {
    offload(move |_| {
        let document: Value = serde_json::from_slice(&document)?;
        Ok(Schema::compile(&document)?)
    })
    .await
}

/// A cache of compiled schemas, for the streams that were appended to last.
#[derive(Debug, Default)]
pub(crate) struct Schemas(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    by_stream: HashMap<u64, Entry>,
    /// Total memory of the schemas, in bytes.
    memory: usize,
    /// Counter of uses, by which the least recent one is found.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    schema: Schema,
    memory: usize,
    used: u64,
}

impl Schemas {
    /// Returns the schema of a stream, if it has one.
    pub(crate) async fn of(&self, info: &Info) -> Result<Option<Schema>, Problem> {
        let Some(document) = &info.settings.schema else {
            return Ok(None);
        };
        if let Some(schema) = self.0.lock().get(info.id) {
            return Ok(Some(schema));
        }
        let schema = compile(document.clone()).await?;
        self.0.lock().put(info.id, schema.clone(), schema.memory());
        Ok(Some(schema))
    }
}

impl Kept {
    fn get(&mut self, stream: u64) -> Option<Schema> {
        self.uses += 1;
        let entry = self.by_stream.get_mut(&stream)?;
        entry.used = self.uses;
        Some(entry.schema.clone())
    }

    fn put(&mut self, stream: u64, schema: Schema, memory: usize) {
        self.uses += 1;
        let used = self.uses;
        let entry = Entry {
            schema,
            memory,
            used,
        };
        self.memory += memory;
        if let Some(replaced) = self.by_stream.insert(stream, entry) {
            self.memory -= replaced.memory;
        }
        while self.by_stream.len() > COMPILED_SCHEMAS || self.memory > COMPILED_SCHEMAS_BYTES {
            let others = self.by_stream.iter().filter(|(id, _)| **id != stream);
            let Some(oldest) = others.min_by_key(|(_, entry)| entry.used) else {
                return;
            };
            let oldest = *oldest.0;
            if let Some(gone) = self.by_stream.remove(&oldest) {
                self.memory -= gone.memory;
            }
        }
    }
}

/// Checks the messages of a request. No object in them may have a duplicate name: the check could
/// use one of the members, and a reader the other (RFC 7493 §2.3).
///
/// # Errors
/// 422 with the index of the first message that doesn't match, and all its faults. Also 422 if the
/// check takes too many steps.
pub(crate) async fn check(schema: &Schema, messages: &[Bytes]) -> Result<(), Failure> {
    let mut budget = CheckBudget::for_text(messages.iter().map(Bytes::len).sum());
    let checked = check_from(schema, messages, 0, &mut budget).await;
    checked.map_err(|(_, failure)| failure)
}

/// Number of steps above which a check runs off the async workers.
const SMALL_STEPS: u64 = 100_000;

/// Checks messages within the request's budget. `first` is the index of the first one in the
/// request. A check that may take long runs off the async workers, and ends when the client
/// disconnects.
///
/// # Errors
/// As for [`check`], with the index in `messages` of the one that doesn't match.
pub(crate) async fn check_from(
    schema: &Schema,
    messages: &[Bytes],
    first: u64,
    budget: &mut CheckBudget,
) -> Result<(), (usize, Failure)> {
    let bytes = messages.iter().map(Bytes::len).sum();
    if schema.most_steps_for_text(bytes) <= SMALL_STEPS {
        return check_now(schema, messages, first, budget);
    }
    let (schema, messages) = (schema.clone(), messages.to_vec());
    let mut own = budget.clone();
    let (result, spent) = offload(move |abandoned| {
        own = own.cancelled_by(abandoned.flag());
        let result = check_now(&schema, &messages, first, &mut own);
        (result, own)
    })
    .await;
    *budget = spent;
    result
}

fn check_now(
    schema: &Schema,
    messages: &[Bytes],
    first: u64,
    budget: &mut CheckBudget,
) -> Result<(), (usize, Failure)> {
    for (at, (index, message)) in (first..).zip(messages).enumerate() {
        let checked = schema.check_text_within(message, budget).map_err(|error| {
            let failure = Failure::bad_request(format!("message {index}: {error}"));
            (at, failure)
        })?;
        if let Err(faults) = checked {
            return Err((at, unfit(index, &faults)));
        }
    }
    Ok(())
}

fn unfit(index: u64, faults: &Faults) -> Failure {
    let detail = match faults.is_over_budget() {
        true => format!("message {index}: {faults}"),
        false => format!("message {index} doesn't match the stream's schema: {faults}"),
    };
    let errors = serde_json::to_value(faults).unwrap_or_default();
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
        .detail(detail)
        .with("index", index)
        .with("errors", errors)
        .into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_least_recently_used_schema_is_removed() {
        let schema = Schema::compile(&json!({"type": "object"})).unwrap();
        let mut kept = Kept::default();
        for stream in 0..COMPILED_SCHEMAS as u64 {
            kept.put(stream, schema.clone(), 1);
        }
        assert!(kept.get(0).is_some());
        kept.put(u64::MAX, schema.clone(), 1);
        assert_eq!(kept.by_stream.len(), COMPILED_SCHEMAS);
        assert!(kept.get(0).is_some() && kept.get(1).is_none());
        kept.put(1, schema, COMPILED_SCHEMAS_BYTES);
        assert_eq!(
            (kept.by_stream.len(), kept.memory),
            (1, COMPILED_SCHEMAS_BYTES)
        );
    }

    #[tokio::test]
    async fn a_schema_with_a_duplicate_name_is_refused_with_its_location() {
        assert!(read(br#"{"type":"object"}"#).await.is_ok());
        let bad = read(br#"{"properties":{"a":{"type":"integer","type":"string"}}}"#).await;
        let Err(failure) = bad else {
            panic!("it was let through")
        };
        let problem = serde_json::to_value(failure.into_problem()).unwrap();
        assert_eq!(problem["status"], 400);
        assert_eq!(
            problem["detail"],
            r#"Stream-Schema: /properties/a/type: the name "type" occurs more than once in the object"#
        );
    }

    #[test]
    fn the_first_invalid_message_is_reported_with_its_faults() {
        let schema = Schema::compile(&json!({"type": "integer", "minimum": 3})).unwrap();
        let messages = ["3", "2", "x"].map(|text| Bytes::from_static(text.as_bytes()));
        let mut budget = CheckBudget::for_text(3);
        let Err((1, failure)) = check_now(&schema, &messages, 10, &mut budget) else {
            panic!("it was let through")
        };
        let problem = serde_json::to_value(failure.into_problem()).unwrap();
        assert_eq!(problem["status"], 422);
        assert_eq!(problem["index"], 11);
        assert_eq!(problem["errors"][0]["allowed"], json!({"minimum": 3}));
    }
}
