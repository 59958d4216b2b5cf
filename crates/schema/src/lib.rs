//! Validation of JSON values against schemas, with a list of all faults of a value.
//!
//! A [`Schema`] comes from a Rust type or from a document (JSON Schema, by default draft 2020-12).
//! [`Schema::is_valid`] is fast; [`Schema::check`] reports the faults.
//!
//! ```
//! use headwater_schema::Schema;
//! use schemars::JsonSchema;
//! use serde_json::json;
//!
//! #[derive(JsonSchema)]
//! struct Order {
//!     /// Number of items.
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
//! Schemas and values may be untrusted. Regular expressions take linear time, and nothing is
//! fetched. [`SchemaLimits`] bounds the cost of a document, and a [`CheckBudget`] that of its
//! checks. The list of faults is bounded too. Both methods recurse as deep as the value, so the
//! value must be one that `serde_json` has parsed, which is at most 127 levels deep.

use std::{
    any, fmt,
    sync::{Arc, OnceLock},
    thread,
};

use jsonschema::{PatternOptions, ValidationOptions, Validator};
use schemars::{JsonSchema, SchemaGenerator, generate::Contract};
use serde_json::Value;

mod budget;
mod class_work;
mod cost;
mod duplicate_names;
mod error;
mod explain;
mod fault;
mod fault_text;
mod generate;
mod limits;
mod pattern;
mod plan;
mod reference;
mod search;
mod typed;
mod union;

pub use budget::CheckBudget;
pub use error::SchemaError;
pub use fault::{Fault, Faults};
pub use generate::settings;
pub use limits::SchemaLimits;
pub use typed::{deserialize, typed};

use cost::Size;
use plan::Plan;

/// A compiled schema. Clones share it.
///
/// Keywords such as `type` have JSON Schema's semantics: 1.0 is an integer. `format` is checked for
/// JSON Schema's own formats and for `ip`; unknown formats are ignored.
#[derive(Clone)]
pub struct Schema(Arc<Inner>);

struct Inner {
    document: Value,
    validator: Validator,
    /// Created on first use.
    plan: OnceLock<Plan>,
}

impl Schema {
    /// Creates the schema of the values that `T` deserialises from.
    ///
    /// Each call compiles the schema, which takes about 100 µs, so keep the result. It can't be
    /// cached here, because a `T` that is not `'static` has no type id.
    ///
    /// # Panics
    /// The schema of `T` is invalid, or has a pattern with look-around or a reference to another
    /// document. That is a bug of the program, and shows on first use.
    #[must_use]
    pub fn of<T: JsonSchema + ?Sized>() -> Self {
        Self::generate::<T>(Contract::Deserialize)
    }

    /// Creates the schema of the values that `T` serialises to, for outgoing values.
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

    /// Compiles a schema of the program itself.
    fn of_own(document: Value, name: &str) -> Self {
        match build(&document) {
            Ok(validator) => Self::new(document, validator),
            Err(error) => panic!("the schema of {name} can't be used: {error}"),
        }
    }

    /// Compiles a schema within the default [`SchemaLimits`].
    ///
    /// # Errors
    /// The document is not a schema of the draft that its `$schema` names (default: 2020-12),
    /// refers to another document, has a regular expression that doesn't take linear time, or
    /// exceeds a limit.
    pub fn compile(document: &Value) -> Result<Self, SchemaError> {
        Self::compile_with(document, &SchemaLimits::default())
    }

    /// Compiles a schema within limits. It takes about 300 µs for a schema of 1 KiB, and 100 ms for
    /// one at the default limits, which is nearly all for its regular expressions. One that exceeds
    /// a limit is refused before any of them is compiled.
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
        // Can't be set yet: the schema is new.
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

    /// Estimates the memory of the compiled schema, in bytes, for caches that it bounds.
    #[must_use]
    pub fn memory(&self) -> usize {
        /// One subschema with its keywords, its node in the plan and its names, in bytes.
        const PER_SUBSCHEMA: usize = 2048;
        let plan = self.plan();
        let patterns = plan.pattern_bytes(usize::MAX).unwrap_or_default();
        plan.nodes.len() * PER_SUBSCHEMA + patterns
    }

    /// Returns the document that the schema was compiled from.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.0.document
    }

    /// Returns `true` if a value is valid. It collects no faults, so it is fast.
    #[must_use]
    pub fn is_valid(&self, value: &Value) -> bool {
        self.0.validator.is_valid(value)
    }

    /// Checks a value within the [`CheckBudget`] of a text of its size.
    ///
    /// # Errors
    /// All faults of the value. For a union (`anyOf`, `oneOf`), they are those under the branch
    /// that fits best. Or a single fault, if the budget is exceeded.
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

    /// Returns `true` if `jsonschema` may check a value of this size. It can't be interrupted, so
    /// its worst case is charged. If that is much more than its likely cost, the search checks the
    /// value instead: it counts its steps, but each takes several times as long.
    fn affords_validator(&self, size: Size, budget: &mut CheckBudget) -> bool {
        /// Applications of subschemas that `jsonschema` does in the time of one step.
        const PER_STEP: u64 = 4;
        /// Divisor of half of the budget, or what is left of it, that may be charged for an
        /// unlikely cost. The other half remains for the search.
        const SHARE: u64 = 16;
        let steps = self.most_steps(size) / PER_STEP;
        let granted_for_it = CheckBudget::PER_BYTE.saturating_mul(size.least_text() as u64);
        let affordable = match self.plan().is_exact() {
            true => granted_for_it.max(budget.left().saturating_sub(budget.granted() / 2) / SHARE),
            false => budget.left(),
        };
        steps <= affordable && budget.take(steps)
    }

    /// Returns an upper bound on the applications of subschemas that `jsonschema` does for a value.
    fn most_steps(&self, size: Size) -> u64 {
        self.plan().most_steps(size)
    }

    /// Returns an upper bound on the steps (see [`CheckBudget`]) that a check of `bytes` bytes of
    /// any text takes.
    ///
    /// A server can use it to decide between checking at once and in `headwater::offload`.
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

/// Compiles the schema of a type that is known by its schema function.
///
/// # Panics
/// As [`Schema::of`].
pub fn of_type(
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

/// Maximum stack that compiling one subschema takes, in bytes. A debug build takes a quarter of it.
const STACK_PER_SUBSCHEMA: usize = 16 * 1024;

/// Runs `compile` on a thread with sufficient stack: it recurses along references, and a chain of a
/// few hundred would overflow the stack and abort the process.
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

/// Maximum size of a compiled regular expression, in bytes.
const MAX_COMPILED_PATTERN: usize = 1024 * 1024;

/// Memory for the lazy DFA of a regular expression, in bytes per thread.
const MAX_DFA: usize = 128 * 1024;

/// Returns the options that every schema is compiled with.
fn options() -> ValidationOptions<'static> {
    let patterns = PatternOptions::regex()
        .size_limit(MAX_COMPILED_PATTERN)
        .dfa_size_limit(MAX_DFA);
    jsonschema::options()
        .offline()
        .with_pattern_options(patterns)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        // schemars' format of an `IpAddr`.
        .with_format("ip", |text: &str| text.parse::<std::net::IpAddr>().is_ok())
        .with_format("regex", is_regex)
}

/// Returns `true` if a text has the format `regex`, with at most 64 named groups: the name of each
/// is compared with all others.
fn is_regex(text: &str) -> bool {
    const NAMED_GROUPS: usize = 64;
    text.matches("(?<").nth(NAMED_GROUPS).is_none() && jsonschema_regex::is_valid_ecma_regex(text)
}

fn build(document: &Value) -> Result<Validator, SchemaError> {
    Ok(options().build(document)?)
}

#[cfg(test)]
mod proptests;
#[cfg(test)]
mod tests;
