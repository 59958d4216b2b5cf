//! Bounds on the work of checks.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A budget of steps for checks.
///
/// A step is the application of one subschema to one part of a value, or what takes as long: visits
/// of eight states of a regular expression, or a part of a slow `multipleOf`. A schema from outside can
/// require many at each part (an `anyOf` of 900 constants), so the size of a request says little
/// about the cost of its check. A budget grows with the checked text. All checks of a request may
/// share one, so that a thousand small messages cost no more than one large one.
///
/// A check that exceeds its budget returns a single fault, and
/// [`Faults::is_over_budget`](crate::Faults::is_over_budget) is `true`.
///
/// ```
/// use headwater_schema::{CheckBudget, Schema};
/// use serde_json::json;
///
/// let any_of: Vec<_> = (0..900).map(|n| json!({"const": n})).collect();
/// let schema = Schema::compile(&json!({"items": {"anyOf": any_of}}))?;
/// let text = serde_json::to_vec(&vec![-1; 1000])?;
///
/// let mut budget = CheckBudget::for_text(text.len());
/// let faults = schema.check_text_within(&text, &mut budget)?.unwrap_err();
/// assert!(!faults.is_over_budget(), "the first item has faults, and they are found");
///
/// let text = serde_json::to_vec(&vec![899; 10_000])?;
/// let mut budget = CheckBudget::for_text(text.len());
/// let faults = schema.check_text_within(&text, &mut budget)?.unwrap_err();
/// assert!(faults.is_over_budget());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct CheckBudget {
    granted: u64,
    left: u64,
    cancelled: Option<Arc<AtomicBool>>,
}

impl CheckBudget {
    /// Steps that every budget starts with: 1,000,000, which take about 100 ms.
    pub const BASE: u64 = 1_000_000;

    /// Steps that each byte of text adds: 8.
    pub const PER_BYTE: u64 = 8;

    /// Steps between two reads of the flag that cancels a check.
    const CANCEL_INTERVAL: u64 = 4096;

    /// Creates a budget for texts of `bytes` bytes in total.
    #[must_use]
    pub fn for_text(bytes: usize) -> Self {
        let mut budget = Self {
            granted: Self::BASE,
            left: Self::BASE,
            cancelled: None,
        };
        budget.add_text(bytes);
        budget
    }

    /// Creates an unlimited budget.
    #[cfg(test)]
    pub(super) fn unlimited() -> Self {
        Self {
            granted: u64::MAX,
            left: u64::MAX,
            cancelled: None,
        }
    }

    /// Adds the steps for `bytes` more bytes of text.
    pub fn add_text(&mut self, bytes: usize) {
        let steps = (bytes as u64).saturating_mul(Self::PER_BYTE);
        self.granted = self.granted.saturating_add(steps);
        self.left = self.left.saturating_add(steps);
    }

    /// Ends checks soon after `flag` is set, as if the budget were exceeded.
    #[must_use]
    pub fn cancelled_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.cancelled = Some(flag);
        self
    }

    /// Returns the steps granted so far.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Returns the remaining steps.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Takes steps. If there are too few, takes the rest and returns `false`.
    pub(super) fn take(&mut self, steps: u64) -> bool {
        let before = self.left;
        self.left = self.left.saturating_sub(steps);
        if before / Self::CANCEL_INTERVAL != self.left / Self::CANCEL_INTERVAL
            && let Some(flag) = &self.cancelled
            && flag.load(Ordering::Relaxed)
        {
            self.left = 0;
        }
        steps <= before && self.left > 0
    }

    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_grows_with_the_text_and_is_spent_by_steps() {
        let mut budget = CheckBudget::for_text(10);
        assert_eq!(budget.granted(), CheckBudget::BASE + 80);
        assert!(budget.take(CheckBudget::BASE));
        budget.add_text(1);
        assert_eq!(budget.left(), 88);
        assert!(budget.take(87));
        assert!(!budget.take(2));
        assert!(budget.is_spent());
    }

    #[test]
    fn a_flag_ends_checks() {
        let flag = Arc::new(AtomicBool::new(false));
        let mut budget = CheckBudget::for_text(0).cancelled_by(flag.clone());
        assert!(budget.take(10_000));
        flag.store(true, Ordering::Relaxed);
        assert!(!budget.take(10_000));
        assert!(!budget.take(1));
    }
}
