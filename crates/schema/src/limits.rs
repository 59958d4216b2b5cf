//! Limits of schemas from outside.

use std::io;

use serde_json::Value;

use super::{SchemaError, pattern::Pattern, plan::Plan};

/// Limits of schemas from outside.
///
/// Together they bound the cost of compiling a schema, and the cost of checking one value, for each
/// array, object and scalar in it. All are inclusive: a document of exactly
/// [`max_bytes`](Self::max_bytes) passes.
///
/// ```
/// use headwater_schema::{Schema, SchemaLimits};
/// use serde_json::json;
///
/// let limits = SchemaLimits::default().with_max_pattern_bytes(10);
/// let document = json!({"pattern": "^[a-z]{1,20}$"});
/// let error = Schema::compile_with(&document, &limits).unwrap_err();
/// assert!(error.is_over_limit());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemaLimits {
    /// Maximum size of the document as compact JSON, in bytes. Default: 64 KiB.
    pub max_bytes: usize,
    /// Maximum nesting of the document's arrays and objects. Default: 64.
    pub max_depth: usize,
    /// Maximum number of subschemas that are reachable from the root, including the root. Compiling
    /// takes 16 KiB of stack for each, on a dedicated thread. Default: 1,000.
    pub max_subschemas: usize,
    /// Maximum length of a chain of schemas that apply to the same value, by `$ref`, `allOf`,
    /// `anyOf` and the like. It bounds the stack. Default: 12.
    pub max_nesting: usize,
    /// Maximum number of applications of subschemas in the whole document with every reference
    /// expanded. A recursive reference counts once. Without this limit, a short document whose
    /// references double at each step could require 2ⁿ checks. Default: 100,000.
    pub max_applications: usize,
    /// Maximum length of a regular expression, in bytes. Default: 1,000.
    pub max_pattern_bytes: usize,
    /// Maximum work of reading the character classes of all regular expressions: the product of
    /// items and ranges of each (`[a-z_]` has two of each, `\pL` about 700 ranges), plus the number
    /// of characters of those under the flag `i`. Default: 1,000,000.
    pub max_class_work: usize,
    /// Maximum total memory of all compiled regular expressions, in bytes, by an estimate: 64 for
    /// each state and each range of a class, with counted repetitions written out, and at least
    /// 32 KiB for each expression. None is compiled before. A single one may have 1 MiB. Default:
    /// 16 MiB.
    pub max_compiled_patterns: usize,
}

impl SchemaLimits {
    /// Default of [`max_bytes`](Self::max_bytes): 64 KiB.
    pub const DEFAULT_MAX_BYTES: usize = 64 * 1024;
    /// Default of [`max_depth`](Self::max_depth): 64.
    pub const DEFAULT_MAX_DEPTH: usize = 64;
    /// Default of [`max_subschemas`](Self::max_subschemas): 1,000.
    pub const DEFAULT_MAX_SUBSCHEMAS: usize = 1000;
    /// Default of [`max_nesting`](Self::max_nesting): 12.
    pub const DEFAULT_MAX_NESTING: usize = 12;
    /// Default of [`max_applications`](Self::max_applications): 100,000.
    pub const DEFAULT_MAX_APPLICATIONS: usize = 100_000;
    /// Default of [`max_pattern_bytes`](Self::max_pattern_bytes): 1,000.
    pub const DEFAULT_MAX_PATTERN_BYTES: usize = 1000;
    /// Default of [`max_class_work`](Self::max_class_work): 1,000,000.
    pub const DEFAULT_MAX_CLASS_WORK: usize = 1_000_000;
    /// Default of [`max_compiled_patterns`](Self::max_compiled_patterns): 16 MiB.
    pub const DEFAULT_MAX_COMPILED_PATTERNS: usize = 16 << 20;

    headwater_wire::setters! {
        /// Sets [`max_bytes`](Self::max_bytes).
        with_max_bytes(bytes: usize) => max_bytes = bytes;
        /// Sets [`max_depth`](Self::max_depth).
        with_max_depth(depth: usize) => max_depth = depth;
        /// Sets [`max_subschemas`](Self::max_subschemas).
        with_max_subschemas(subschemas: usize) => max_subschemas = subschemas;
        /// Sets [`max_nesting`](Self::max_nesting).
        with_max_nesting(nesting: usize) => max_nesting = nesting;
        /// Sets [`max_applications`](Self::max_applications).
        with_max_applications(applications: usize) => max_applications = applications;
        /// Sets [`max_pattern_bytes`](Self::max_pattern_bytes).
        with_max_pattern_bytes(bytes: usize) => max_pattern_bytes = bytes;
        /// Sets [`max_class_work`](Self::max_class_work).
        with_max_class_work(work: usize) => max_class_work = work;
        /// Sets [`max_compiled_patterns`](Self::max_compiled_patterns).
        with_max_compiled_patterns(bytes: usize) => max_compiled_patterns = bytes;
    }

    /// Checks the limits that don't depend on the document's meaning as a schema.
    pub(super) fn admit_document(&self, document: &Value) -> Result<(), SchemaError> {
        // Checked before the size, because serialising the document recurses.
        if is_deeper(document, self.max_depth) {
            return Err(SchemaError::limit(
                "nests deeper than",
                self.max_depth,
                "levels",
            ));
        }
        if is_longer(document, self.max_bytes) {
            return Err(SchemaError::limit(
                "is longer than",
                self.max_bytes,
                "bytes",
            ));
        }
        Ok(())
    }

    /// Checks the limits of the document as a schema.
    pub(super) fn admit_plan(&self, plan: &Plan) -> Result<(), SchemaError> {
        if plan.nodes.len() > self.max_subschemas {
            let limit = self.max_subschemas;
            return Err(SchemaError::limit("has more than", limit, "subschemas"));
        }
        let is_long = |it: &&Pattern| it.text().len() > self.max_pattern_bytes;
        if let Some(pattern) = plan.patterns().find(is_long) {
            let start: String = pattern.text().chars().take(20).collect();
            let what = format!("has a regular expression ({start}…) longer than");
            return Err(SchemaError::limit(&what, self.max_pattern_bytes, "bytes"));
        }
        let limit = self.max_class_work;
        if !plan.class_work_is_within(limit as u64) {
            let what = "has regular expressions whose character classes take more work than";
            return Err(SchemaError::limit(what, limit, "ranges"));
        }
        let limit = self.max_compiled_patterns;
        if plan.pattern_bytes(limit).is_none() {
            let what = "has regular expressions that, compiled, take more than";
            return Err(SchemaError::limit(what, limit, "bytes"));
        }
        let Some(nesting) = plan.nesting() else {
            return Err(SchemaError::invalid(
                "the schema leads back to itself without going into the value",
            ));
        };
        if nesting > self.max_nesting {
            let what = "applies schemas through each other to one place, in a row of more than";
            return Err(SchemaError::limit(what, self.max_nesting, "schemas"));
        }
        if plan.applications() > self.max_applications as u64 {
            let limit = self.max_applications;
            return Err(SchemaError::limit(
                "with its references written out, has more than",
                limit,
                "subschemas",
            ));
        }
        Ok(())
    }
}

impl Default for SchemaLimits {
    fn default() -> Self {
        Self {
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_depth: Self::DEFAULT_MAX_DEPTH,
            max_subschemas: Self::DEFAULT_MAX_SUBSCHEMAS,
            max_nesting: Self::DEFAULT_MAX_NESTING,
            max_applications: Self::DEFAULT_MAX_APPLICATIONS,
            max_pattern_bytes: Self::DEFAULT_MAX_PATTERN_BYTES,
            max_class_work: Self::DEFAULT_MAX_CLASS_WORK,
            max_compiled_patterns: Self::DEFAULT_MAX_COMPILED_PATTERNS,
        }
    }
}

/// Returns `true` if arrays and objects nest deeper than `levels`. It recurses at most that deep.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let within = |child: &Value| is_deeper(child, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(within),
        Value::Object(members) => levels == 0 || members.values().any(within),
        _ => false,
    }
}

/// Returns `true` if a value is longer than `bytes` as compact JSON. It serialises at most that
/// much.
pub(super) fn is_longer(value: &Value, bytes: usize) -> bool {
    serde_json::to_writer(Bounded { left: bytes }, value).is_err()
}

/// A writer that counts bytes and fails above a limit.
struct Bounded {
    left: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                Ok(bytes.len())
            }
            None => Err(io::Error::other("over the limit")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
