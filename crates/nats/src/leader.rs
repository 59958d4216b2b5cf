//! The contact with the leader of the log's JetStream stream.
//!
//! A server that is cut off from the others counts as the leader until it notices, for ten seconds
//! and more. It stores nothing in that time, but answers with the end of the log that it knows.
//! So an answer counts only if most of the replicas answered that leader a moment ago. And a
//! hub whose leader doesn't answer moves to another server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_nats::connection::State;
use async_nats::jetstream::stream::Info;
use async_nats::{ConnectOptions, ReconnectToServer, Server};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::engine::Engine;
use crate::limits::{HEARD, IDLE_CHECK, LEADERLESS, MOVE, READ_DEADLINE};

/// Returns `true` if most of the replicas answered the leader within [`HEARD`].
pub(crate) fn hears_most(info: &Info) -> bool {
    let Some(cluster) = &info.cluster else {
        // The server is alone.
        return true;
    };
    let others = &cluster.replicas;
    // A replica that the leader never heard is listed as seen now, and as not current.
    let heard = others.iter().filter(|peer| {
        let is_known = peer.current || !peer.active.is_zero();
        is_known && peer.active < HEARD
    });
    // The leader is one of most.
    heard.count() >= others.len().div_ceil(2)
}

/// The time of the leader's last answer.
#[derive(Debug)]
pub(crate) struct Contact {
    heard: Mutex<Instant>,
}

impl Contact {
    pub(crate) fn new() -> Self {
        Self {
            heard: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn hear(&self) {
        *self.heard.lock() = Instant::now();
    }

    /// Returns `true` if the leader hasn't answered for the time that a read waits for it. It is asked each
    /// second.
    pub(crate) fn is_silent(&self) -> bool {
        self.heard.lock().elapsed() > READ_DEADLINE
    }

    /// Returns `true` if the leader hasn't answered for longer than an election takes.
    pub(crate) fn is_lost(&self) -> bool {
        self.heard.lock().elapsed() > LEADERLESS
    }
}

/// The choice of the server that a hub connects to next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    moves: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
}

impl Choice {
    /// Lets a requested move take the servers in turn. Otherwise the client chooses: it prefers the server
    /// to which connecting has failed least, which can be the one that is cut off.
    pub(crate) fn of(&self, connect: ConnectOptions) -> ConnectOptions {
        let choice = self.clone();
        connect.reconnect_to_server_callback(move |servers, _| {
            let server = choice.next_of(&servers);
            async move { server }
        })
    }

    fn next_of(&self, servers: &[Server]) -> Option<ReconnectToServer> {
        if !self.moves.swap(false, Ordering::Relaxed) {
            return None;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let server = servers.get(turn % servers.len().max(1))?;
        Some(ReconnectToServer {
            addr: server.addr.clone(),
            delay: None,
        })
    }
}

/// Moves the hub to the next server while the leader doesn't answer.
pub(crate) async fn watch(engine: Arc<Engine>) {
    let mut moved = Instant::now();
    loop {
        sleep(IDLE_CHECK).await;
        let contact = engine.contact.heard.lock().elapsed();
        // A client that isn't connected tries all servers by itself.
        let is_connected = matches!(engine.cluster.client.connection_state(), State::Connected);
        if !is_connected || contact < MOVE || moved.elapsed() < MOVE {
            continue;
        }
        tracing::warn!("the log's leader doesn't answer, and the hub connects to another server");
        engine.cluster.choice.moves.store(true, Ordering::Relaxed);
        if engine.cluster.client.force_reconnect().await.is_err() {
            return;
        }
        moved = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    /// Returns the answer of a leader that heard the others at these times ago, and whether they are current.
    fn info(peers: &[(u64, bool)]) -> Info {
        let peers = peers.iter().map(|(milliseconds, current)| {
            let active = milliseconds * 1_000_000;
            json!({"name": "n", "current": current, "active": active})
        });
        let peers: Vec<_> = peers.collect();
        let state = json!({
            "messages": 0, "bytes": 0, "first_seq": 0, "first_ts": "2026-01-01T00:00:00Z",
            "last_seq": 0, "last_ts": "2026-01-01T00:00:00Z", "consumer_count": 0,
        });
        let config = json!({
            "name": "s", "subjects": ["s"], "retention": "limits", "max_consumers": -1, "max_msgs": -1,
            "max_bytes": -1, "discard": "new", "max_age": 0, "storage": "file", "num_replicas": 3,
        });
        let info = json!({
            "config": config, "created": "2026-01-01T00:00:00Z", "state": state,
            "cluster": {"name": "c", "leader": "n0", "replicas": peers},
        });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn a_leader_counts_while_most_of_the_replicas_answer_it() {
        let limit = u64::try_from(HEARD.as_millis()).unwrap();
        assert!(hears_most(&info(&[])));
        assert!(hears_most(&info(&[(1, true), (limit - 1, true)])));
        assert!(hears_most(&info(&[(limit - 1, false), (limit, true)])));
        assert!(!hears_most(&info(&[(limit, true), (limit, true)])));
        // One that was never heard is listed so.
        assert!(!hears_most(&info(&[(limit, true), (0, false)])));
        assert!(hears_most(&info(&[(1, true), (0, false)])));
        let four = [(1, true), (1, true), (limit, true), (limit, true)];
        assert!(hears_most(&info(&four)) && !hears_most(&info(&four[1..])));
        // Of two replicas, both are most.
        assert!(!hears_most(&info(&[(limit, true)])));
    }

    #[test]
    fn a_hub_moves_to_each_server_in_turn() {
        assert!(
            HEARD < Duration::from_secs(3),
            "an election can end after three seconds"
        );
        let choice = Choice::default();
        assert!(choice.next_of(&[]).is_none());
        choice.moves.store(true, Ordering::Relaxed);
        assert!(choice.next_of(&[]).is_none());
    }
}
