//! The faults of a request, reported together in one response.

use std::borrow::Cow;

use axum::{
    body::{self, Body},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::{
    In, Problem,
    negotiate::replace,
    schema::{Fault, Faults},
};

/// The error of an extractor: faults in its input, or a problem that prevented validation.
///
/// It becomes a problem document. With status 422, it lists all faults of the request. Each has its
/// location, the invalid value, the reason, and the allowed values.
#[derive(Debug)]
pub struct Rejection(Kind);

#[derive(Debug)]
enum Kind {
    Faults(RequestFaults),
    Problem(Box<Problem>),
}

impl From<RequestFaults> for Rejection {
    fn from(faults: RequestFaults) -> Self {
        Self(Kind::Faults(faults))
    }
}

impl Rejection {
    pub(crate) fn problem(problem: Problem) -> Self {
        Self(Kind::Problem(Box::new(problem)))
    }
}

impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        match self.0 {
            Kind::Faults(faults) => {
                let mut response = faults.problem().into_response();
                response.extensions_mut().insert(faults);
                response
            }
            Kind::Problem(problem) => problem.into_response(),
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection.0 {
            Kind::Faults(faults) => faults.problem(),
            Kind::Problem(problem) => *problem,
        }
    }
}

/// The faults of a request, as entries of the problem's `errors`.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestFaults {
    errors: Vec<Value>,
    /// Number of faults beyond the limit, which are not listed.
    more: usize,
}

impl RequestFaults {
    /// Creates entries for the faults of parameters. `name` maps a pointer's first step to the
    /// parameter's name.
    pub(crate) fn of_parameters(place: In, faults: &Faults, name: impl Fn(&str) -> String) -> Self {
        let errors = faults.iter().map(|fault| {
            let pointer = fault.pointer();
            let (first, rest) = match pointer.strip_prefix('/') {
                Some(steps) => steps.split_at(steps.find('/').unwrap_or(steps.len())),
                None => ("", ""),
            };
            // The value of a fault at the root are all parameters.
            let missing = fault.missing().filter(|_| first.is_empty());
            let value = fault.value().filter(|_| missing.is_none());
            let first = match missing {
                Some(property) => Cow::Borrowed(property),
                None => first.replace("~1", "/").replace("~0", "~").into(),
            };
            let mut entry = Map::new();
            entry.insert("in".to_owned(), place.as_str().into());
            entry.insert("name".to_owned(), name(&first).into());
            if !rest.is_empty() {
                entry.insert("pointer".to_owned(), format!("#{rest}").into());
            }
            add(fault, value, entry)
        });
        Self {
            errors: errors.collect(),
            more: faults.more(),
        }
    }

    /// Creates entries for the faults of a body.
    pub(crate) fn of_body(faults: &Faults) -> Self {
        let errors = faults.iter().map(|fault| {
            let mut entry = Map::new();
            entry.insert("in".to_owned(), "body".into());
            entry.insert("pointer".to_owned(), fault.fragment().into());
            add(fault, fault.value(), entry)
        });
        Self {
            errors: errors.collect(),
            more: faults.more(),
        }
    }

    /// Takes the faults from an extractor's response.
    ///
    /// # Errors
    /// The response has no faults. It is returned as a problem, to be sent to the client.
    pub(crate) async fn collect(&mut self, mut response: Response) -> Result<(), Box<Response>> {
        match response.extensions_mut().remove::<Self>() {
            Some(faults) => {
                self.errors.extend(faults.errors);
                self.more += faults.more;
                Ok(())
            }
            None => Err(Box::new(as_problem(response).await)),
        }
    }

    fn problem(&self) -> Problem {
        let detail = match self.errors.len() + self.more {
            1 => "there is a fault in the request".to_owned(),
            faults => format!("there are {faults} faults in the request"),
        };
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY)
            .detail(detail)
            .with("errors", self.errors.clone());
        match self.more {
            0 => problem,
            more => problem.with("more_errors", more),
        }
    }
}

/// Maximum length of a rejection's text, in bytes. A longer one is left out.
const MAX_TEXT: usize = 16 * 1024;

/// Returns an extractor's response, as a problem if it is a text: the rejections of axum's extractors are. The text of
/// an error of the server is for the log, because it tells of the app's types.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_text = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if !is_text || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let problem = Problem::new(status);
    let problem = match body::to_bytes(body, MAX_TEXT).await {
        Err(_) => problem,
        Ok(text) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            match status.is_server_error() {
                true => problem.source(text),
                false => problem.detail(text),
            }
        }
    };
    replace(&Response::from_parts(parts, Body::empty()), problem)
}

fn add(fault: &Fault, value: Option<&Value>, mut entry: Map<String, Value>) -> Value {
    entry.insert("detail".to_owned(), fault.detail().into());
    if let Some(value) = value {
        entry.insert("value".to_owned(), value.clone());
    }
    entry.insert("allowed".to_owned(), fault.allowed().clone());
    entry.into()
}

impl IntoResponse for RequestFaults {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

/// Names the schema of a 422 response in the document.
pub(crate) struct Invalid;

impl JsonSchema for Invalid {
    fn schema_name() -> Cow<'static, str> {
        "InvalidRequest".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let problem = generator.subschema_for::<Problem>();
        let mut schema = json_schema!({
            "description": "All that is wrong with a request.",
        });
        schema.insert(
            "allOf".to_owned(),
            json!([
                problem,
                {
                    "type": "object",
                    "required": ["errors"],
                    "properties": {
                        "errors": {
                            "type": "array",
                            "description": "Every fault, of the parameters and of the body.",
                            "items": {
                                "type": "object",
                                "required": ["in", "detail", "allowed"],
                                "properties": {
                                    "in": {
                                        "description": "The part of the request that is at fault.",
                                        "enum": ["path", "query", "header", "cookie", "body"],
                                    },
                                    "name": {
                                        "description": "The parameter's name.",
                                        "type": "string",
                                    },
                                    "pointer": {
                                        "description": "Where in the body, or in the parameter's value: a JSON Pointer (RFC 6901), as a URI's fragment.",
                                        "type": "string",
                                    },
                                    "detail": {
                                        "description": "What is wrong.",
                                        "type": "string",
                                    },
                                    "value": {
                                        "description": "The value that is at fault, if it is short.",
                                    },
                                    "allowed": {
                                        "description": "What would be right, in the words of JSON Schema.",
                                    },
                                },
                            },
                        },
                        "more_errors": {
                            "type": "integer",
                            "description": "How many faults there are beyond those that are listed.",
                        },
                    },
                },
            ]),
        );
        schema
    }
}
