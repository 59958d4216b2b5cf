//! A schema prepared for the search for faults: its subschemas and the parts of a value that they
//! apply to.
//!
//! `jsonschema` decides if a value is valid. The errors that it collects for an invalid value grow
//! with the number of an `anyOf`'s branches to the power of the nesting. So the search walks the
//! schema itself, within bounds, and uses `jsonschema` only for the keywords that depend on one
//! value alone: these are the [`Lone`] schemas here. A reference that can't be resolved in the
//! document by its pointer or anchor is omitted; the search treats its target as satisfied.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::OnceLock,
};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::{
    MAX_COMPILED_PATTERN,
    cost::{self, Size},
    options,
    pattern::Pattern,
    reference::{Names, escape},
};

/// Index of a node in its plan.
pub(super) type Id = usize;

/// All subschemas that are reachable from the root, which has index 0.
pub(super) struct Plan {
    pub(super) nodes: Vec<Node>,
    /// If `true`, no reference is omitted, and each has a single target.
    is_exact: bool,
    looks_for_unevaluated: bool,
    /// All regular expressions of the document, if a reference is omitted that may lead to them.
    hidden: Vec<Pattern>,
    rates: OnceLock<Rates>,
}

/// Upper bounds on the steps that `jsonschema` takes, for all subschemas together.
#[derive(Clone, Copy, Default)]
struct Rates {
    /// For each value.
    value: u64,
    /// For every eight bytes of strings.
    string: u64,
    /// For each large number, in addition.
    large: u64,
}

/// One subschema.
pub(super) struct Node {
    /// Keywords that depend only on the value itself, without `pattern`.
    pub(super) lone: Lone,
    pub(super) pattern: Option<Pattern>,
    /// `$ref`, `allOf`: all apply to the same value.
    pub(super) all: Vec<Id>,
    pub(super) any_of: Vec<Id>,
    pub(super) one_of: Vec<Id>,
    pub(super) not: Option<Id>,
    /// `if`, `then`, `else`.
    pub(super) condition: Option<(Id, Option<Id>, Option<Id>)>,
    /// `dependentSchemas`: each applies to an object that has the property.
    pub(super) dependents: BTreeMap<String, Id>,
    pub(super) properties: BTreeMap<String, Id>,
    pub(super) patterns: Vec<(Pattern, Id)>,
    pub(super) additional: Option<Id>,
    pub(super) names: Option<Id>,
    pub(super) unevaluated_properties: Option<Id>,
    pub(super) prefix: Vec<Id>,
    pub(super) items: Option<Id>,
    pub(super) contains: Option<Contains>,
    pub(super) unevaluated_items: Option<Id>,
    weight: Weight,
}

/// The steps of one subschema's keywords, without those of its subschemas.
#[derive(Clone, Copy, Default)]
struct Weight {
    /// For every value: constants that it is compared with.
    value: u64,
    /// For every number.
    number: u64,
    /// For a large number, in addition.
    large: u64,
    /// For every eight bytes of a string, without those of patterns.
    string: u64,
    /// For every member of an object: names and patterns that its name is compared with.
    member: u64,
    /// For every item of an array.
    item: u64,
}

#[derive(Clone, Copy)]
pub(super) struct Contains {
    pub(super) id: Id,
    pub(super) min: u64,
    pub(super) max: u64,
}

/// A schema without subschemas. It is compiled on first use.
pub(super) struct Lone {
    pub(super) schema: Value,
    draft: Draft,
    compiled: OnceLock<Option<Validator>>,
}

impl Lone {
    fn new(schema: Value, draft: Draft) -> Self {
        Self {
            schema,
            draft,
            compiled: OnceLock::new(),
        }
    }

    /// Returns the compiled schema, or `None` if it has no keywords.
    pub(super) fn validator(&self) -> Option<&Validator> {
        self.compiled
            .get_or_init(|| {
                if self.schema.as_object().is_some_and(Map::is_empty) {
                    return None;
                }
                // The whole document, which contains the same keywords, has compiled.
                options().with_draft(self.draft).build(&self.schema).ok()
            })
            .as_ref()
    }

    pub(super) fn is_valid(&self, value: &Value) -> bool {
        self.validator().is_none_or(|it| it.is_valid(value))
    }

    /// Returns `true` if it allows no value.
    pub(super) fn is_false(&self) -> bool {
        self.schema == Value::Bool(false)
    }
}

/// Assumed steps per value for a reference that leads out of the document: to a meta-schema, or by
/// its dynamic scope.
const OUTSIDE_STEPS: u64 = 1000;

/// Comparisons of small values in the time of one step.
const COMPARISONS_PER_STEP: u64 = 8;

/// Keywords that depend only on the value itself, in every draft.
const LONE_KEYWORDS: [&str; 20] = [
    "type",
    "enum",
    "const",
    "multipleOf",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "format",
    "contentEncoding",
    "contentMediaType",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "required",
    "dependentRequired",
];

impl Plan {
    /// Prepares a document that is valid as a schema of its draft.
    pub(super) fn new(document: &Value, draft: Draft) -> Self {
        let empty = Map::new();
        let mut layout = Layout {
            document,
            empty: &empty,
            draft,
            names: Names::of(document, draft),
            ids: HashMap::new(),
            positions: Vec::new(),
            is_exact: true,
        };
        layout.id(String::new(), document);
        let mut nodes = Vec::new();
        while let Some((pointer, schema)) = layout.positions.get(nodes.len()).cloned() {
            nodes.push(layout.node(&pointer, schema));
        }
        let looks =
            |node: &Node| node.unevaluated_properties.is_some() || node.unevaluated_items.is_some();
        Self {
            is_exact: layout.is_exact,
            looks_for_unevaluated: nodes.iter().any(looks),
            hidden: match layout.is_exact {
                true => Vec::new(),
                false => patterns_in(document),
            },
            rates: OnceLock::new(),
            nodes,
        }
    }

    /// Returns `true` if the search decides like `jsonschema`: it follows all references, and each
    /// has a single target.
    pub(super) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Returns an upper bound on the memory of the compiled regular expressions, in bytes, or
    /// `None` if it exceeds `most`. In that case the remaining expressions are not looked at. None
    /// is compiled.
    pub(super) fn pattern_bytes(&self, most: usize) -> Option<usize> {
        /// Memory of the smallest compiled regular expression, with its caches.
        const LEAST: usize = 32 << 10;
        self.distinct_patterns().try_fold(0_usize, |sum, pattern| {
            // `jsonschema` gives up one that is larger, and refuses the document.
            let bytes = pattern.cost().memory.clamp(LEAST, MAX_COMPILED_PATTERN);
            Some(sum + bytes).filter(|sum| *sum <= most)
        })
    }

    /// Returns `true` if the work of reading the classes of all regular expressions (see
    /// [`Pattern::class_work`]) is at most `most`.
    pub(super) fn class_work_is_within(&self, most: u64) -> bool {
        let mut left = Some(most);
        self.distinct_patterns().all(|pattern| {
            left = left.and_then(|left| left.checked_sub(pattern.class_work()));
            left.is_some()
        })
    }

    /// Returns the regular expressions, each once, as `jsonschema` compiles them.
    fn distinct_patterns(&self) -> impl Iterator<Item = &Pattern> {
        let mut seen = HashSet::new();
        self.patterns().filter(move |it| seen.insert(it.text()))
    }

    /// Returns all regular expressions.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.nodes
            .iter()
            .flat_map(Node::patterns)
            .chain(&self.hidden)
    }

    /// Returns the length of the longest chain of schemas that apply to the same value, or `None`
    /// if a schema recurs on the same value.
    pub(super) fn nesting(&self) -> Option<usize> {
        fn visit(plan: &Plan, id: Id, seen: &mut HashMap<Id, Option<usize>>) -> Option<usize> {
            if let Some(known) = seen.get(&id) {
                return *known;
            }
            // A schema that is reached again before its value is known is recursive.
            seen.insert(id, None);
            let mut deepest = 0;
            for next in plan.nodes[id].in_place() {
                deepest = deepest.max(visit(plan, next, seen)?);
            }
            seen.insert(id, Some(deepest + 1));
            Some(deepest + 1)
        }
        let mut seen = HashMap::new();
        (0..self.nodes.len()).try_fold(0, |most, id| Some(visit(self, id, &mut seen)?.max(most)))
    }

    /// Returns the number of applications of subschemas with all references expanded. A recursive
    /// one counts once, because `jsonschema` remembers its results.
    pub(super) fn applications(&self) -> u64 {
        self.sum(|_| 1)
    }

    /// Returns an upper bound on the steps that `jsonschema` takes for a value of a size.
    pub(super) fn most_steps(&self, size: Size) -> u64 {
        let rates = *self.rates.get_or_init(|| self.sum_rates());
        // `jsonschema` evaluates `unevaluatedProperties` and the like again at each member.
        let times = if self.looks_for_unevaluated {
            size.values
        } else {
            1
        };
        let of_values = size.values.saturating_mul(rates.value);
        let of_strings = size.strings.saturating_mul(rates.string) / 8;
        let of_numbers = size.large_numbers.saturating_mul(rates.large);
        of_values
            .saturating_add(of_strings)
            .saturating_add(of_numbers)
            .saturating_mul(times)
    }

    fn sum_rates(&self) -> Rates {
        let outside = if self.is_exact { 0 } else { OUTSIDE_STEPS };
        let of_patterns = |node: &Node| {
            let steps = node.patterns().map(|pattern| pattern.cost().steps);
            steps.fold(node.weight.string, u64::saturating_add)
        };
        let of_values = |node: &Node| {
            let weight = node.weight;
            1 + weight.value + weight.number + weight.member + weight.item
        };
        let hidden = self.hidden.iter().map(|pattern| pattern.cost().steps);
        Rates {
            value: self.sum(of_values).saturating_add(outside),
            string: hidden.fold(
                self.sum(of_patterns).saturating_add(outside),
                u64::saturating_add,
            ),
            large: self.sum(|node| node.weight.large),
        }
    }

    /// Sums over all applications of subschemas with all references expanded. A recursive one
    /// counts once.
    fn sum(&self, of: impl Fn(&Node) -> u64) -> u64 {
        /// A node on the path, with its successors that are still to be added, and its sum so far.
        struct Open {
            id: Id,
            left: Vec<Id>,
            sum: u64,
        }
        let open = |id: Id| {
            let node = &self.nodes[id];
            Open {
                id,
                left: node.in_place().chain(node.below()).collect(),
                sum: of(node),
            }
        };
        // Iterative, because a chain of references may be long.
        let mut way = vec![open(0)];
        let mut known = HashMap::from([(0, way[0].sum)]);
        loop {
            let Some(last) = way.last_mut() else {
                return known.get(&0).copied().unwrap_or(0);
            };
            let Some(next) = last.left.pop() else {
                let (id, sum) = (last.id, last.sum);
                known.insert(id, sum);
                way.pop();
                if let Some(before) = way.last_mut() {
                    before.sum = before.sum.saturating_add(sum);
                }
                continue;
            };
            match known.get(&next) {
                Some(sum) => last.sum = last.sum.saturating_add(*sum),
                None => {
                    let next = open(next);
                    // A schema that is reached again before its sum is known is recursive.
                    known.insert(next.id, next.sum);
                    way.push(next);
                }
            }
        }
    }
}

impl Node {
    /// Returns the steps of applying this subschema to a value, without those of its subschemas.
    pub(super) fn steps(&self, value: &Value) -> u64 {
        let weight = self.weight;
        let parts = |length: usize, each: u64| (length as u64).saturating_mul(each);
        let of_parts = match value {
            Value::String(text) => parts(text.len() / 8, weight.string),
            Value::Array(items) => parts(items.len(), weight.item),
            Value::Object(members) => parts(members.len(), weight.member),
            Value::Number(number) if cost::is_large(number) => weight.number + weight.large,
            Value::Number(_) => weight.number,
            _ => 0,
        };
        of_parts.saturating_add(1 + weight.value)
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let keys = self.patterns.iter().map(|(key, _)| key);
        keys.chain(&self.pattern)
    }

    /// Returns the subschemas that apply to the same value.
    fn in_place(&self) -> impl Iterator<Item = Id> {
        let condition = self.condition.into_iter();
        [&self.all, &self.any_of, &self.one_of]
            .into_iter()
            .flatten()
            .copied()
            .chain(self.not)
            .chain(
                condition.flat_map(|(test, then, other)| {
                    [Some(test), then, other].into_iter().flatten()
                }),
            )
            .chain(self.dependents.values().copied())
    }

    /// Returns the subschemas that apply to parts of the value.
    fn below(&self) -> impl Iterator<Item = Id> {
        self.properties
            .values()
            .copied()
            .chain(self.patterns.iter().map(|(_, id)| *id))
            .chain(self.prefix.iter().copied())
            .chain(self.contains.map(|contains| contains.id))
            .chain(
                [self.additional, self.names, self.items]
                    .into_iter()
                    .flatten(),
            )
            .chain(self.unevaluated_properties)
            .chain(self.unevaluated_items)
    }
}

impl Weight {
    fn of(schema: &Map<String, Value>, lone: &Value) -> Self {
        let length = |key: &str| match schema.get(key) {
            Some(Value::Object(members)) => members.len() as u64,
            Some(Value::Array(items)) => items.len() as u64,
            _ => 0,
        };
        let compared: u64 = ["const", "enum"]
            .iter()
            .filter_map(|key| lone.get(key))
            .map(|compared| Size::of(compared).values)
            .sum();
        let names = length("required")
            + ["dependentRequired", "dependentSchemas", "dependencies"]
                .iter()
                .map(|key| length(key))
                .sum::<u64>();
        // JSON in a string is parsed, and so is a regular expression.
        let is_regex = lone.get("format").is_some_and(|it| it == "regex");
        let string = match () {
            () if is_regex => 16,
            () if lone.get("contentMediaType").is_some() => 4,
            () => ["format", "contentEncoding"]
                .iter()
                .any(|key| lone.get(key).is_some())
                .into(),
        };
        let (number, large) = lone
            .get("multipleOf")
            .and_then(Value::as_f64)
            .map_or((0, 0), cost::of_multiple);
        Self {
            value: (compared + names) / COMPARISONS_PER_STEP,
            number,
            large,
            string,
            member: length("patternProperties"),
            item: u64::from(
                lone.get("uniqueItems")
                    .is_some_and(|it| *it == Value::Bool(true)),
            ),
        }
    }
}

/// Returns what may be a regular expression, wherever it is in a document.
fn patterns_in(document: &Value) -> Vec<Pattern> {
    let mut found = Vec::new();
    let mut open = vec![document];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => {
                open.extend(members.values());
                let pattern = members.get("pattern").and_then(Value::as_str);
                found.extend(pattern.map(str::to_owned));
                let keys = members.get("patternProperties").and_then(Value::as_object);
                found.extend(keys.into_iter().flat_map(Map::keys).cloned());
            }
            _ => {}
        }
    }
    found.into_iter().map(Pattern::new).collect()
}

/// A plan under construction.
struct Layout<'d> {
    document: &'d Value,
    empty: &'d Map<String, Value>,
    draft: Draft,
    names: Names<'d>,
    ids: HashMap<String, Id>,
    /// Pointer and schema of each node, by index.
    positions: Vec<(String, &'d Value)>,
    is_exact: bool,
}

impl<'d> Layout<'d> {
    /// Returns the index of the schema at a pointer.
    fn id(&mut self, pointer: String, schema: &'d Value) -> Id {
        if let Some(id) = self.ids.get(&pointer) {
            return *id;
        }
        let id = self.positions.len();
        self.ids.insert(pointer.clone(), id);
        self.positions.push((pointer, schema));
        id
    }

    fn node(&mut self, pointer: &str, schema: &'d Value) -> Node {
        let Value::Object(schema) = schema else {
            return self.keywords(pointer, self.empty, schema.clone());
        };
        // Up to draft 7, other keywords beside `$ref` are ignored.
        if self.draft <= Draft::Draft7 && schema.contains_key("$ref") {
            let mut node = self.keywords(pointer, self.empty, json!({}));
            node.all.extend(self.follow(&schema["$ref"]));
            return node;
        }
        let lone = LONE_KEYWORDS
            .iter()
            .filter_map(|&key| Some((key.to_owned(), schema.get(key)?.clone())))
            .chain(lone_dependencies(schema).filter(|_| knows(self.draft, "dependencies")))
            .collect();
        self.keywords(pointer, schema, Value::Object(lone))
    }

    fn keywords(&mut self, pointer: &str, schema: &'d Map<String, Value>, lone: Value) -> Node {
        let one = |layout: &mut Self, key: &str| {
            let schema = schema.get(key).filter(|_| knows(layout.draft, key))?;
            Some(layout.id(format!("{pointer}/{key}"), schema))
        };
        let mut all: Vec<Id> = ["$ref", "$dynamicRef", "$recursiveRef"]
            .iter()
            .filter(|key| knows(self.draft, key))
            .filter_map(|key| schema.get(*key))
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|reference| self.follow(reference))
            .collect();
        all.extend(self.list(pointer, schema, "allOf"));
        let tuple = schema.get("items").is_some_and(Value::is_array);
        let (prefix, items) = if tuple {
            (
                self.list(pointer, schema, "items"),
                one(self, "additionalItems"),
            )
        } else {
            (
                self.list(pointer, schema, "prefixItems"),
                one(self, "items"),
            )
        };
        let is_dynamic = |key: &&str| schema.contains_key(*key) && knows(self.draft, key);
        self.is_exact &= !["$dynamicRef", "$recursiveRef"].iter().any(is_dynamic);
        let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
        let weight = Weight::of(schema, &lone);
        Node {
            weight,
            lone: Lone::new(lone, self.draft),
            pattern: schema
                .get("pattern")
                .and_then(Value::as_str)
                .map(|pattern| Pattern::new(pattern.to_owned())),
            all,
            any_of: self.list(pointer, schema, "anyOf"),
            one_of: self.list(pointer, schema, "oneOf"),
            not: one(self, "not"),
            condition: one(self, "if").map(|test| (test, one(self, "then"), one(self, "else"))),
            dependents: ["dependentSchemas", "dependencies"]
                .iter()
                .flat_map(|key| self.map(pointer, schema, key))
                .collect(),
            properties: self.map(pointer, schema, "properties"),
            patterns: self
                .map(pointer, schema, "patternProperties")
                .into_iter()
                .map(|(key, id)| (Pattern::new(key), id))
                .collect(),
            additional: one(self, "additionalProperties"),
            names: one(self, "propertyNames"),
            unevaluated_properties: one(self, "unevaluatedProperties"),
            prefix,
            items,
            contains: one(self, "contains").map(|id| Contains {
                id,
                min: bound("minContains").unwrap_or(1),
                max: bound("maxContains").unwrap_or(u64::MAX),
            }),
            unevaluated_items: one(self, "unevaluatedItems"),
        }
    }

    fn list(&mut self, pointer: &str, schema: &'d Map<String, Value>, key: &str) -> Vec<Id> {
        let schemas = schema.get(key).filter(|_| knows(self.draft, key));
        schemas
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .enumerate()
            .map(|(index, schema)| self.id(format!("{pointer}/{key}/{index}"), schema))
            .collect()
    }

    fn map(
        &mut self,
        pointer: &str,
        schema: &'d Map<String, Value>,
        key: &str,
    ) -> BTreeMap<String, Id> {
        let schemas = schema.get(key).filter(|_| knows(self.draft, key));
        schemas
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            // An array is the other form of `dependencies`.
            .filter(|(_, schema)| !schema.is_array())
            .map(|(name, schema)| {
                let pointer = format!("{pointer}/{key}/{}", escape(name));
                (name.clone(), self.id(pointer, schema))
            })
            .collect()
    }

    /// Returns the schema that a reference leads to, if it is in the document.
    fn follow(&mut self, reference: &Value) -> Option<Id> {
        let found = reference
            .as_str()
            .and_then(|reference| self.names.pointer_of(reference))
            .and_then(|pointer| Some((self.document.pointer(&pointer)?, pointer)));
        match found {
            Some((schema, pointer)) => Some(self.id(pointer, schema)),
            None => {
                self.is_exact = false;
                None
            }
        }
    }
}

/// Returns `true` if a draft has this keyword, for those that not all drafts have.
fn knows(draft: Draft, keyword: &str) -> bool {
    match keyword {
        "contains" | "propertyNames" => draft >= Draft::Draft6,
        "if" => draft >= Draft::Draft7,
        "dependencies" => draft <= Draft::Draft7,
        "dependentSchemas" | "unevaluatedItems" | "unevaluatedProperties" => {
            draft >= Draft::Draft201909
        }
        "$recursiveRef" => draft == Draft::Draft201909,
        "$dynamicRef" | "prefixItems" => draft >= Draft::Draft202012,
        _ => true,
    }
}

/// Returns the part of `dependencies` (up to draft 7) that requires other properties.
fn lone_dependencies(schema: &Map<String, Value>) -> Option<(String, Value)> {
    let mut lone = schema.get("dependencies")?.as_object()?.clone();
    lone.retain(|_, wanted| wanted.is_array());
    Some(("dependencies".to_owned(), Value::Object(lone)))
}
