use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_log::{Matching, StreamName};
use parking_lot::RwLock;

use super::Config;

/// An index of subscriptions by the streams that they watch. A clone shares the same state.
#[derive(Clone, Debug, Default)]
pub(super) struct Interest(Arc<RwLock<Interested>>);

#[derive(Debug, Default)]
struct Interested {
    /// The subscriptions that have a stream by name.
    named: BTreeMap<StreamName, BTreeSet<Arc<str>>>,
    /// The subscriptions that have a pattern.
    globs: BTreeMap<Arc<str>, Arc<Config>>,
}

impl Interest {
    /// Returns a filter of the stream names that any subscription watches.
    pub(super) fn matching(&self) -> Matching {
        let this = self.clone();
        Arc::new(move |name| {
            let interested = this.0.read();
            interested.named.contains_key(name)
                || interested.globs.values().any(|glob| glob.matches(name))
        })
    }

    /// Returns the ids of the subscriptions that watch a stream, in order.
    pub(super) fn of(&self, name: &StreamName) -> BTreeSet<Arc<str>> {
        let interested = self.0.read();
        let mut ids = interested.named.get(name).cloned().unwrap_or_default();
        let globs = interested.globs.iter();
        let globs = globs.filter(|(_, config)| config.matches(name));
        ids.extend(globs.map(|(id, _)| Arc::clone(id)));
        ids
    }

    pub(super) fn add(&self, id: &Arc<str>, config: &Arc<Config>) {
        if config.pattern.is_some() {
            self.0
                .write()
                .globs
                .insert(Arc::clone(id), Arc::clone(config));
        }
    }

    pub(super) fn remove(&self, id: &str) {
        self.0.write().globs.remove(id);
    }

    pub(super) fn name(&self, name: &StreamName, id: &Arc<str>) {
        let mut interested = self.0.write();
        let ids = interested.named.entry(name.clone()).or_default();
        ids.insert(Arc::clone(id));
    }

    pub(super) fn unname(&self, name: &StreamName, id: &str) {
        let mut interested = self.0.write();
        if let Some(ids) = interested.named.get_mut(name) {
            ids.remove(id);
            if ids.is_empty() {
                interested.named.remove(name);
            }
        }
    }
}
