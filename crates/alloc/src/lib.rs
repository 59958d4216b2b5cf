//! A memory allocator for servers of streams: mimalloc, with large blocks mapped one by one.
//!
//! A server frees memory on other threads than it allocates on, in blocks larger than the system's
//! allocator caches: with mimalloc an append needs a tenth less CPU time. But a block that another
//! thread frees goes back to the thread that allocated it, and is reused or returned to the system
//! only when that thread allocates again. A thread that has read large messages and then waits for
//! work keeps their memory, and there may be hundreds of such threads. So blocks of
//! [`MAPPED_BYTES`] and more are mappings of their own, which every thread returns at once.
//!
//! The `headwater` command uses it. Use it for a program that embeds a hub, too:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: headwater_alloc::Allocator = headwater_alloc::Allocator;
//! # fn main() {}
//! ```

use std::alloc::{GlobalAlloc, Layout};

use mimalloc::MiMalloc;

/// Size from which a block is a mapping of its own, in bytes.
///
/// The system maps and clears such a block page by page. That takes about as long as copying it.
pub const MAPPED_BYTES: usize = 1 << 20;

/// mimalloc, with large blocks mapped one by one. On systems other than Linux, mimalloc alone.
///
/// Huge pages are off, because with them an idle reader would need twice the memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

#[allow(unsafe_code, reason = "GlobalAlloc is an unsafe trait")]
// SAFETY: `is_mapped` depends on the layout alone, so a block is freed by what allocated it.
// mimalloc is an allocator, and so are the functions of `mapping`.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout) {
            true => mapping::new(layout.size()),
            // SAFETY: the caller's guarantees are the same.
            false => unsafe { MiMalloc.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout) {
            true => mapping::new(layout.size()),
            // SAFETY: the caller's guarantees are the same.
            false => unsafe { MiMalloc.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match is_mapped(layout) {
            // SAFETY: a block with this layout is a mapping of this size.
            true => unsafe { mapping::remove(block, layout.size()) },
            // SAFETY: the caller's guarantees are the same.
            false => unsafe { MiMalloc.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is valid for the alignment.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_mapped(layout), is_mapped(new)) {
            // SAFETY: the caller's guarantees are the same.
            (false, false) => unsafe { MiMalloc.realloc(block, layout, size) },
            // SAFETY: a block with this layout is a mapping of this size.
            (true, true) => unsafe { mapping::resize(block, layout.size(), size) },
            // SAFETY: both blocks are valid for the smaller size and don't overlap.
            _ => unsafe {
                let moved = self.alloc(new);
                if !moved.is_null() {
                    block.copy_to_nonoverlapping(moved, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                moved
            },
        }
    }
}

/// Returns `true` if a block of this layout is a mapping of its own.
#[inline]
fn is_mapped(layout: Layout) -> bool {
    layout.size() >= MAPPED_BYTES && layout.align() <= mapping::ALIGNMENT
}

/// Blocks of memory that the system maps.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "raw memory of the system")]
mod mapping {
    use std::ptr;

    use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

    /// Mappings are aligned to a page, which has at least this size.
    pub(crate) const ALIGNMENT: usize = 4096;

    /// Returns a new block of zeros, or null.
    pub(crate) fn new(size: usize) -> *mut u8 {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the system chooses an address that isn't in use.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) };
        mapped.map_or(ptr::null_mut(), |address| address.cast())
    }

    /// Returns the memory of a block.
    ///
    /// # Safety
    /// `block` is a mapping of this size, and isn't used any more.
    pub(crate) unsafe fn remove(block: *mut u8, size: usize) {
        // SAFETY: as above. A whole mapping can always be removed.
        let removed = unsafe { munmap(block.cast(), size) };
        debug_assert!(removed.is_ok());
    }

    /// Changes the size of a block. Its content moves along without being copied. Returns null,
    /// and leaves the block as it is, if there is no memory.
    ///
    /// # Safety
    /// `block` is a mapping of this size. It isn't used any more unless null is returned.
    pub(crate) unsafe fn resize(block: *mut u8, size: usize, new: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { mremap(block.cast(), size, new, MremapFlags::MAYMOVE) };
        moved.map_or(ptr::null_mut(), |address| address.cast())
    }
}

#[cfg(not(target_os = "linux"))]
#[allow(unsafe_code, reason = "as on Linux")]
mod mapping {
    /// No layout has an alignment this small.
    pub(crate) const ALIGNMENT: usize = 0;

    pub(crate) fn new(_: usize) -> *mut u8 {
        unreachable!("no block is mapped")
    }

    pub(crate) unsafe fn remove(_: *mut u8, _: usize) {
        unreachable!("no block is mapped")
    }

    pub(crate) unsafe fn resize(_: *mut u8, _: usize, _: usize) -> *mut u8 {
        unreachable!("no block is mapped")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    const MIB: usize = 1 << 20;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn content_survives_every_change_of_size(
            sizes in prop::collection::vec(
                prop_oneof![1..200_usize, MAPPED_BYTES - 5..MAPPED_BYTES + 5, MIB..5 * MIB],
                1..12,
            ),
        ) {
            let mut block: Vec<u8> = Vec::new();
            // Bytes that were written, by their index.
            let mut written: Vec<(usize, u8)> = Vec::new();
            for (step, size) in (1..).zip(sizes) {
                let old = block.len();
                if size < old {
                    block.truncate(size);
                    block.shrink_to_fit();
                    written.retain(|(at, _)| *at < size);
                } else if size > old {
                    block.reserve_exact(size - old);
                    block.resize(size, 0);
                    for at in [old, size - 1] {
                        block[at] = step;
                        written.push((at, step));
                    }
                }
                prop_assert!(written.iter().all(|(at, byte)| block[*at] == *byte));
            }
        }
    }

    #[test]
    fn zeroed_blocks_are_zero_after_others_were_freed() {
        for size in [MAPPED_BYTES - 1, MAPPED_BYTES, 3 * MIB + 1] {
            drop(vec![0xff_u8; size]);
            assert!(vec![0_u8; size].iter().all(|byte| *byte == 0), "{size}");
        }
    }

    #[test]
    fn a_large_alignment_is_respected() {
        #[repr(align(65536))]
        struct Aligned([u8; 2 * MIB]);
        let block: Box<[std::mem::MaybeUninit<Aligned>]> = Box::new_uninit_slice(1);
        assert_eq!(block.as_ptr().addr() % 65536, 0);
        assert_eq!(size_of::<Aligned>(), 2 * MIB);
        let _ = |aligned: Aligned| aligned.0;
    }

    /// Memory of this process that is in use, in bytes.
    #[cfg(target_os = "linux")]
    fn resident() -> usize {
        let sizes = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = sizes.split(' ').nth(1).unwrap();
        pages.parse::<usize>().unwrap() * rustix::param::page_size()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_another_thread_frees_is_returned_while_its_own_thread_waits() {
        const BLOCKS: usize = 32;
        let before = resident();
        let (send, blocks) = mpsc::channel();
        let waiting: Vec<_> = (0..BLOCKS)
            .map(|_| {
                let send = send.clone();
                let (release, wait) = mpsc::channel::<()>();
                let thread = std::thread::spawn(move || {
                    send.send(vec![1_u8; 8 * MIB]).unwrap();
                    let _ = wait.recv();
                });
                (thread, release)
            })
            .collect();
        let held: Vec<_> = blocks.iter().take(BLOCKS).collect();
        assert!(resident() > before + BLOCKS * 7 * MIB);
        drop(held);
        let after = resident();
        assert!(after < before + BLOCKS * MIB, "{before} {after}");
        for (thread, release) in waiting {
            drop(release);
            thread.join().unwrap();
        }
    }
}
