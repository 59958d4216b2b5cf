//! Removal of records that nothing refers to.
//!
//! A snapshot allows to remove the records up to the snapshot before it that it doesn't refer to. Those are
//! found by the two snapshots alone, so any hub can do it, and repeat it if it isn't known to be finished.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;

use super::store::{Found, Store, Stored, delete};
use crate::limits::{REMOVAL_PAUSE, REMOVED_AT_ONCE, REMOVED_BETWEEN_PAUSES};
use crate::replica::places;
use crate::setup::Cluster;

/// Removes the records that a snapshot allows to remove.
pub(super) async fn remove(
    store: &Store,
    cluster: &Cluster,
    snapshot: &Stored,
) -> Result<(), String> {
    let limit = snapshot.manifest.removable;
    if limit == 0 {
        return Ok(());
    }
    let Some(live) = needed(store, snapshot, limit).await? else {
        // It is removed at the next start, and the one before it needs these records.
        tracing::error!("a snapshot is damaged, and no records are removed");
        return Ok(());
    };
    let before = match store.before(snapshot).await? {
        Some(before) => {
            let limit = before.manifest.removable;
            let needed = needed(store, &before, limit).await?;
            needed.map(|needed| (limit, needed))
        }
        None => None,
    };
    let first = live.first().map_or(limit + 1, |first| *first);
    let state = cluster.stream.get_info().await;
    let state = state.map_err(|error| error.to_string())?.state;
    if state.first_sequence < first {
        let purge = cluster.stream.purge().sequence(first);
        let failed = |error| format!("the records before {first} aren't removed: {error}");
        purge.await.map_err(failed)?;
    }
    let dead = dead(&live, before.as_ref(), first, limit);
    let count = dead.len();
    for batch in dead.chunks(REMOVED_BETWEEN_PAUSES) {
        let removals = batch
            .iter()
            .copied()
            .map(|at| delete(&cluster.context, &cluster.name, at));
        let removed = stream::iter(removals).buffer_unordered(REMOVED_AT_ONCE);
        removed.try_collect::<()>().await?;
        sleep(REMOVAL_PAUSE).await;
    }
    tracing::debug!(first, limit, single = count, "records were removed");
    Ok(())
}

/// Returns the records up to `limit` that a snapshot refers to, in order. `None` if it is damaged.
async fn needed(store: &Store, snapshot: &Stored, limit: u64) -> Result<Option<Vec<u64>>, String> {
    let Found::Whole(bytes) = store.read(snapshot).await? else {
        return Ok(None);
    };
    let needed = tokio::task::spawn_blocking(move || places(&bytes)).await;
    let Ok(mut needed) = needed.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    needed.truncate(needed.partition_point(|sequence| *sequence <= limit));
    Ok(Some(needed))
}

/// Returns the single records between `first` and `limit` that aren't live any more. `before` has the limit and the live
/// records of the last removal. What wasn't live then is removed already.
fn dead(live: &[u64], before: Option<&(u64, Vec<u64>)>, first: u64, limit: u64) -> Vec<u64> {
    let is_dead = |at: &u64| *at > first && live.binary_search(at).is_err();
    let (removed, kept) = before.map_or((0, &[][..]), |(limit, live)| (*limit, live));
    let died = kept.iter().copied().filter(is_dead);
    let new = (removed.max(first) + 1..=limit).filter(is_dead);
    died.chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Live records die over some rounds, and what is removed is exactly what is dead.
        #[test]
        fn all_dead_records_are_removed_once(
            rounds in prop::collection::vec((0..20_u64, prop::collection::vec(any::<bool>(), 100)), 1..5),
        ) {
            let mut stored: BTreeSet<u64> = (1..=100).collect();
            let mut live = stored.clone();
            let mut before = None;
            let mut limit = 0;
            for (more, lives) in rounds {
                limit += more;
                live.retain(|at| lives[usize::try_from(*at).unwrap() - 1]);
                let needed: Vec<u64> = live.range(..=limit).copied().collect();
                let first = needed.first().map_or(limit + 1, |first| *first);
                stored.retain(|at| *at >= first);
                for at in dead(&needed, before.as_ref(), first, limit) {
                    prop_assert!(stored.remove(&at), "{} is removed twice", at);
                }
                let left: Vec<u64> = stored.range(..=limit).copied().collect();
                prop_assert_eq!(&left, &needed);
                before = Some((limit, needed));
            }
        }
    }
}
