use schemars::JsonSchema;

/// A type with a schema: every [`JsonSchema`], and nothing else.
///
/// It stands where the compiler is to say what to do about a type that has none. Derive `JsonSchema`; there is
/// nothing to implement here.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no schema",
    label = "the document and the checks need one",
    note = "put `#[derive(schemars::JsonSchema)]` on `{Self}`, and `schemars` among the dependencies"
)]
pub trait HasSchema: JsonSchema {}

// Otherwise the compiler would ask for `JsonSchema`, without a word about how to get it.
#[diagnostic::do_not_recommend]
impl<T: JsonSchema + ?Sized> HasSchema for T {}
