//! The search for the faults of a value that is known to be invalid.
//!
//! It descends only into invalid parts of the value, and its work is bounded: the validity of a
//! part is determined once for each subschema, and the steps into invalid parts are counted. In a
//! union it follows the branch that was probably meant.
//!
//! This module has the search's state and the test for validity; `explain` and `union` find the
//! faults.

use std::{collections::HashMap, ptr};

use serde_json::Value;

use super::{
    budget::CheckBudget,
    fault::{Fault, Faults},
    fault_text::{self, Gist, Words},
    plan::{Id, Node, Plan},
    reference::escape,
};

/// Maximum number of steps of a search into invalid parts of the value.
const STEPS: u32 = 20_000;

/// Number of steps above which a result is remembered.
const WORTH_REMEMBERING: u64 = 16;

/// Maximum number of remembered results.
const MOST_REMEMBERED: usize = 100_000;

/// Maximum number of faults that the branches of a union keep together while the best branch is
/// determined. Each branch keeps at least four.
const UNION_FAULTS: usize = 1000;

/// Maximum total length of the pointers of the kept faults, in bytes.
const MAX_POINTERS: usize = 64 * 1024;

/// Finds the faults of an invalid value within the budget.
pub(super) fn faults(plan: &Plan, value: &Value, budget: &mut CheckBudget) -> Faults {
    let mut search = Search::new(plan, budget);
    let mut found = Found::default();
    search.explain(0, value, &Path::Root, &mut found);
    if found.faults.is_empty() {
        if budget.is_spent() {
            return Faults::over_budget(value, budget.granted());
        }
        // The fault is behind a reference that the plan doesn't follow.
        found.add(&Path::Root, value, fault_text::invalid(value));
    }
    let kept = found.faults.into_iter().map(|(fault, _)| fault).collect();
    Faults::new(kept, found.more)
}

/// Returns `true` if a value is valid, or `None` if the budget is exceeded.
pub(super) fn is_valid(plan: &Plan, value: &Value, budget: &mut CheckBudget) -> Option<bool> {
    let valid = Search::new(plan, budget).valid(0, value);
    (!budget.is_spent()).then_some(valid)
}

/// The path from the root of the value to a part of it.
pub(super) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    pub(super) fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Member(up, name) => format!("{}/{}", up.pointer(), escape(name)),
            Self::Item(up, index) => format!("{}/{index}", up.pointer()),
        }
    }
}

pub(super) struct Found {
    pub(super) faults: Vec<(Fault, Gist)>,
    pub(super) more: usize,
    most: usize,
    pointers: usize,
}

impl Default for Found {
    fn default() -> Self {
        Self {
            faults: Vec::new(),
            more: 0,
            most: Faults::MAX,
            pointers: 0,
        }
    }
}

impl Found {
    /// Creates the list for one of a union's `branches` branches.
    pub(super) fn of_branch(branches: usize) -> Self {
        Self {
            most: (UNION_FAULTS / branches.max(1)).clamp(4, Faults::MAX),
            ..Self::default()
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.faults.len() >= self.most || self.pointers > MAX_POINTERS
    }

    fn add(&mut self, path: &Path<'_>, value: &Value, words: Words) {
        if self.is_full() {
            self.more += 1;
            return;
        }
        let pointer = path.pointer();
        // Two paths in the schema may lead to the same subschema.
        let is_known = |(fault, _): &(Fault, Gist)| {
            fault.pointer() == pointer && fault.detail() == words.detail
        };
        if self.faults.iter().any(is_known) {
            return;
        }
        self.pointers += pointer.len();
        let fault = Fault::new(pointer, words.detail, value, words.allowed);
        self.faults
            .push((fault.of_missing(words.missing), words.gist));
    }

    fn add_all(&mut self, other: Self) {
        self.more += other.more;
        for entry in other.faults {
            if self.is_full() {
                self.more += 1;
            } else if !self.faults.iter().any(|(fault, _)| *fault == entry.0) {
                self.pointers += entry.0.pointer().len();
                self.faults.push(entry);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.faults.len() + self.more
    }
}

/// The schemas that count as evaluating a value, of those that apply to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The schemas that the value satisfies. This decides validity.
    Met,
    /// All of them. A property that one of them declares is not reported as unknown when another
    /// fault exists.
    All,
}

pub(super) struct Search<'p, 'b> {
    pub(super) plan: &'p Plan,
    /// Remaining steps into invalid parts.
    pub(super) steps: u32,
    /// Budget of the check.
    budget: &'b mut CheckBudget,
    /// Remembered validity of arrays and objects for which it was expensive to determine.
    known: HashMap<(Id, *const Value), bool>,
    /// Checks in progress, to detect a schema that recurs on the same value.
    pub(super) active: Vec<(Id, *const Value)>,
}

impl<'p, 'b> Search<'p, 'b> {
    fn new(plan: &'p Plan, budget: &'b mut CheckBudget) -> Self {
        Self {
            plan,
            steps: STEPS,
            budget,
            known: HashMap::new(),
            active: Vec::new(),
        }
    }

    pub(super) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    pub(super) fn node(&self, id: Id) -> &'p Node {
        &self.plan.nodes[id]
    }

    /// Returns `true` if a part of the value is valid. After the budget is spent, it returns
    /// `false` for every value.
    pub(super) fn valid(&mut self, id: Id, value: &Value) -> bool {
        let key = (id, ptr::from_ref(value));
        if self.is_active(key) {
            return true;
        }
        let keeps = value.is_array() || value.is_object();
        if keeps && let Some(known) = self.known.get(&key) {
            return *known;
        }
        let node = self.node(id);
        let before = self.budget.left();
        if !self.budget.take(node.steps(value)) {
            return false;
        }
        self.active.push(key);
        let valid = self.holds(node, value);
        self.active.pop();
        let took = before - self.budget.left();
        if keeps && took > WORTH_REMEMBERING && self.known.len() < MOST_REMEMBERED {
            self.known.insert(key, valid);
        }
        valid
    }

    /// Adds a fault. After the budget is spent, faults are unreliable and are discarded.
    pub(super) fn report(&self, found: &mut Found, path: &Path<'_>, value: &Value, words: Words) {
        if !self.budget.is_spent() {
            found.add(path, value, words);
        }
    }

    /// Adds all faults of another list.
    pub(super) fn report_all(&self, found: &mut Found, other: Found) {
        if !self.budget.is_spent() {
            found.add_all(other);
        }
    }

    pub(super) fn is_active(&self, key: (Id, *const Value)) -> bool {
        let here = self.active.iter().rev().take_while(|it| it.1 == key.1);
        here.into_iter().any(|it| it.0 == key.0)
    }

    fn holds(&mut self, node: &'p Node, value: &Value) -> bool {
        node.lone.is_valid(value)
            && self.matches(node, value)
            && self
                .branches(node, value)
                .iter()
                .all(|id| self.valid(*id, value))
            && (node.any_of.is_empty() || node.any_of.iter().any(|id| self.valid(*id, value)))
            && (node.one_of.is_empty() || self.met(&node.one_of, value) == 1)
            && node.not.is_none_or(|id| !self.valid(id, value))
            && match value {
                Value::Array(items) => self.items_hold(node, value, items),
                Value::Object(members) => {
                    members.iter().all(|(name, member)| {
                        let ids = self.member_schemas(node, name);
                        ids.into_iter().all(|id| self.valid(id, member))
                    }) && node.names.is_none_or(|id| {
                        members
                            .keys()
                            .all(|name| self.valid(id, &name.as_str().into()))
                    }) && self.unevaluated(node, value, Which::Met).is_empty()
                }
                _ => true,
            }
    }

    /// Returns `true` if a value is no string, or the `pattern` of a subschema matches it.
    pub(super) fn matches(&mut self, node: &Node, value: &Value) -> bool {
        match (&node.pattern, value) {
            (Some(pattern), Value::String(text)) => pattern.is_match(text, self.budget),
            _ => true,
        }
    }

    fn items_hold(&mut self, node: &'p Node, value: &Value, items: &[Value]) -> bool {
        let each = items.iter().enumerate().all(|(index, item)| {
            let id = node.prefix.get(index).copied().or(node.items);
            id.is_none_or(|id| self.valid(id, item))
        });
        each && node.contains.is_none_or(|contains| {
            let found = self.count(contains.id, items);
            (contains.min..=contains.max).contains(&found)
        }) && self.unevaluated(node, value, Which::Met).is_empty()
    }

    pub(super) fn count(&mut self, id: Id, items: &[Value]) -> u64 {
        items.iter().filter(|item| self.valid(id, item)).count() as u64
    }

    /// Returns the number of schemas that a value satisfies.
    pub(super) fn met(&mut self, ids: &[Id], value: &Value) -> usize {
        ids.iter().filter(|id| self.valid(**id, value)).count()
    }

    /// Returns the schemas that all apply to the same value.
    pub(super) fn branches(&mut self, node: &'p Node, value: &Value) -> Vec<Id> {
        let mut ids = node.all.clone();
        if let Some((test, then, other)) = node.condition {
            ids.extend(if self.valid(test, value) { then } else { other });
        }
        if let Value::Object(members) = value {
            let dependents = node.dependents.iter();
            ids.extend(
                dependents
                    .filter(|(name, _)| members.contains_key(*name))
                    .map(|(_, id)| id),
            );
        }
        ids
    }

    /// Returns the schemas that apply to a member of an object.
    pub(super) fn member_schemas(&mut self, node: &Node, name: &str) -> Vec<Id> {
        let mut ids: Vec<_> = node.properties.get(name).copied().into_iter().collect();
        let patterns = node.patterns.iter();
        let matching = patterns.filter(|(key, _)| key.is_match(name, self.budget));
        ids.extend(matching.map(|(_, id)| id));
        if ids.is_empty() {
            ids.extend(node.additional);
        }
        ids
    }

    /// Returns the positions of the members or items that `unevaluatedProperties` or
    /// `unevaluatedItems` refuses.
    pub(super) fn unevaluated(
        &mut self,
        node: &'p Node,
        value: &Value,
        which: Which,
    ) -> Vec<usize> {
        let (id, parts): (_, Vec<&Value>) = match (value, node) {
            (
                Value::Array(items),
                Node {
                    unevaluated_items: Some(id),
                    ..
                },
            ) => (*id, items.iter().collect()),
            (
                Value::Object(members),
                Node {
                    unevaluated_properties: Some(id),
                    ..
                },
            ) => (*id, members.values().collect()),
            _ => return Vec::new(),
        };
        if !self.budget.take(parts.len() as u64) {
            return Vec::new();
        }
        let mut seen = vec![false; parts.len()];
        self.mark_evaluated(node, value, which, &mut seen);
        (0..parts.len())
            .filter(|index| !seen[*index] && !self.valid(id, parts[*index]))
            .collect()
    }

    /// Marks the members or items that a schema, or one that applies to the same value, evaluates.
    fn mark_evaluated(&mut self, node: &'p Node, value: &Value, which: Which, seen: &mut [bool]) {
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    seen[index] |= index < node.prefix.len()
                        || node.items.is_some()
                        || node.contains.is_some_and(|it| self.valid(it.id, item));
                }
            }
            Value::Object(members) => {
                for (index, name) in members.keys().enumerate() {
                    seen[index] |= !self.member_schemas(node, name).is_empty();
                }
            }
            _ => {}
        }
        let mut ids = self.branches(node, value);
        ids.extend(node.condition.map(|(test, ..)| test));
        ids.extend(node.any_of.iter().chain(&node.one_of));
        for id in ids {
            let key = (id, ptr::from_ref(value));
            if !self.is_active(key) && (which == Which::All || self.valid(id, value)) {
                let below = self.node(id);
                self.active.push(key);
                self.mark_evaluated(below, value, which, seen);
                // The nested schema's own `unevaluated…` keyword evaluates the rest.
                let rest = match value {
                    Value::Array(_) => below.unevaluated_items,
                    _ => below.unevaluated_properties,
                };
                if rest.is_some() {
                    seen.fill(true);
                }
                self.active.pop();
            }
        }
    }
}
