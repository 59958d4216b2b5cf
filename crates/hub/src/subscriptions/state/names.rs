use std::collections::HashMap;

use headwater_log::StreamName;

/// The names of the streams that subscriptions have cursors of. Each is held once, however many have one.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: HashMap<StreamName, Uses>,
    glob_bytes: usize,
}

#[derive(Debug, Default)]
struct Uses {
    links: usize,
    /// Those that only a pattern brought.
    globs: usize,
}

/// About how many bytes a name takes besides its text.
const NAME_BYTES: usize = 96;

impl Names {
    /// The one that is held, or this one.
    pub(super) fn shared(&self, name: &StreamName) -> StreamName {
        let held = self.all.get_key_value(name).map(|(held, _)| held);
        held.unwrap_or(name).clone()
    }

    pub(super) fn contains(&self, name: &StreamName) -> bool {
        self.all.contains_key(name)
    }

    /// About how many bytes the names take of which only patterns brought cursors, or they as well.
    pub(super) fn glob_bytes(&self) -> usize {
        self.glob_bytes
    }

    pub(super) fn add(&mut self, name: &StreamName, glob: bool) {
        let uses = self.all.entry(name.clone()).or_default();
        uses.links += 1;
        if glob {
            uses.globs += 1;
            if uses.globs == 1 {
                self.glob_bytes += NAME_BYTES + name.as_str().len();
            }
        }
    }

    pub(super) fn remove(&mut self, name: &StreamName, glob: bool) {
        let Some(uses) = self.all.get_mut(name) else {
            return;
        };
        uses.links -= 1;
        if glob {
            uses.globs -= 1;
            if uses.globs == 0 {
                self.glob_bytes -= NAME_BYTES + name.as_str().len();
            }
        }
        if uses.links == 0 {
            self.all.remove(name);
        }
    }
}
