//! Validation of outgoing values against the document, for development.

use std::sync::Arc;

use headwater_schema::Schema;
use schemars::generate::Contract;
use serde::Serialize;
use serde_json::Value;

use super::{Operation, Shape};
use crate::{
    Problem,
    outgoing::{self, CHECKS, Check, Checks},
};

/// A request extension: the app validates its replies.
#[derive(Clone, Copy)]
pub(crate) struct CheckOutgoing;

/// Schemas of an operation's replies, by type name.
pub(crate) struct Outgoing(Checks);

impl Outgoing {
    pub(crate) fn of(operation: &Operation) -> Self {
        let shapes = operation
            .replies
            .iter()
            .flat_map(|(_, reply)| &reply.content.0)
            .map(|(_, shape)| shape);
        let mut checks: Vec<(&'static str, Arc<dyn Check>)> = Vec::new();
        for shape in shapes {
            if let Shape::Output(of) | Shape::Items(of) = shape
                && !checks.iter().any(|(known, _)| *known == (of.type_name)())
            {
                let schema = headwater_schema::of_type(of.inline, Contract::Serialize);
                checks.push(((of.type_name)(), Arc::new(schema)));
            }
        }
        Self(checks.into())
    }

    /// Runs `response` with validation of its outgoing values.
    pub(crate) fn scope<F: Future>(&self, response: F) -> impl Future<Output = F::Output> + use<F> {
        CHECKS.scope(self.0.clone(), response)
    }
}

impl Check for Schema {
    fn check(&self, value: &Value) -> Result<(), Problem> {
        self.check(value).map_err(|faults| {
            Problem::internal(format!("the response doesn't match its schema: {faults}"))
        })
    }
}

/// Validates an outgoing value if the current operation is validated.
///
/// # Errors
/// The value doesn't match its schema.
pub(crate) fn check_outgoing<T: Serialize>(value: &T) -> Result<(), Problem> {
    match outgoing::check_of::<T>() {
        Some(check) => outgoing::check(&*check, value),
        None => Ok(()),
    }
}
