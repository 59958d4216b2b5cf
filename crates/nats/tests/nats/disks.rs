//! Disks of servers: slow ones, and small ones.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use libc::{c_long, seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::set_no_new_privs;

use crate::servers::report_skipped;
use crate::support::runtime;

/// The syncs of a server's disk.
///
/// The system asks this process about each one (`seccomp_unotify(2)`), which lets it continue after a time. That
/// needs no privileges and delays no other system call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Syncs {
    /// The times that syncs take in turn. Without any they take none.
    times: Arc<Mutex<Vec<Duration>>>,
}

impl Syncs {
    /// Sets the times that syncs take in turn from now on.
    pub(crate) fn set(&self, times: &[Duration]) {
        *self.times.lock() = times.to_vec();
    }

    /// Starts a program with these syncs.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // A filter holds for the thread that sets it, and for its children.
        let started = std::thread::scope(|scope| {
            let start = || Ok::<_, io::Error>((filter_syncs()?, command.spawn()?));
            scope.spawn(start).join().unwrap()
        });
        let (calls, child) = started?;
        let syncs = self.clone();
        std::thread::spawn(move || syncs.answer(Arc::new(calls)));
        Ok(child)
    }

    fn next(&self) -> Duration {
        let mut times = self.times.lock();
        if !times.is_empty() {
            times.rotate_left(1);
        }
        times.last().copied().unwrap_or_default()
    }

    /// Lets each call continue in its time, until the program has ended.
    fn answer(&self, calls: Arc<OwnedFd>) {
        while is_waiting(&calls) {
            let Ok(call) = receive(&calls) else { continue };
            let time = self.next();
            if time.is_zero() {
                resume(&calls, call);
                continue;
            }
            let calls = Arc::clone(&calls);
            runtime().spawn(async move {
                tokio::time::sleep(time).await;
                resume(&calls, call);
            });
        }
    }
}

/// Waits for a call. Returns `false` if the program has ended.
fn is_waiting(calls: &OwnedFd) -> bool {
    let mut ready = [PollFd::new(calls, PollFlags::IN)];
    match poll(&mut ready, None) {
        Ok(_) => ready[0].revents().contains(PollFlags::IN),
        Err(error) => error == rustix::io::Errno::INTR,
    }
}

/// Sets the filter of this thread: syncs, and files that are opened to be synced by each write, wait for the answer
/// of the process that reads the calls here.
#[allow(unsafe_code, reason = "libc has no safe wrapper")]
fn filter_syncs() -> io::Result<OwnedFd> {
    /// Places of `struct seccomp_data`.
    const NUMBER: u32 = 0;
    const FLAGS_OF_OPENAT: u32 = 32;
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IS: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const HAS: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let number = |number: c_long| u32::try_from(number).unwrap();
    let step = |code: u32, k: u32, jt: u8, jf: u8| sock_filter {
        code: u16::try_from(code).unwrap(),
        jt,
        jf,
        k,
    };
    let synced = u32::try_from(libc::O_DSYNC).unwrap();
    let mut steps = [
        step(LOAD, NUMBER, 0, 0),
        step(IS, number(libc::SYS_fsync), 5, 0),
        step(IS, number(libc::SYS_fdatasync), 4, 0),
        step(IS, number(libc::SYS_openat), 0, 2),
        step(LOAD, FLAGS_OF_OPENAT, 0, 0),
        step(HAS, synced, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
    ];
    let program = sock_fprog {
        len: u16::try_from(steps.len()).unwrap(),
        filter: steps.as_mut_ptr(),
    };
    set_no_new_privs(true)?;
    // With the second flag, signals don't start a sync again.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mode = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: The program and its steps live until the call has copied them.
    let calls = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    match i32::try_from(calls) {
        // SAFETY: The call has returned a new descriptor.
        Ok(calls) if calls >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(calls) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Receives the id of a call.
#[allow(unsafe_code, reason = "libc has no safe wrapper")]
fn receive(calls: &OwnedFd) -> io::Result<u64> {
    // SAFETY: The structure consists of integers.
    let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
    let request = libc::SECCOMP_IOCTL_NOTIF_RECV;
    // SAFETY: The request writes one such structure.
    match unsafe { libc::ioctl(calls.as_raw_fd(), request, &raw mut call) } {
        0 => Ok(call.id),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Lets a call continue, if the program hasn't ended.
#[allow(unsafe_code, reason = "libc has no safe wrapper")]
fn resume(calls: &OwnedFd, id: u64) {
    let mut answer = seccomp_notif_resp {
        id,
        val: 0,
        error: 0,
        flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap(),
    };
    let request = libc::SECCOMP_IOCTL_NOTIF_SEND;
    // SAFETY: The request reads one such structure.
    unsafe { libc::ioctl(calls.as_raw_fd(), request, &raw mut answer) };
}

/// A file system of a fixed size at a folder, which is removed on drop.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one. Returns `None` after printing that this needs privileges.
    pub(crate) fn mount(folder: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "headwater-test"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        match mounted {
            Ok(status) if status.success() => Some(Self {
                folder: folder.to_owned(),
            }),
            _ => {
                report_skipped("full disks", "no file system can be mounted here");
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all space.
    pub(crate) fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        let full = io::copy(&mut io::repeat(1), &mut filler);
        assert_eq!(full.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    /// Gives back what was taken.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
