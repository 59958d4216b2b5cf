//! The newest snapshot at the start of a hub.

use headwater_log::Position;
use headwater_log::machine::Malformed;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use xxhash_rust::xxh3::xxh3_64;

use super::store::{Found, Stored};
use crate::limits::{READ_DEADLINE, RETRY_PAUSE, SNAPSHOTS};
use crate::open_error::Why;
use crate::replica::Replica;
use crate::setup::Cluster;

/// Returns the state from which the hub applies the log, and the snapshot that it is of. Without a
/// snapshot it is that of an empty log.
pub(crate) async fn load(
    cluster: &Cluster,
    head: &watch::Sender<Position>,
) -> Result<(Replica, Option<Stored>), Why> {
    let deadline = Instant::now() + READ_DEADLINE;
    loop {
        match attempt(cluster, head).await {
            // A stream that was just created has no leader yet.
            Err(Why::Snapshots { .. }) if Instant::now() < deadline => sleep(RETRY_PAUSE).await,
            loaded => return loaded,
        }
    }
}

async fn attempt(
    cluster: &Cluster,
    head: &watch::Sender<Position>,
) -> Result<(Replica, Option<Stored>), Why> {
    let failed = |what| Why::Snapshots {
        stream: cluster.snapshots.name.clone(),
        what,
    };
    let newest = cluster.snapshots.newest().await.map_err(failed)?;
    let mut candidate = newest;
    for _ in 0..SNAPSHOTS {
        let Some(snapshot) = candidate else {
            break;
        };
        match decode(cluster, &snapshot, head).await.map_err(failed)? {
            Ok(replica) => return Ok((replica, Some(snapshot))),
            Err(unusable) => {
                let sequence = snapshot.manifest.sequence;
                tracing::error!(sequence, %unusable, "a snapshot of the log can't be used");
            }
        }
        candidate = cluster.snapshots.before(&snapshot).await.map_err(failed)?;
    }
    let info = cluster.stream.get_info().await;
    let first = info
        .map_err(|error| failed(error.to_string()))?
        .state
        .first_sequence;
    if first > 1 {
        return Err(Why::Removed {
            stream: cluster.name.clone(),
            first,
            snapshots: cluster.snapshots.name.clone(),
        });
    }
    Ok((Replica::new(cluster.identity, head.clone()), newest))
}

/// Decodes a snapshot, unless it is damaged or the log contradicts it. An inner error is the reason for which it
/// can't be used.
async fn decode(
    cluster: &Cluster,
    snapshot: &Stored,
    head: &watch::Sender<Position>,
) -> Result<Result<Replica, String>, String> {
    let Found::Whole(bytes) = cluster.snapshots.read(snapshot).await? else {
        // It can't be completed, and the next snapshot must not rely on it.
        cluster.snapshots.delete(snapshot.at).await?;
        return Ok(Err("it is damaged, and is removed".to_owned()));
    };
    let sequence = snapshot.manifest.sequence;
    let end = cluster.last().await?;
    if end < sequence {
        return Ok(Err(format!("the log has lost records: it ends at {end}")));
    }
    let hash = cluster
        .record(sequence)
        .await?
        .map(|record| xxh3_64(&record));
    if hash.is_some_and(|hash| hash != snapshot.manifest.hash) {
        return Ok(Err(format!(
            "the log has lost records: {sequence} is another one"
        )));
    }
    let identity = cluster.identity;
    let head = head.clone();
    let decoded =
        tokio::task::spawn_blocking(move || Replica::decode(&bytes, identity, head)).await;
    match decoded.map_err(|error| error.to_string())? {
        Ok(replica) if replica.applied == sequence => Ok(Ok(replica)),
        Ok(_) | Err(Malformed) => Ok(Err("it is of another version, or damaged".to_owned())),
    }
}
