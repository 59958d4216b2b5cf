//! What the benchmark asks of the system: clocks, CPU time, memory, open files. Linux only.

use std::{fs, io};

use rustix::{
    param::clock_ticks_per_second,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// The CPU time that this process has used, in nanoseconds.
#[must_use]
pub fn own_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let total = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(total).unwrap_or(0)
}

/// The CPU time that a process has used, in nanoseconds, to the hundredth of a second. Threads that
/// have ended count as well.
///
/// # Errors
/// The process is gone.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may hold anything. `utime` and `stime` are the fields
    // 14 and 15 (proc_pid_stat(5)), so 12 and 13 of what follows it.
    let fields = stat
        .rsplit_once(')')
        .map_or("", |(_, fields)| fields)
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks * (1_000_000_000 / clock_ticks_per_second()))
}

/// The CPU time that the threads of a process have used, in nanoseconds, exactly. For a process whose
/// threads stay: those that have ended don't count.
///
/// # Errors
/// The process is gone, or the kernel keeps no such account.
pub fn threads_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let account = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += first_number(&account).ok_or_else(|| io::Error::other("no account in /proc"))?;
    }
    Ok(total)
}

/// The resident memory of a process, in bytes.
///
/// # Errors
/// The process is gone.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(first_number);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc"))
}

/// The most resident memory that a process has had, in bytes.
///
/// # Errors
/// The process is gone, or has ended.
pub fn peak_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(first_number);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmHWM in /proc"))
}

/// A process and those that it started, which started none themselves.
///
/// # Errors
/// The process is gone.
pub fn tree(pid: u32) -> io::Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    Ok(std::iter::once(pid).chain(children).collect())
}

/// The resident memory of a process, in bytes; of what it shares with others, its part.
///
/// # Errors
/// The process is gone.
pub fn proportional_bytes(pid: u32) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(first_number);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no Pss in /proc"))
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Raises the limit on open files to `wanted`, for this process and those that it starts.
///
/// # Errors
/// The hard limit is lower.
pub fn allow_open_files(wanted: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}
