//! A counter of the bytes that decoders examine or copy, by which a test shows that their work is
//! linear in the input. Outside of this crate's tests it does nothing.

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn count(_bytes: usize) {}

#[cfg(test)]
pub(crate) use counting::{count, counted};

#[cfg(test)]
mod counting {
    use std::cell::Cell;

    thread_local! {
        static BYTES: Cell<usize> = const { Cell::new(0) };
    }

    pub(crate) fn count(bytes: usize) {
        BYTES.set(BYTES.get() + bytes);
    }

    /// Returns the number of bytes that `work` examines or copies.
    pub(crate) fn counted(work: impl FnOnce()) -> usize {
        BYTES.set(0);
        work();
        BYTES.get()
    }
}
