use schemars::JsonSchema;

/// A type with a schema. Every [`JsonSchema`] type implements it, and no other.
///
/// It is used as a bound so that the compiler explains how to add a missing schema. Derive
/// `JsonSchema`; don't implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema",
    label = "the document and the checks need one",
    note = "put `#[derive(schemars::JsonSchema)]` on `{Self}`, and `schemars` among the dependencies"
)]
pub trait HasSchema: JsonSchema {}

// Otherwise the compiler would require `JsonSchema` without explaining how to add it.
#[diagnostic::do_not_recommend]
impl<T: JsonSchema + ?Sized> HasSchema for T {}
