//! Regular expressions, matched in counted steps.
//!
//! `jsonschema` matches with the `regex` crate, whose time per byte is that of one state of a lazy
//! DFA for ordinary patterns, and grows with the pattern for others: `[01]*1[01]{1000}2` keeps
//! 1,000 states of its NFA active. [`Pattern::cost`] bounds it, so that `jsonschema` matches only
//! what the budget affords. Otherwise [`Pattern::is_match`] simulates the NFA: it visits the active
//! states for each byte, and charges every visit. So it ends soon after the budget does, or after
//! the check is cancelled.

use std::sync::OnceLock;

use jsonschema_regex::{RepeatedClass, Search as Form, Sequence};
use regex_automata::{
    nfa::thompson::{NFA, State, WhichCaptures},
    util::primitives::StateID,
};
use regex_syntax::{
    Parser,
    hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look},
};

use super::{MAX_COMPILED_PATTERN, budget::CheckBudget, class_work};

/// A `pattern`, or a name in `patternProperties`.
pub(super) struct Pattern {
    text: String,
    cost: OnceLock<Cost>,
    matcher: OnceLock<Option<Matcher>>,
}

/// Upper bounds on a pattern's costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Steps for every eight bytes of text.
    pub(super) steps: u64,
    /// Memory of the compiled pattern, in bytes. It is also a measure of the time to compile it.
    pub(super) memory: usize,
}

/// The matcher of a pattern, which is compiled on first use.
enum Matcher {
    /// `^X{m,n}$` of one class: a count of characters.
    Class(RepeatedClass),
    /// A row of classes, for which a machine word has the states; it decides texts of ASCII.
    Row(Sequence, NFA),
    Nfa(NFA),
}

impl Pattern {
    pub(super) fn new(text: String) -> Self {
        Self {
            text,
            cost: OnceLock::new(),
            matcher: OnceLock::new(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the [work of reading its classes](class_work).
    pub(super) fn class_work(&self) -> u64 {
        class_work::of(&self.text)
    }

    /// Returns bounds on the costs. The first call parses the pattern, and compiles nothing.
    pub(super) fn cost(&self) -> Cost {
        *self.cost.get_or_init(|| Cost::of(&self.text))
    }

    /// Returns `true` if the pattern matches a part of the text. If the budget is spent meanwhile,
    /// the result is unreliable.
    pub(super) fn is_match(&self, text: &str, budget: &mut CheckBudget) -> bool {
        let eighths = text.len() as u64 / 8;
        match self.matcher.get_or_init(|| Matcher::of(&self.text)) {
            Some(Matcher::Class(class)) => budget.take(eighths) && class.is_match(text),
            Some(Matcher::Row(row, nfa)) => {
                budget.take(eighths)
                    && row
                        .is_match(text.as_bytes())
                        .unwrap_or_else(|| simulate(nfa, text, budget))
            }
            Some(Matcher::Nfa(nfa)) => simulate(nfa, text, budget),
            // The whole document has compiled, so every pattern does.
            None => false,
        }
    }
}

#[cfg(test)]
impl Pattern {
    /// Returns the memory of the compiled pattern, in bytes.
    pub(super) fn memory(&self) -> usize {
        match self.matcher.get_or_init(|| Matcher::of(&self.text)) {
            Some(Matcher::Nfa(nfa) | Matcher::Row(_, nfa)) => nfa.memory_usage(),
            _ => 0,
        }
    }
}

impl Matcher {
    fn of(pattern: &str) -> Option<Self> {
        let (translated, hir) = match read(pattern)? {
            Read::Class(class) => return Some(Self::Class(class)),
            Read::Other(translated, hir) => (translated, hir),
        };
        let config = NFA::config()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAX_COMPILED_PATTERN));
        let nfa = NFA::compiler()
            .configure(config)
            .build_from_hir(&hir)
            .ok()?;
        Some(match Sequence::compile(&translated) {
            Some(row) => Self::Row(row, nfa),
            None => Self::Nfa(nfa),
        })
    }
}

/// A pattern as `jsonschema` reads it.
enum Read {
    Class(RepeatedClass),
    /// A regular expression of the `regex` crate.
    Other(String, Hir),
}

fn read(pattern: &str) -> Option<Read> {
    let translated = jsonschema_regex::to_rust_regex(pattern).ok()?;
    let translated = match jsonschema_regex::search_form(pattern, &translated) {
        Some(Form::RepeatedClass(class)) => return Some(Read::Class(class)),
        Some(Form::Collapsed(collapsed)) => collapsed,
        None => translated.into_owned(),
    };
    let hir = Parser::new().parse(&translated).ok()?;
    Some(Read::Other(translated, hir))
}

/// Visits of states that take the time of one step.
const VISITS_PER_STEP: u64 = 8;

/// Runs an NFA over a text. Returns `true` at the first match.
fn simulate(nfa: &NFA, text: &str, budget: &mut CheckBudget) -> bool {
    /// Visits after which the budget is charged.
    const INTERVAL: u64 = 1024;
    let bytes = text.as_bytes();
    let mut now = Active::new(nfa);
    let mut next = Active::new(nfa);
    // Clearing two sets takes about a visit for each 256 states.
    let mut visits = nfa.states().len() as u64 / 256;
    for at in 0..=bytes.len() {
        let starts = at == 0 || (!nfa.is_always_start_anchored() && text.is_char_boundary(at));
        if starts && now.follow(nfa, nfa.start_anchored(), bytes, at, &mut visits) {
            return budget.take(visits / VISITS_PER_STEP);
        }
        let Some(byte) = bytes
            .get(at)
            .filter(|_| !now.ids.is_empty() || !nfa.is_always_start_anchored())
        else {
            break;
        };
        next.clear();
        for id in &now.ids {
            let target = match nfa.state(*id) {
                State::ByteRange { trans } => trans.matches_byte(*byte).then_some(trans.next),
                State::Sparse(sparse) => {
                    visits += sparse.transitions.len() as u64 / 8;
                    sparse.matches_byte(*byte)
                }
                State::Dense(dense) => dense.matches_byte(*byte),
                _ => None,
            };
            if let Some(target) = target
                && next.follow(nfa, target, bytes, at + 1, &mut visits)
            {
                return budget.take(visits / VISITS_PER_STEP);
            }
        }
        visits += now.ids.len() as u64 + 1;
        if visits >= INTERVAL {
            if !budget.take(visits / VISITS_PER_STEP) {
                return false;
            }
            visits %= VISITS_PER_STEP;
        }
        std::mem::swap(&mut now, &mut next);
    }
    budget.take(visits / VISITS_PER_STEP);
    false
}

/// A set of states, with the order of their insertion.
struct Active {
    ids: Vec<StateID>,
    bits: Vec<u64>,
    open: Vec<StateID>,
}

impl Active {
    fn new(nfa: &NFA) -> Self {
        Self {
            ids: Vec::new(),
            bits: vec![0; nfa.states().len().div_ceil(64)],
            open: Vec::new(),
        }
    }

    fn insert(&mut self, id: StateID) -> bool {
        let (word, bit) = (
            &mut self.bits[id.as_usize() / 64],
            1 << (id.as_usize() % 64),
        );
        let is_new = *word & bit == 0;
        *word |= bit;
        if is_new {
            self.ids.push(id);
        }
        is_new
    }

    fn clear(&mut self) {
        for id in self.ids.drain(..) {
            self.bits[id.as_usize() / 64] = 0;
        }
    }

    /// Adds a state and all that it leads to without a byte. Returns `true` if one is a match.
    fn follow(&mut self, nfa: &NFA, id: StateID, text: &[u8], at: usize, visits: &mut u64) -> bool {
        self.open.push(id);
        while let Some(id) = self.open.pop() {
            *visits += 1;
            if !self.insert(id) {
                continue;
            }
            match nfa.state(id) {
                State::Union { alternates } => {
                    *visits += alternates.len() as u64;
                    self.open.extend(alternates.iter());
                }
                State::BinaryUnion { alt1, alt2 } => self.open.extend([*alt2, *alt1]),
                State::Capture { next, .. } => self.open.push(*next),
                State::Look { look, next } => {
                    if nfa.look_matcher().matches(*look, text, at) {
                        self.open.push(*next);
                    }
                }
                State::Match { .. } => {
                    self.open.clear();
                    return true;
                }
                State::ByteRange { .. } | State::Sparse(_) | State::Dense(_) | State::Fail => {}
            }
        }
        false
    }
}

impl Cost {
    /// Steps for every eight bytes, for each state that may be active: half a step per byte.
    const STEPS_PER_STATE: u64 = 4;

    /// Number of states up to which their sets are few.
    const FEW_STATES: u64 = 6;

    /// Memory of a pattern up to which few sets of states fit into the cache of a lazy DFA.
    const CACHED: u64 = 32 << 10;

    fn of(pattern: &str) -> Self {
        // One that is invalid is refused when the document is compiled.
        let Some(Read::Other(_, hir)) = read(pattern) else {
            return Self {
                steps: 1,
                memory: 0,
            };
        };
        let shape = Shape::of(&hir);
        let is_anchored = hir.properties().look_set_prefix().contains(Look::Start);
        let has_few_sets =
            shape.states <= Self::FEW_STATES || (is_anchored && shape.is_deterministic);
        let active = match is_anchored {
            true => shape.active,
            false => shape.states,
        };
        Self {
            steps: match has_few_sets && shape.memory <= Self::CACHED {
                true => 1,
                false => active.saturating_mul(Self::STEPS_PER_STATE),
            },
            memory: usize::try_from(shape.memory).unwrap_or(usize::MAX),
        }
    }
}

/// The properties of a part of a pattern that determine its costs. The numbers saturate.
#[derive(Clone, Copy)]
struct Shape {
    /// Number of states, with counted repetitions written out. A class is one, or a few if it has
    /// many ranges: one state of its UTF-8 automaton is active at a time.
    states: u64,
    /// Maximum number of states that are active at a time, if a match of the part begins at one
    /// place only.
    active: u64,
    /// Each character leads to at most one state that reads the next one, so that a DFA has no
    /// more states than the NFA.
    is_deterministic: bool,
    /// Number of characters of its matches, if all have the same.
    length: Option<u64>,
    /// Memory of the states, in bytes.
    memory: u64,
}

impl Shape {
    /// Memory of one state, or one range of a class, in bytes.
    const STATE_MEMORY: u64 = 64;

    fn one(length: u64) -> Self {
        Self {
            states: 1,
            active: 1,
            is_deterministic: true,
            length: Some(length),
            memory: Self::STATE_MEMORY,
        }
    }

    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self::one(0),
            HirKind::Literal(literal) => {
                let bytes = literal.0.len() as u64;
                let characters = String::from_utf8_lossy(&literal.0).chars().count() as u64;
                Self {
                    states: bytes,
                    memory: bytes.saturating_mul(Self::STATE_MEMORY),
                    ..Self::one(characters)
                }
            }
            HirKind::Class(class) => {
                let ranges = match class {
                    Class::Unicode(class) => class.ranges().len() as u64,
                    Class::Bytes(class) => class.ranges().len() as u64,
                };
                // The ranges of one byte of UTF-8 are searched in a row.
                let states = 1 + ranges.min(64) / 16;
                Self {
                    states,
                    active: states,
                    memory: (ranges + 1).saturating_mul(Self::STATE_MEMORY),
                    ..Self::one(1)
                }
            }
            HirKind::Capture(capture) => {
                let sub = Self::of(&capture.sub);
                Self {
                    states: sub.states.saturating_add(2),
                    active: sub.active.saturating_add(2),
                    memory: sub.memory.saturating_add(2 * Self::STATE_MEMORY),
                    ..sub
                }
            }
            HirKind::Repetition(repetition) => {
                let sub = Self::of(&repetition.sub);
                let copies = repetition.max.unwrap_or(repetition.min.max(1));
                let times = |each: u64, more: u64| {
                    each.saturating_add(more)
                        .saturating_mul(u64::from(copies))
                        .saturating_add(more)
                };
                let states = times(sub.states, 1);
                // Iterations of a fixed length follow one another.
                let in_turn = sub.length.is_some_and(|length| length > 0);
                Self {
                    states,
                    active: match in_turn {
                        true => sub.active.saturating_add(2),
                        false => states,
                    },
                    is_deterministic: in_turn && sub.is_deterministic,
                    length: sub
                        .length
                        .filter(|_| repetition.max == Some(repetition.min))
                        .and_then(|length| length.checked_mul(u64::from(repetition.min))),
                    memory: times(sub.memory, Self::STATE_MEMORY),
                }
            }
            HirKind::Concat(parts) => Self::of_row(parts),
            HirKind::Alternation(branches) => {
                let mut branches = branches.iter().map(Self::of);
                let first = branches.next().unwrap_or_else(|| Self::one(0));
                let mut all = first.and(Self::one(0));
                all.active = first.active.saturating_add(1);
                for branch in branches {
                    all = Self {
                        active: all.active.saturating_add(branch.active),
                        length: all.length.filter(|it| branch.length == Some(*it)),
                        ..all.and(branch)
                    };
                }
                Self {
                    is_deterministic: false,
                    ..all
                }
            }
        }
    }

    fn of_row(parts: &[Hir]) -> Self {
        let Some((last, before)) = parts.split_last() else {
            return Self::one(0);
        };
        let mut rest = Self::of(last);
        for (index, part) in before.iter().enumerate().rev() {
            let shape = Self::of(part);
            let has_ended = shape.length.is_some_and(|length| length > 0);
            // The rest begins at one place only.
            let begins_once = shape.length.is_some() || ends_before(part, &parts[index + 1]);
            let active = match begins_once {
                _ if has_ended => shape.active.max(rest.active),
                true => shape.active.saturating_add(rest.active),
                false => shape.active.saturating_add(rest.states),
            };
            let reads_none = rest.length == Some(0);
            let length = shape.length.zip(rest.length);
            rest = Self {
                active,
                is_deterministic: shape.is_deterministic
                    && rest.is_deterministic
                    && (begins_once || reads_none),
                length: length.and_then(|(one, other)| one.checked_add(other)),
                ..shape.and(rest)
            };
        }
        rest
    }

    /// Adds the states and the memory of another part.
    fn and(self, other: Self) -> Self {
        Self {
            states: self.states.saturating_add(other.states),
            memory: self.memory.saturating_add(other.memory),
            ..self
        }
    }
}

/// Returns `true` if `part` repeats one class, and a character that begins the next part is never
/// in it: then the next part begins at one place only.
fn ends_before(part: &Hir, next: &Hir) -> bool {
    let HirKind::Repetition(repetition) = part.kind() else {
        return false;
    };
    let sub = &*repetition.sub;
    let is_one = matches!(sub.kind(), HirKind::Class(_) | HirKind::Literal(_))
        && Shape::of(sub).length == Some(1);
    match (first(sub), first(next)) {
        (Some(mut both), Some(first)) if is_one => {
            both.intersect(&first);
            both.ranges().is_empty()
        }
        _ => false,
    }
}

/// Returns the characters that a part which isn't empty begins with, if that is easy to tell.
fn first(hir: &Hir) -> Option<ClassUnicode> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            let first = str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(ClassUnicode::new([ClassUnicodeRange::new(first, first)]))
        }
        HirKind::Class(Class::Unicode(class)) => Some(class.clone()),
        HirKind::Class(Class::Bytes(class)) => class.to_unicode_class(),
        HirKind::Capture(capture) => first(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => first(&repetition.sub),
        HirKind::Concat(parts) => parts.first().and_then(first),
        _ => None,
    }
}
