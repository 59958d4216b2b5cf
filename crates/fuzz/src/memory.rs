//! A bound on the memory that an input may take.

use peak_alloc::PeakAlloc;

/// The system's allocator, which counts the bytes that are allocated.
#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The memory that is allocated from one moment on, in the whole process. One meter runs at a time.
pub(crate) struct Meter {
    before: usize,
}

impl Meter {
    pub(crate) fn start() -> Self {
        ALLOCATOR.reset_peak_usage();
        Self {
            before: ALLOCATOR.current_usage(),
        }
    }

    /// Checks that at no moment since the start more than `base` bytes, plus `per_byte` for each byte of input, were
    /// allocated in addition to those at the start.
    ///
    /// # Panics
    /// If more were.
    pub(crate) fn check(self, input: usize, base: usize, per_byte: usize) {
        let peak = ALLOCATOR.peak_usage().saturating_sub(self.before);
        let bound = base + per_byte * input;
        assert!(
            peak <= bound,
            "{input} bytes of input took {peak} bytes of memory, more than {bound}"
        );
    }
}
