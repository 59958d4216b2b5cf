//! Number of connections that the limit of open files has room for.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of files supposed open, if the system doesn't say.
const OPEN: usize = 16;

/// The least and the most that is left to the rest of the app.
const REST: (usize, usize) = (24, 1024);

/// Returns how many connections may be open at a time, at most `wanted`. Raises the process's own limit of open files to the system's first:
/// the usual 1,024 is a limit for programs that use `select`, not for a server, each of whose readers is an open file.
///
/// A server that takes connections until there are no more files left can't open those of its storage, either: it would
/// accept requests only to fail at them. So some are left.
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

/// The limit, raised; `None` if there is none.
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
    fn a_part_of_the_open_files_is_left_to_the_app() {
        assert_eq!(room(64, 17), 23);
        assert_eq!(room(1024, 20), 748);
        assert_eq!(room(1 << 20, 20), (1 << 20) - 1044);
        assert_eq!(room(30, 20), 1);
    }
}
