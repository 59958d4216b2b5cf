use std::fmt;

use jsonschema::{ReferencingError, ValidationError, error::ValidationErrorKind as Kind};

use super::fault_text;

/// The error of a document that can't be compiled to a [`Schema`](crate::Schema).
#[derive(thiserror::Error)]
#[error("{}", .0.message)]
pub struct SchemaError(Box<Inner>);

struct Inner {
    reason: Reason,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Invalid,
    Limit,
    Outside,
}

impl SchemaError {
    fn new(reason: Reason, message: String) -> Self {
        Self(Box::new(Inner { reason, message }))
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Reason::Invalid, message.into())
    }

    pub(super) fn limit(what: &str, limit: usize, unit: &str) -> Self {
        Self::new(Reason::Limit, format!("the schema {what} {limit} {unit}"))
    }

    /// Returns `true` if the document exceeds the [`SchemaLimits`](crate::SchemaLimits).
    #[must_use]
    pub fn is_over_limit(&self) -> bool {
        self.0.reason == Reason::Limit
    }

    /// Returns `true` if the document refers to another document. Nothing is fetched.
    #[must_use]
    pub fn is_outside_reference(&self) -> bool {
        self.0.reason == Reason::Outside
    }
}

impl From<ValidationError<'_>> for SchemaError {
    fn from(error: ValidationError<'_>) -> Self {
        match error.kind() {
            Kind::Referencing(ReferencingError::Unretrievable { uri, .. }) => Self::new(
                Reason::Outside,
                format!(
                    "the schema refers to {}, which it does not contain, and external schemas aren't fetched",
                    fault_text::cut(uri),
                ),
            ),
            Kind::Referencing(ReferencingError::UnknownSpecification { specification }) => {
                Self::new(
                    Reason::Outside,
                    format!(
                        "the schema's dialect is unknown: {}",
                        fault_text::cut(specification),
                    ),
                )
            }
            Kind::Referencing(error) => {
                Self::invalid(format!("a reference has no target: {error}"))
            }
            Kind::Format { format } if format == "regex" => {
                let pattern = error.instance();
                let pattern = pattern.as_str().unwrap_or_default();
                Self::invalid(format!(
                    "the schema has a pattern that is not a regular expression, or one with look-around or \
                     back references, which take more than linear time: {}",
                    fault_text::cut(pattern),
                ))
            }
            _ => Self::invalid(format!(
                "the document is not a schema: at \"{}\", {}",
                fault_text::cut(error.instance_path().as_str()),
                fault_text::of(&error).detail,
            )),
        }
    }
}

impl fmt::Debug for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SchemaError({self})")
    }
}
