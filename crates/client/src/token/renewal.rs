/// The number of tokens that the server may refuse in a row before its error is final.
const MAX_REFUSALS: u32 = 2;

/// Decides what follows a refused token. Pure.
///
/// `T` is the server's refusal, which is the caller's result if there is no other token.
#[derive(Debug)]
pub(crate) struct Renewal<T> {
    /// The number of tokens that were refused in a row before a response was accepted.
    in_a_row: u32,
    /// Set from a refusal until the source has returned another token.
    pending: Option<T>,
}

impl<T> Default for Renewal<T> {
    fn default() -> Self {
        Self {
            in_a_row: 0,
            pending: None,
        }
    }
}

impl<T> Renewal<T> {
    /// Handles a refused request. Returns the refusal if it is final. Otherwise the source is to be
    /// asked for another token.
    pub(crate) fn refused(&mut self, refusal: T) -> Option<T> {
        self.in_a_row += 1;
        if self.in_a_row >= MAX_REFUSALS {
            return Some(refusal);
        }
        self.pending = Some(refusal);
        None
    }

    /// Handles the end of a response whose token has expired. It was accepted before, so it doesn't
    /// count as refused.
    pub(crate) fn expired(&mut self, refusal: T) {
        self.pending = Some(refusal);
    }

    /// Handles any other result of an attempt.
    pub(crate) fn not_refused(&mut self) {
        self.in_a_row = 0;
    }

    /// Returns `true` if the last token was refused, and the source has returned no other yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Removes and returns the refusal, once the source has returned a token.
    pub(crate) fn take(&mut self) -> Option<T> {
        self.pending.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_refusal_in_a_row_is_final() {
        let mut renewal = Renewal::default();
        assert_eq!(renewal.refused(1), None);
        assert_eq!(renewal.take(), Some(1));
        assert_eq!(renewal.refused(2), Some(2));
        assert!(!renewal.is_pending());
    }

    #[test]
    fn another_result_in_between_ends_the_row() {
        let mut renewal = Renewal::default();
        for n in 0..5 {
            assert_eq!(renewal.refused(n), None);
            renewal.take();
            renewal.not_refused();
        }
    }

    #[test]
    fn an_expired_token_is_not_a_refused_one() {
        let mut renewal = Renewal::default();
        for n in 0..5 {
            renewal.expired(n);
            assert!(renewal.is_pending());
            assert_eq!(renewal.take(), Some(n));
        }
        assert_eq!(renewal.refused(7), None);
        assert_eq!(renewal.refused(8), Some(8));
    }
}
