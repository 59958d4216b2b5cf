/// The stack of open brackets, one bit for each.
#[derive(Debug, Default)]
pub(crate) struct Brackets {
    /// The innermost brackets (up to 64), the last in the lowest bit. 1 is a brace.
    top: u64,
    /// The brackets around those, 64 per word.
    below: Vec<u64>,
    depth: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bracket {
    Square,
    Brace,
}

impl Brackets {
    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    #[inline]
    pub(crate) fn push(&mut self, bracket: Bracket) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.below.push(self.top);
        }
        self.top = self.top << 1 | u64::from(bracket == Bracket::Brace);
        self.depth += 1;
    }

    #[inline]
    pub(crate) fn last(&self) -> Option<Bracket> {
        match (self.depth, self.top & 1) {
            (0, _) => None,
            (_, 0) => Some(Bracket::Square),
            _ => Some(Bracket::Brace),
        }
    }

    /// Removes the last bracket, if there is one.
    #[inline]
    pub(crate) fn pop(&mut self) {
        self.top >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth.is_multiple_of(64)
            && let Some(top) = self.below.pop()
        {
            self.top = top;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_popped_in_reverse_order() {
        let bracket = |n: u32| {
            if n.is_multiple_of(3) {
                Bracket::Brace
            } else {
                Bracket::Square
            }
        };
        let mut brackets = Brackets::default();
        assert_eq!(brackets.last(), None);
        for n in 0..200 {
            brackets.push(bracket(n));
        }
        for n in (0..200).rev() {
            assert_eq!(brackets.depth(), n as usize + 1);
            assert_eq!(brackets.last(), Some(bracket(n)));
            brackets.pop();
        }
        assert_eq!((brackets.depth(), brackets.last()), (0, None));
    }
}
