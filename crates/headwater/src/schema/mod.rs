//! Checks of JSON values against schemas, with every fault that a value has.
//!
//! A [`Schema`] comes from a Rust type, or from a document (JSON Schema, draft 2020-12 where it names
//! no other). [`Schema::is_valid`] is the fast way, [`Schema::check`] says what is wrong.
//!
//! ```
//! use headwater::schema::Schema;
//! use schemars::JsonSchema;
//! use serde_json::json;
//!
//! #[derive(JsonSchema)]
//! struct Order {
//!     /// How many.
//!     #[schemars(range(min = 1, max = 1000))]
//!     count: u32,
//!     symbol: String,
//! }
//!
//! let faults = Schema::of::<Order>().check(&json!({"count": 2000})).unwrap_err();
//! assert_eq!(
//!     faults.to_string(),
//!     r#"2 faults: the property "symbol" is missing; /count: 2000 is greater than the maximum of 1000"#,
//! );
//! ```
//!
//! Schemas and values may come from outside. Regular expressions take linear time, nothing is
//! fetched, [`SchemaLimits`] bound what a document may ask for, and a [`CheckBudget`] the work of its
//! checks; the list of faults is bounded too. Both recurse as deep as the value: it is to be one that
//! `serde_json` read, which goes 128 deep.

use std::{
    any, fmt,
    sync::{Arc, OnceLock},
    thread,
};

use jsonschema::{PatternOptions, Retrieve, ValidationOptions, Validator, json::Json};
use schemars::{JsonSchema, SchemaGenerator, generate::Contract};
use serde_json::Value;

mod budget;
mod error;
mod explain;
mod fault;
mod limits;
mod plan;
mod reference;
mod search;
mod settings;
mod size;
mod text;
mod tree;
mod union;
mod words;

pub use budget::CheckBudget;
pub use error::SchemaError;
pub use fault::{Fault, Faults};
pub use limits::SchemaLimits;
pub(crate) use settings::settings;
pub(crate) use tree::{Tree, TreeSchema};

use plan::Plan;
use size::Size;

/// A compiled schema. A clone shares it.
///
/// `type` and the like decide as JSON Schema has it: 1.0 is an integer. `format` is checked where
/// it is one of JSON Schema's own, or `ip`; a format that is not known says nothing.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    document: Value,
    validator: Validator,
    /// Made when it is first needed.
    plan: OnceLock<Plan>,
}

impl Schema {
    /// The schema of what `T` deserialises from.
    ///
    /// Each call compiles it, in some 100 µs; keep what it returns. It can't be kept here, for a `T`
    /// that is not `'static` has no identity to look it up by.
    ///
    /// # Panics
    /// The schema that `T` gives is not one, or has a pattern with look-around or a reference to
    /// another document. It is the program's own mistake, and shows on the first use.
    #[must_use]
    pub fn of<T: JsonSchema + ?Sized>() -> Self {
        Self::generate::<T>(Contract::Deserialize)
    }

    /// The schema of what `T` serialises to: for what goes out.
    ///
    /// # Panics
    /// As [`of`](Self::of).
    #[must_use]
    pub fn of_serialized<T: JsonSchema + ?Sized>() -> Self {
        Self::generate::<T>(Contract::Serialize)
    }

    fn generate<T: JsonSchema + ?Sized>(contract: Contract) -> Self {
        let generator = settings(contract).into_generator();
        let document = generator.into_root_schema_for::<T>();
        Self::of_own(document.to_value(), any::type_name::<T>())
    }

    /// Compiles a schema that the program itself brings.
    fn of_own(document: Value, name: &str) -> Self {
        match build(&document) {
            Ok(validator) => Self::new(document, validator),
            Err(error) => panic!("the schema of {name} can't be used: {error}"),
        }
    }

    /// Compiles a schema within the default [`SchemaLimits`].
    ///
    /// # Errors
    /// The document is not a schema of the draft that its `$schema` names (2020-12 if none), refers
    /// to another document, has a regular expression that does not take linear time, or is over a
    /// limit.
    pub fn compile(document: &Value) -> Result<Self, SchemaError> {
        Self::compile_with(document, &SchemaLimits::default())
    }

    /// Compiles a schema within limits, in some 300 µs for a schema of 1 KiB and 10 ms for one that is
    /// at the default limits.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_with(document: &Value, limits: &SchemaLimits) -> Result<Self, SchemaError> {
        limits.admit_document(document)?;
        let draft = jsonschema::Draft::default().detect(document);
        let plan = Plan::new(document, draft);
        let subschemas = plan.nodes.len().min(limits.max_subschemas);
        let compile = || {
            limits.admit_plan(&plan)?;
            build(document)
        };
        let validator = with_stack(subschemas.saturating_mul(STACK_PER_SUBSCHEMA), compile)?;
        let schema = Self::new(document.clone(), validator);
        // Not set before: the schema is new.
        let _ = schema.0.plan.set(plan);
        Ok(schema)
    }

    fn new(document: Value, validator: Validator) -> Self {
        Self(Arc::new(Inner {
            document,
            validator,
            plan: OnceLock::new(),
        }))
    }

    /// An estimate of the memory that the compiled schema takes, in bytes: for caches that are bounded by it.
    #[must_use]
    pub fn memory(&self) -> usize {
        /// One subschema with its keywords, its node in the plan and its names.
        const PER_SUBSCHEMA: usize = 2048;
        let plan = self.plan();
        let patterns = plan.pattern_bytes(usize::MAX).unwrap_or_default();
        plan.nodes.len() * PER_SUBSCHEMA + patterns
    }

    /// The schema as it was compiled.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.0.document
    }

    /// Whether a value is valid. No faults are gathered: this is the fast way.
    #[must_use]
    pub fn is_valid(&self, value: &Value) -> bool {
        self.0.validator.is_valid(value)
    }

    /// Checks a value, within the [`CheckBudget`] of a text of its size.
    ///
    /// # Errors
    /// Everything that is wrong with it. Of a union (`anyOf`, `oneOf`) it is what is wrong by the
    /// branch that fits best. Or the budget is exceeded.
    pub fn check(&self, value: &Value) -> Result<(), Faults> {
        let size = Size::of(value);
        self.check_sized(value, size, &mut CheckBudget::for_text(size.least_text()))
    }

    /// Checks a value within a budget that other checks may share.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_within(&self, value: &Value, budget: &mut CheckBudget) -> Result<(), Faults> {
        self.check_sized(value, Size::of(value), budget)
    }

    fn check_sized(
        &self,
        value: &Value,
        size: Size,
        budget: &mut CheckBudget,
    ) -> Result<(), Faults> {
        let plan = self.plan();
        let valid = match self.affords_validator(size, budget) {
            true => Some(self.is_valid(value)),
            false if plan.is_exact() => search::is_valid(plan, value, budget),
            false => None,
        };
        match valid {
            Some(true) => Ok(()),
            Some(false) => Err(search::faults(plan, value, budget)),
            None => Err(Faults::over_budget(value, budget.granted())),
        }
    }

    /// Returns whether `jsonschema` may decide on a value of this size: it can't be stopped, so the most that it could take is
    /// charged. Where that is much more than what is likely, the search decides, which counts its steps, but takes several
    /// times as long for each.
    fn affords_validator(&self, size: Size, budget: &mut CheckBudget) -> bool {
        /// The applications that `jsonschema` does in the time of one step.
        const PER_STEP: u64 = 4;
        /// The part of what is left that may be charged for what is unlikely.
        const SHARE: u64 = 16;
        let steps = self.most_steps(size) / PER_STEP;
        let granted_for_it = CheckBudget::PER_BYTE.saturating_mul(size.least_text() as u64);
        let affordable = match self.plan().is_exact() {
            true => granted_for_it.max(budget.left() / SHARE),
            false => budget.left(),
        };
        steps <= affordable && budget.take(steps)
    }

    /// An upper bound of the applications of subschemas that `jsonschema` does for a value.
    fn most_steps(&self, size: Size) -> u64 {
        let plan = self.plan();
        let again = if plan.looks_for_unevaluated() {
            size.values
        } else {
            1
        };
        size.weight()
            .saturating_mul(plan.steps_per_value())
            .saturating_mul(again)
    }

    /// An upper bound of the steps (see [`CheckBudget`]) that a check of `bytes` bytes of text takes, whatever is in it.
    ///
    /// A server can tell by it whether to check at once, or in [`offload`](crate::offload()).
    #[must_use]
    pub fn most_steps_for_text(&self, bytes: usize) -> u64 {
        self.most_steps(Size::most_of_text(bytes))
    }

    fn plan(&self) -> &Plan {
        let inner = &*self.0;
        inner
            .plan
            .get_or_init(|| Plan::new(&inner.document, inner.validator.draft()))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.0.document).finish()
    }
}

/// The schema of a type that is known by how it makes its schema.
///
/// # Panics
/// As [`Schema::of`].
pub(crate) fn of_type(
    json_schema: fn(&mut SchemaGenerator) -> schemars::Schema,
    contract: Contract,
) -> Schema {
    let mut generator = settings(contract).into_generator();
    let mut schema = json_schema(&mut generator);
    let definitions = generator.take_definitions(false);
    if !definitions.is_empty() {
        schema.insert("$defs".to_owned(), definitions.into());
    }
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    let name = schema.get("title").and_then(Value::as_str);
    let name = name.unwrap_or("a type").to_owned();
    Schema::of_own(schema.to_value(), &name)
}

/// What compiling one subschema takes of the stack at most, in bytes; a debug build takes a quarter.
const STACK_PER_SUBSCHEMA: usize = 16 * 1024;

/// Runs `compile` on a thread with room for it: it recurses along references, and a chain of a few
/// hundred would end the process.
fn with_stack(
    bytes: usize,
    compile: impl FnOnce() -> Result<Validator, SchemaError> + Send,
) -> Result<Validator, SchemaError> {
    const BASE: usize = 1024 * 1024;
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(bytes.saturating_add(BASE))
            .spawn_scoped(scope, compile)
            .map_err(|error| SchemaError::invalid(format!("no thread to compile on: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(SchemaError::invalid("the schema can't be compiled")))
    })
}

/// The size that a regular expression may have when it is compiled, in bytes.
const MAX_COMPILED_PATTERN: usize = 1024 * 1024;

/// Memory for the lazy DFA of a regular expression, in bytes for each thread.
const MAX_DFA: usize = 128 * 1024;

/// What every schema is compiled with.
fn options<J: Json>() -> ValidationOptions<'static, Arc<dyn Retrieve>, J> {
    let patterns = PatternOptions::regex()
        .size_limit(MAX_COMPILED_PATTERN)
        .dfa_size_limit(MAX_DFA);
    jsonschema::options_for()
        .offline()
        .with_pattern_options(patterns)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        // What schemars calls an `IpAddr`.
        .with_format("ip", |text: &str| text.parse::<std::net::IpAddr>().is_ok())
}

fn build<J: Json>(document: &Value) -> Result<Validator<J>, SchemaError> {
    Ok(options().build(document)?)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
