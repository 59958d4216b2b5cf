//! Checks of outgoing values, as the operation that is running requires them.

use std::{any::type_name, fmt, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use crate::Problem;

/// A check of the values of one type. Whatever describes an operation implements it.
pub(crate) trait Check: fmt::Debug + Send + Sync {
    /// Checks a serialised value.
    ///
    /// # Errors
    /// The value may not be sent.
    fn check(&self, value: &Value) -> Result<(), Problem>;
}

/// The checks of an operation, by type name.
pub(crate) type Checks = Arc<[(&'static str, Arc<dyn Check>)]>;

tokio::task_local! {
    /// The checks of the current operation. It is set only where outgoing values are checked.
    pub(crate) static CHECKS: Checks;
}

/// Returns the check of outgoing values of type `T`, or `None` if they aren't checked.
pub(crate) fn check_of<T>() -> Option<Arc<dyn Check>> {
    CHECKS
        .try_with(|checks| {
            let (_, check) = checks.iter().find(|(name, _)| *name == type_name::<T>())?;
            Some(check.clone())
        })
        .ok()
        .flatten()
}

/// Checks an outgoing value.
///
/// # Errors
/// The value may not be sent.
pub(crate) fn check<T: Serialize>(check: &dyn Check, value: &T) -> Result<(), Problem> {
    let value = serde_json::to_value(value).map_err(Problem::internal)?;
    check.check(&value)
}
