//! A result, as it goes out.

use std::{borrow::Cow, collections::BTreeMap};

use headwater_client::gather::GatherResult;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// One result: the object that `headwater gather` prints.
pub(super) struct Sent {
    pub(super) result: GatherResult,
    /// Whether the answer's headers are part of it.
    pub(super) headers: bool,
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.headers {
            true => self.result.with_headers().serialize(serializer),
            false => self.result.serialize(serializer),
        }
    }
}

impl JsonSchema for Sent {
    fn schema_name() -> Cow<'static, str> {
        Described::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Described::json_schema(generator)
    }
}

/// What came of one call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GatherResult")]
struct Described {
    /// Which call of the list it was, from 0.
    index: u64,
    /// The call's key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The call's URL without user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// How many milliseconds it took from when the call was first sent.
    ms: u64,
    /// How many times the call was sent. 0: never, or an equal call got the answer.
    attempts: u32,
    /// Why the call failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<DescribedError>,
    /// The answer's headers, if they are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, OneOrMore>>,
    /// `base64`, where the body is neither JSON nor text.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    /// The answer's body: JSON where it is JSON, else a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    body: Option<()>,
}

/// Why a call failed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GatherError")]
struct DescribedError {
    /// What kind of failure it is.
    #[serde(rename = "type")]
    kind: String,
    /// The same in words.
    title: String,
    /// What went wrong this time.
    detail: String,
}

/// A value, or the values of a header that stands there more than once.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Any JSON. An object where `true` would do: not every tool reads that.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "description": "Any JSON value." })
}
