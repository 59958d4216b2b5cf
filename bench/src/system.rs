//! System interfaces of the benchmark: clocks, CPU time, memory, open files. Linux only.

use std::{fs, io};

use rustix::{
    param::clock_ticks_per_second,
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Returns the nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Returns the CPU time of this process, in nanoseconds.
#[must_use]
pub fn own_cpu_ns() -> u64 {
    nanoseconds(ClockId::ProcessCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let total = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    u64::try_from(total).unwrap_or(0)
}

/// Returns the CPU time of a process, in nanoseconds, with a resolution of 10 ms. It includes
/// threads that have ended.
///
/// # Errors
/// The process doesn't exist.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The program's name in parentheses may contain anything. `utime` and `stime` are fields 14 and
    // 15 (proc_pid_stat(5)), so they are 12 and 13 of the rest.
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

/// Returns the exact CPU time of a process's threads, in nanoseconds. It excludes threads that have
/// ended, so it is meant for processes whose threads stay.
///
/// # Errors
/// The process doesn't exist, or the kernel doesn't record this time.
pub fn threads_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let account = fs::read_to_string(thread?.path().join("schedstat"))?;
        total += first_number(&account).ok_or_else(|| io::Error::other("no account in /proc"))?;
    }
    Ok(total)
}

/// Returns the resident memory of a process, in bytes.
///
/// # Errors
/// The process doesn't exist.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(first_number);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmRSS in /proc"))
}

/// Returns the peak resident memory of a process, in bytes.
///
/// # Errors
/// The process doesn't exist or has ended.
pub fn peak_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(first_number);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::other("no VmHWM in /proc"))
}

/// Returns a process and its child processes. These must have no children of their own.
///
/// # Errors
/// The process doesn't exist.
pub fn tree(pid: u32) -> io::Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let children = children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok());
    Ok(std::iter::once(pid).chain(children).collect())
}

/// Returns the resident memory of a process, in bytes, with its proportion of shared memory.
///
/// # Errors
/// The process doesn't exist.
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

/// Raises the limit of open files to `wanted`, for this process and the processes that it starts.
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
