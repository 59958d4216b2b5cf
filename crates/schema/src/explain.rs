//! The faults of a part of a value, keyword by keyword.

use std::{collections::HashSet, ptr};

use serde_json::{Map, Value};

use super::{
    fault_text::{self, Gist, Words},
    plan::{Id, Node},
    search::{Found, Path, Search, Which},
};

impl<'p> Search<'p, '_> {
    /// Finds the faults of a part of the value under one subschema.
    pub(super) fn explain(&mut self, id: Id, value: &Value, path: &Path<'_>, found: &mut Found) {
        let key = (id, ptr::from_ref(value));
        if self.steps == 0 || self.is_spent() || self.is_active(key) {
            return;
        }
        self.steps -= 1;
        let before = found.len();
        self.active.push(key);
        let node = self.node(id);
        self.explain_lone(node, value, path, found);
        for id in self.branches(node, value) {
            if !self.valid(id, value) {
                self.explain(id, value, path, found);
            }
        }
        self.explain_any_of(node, value, path, found);
        self.explain_one_of(node, value, path, found);
        self.explain_not(node, value, path, found);
        match value {
            Value::Object(members) => self.explain_members(node, value, members, path, found),
            Value::Array(items) => {
                self.explain_items(node, items, path, found);
                self.explain_contains(node, value, items, path, found);
            }
            _ => {}
        }
        self.explain_unevaluated(node, value, path, before, found);
        self.active.pop();
    }

    // Each of these is a separate function, to keep the stack frames small while a part of the
    // value is explained: a value may be 127 levels deep, with 12 schemas at each level.

    fn explain_members(
        &mut self,
        node: &'p Node,
        object: &Value,
        members: &Map<String, Value>,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        for (name, member) in members {
            self.explain_member(node, name, member, path, found);
            self.explain_name(node, object, name, path, found);
        }
    }

    fn explain_items(
        &mut self,
        node: &'p Node,
        items: &[Value],
        path: &Path<'_>,
        found: &mut Found,
    ) {
        for (index, item) in items.iter().enumerate() {
            let (id, keyword) = match node.prefix.get(index) {
                Some(id) => (Some(*id), "prefixItems"),
                None => (node.items, "items"),
            };
            let path = Path::Item(path, index);
            if let Some(id) = id.filter(|id| !self.valid(*id, item)) {
                if self.node(id).lone.is_false() {
                    self.report(found, &path, item, fault_text::surplus(index, keyword));
                } else {
                    self.explain(id, item, &path, found);
                }
            }
        }
    }

    fn explain_contains(
        &mut self,
        node: &Node,
        array: &Value,
        items: &[Value],
        path: &Path<'_>,
        found: &mut Found,
    ) {
        let Some(contains) = node.contains else {
            return;
        };
        let count = self.count(contains.id, items);
        if !(contains.min..=contains.max).contains(&count) {
            let words = fault_text::contains(count, contains.min, contains.max);
            self.report(found, path, array, words);
        }
    }

    fn explain_not(&mut self, node: &Node, value: &Value, path: &Path<'_>, found: &mut Found) {
        if node.not.is_some_and(|id| self.valid(id, value)) {
            self.report(found, path, value, self.not(node, value));
        }
    }

    /// Reports the faults under keywords that depend only on the value itself.
    fn explain_lone(&mut self, node: &Node, value: &Value, path: &Path<'_>, found: &mut Found) {
        let matches = self.matches(node, value);
        if found.is_full() {
            found.more += usize::from(!matches || !node.lone.is_valid(value));
            return;
        }
        let errors = node.lone.validator().into_iter();
        let errors = errors.flat_map(|validator| validator.iter_errors(value));
        let mut all: Vec<_> = errors.map(|it| fault_text::of(&it)).collect();
        let unmatched = node.pattern.as_ref().filter(|_| !matches);
        all.extend(unmatched.map(|pattern| fault_text::unmatched(value, pattern.text())));
        // `enum` and `const` make the reports of `type` and the others redundant.
        let options = all
            .iter()
            .position(|it| matches!(it.gist, Gist::Options(_)));
        for (index, words) in all.into_iter().enumerate() {
            if options.is_none_or(|options| options == index) {
                self.report(found, path, value, words);
            }
        }
    }

    fn not(&self, node: &Node, value: &Value) -> Words {
        let schema = node.not.map(|id| &self.node(id).lone.schema);
        match schema.and_then(|it| it.get("const")) {
            Some(_) => fault_text::excluded(value),
            None => fault_text::unmet(value, "not"),
        }
    }

    fn explain_member(
        &mut self,
        node: &'p Node,
        name: &str,
        member: &Value,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        let here = Path::Member(path, name);
        for id in self.member_schemas(node, name) {
            if self.valid(id, member) {
                continue;
            }
            if node.additional == Some(id) && self.node(id).lone.is_false() {
                self.report_unknown(node, name, member, &here, found);
            } else {
                self.explain(id, member, &here, found);
            }
        }
    }

    fn report_unknown(
        &self,
        node: &Node,
        name: &str,
        member: &Value,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        let words = fault_text::unknown(name, &known_names(node));
        self.report(found, path, member, words);
    }

    fn explain_name(
        &mut self,
        node: &Node,
        object: &Value,
        name: &str,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        let Some(id) = node.names else { return };
        let name = Value::from(name);
        if !self.valid(id, &name) {
            let mut inner = Found::default();
            self.explain(id, &name, path, &mut inner);
            let why = inner.faults.first();
            let why = why.map_or("is not allowed", |(fault, _)| fault.detail());
            self.report(found, path, object, fault_text::wrong_name(why));
        }
    }

    fn explain_unevaluated(
        &mut self,
        node: &'p Node,
        value: &Value,
        path: &Path<'_>,
        before: usize,
        found: &mut Found,
    ) {
        let mut places = self.unevaluated(node, value, Which::All);
        if places.is_empty() && found.len() == before {
            places = self.unevaluated(node, value, Which::Met);
        }
        let places: HashSet<_> = places.into_iter().collect();
        if places.is_empty() {
            return;
        }
        match value {
            Value::Object(members) => {
                for (index, (name, member)) in members.iter().enumerate() {
                    if places.contains(&index) {
                        let path = Path::Member(path, name);
                        self.report(found, &path, member, fault_text::unknown(name, &[]));
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if places.contains(&index) {
                        let words = fault_text::surplus(index, "unevaluatedItems");
                        self.report(found, &Path::Item(path, index), item, words);
                    }
                }
            }
            _ => {}
        }
    }

    fn explain_any_of(
        &mut self,
        node: &'p Node,
        value: &Value,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        if !node.any_of.is_empty() && self.met(&node.any_of, value) == 0 {
            self.explain_union(&node.any_of, "anyOf", value, path, found);
        }
    }

    fn explain_one_of(
        &mut self,
        node: &'p Node,
        value: &Value,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        match self.met(&node.one_of, value) {
            _ if node.one_of.is_empty() => {}
            0 => self.explain_union(&node.one_of, "oneOf", value, path, found),
            1 => {}
            met => self.report(
                found,
                path,
                value,
                fault_text::ambiguous(value, met, node.one_of.len()),
            ),
        }
    }
}

/// Returns the names of an object's declared properties, in the order of the schema.
fn known_names(node: &Node) -> Vec<&str> {
    let mut names: Vec<_> = node.properties.iter().collect();
    names.sort_by_key(|(_, id)| **id);
    names.into_iter().map(|(name, _)| name.as_str()).collect()
}
