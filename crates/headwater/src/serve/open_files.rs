//! Number of connections that fit within the limit of open files.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Assumed number of open files, if the system doesn't report it.
const OPEN: usize = 16;

/// Minimum and maximum number of files reserved for the rest of the app.
const REST: (usize, usize) = (24, 1024);

/// Returns the maximum number of concurrent connections, at most `wanted`. It first raises the
/// process's soft limit of open files to the hard limit: the usual soft limit of 1,024 is meant for
/// programs that use `select`, not for a server with one open file per reader.
///
/// Some files are reserved. A server that accepts connections until it runs out of files can't open
/// its storage's files either, and every accepted request would fail.
pub(super) fn connections(wanted: usize) -> usize {
    let Some(limit) = raise(getrlimit(Resource::Nofile)) else {
        return wanted;
    };
    let open = fs::read_dir("/proc/self/fd")
        .or_else(|_| fs::read_dir("/dev/fd"))
        .map_or(OPEN, Iterator::count);
    let room = room(usize::try_from(limit).unwrap_or(usize::MAX), open);
    if room < wanted {
        tracing::info!(
            connections = room,
            limit,
            open,
            "the limit of open files allows fewer connections than are set"
        );
    }
    room.min(wanted)
}

/// Raises the soft limit and returns the resulting limit, or `None` if there is none.
fn raise(mut limit: Rlimit) -> Option<u64> {
    let soft = limit.current;
    if soft != limit.maximum {
        limit.current = limit.maximum;
        if setrlimit(Resource::Nofile, limit).is_err() {
            return soft;
        }
    }
    limit.maximum
}

fn room(limit: usize, open: usize) -> usize {
    let (least, most) = REST;
    let rest = (limit / 4).clamp(least, most);
    limit.saturating_sub(open).saturating_sub(rest).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_open_files_are_reserved_for_the_app() {
        assert_eq!(room(64, 17), 23);
        assert_eq!(room(1024, 20), 748);
        assert_eq!(room(1 << 20, 20), (1 << 20) - 1044);
        assert_eq!(room(30, 20), 1);
    }
}
