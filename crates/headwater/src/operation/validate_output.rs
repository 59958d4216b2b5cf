//! Validation of outgoing values against the document, for development.

use std::{any::type_name, sync::Arc};

use schemars::generate::Contract;
use serde::Serialize;

use super::{Operation, Shape};
use crate::{
    Problem,
    schema::{self, Schema},
};

/// A request extension: the app validates its replies.
#[derive(Clone, Copy)]
pub(crate) struct CheckOutgoing;

/// Schemas of an operation's replies, by type name.
pub(crate) struct Outgoing(Arc<[(&'static str, Schema)]>);

tokio::task_local! {
    static OUTGOING: Arc<[(&'static str, Schema)]>;
}

impl Outgoing {
    pub(crate) fn of(operation: &Operation) -> Self {
        let shapes = operation
            .replies
            .iter()
            .flat_map(|(_, reply)| &reply.content.0)
            .map(|(_, shape)| shape);
        let mut schemas = Vec::new();
        for shape in shapes {
            if let Shape::Output(of) | Shape::Items(of) = shape
                && !schemas.iter().any(|(known, _)| *known == (of.type_name)())
            {
                let schema = schema::of_type(of.inline, Contract::Serialize);
                schemas.push(((of.type_name)(), schema));
            }
        }
        Self(schemas.into())
    }

    /// Runs `response` with validation of its outgoing values.
    pub(crate) fn scope<F: Future>(&self, response: F) -> impl Future<Output = F::Output> + use<F> {
        OUTGOING.scope(self.0.clone(), response)
    }
}

/// Returns the schema for an outgoing `T`, or `None` if the current operation isn't validated.
pub(crate) fn schema_of<T>() -> Option<Schema> {
    OUTGOING
        .try_with(|schemas| {
            let (_, schema) = schemas.iter().find(|(name, _)| *name == type_name::<T>())?;
            Some(schema.clone())
        })
        .ok()
        .flatten()
}

/// Validates an outgoing value if the current operation is validated.
///
/// # Errors
/// The value doesn't match its schema.
pub(crate) fn check_outgoing<T: Serialize>(value: &T) -> Result<(), Problem> {
    match schema_of::<T>() {
        Some(schema) => check(&schema, value),
        None => Ok(()),
    }
}

/// Validates an outgoing value.
///
/// # Errors
/// The value doesn't match its schema.
pub(crate) fn check<T: Serialize>(schema: &Schema, value: &T) -> Result<(), Problem> {
    let value = serde_json::to_value(value).map_err(Problem::internal)?;
    schema.check(&value).map_err(|faults| {
        Problem::internal(format!("the response doesn't match its schema: {faults}"))
    })
}
