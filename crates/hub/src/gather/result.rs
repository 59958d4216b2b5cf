//! The result of one call, as it is sent.

use std::{borrow::Cow, collections::BTreeMap};

use headwater_client::gather::GatherResult;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// One result: the same object that `headwater gather` prints.
pub(super) struct Sent {
    pub(super) result: GatherResult,
    /// `true` if it includes the response's headers.
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

/// The result of one call.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GatherResult")]
struct Described {
    /// The index of the call in the list, from 0.
    index: u64,
    /// The call's key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The call's URL without user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The time in milliseconds since the call was first sent.
    ms: u64,
    /// Number of times that the call was sent. 0: never, or an equal call received the response.
    attempts: u32,
    /// The reason for which the call failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<DescribedError>,
    /// The response's headers, if they are requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<String, OneOrMore>>,
    /// `base64` if the body is neither JSON nor text.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<String>,
    /// The response's body: a JSON value if it is JSON, otherwise a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    body: Option<()>,
}

/// The reason for which a call failed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GatherError")]
struct DescribedError {
    /// The kind of failure.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: String,
    /// The reason for this failure.
    detail: String,
}

/// A value, or the values of a header that is repeated.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Returns a schema for any JSON. It is an object instead of `true`, which some tools don't
/// support.
pub(super) fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "description": "Any JSON value." })
}
