//! What is wrong with a part of a value, keyword by keyword.

use std::{collections::HashSet, ptr};

use serde_json::Value;

use super::{
    plan::{Id, Node},
    search::{Found, Path, Search, Which},
    words::{self, Gist, Words},
};

impl<'p> Search<'p> {
    /// Finds what is wrong with a part of the value by one subschema.
    pub(super) fn explain(&mut self, id: Id, value: &Value, path: &Path<'_>, found: &mut Found) {
        let key = (id, ptr::from_ref(value));
        if self.steps == 0 || self.is_active(key) {
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
        if node.not.is_some_and(|id| self.valid(id, value)) {
            found.add(path, value, self.not(node, value));
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    self.explain_member(node, value, name, member, path, found);
                }
                self.explain_unevaluated(node, value, path, before, found);
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let (id, keyword) = match node.prefix.get(index) {
                        Some(id) => (Some(*id), "prefixItems"),
                        None => (node.items, "items"),
                    };
                    let path = Path::Item(path, index);
                    if let Some(id) = id.filter(|id| !self.valid(*id, item)) {
                        if self.node(id).lone.is_false() {
                            found.add(&path, item, words::surplus(index, keyword));
                        } else {
                            self.explain(id, item, &path, found);
                        }
                    }
                }
                if let Some(contains) = node.contains {
                    let count = self.count(contains.id, items);
                    if !(contains.min..=contains.max).contains(&count) {
                        let words = words::contains(count, contains.min, contains.max);
                        found.add(path, value, words);
                    }
                }
                self.explain_unevaluated(node, value, path, before, found);
            }
            _ => {}
        }
        self.active.pop();
    }

    /// What the keywords find that look at the value alone.
    fn explain_lone(&self, node: &Node, value: &Value, path: &Path<'_>, found: &mut Found) {
        let Some(validator) = node.lone.validator() else {
            return;
        };
        if found.is_full() {
            found.more += usize::from(!validator.is_valid(value));
            return;
        }
        let all: Vec<_> = validator
            .iter_errors(value)
            .map(|it| words::of(&it))
            .collect();
        // `enum` and `const` say all that `type` and the others could.
        let options = all
            .iter()
            .position(|it| matches!(it.gist, Gist::Options(_)));
        for (index, words) in all.into_iter().enumerate() {
            if options.is_none_or(|options| options == index) {
                found.add(path, value, words);
            }
        }
    }

    fn not(&self, node: &Node, value: &Value) -> Words {
        let schema = node.not.map(|id| &self.node(id).lone.schema);
        match schema.and_then(|it| it.get("const")) {
            Some(_) => words::excluded(value),
            None => words::unmet(value, "not"),
        }
    }

    fn explain_member(
        &mut self,
        node: &'p Node,
        object: &Value,
        name: &str,
        member: &Value,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        let here = Path::Member(path, name);
        for id in Self::member_schemas(node, name) {
            if self.valid(id, member) {
                continue;
            }
            if node.additional == Some(id) && self.node(id).lone.is_false() {
                found.add(&here, member, words::unknown(name, &known_names(node)));
            } else {
                self.explain(id, member, &here, found);
            }
        }
        if let Some(id) = node.names {
            let name = Value::from(name);
            if !self.valid(id, &name) {
                let mut inner = Found::default();
                self.explain(id, &name, path, &mut inner);
                let why = inner.faults.first();
                let why = why.map_or("is not allowed", |(fault, _)| fault.detail());
                found.add(path, object, words::wrong_name(why));
            }
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
                        found.add(&path, member, words::unknown(name, &[]));
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if places.contains(&index) {
                        let words = words::surplus(index, "unevaluatedItems");
                        found.add(&Path::Item(path, index), item, words);
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
            met => found.add(path, value, words::ambiguous(value, met, node.one_of.len())),
        }
    }
}

/// The names that an object may have, in the order of the schema.
fn known_names(node: &Node) -> Vec<&str> {
    let mut names: Vec<_> = node.properties.iter().collect();
    names.sort_by_key(|(_, id)| **id);
    names.into_iter().map(|(name, _)| name.as_str()).collect()
}
