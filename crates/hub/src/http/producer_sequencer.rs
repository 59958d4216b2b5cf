//! The order in which a producer's appends reach the log.
//!
//! A producer with several requests in flight sends them on several connections, and they arrive in
//! any order. The log refuses an append that is early. The producer would have to send it again
//! after all earlier ones are acknowledged, at the cost of one sync for each. Therefore an append
//! that is slightly early waits here for the earlier ones. The state here is a hint: the log
//! decides, and the state can be dropped at any time.

use std::collections::HashMap;

use headwater_log::Producer;
use parking_lot::Mutex;
use tokio::{sync::watch, time::timeout};

use crate::limits::{SEQUENCED_PRODUCERS, TURN_AHEAD, TURN_PATIENCE};

/// A producer's epoch in a stream: the stream's number, the producer's id, and the epoch.
type Life = (u64, String, u64);

#[derive(Default)]
pub(crate) struct ProducerSequencer {
    /// The highest sequence that was passed to the log.
    given: Mutex<HashMap<Life, watch::Sender<u64>>>,
}

impl ProducerSequencer {
    /// Waits until the earlier appends have been passed to the log, if they may be on their way.
    /// Cancel-safe.
    pub(crate) async fn wait(&self, stream: u64, producer: &Producer) {
        let seq = producer.seq;
        let is_early = |given: u64| seq > given + 1 && seq - given <= TURN_AHEAD;
        let given = self.given.lock().get(&life(stream, producer)).map(|given| {
            let given = given.subscribe();
            let is_early = is_early(*given.borrow());
            (given, is_early)
        });
        let Some((mut given, true)) = given else {
            return;
        };
        // On success, on timeout and if the state was dropped, the log decides.
        let _ = timeout(TURN_PATIENCE, given.wait_for(|given| !is_early(*given))).await;
    }

    /// Records that this append was passed to the log.
    pub(crate) fn given(&self, stream: u64, producer: &Producer) {
        let mut lives = self.given.lock();
        let life = life(stream, producer);
        if lives.len() >= SEQUENCED_PRODUCERS && !lives.contains_key(&life) {
            lives.clear();
        }
        let given = lives
            .entry(life)
            .or_insert_with(|| watch::Sender::new(producer.seq));
        given.send_if_modified(|given| {
            let is_later = producer.seq > *given;
            *given = producer.seq.max(*given);
            is_later
        });
    }
}

fn life(stream: u64, producer: &Producer) -> Life {
    (stream, producer.id.clone(), producer.epoch)
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures_util::FutureExt as _;
    use tokio::time::{Instant, advance};

    use super::*;

    fn append(seq: u64) -> Producer {
        Producer {
            id: "p".to_owned(),
            epoch: 3,
            seq,
        }
    }

    /// Returns `true` if an append has to wait.
    fn waits(sequencer: &ProducerSequencer, stream: u64, producer: &Producer) -> bool {
        sequencer.wait(stream, producer).now_or_never().is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_append_waits_for_the_earlier_ones() {
        let sequencer = ProducerSequencer::default();
        sequencer.given(1, &append(4));
        let early = append(7);
        let mut wait = pin!(sequencer.wait(1, &early));
        for seq in [5, 6] {
            assert!(wait.as_mut().now_or_never().is_none(), "{seq} is missing");
            sequencer.given(1, &append(seq));
        }
        assert!(wait.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn appends_only_wait_with_a_reason() {
        let sequencer = ProducerSequencer::default();
        assert!(!waits(&sequencer, 1, &append(7)), "nothing is known of it");
        sequencer.given(1, &append(4));
        for seq in [0, 4, 5, 5 + TURN_AHEAD] {
            assert!(!waits(&sequencer, 1, &append(seq)), "{seq}");
        }
        assert!(waits(&sequencer, 1, &append(4 + TURN_AHEAD)));
        assert!(!waits(&sequencer, 2, &append(7)), "another stream");
        let mut later = append(7);
        later.epoch += 1;
        assert!(!waits(&sequencer, 1, &later), "another life");
        // Repeating an earlier append changes nothing.
        sequencer.given(1, &append(2));
        assert!(!waits(&sequencer, 1, &append(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_and_the_state_are_bounded() {
        let sequencer = ProducerSequencer::default();
        sequencer.given(1, &append(0));
        let start = Instant::now();
        sequencer.wait(1, &append(2)).await;
        assert_eq!(start.elapsed(), TURN_PATIENCE);
        let early = append(2);
        let mut wait = pin!(sequencer.wait(1, &early));
        assert!(wait.as_mut().now_or_never().is_none());
        for stream in 2..=SEQUENCED_PRODUCERS as u64 + 1 {
            sequencer.given(stream, &append(0));
        }
        assert!(sequencer.given.lock().len() < SEQUENCED_PRODUCERS);
        advance(Duration::ZERO).await;
        assert!(wait.now_or_never().is_some(), "it was forgotten");
    }
}
