//! Unions: detection of the intended branch, and the faults under it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashSet},
};

use jsonschema::JsonType;
use serde_json::Value;

use super::{
    fault::Fault,
    fault_text::{self, Gist, Words},
    plan::{Id, Plan},
    search::{Found, Path, Search},
};

impl Search<'_, '_> {
    /// Finds the faults of a value that no branch of a union allows.
    pub(super) fn explain_union(
        &mut self,
        ids: &[Id],
        keyword: &str,
        value: &Value,
        path: &Path<'_>,
        found: &mut Found,
    ) {
        let tag = Tag::of(self.plan, ids, value);
        match tag {
            Some(Tag::Names(id)) => return self.explain(id, value, path, found),
            Some(Tag::Unknown(name, tag, options)) => {
                let path = Path::Member(path, name);
                return self.report(found, &path, tag, fault_text::none_of(tag, options));
            }
            Some(Tag::Missing(name, options)) => {
                return self.report(found, path, value, fault_text::missing_tag(name, &options));
            }
            None => {}
        }
        let mut trials = Vec::with_capacity(ids.len());
        let mut left = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        for id in ids {
            // Each branch has an equal share of the steps, so that one can't exhaust them.
            let share = self.steps / left;
            left -= 1;
            let rest = self.steps - share;
            self.steps = share;
            let mut trial = Found::of_branch(ids.len());
            self.explain(*id, value, path, &mut trial);
            self.steps += rest;
            trials.push(trial);
        }
        trials.retain(|trial| !trial.faults.is_empty());
        let here = path.pointer();
        let best = trials
            .iter()
            .enumerate()
            .min_by_key(|(_, trial)| fit(trial, &here));
        match best {
            Some((_, trial)) if fit(trial, &here).0 => {
                self.report(found, path, value, together(&trials, value, keyword));
            }
            Some((index, _)) => self.report_all(found, trials.swap_remove(index)),
            None => self.report(found, path, value, fault_text::unmet(value, keyword)),
        }
    }
}

/// Ranks how well a value fits a branch of a union; the lowest value is best. The parts are: if the
/// value is of another kind, the number of missing or surplus properties, the number of faults, and
/// the depth of the deepest.
fn fit(trial: &Found, here: &str) -> (bool, usize, usize, Reverse<Option<usize>>) {
    let is_other = trial.faults.iter().any(|(fault, gist)| {
        fault.pointer() == here && matches!(gist, Gist::Type(_) | Gist::Options(_))
    });
    let depth = |fault: &Fault| fault.pointer().matches('/').count();
    let shape = trial.faults.iter().filter(|(fault, gist)| {
        // A missing property is a fault of the object, a surplus one is a fault of the member.
        let below = usize::from(fault.missing().is_none());
        matches!(gist, Gist::Shape) && depth(fault) == here.matches('/').count() + below
    });
    let deepest = trial.faults.iter().map(|(fault, _)| depth(fault)).max();
    (is_other, shape.count(), trial.len(), Reverse(deepest))
}

/// Merges the faults of a union's branches that all require another kind of value.
fn together(trials: &[Found], value: &Value, keyword: &str) -> Words {
    let mut types: Vec<JsonType> = Vec::new();
    let mut options: Vec<Value> = Vec::new();
    for (_, gist) in trials.iter().flat_map(|trial| &trial.faults) {
        match gist {
            Gist::Type(wanted) => types.extend(wanted),
            Gist::Options(wanted) => {
                for option in wanted {
                    if !options.contains(option) {
                        options.push(option.clone());
                    }
                }
            }
            Gist::Shape | Gist::Other => {}
        }
    }
    if !options.is_empty() && types.contains(&JsonType::Null) {
        types.retain(|one| *one != JsonType::Null);
        options.push(Value::Null);
    }
    match (options.is_empty(), types.is_empty()) {
        (true, true) => fault_text::unmet(value, keyword),
        (true, false) => fault_text::wrong_type(value, types),
        (false, true) => fault_text::none_of(value, options),
        (false, false) => fault_text::neither_option_nor_type(value, &options, types),
    }
}

/// The property that distinguishes the branches of a union.
enum Tag<'a> {
    /// It selects this branch.
    Names(Id),
    /// It selects no branch: the property, its value, and the allowed values.
    Unknown(&'a str, &'a Value, Vec<Value>),
    /// It is missing: the property and the allowed values.
    Missing(&'a str, Vec<Value>),
}

impl<'a> Tag<'a> {
    /// Finds the property. Returns `None` if there is none.
    fn of(plan: &'a Plan, ids: &[Id], value: &'a Value) -> Option<Self> {
        let object = value.as_object()?;
        // Branches for other types than objects are ignored.
        let branches: Vec<_> = ids
            .iter()
            .map(|id| (*id, Pins::of(plan, *id)))
            .filter(|(_, pins)| !pins.is_no_object)
            .collect();
        let (_, first) = branches.first()?;
        let mut names = first.options.keys();
        let name = *names.find(|name| {
            branches.len() > 1
                && branches
                    .iter()
                    .all(|(_, pins)| pins.options.contains_key(*name))
        })?;
        let options = || {
            let mut all: Vec<Value> = Vec::new();
            for option in branches.iter().flat_map(|(_, pins)| &pins.options[name]) {
                if !all.contains(*option) {
                    all.push((*option).clone());
                }
            }
            all
        };
        let Some(tag) = object.get(name) else {
            return Some(Self::Missing(name, options()));
        };
        let mut meant = branches
            .iter()
            .filter(|(_, pins)| pins.options[name].contains(&tag));
        match (meant.next(), meant.next()) {
            (Some((id, _)), None) => Some(Self::Names(*id)),
            // Several branches have this value, so another property distinguishes them.
            (Some(_), Some(_)) => None,
            (None, _) => {
                let (known, _) = object.get_key_value(name)?;
                Some(Self::Unknown(known, tag, options()))
            }
        }
    }
}

/// The constraints that a subschema certainly has for an object.
#[derive(Default)]
struct Pins<'a> {
    is_no_object: bool,
    /// The required properties with a fixed set of values.
    options: BTreeMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Pins<'a> {
    fn of(plan: &'a Plan, id: Id) -> Self {
        let mut pins = Self::default();
        let mut required = HashSet::new();
        pins.gather(plan, id, 0, &mut required);
        pins.options.retain(|name, _| required.contains(name));
        pins
    }

    fn gather(&mut self, plan: &'a Plan, id: Id, depth: u8, required: &mut HashSet<&'a str>) {
        // Deep enough for generated schemas. It also ends cycles.
        const MAX_DEPTH: u8 = 4;
        let node = &plan.nodes[id];
        let schema = &node.lone.schema;
        self.is_no_object |= match schema.get("type") {
            Some(Value::String(one)) => one != "object",
            Some(Value::Array(all)) => !all.iter().any(|one| one == "object"),
            _ => node.lone.is_false(),
        };
        let is_object = |option: &Value| option.is_object();
        self.is_no_object |= schema.get("const").is_some_and(|it| !is_object(it));
        let names = schema.get("required").and_then(Value::as_array);
        required.extend(names.into_iter().flatten().filter_map(Value::as_str));
        for (name, id) in &node.properties {
            let schema = &plan.nodes[*id].lone.schema;
            let options = match (schema.get("const"), schema.get("enum")) {
                (Some(one), _) => vec![one],
                (None, Some(Value::Array(all))) => all.iter().collect(),
                _ => continue,
            };
            self.options.insert(name, options);
        }
        if depth < MAX_DEPTH {
            for id in &node.all {
                self.gather(plan, *id, depth + 1, required);
            }
        }
    }
}
