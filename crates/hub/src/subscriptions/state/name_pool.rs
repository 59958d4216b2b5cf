use std::collections::HashMap;

use headwater_log::StreamName;

/// The names of the streams that have cursors. Each is held once, regardless of the number of
/// cursors.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: HashMap<StreamName, Uses>,
    glob_bytes: usize,
}

#[derive(Debug, Default)]
struct Uses {
    links: usize,
    /// The links that only a pattern added.
    globs: usize,
}

/// Approximate memory of a name in bytes, besides its text.
const NAME_BYTES: usize = 96;

impl Names {
    /// Returns the shared copy of a name, or the name itself if there is none.
    pub(super) fn shared(&self, name: &StreamName) -> StreamName {
        let held = self.all.get_key_value(name).map(|(held, _)| held);
        held.unwrap_or(name).clone()
    }

    pub(super) fn contains(&self, name: &StreamName) -> bool {
        self.all.contains_key(name)
    }

    /// Returns the approximate memory in bytes of the names that have at least one link that only a
    /// pattern added.
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
