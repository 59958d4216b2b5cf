//! Priorities of the log's threads, for machines whose cores are all in use. Without a change, a thread that
//! wakes up can wait for those that run, for some milliseconds each time.
//!
//! The priorities are those of Linux. On other systems, the calls do nothing.

/// Nice value that is added for work that can wait.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
/// Time that the writer runs at once if others want its core, in nanoseconds: the least that Linux accepts.
#[cfg(target_os = "linux")]
const SLICE: u64 = 100_000;

/// Lets this thread run as soon as it wakes up, for short times: every append waits for the writer. This
/// has an effect from Linux 6.12 on.
pub(crate) fn run_at_once() {
    #[cfg(target_os = "linux")]
    if let Err(error) = linux::set_slice(SLICE) {
        tracing::debug!(%error, "the writer of the log keeps the usual slice of time");
    }
}

/// Lets this thread run when others don't. It gets about a tenth of the time of another thread, if they
/// compete for a core. If it falls behind too far, large appends wait for it.
pub(crate) fn run_behind_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = linux::add_nice(NICE) {
        tracing::debug!(%error, "the thread for the log's files keeps its priority");
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;

    use rustix::process::{getpriority_process, setpriority_process};

    /// The highest nice value.
    const NICEST: i32 = 19;

    /// Adds to the nice value of this thread.
    pub(super) fn add_nice(more: i32) -> io::Result<()> {
        let nice = getpriority_process(None)? + more;
        Ok(setpriority_process(None, nice.min(NICEST))?)
    }

    /// Sets the time that this thread runs at once, in nanoseconds. A thread that wakes up takes the core of a
    /// running one with a longer time.
    #[allow(
        unsafe_code,
        reason = "a system call for which no crate has a safe function"
    )]
    pub(super) fn set_slice(slice: u64) -> io::Result<()> {
        let size = size_of::<libc::sched_attr>();
        let attributes = libc::sched_attr {
            size: size.try_into().unwrap_or_default(),
            sched_policy: 0,
            sched_flags: libc::SCHED_FLAG_KEEP_POLICY.unsigned_abs().into(),
            sched_nice: getpriority_process(None)?,
            sched_priority: 0,
            sched_runtime: slice,
            sched_deadline: 0,
            sched_period: 0,
        };
        let (this_thread, no_flags) = (0, 0);
        // SAFETY: the kernel reads `size` bytes from the pointer, which is valid for them, and keeps none.
        let done = unsafe {
            libc::syscall(
                libc::SYS_sched_setattr,
                this_thread,
                &raw const attributes,
                no_flags,
            )
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Returns a field of `/proc/thread-self/stat`, counted as in proc(5).
    fn stat(field: usize) -> Option<i32> {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
        // The name, which is the second field, can contain spaces.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(field - 3)?.parse().ok()
    }

    fn nice_and_policy() -> Option<(i32, i32)> {
        Some((stat(19)?, stat(41)?))
    }

    #[test]
    fn only_the_priority_that_is_asked_for_changes() {
        std::thread::spawn(|| {
            let (nice, policy) = nice_and_policy().unwrap();
            run_at_once();
            linux::set_slice(SLICE).unwrap();
            assert_eq!(nice_and_policy(), Some((nice, policy)));
            run_behind_others();
            let nice = (nice + NICE).min(19);
            assert_eq!(nice_and_policy(), Some((nice, policy)));
            // The nice value stays with another slice.
            linux::set_slice(SLICE).unwrap();
            assert_eq!(nice_and_policy(), Some((nice, policy)));
        })
        .join()
        .unwrap();
    }
}
