//! The order in which a producer's appends go to the log.
//!
//! A producer that has several requests on the way sends them on several connections, and they come in any order. The log
//! refuses one that comes before its turn, and the producer would have to send it again when all before it are
//! acknowledged, which makes one sync for each. So one that is a little early waits here for those before it. What is
//! known here is a hint: the log is the judge, and what is known can be forgotten at any time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use headwater_log::Producer;
use tokio::{sync::watch, time::timeout};

use crate::limits::{TURN_AHEAD, TURN_PATIENCE, TURNS};

/// A life of a producer of a stream: the stream's number, who, which life.
type Life = (u64, String, u64);

#[derive(Default)]
pub(crate) struct Turns {
    /// The highest sequence number that was given to the log.
    given: Mutex<HashMap<Life, watch::Sender<u64>>>,
}

impl Turns {
    /// Waits for the appends before this one to be given to the log, if they may be on their way. Cancel-safe.
    pub(crate) async fn wait(&self, stream: u64, producer: &Producer) {
        let seq = producer.seq;
        let is_early = |given: u64| seq > given + 1 && seq - given <= TURN_AHEAD;
        let given = self.lock().get(&life(stream, producer)).map(|given| {
            let given = given.subscribe();
            let is_early = is_early(*given.borrow());
            (given, is_early)
        });
        let Some((mut given, true)) = given else {
            return;
        };
        // Whether they came, or didn't, or it was forgotten: the log says what that means.
        let _ = timeout(TURN_PATIENCE, given.wait_for(|given| !is_early(*given))).await;
    }

    /// Says that this append was given to the log.
    pub(crate) fn given(&self, stream: u64, producer: &Producer) {
        let mut lives = self.lock();
        let life = life(stream, producer);
        if lives.len() >= TURNS && !lives.contains_key(&life) {
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

    fn lock(&self) -> MutexGuard<'_, HashMap<Life, watch::Sender<u64>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Whether an append has to wait.
    fn waits(turns: &Turns, stream: u64, producer: &Producer) -> bool {
        turns.wait(stream, producer).now_or_never().is_none()
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_early_waits_until_those_before_it_are_given() {
        let turns = Turns::default();
        turns.given(1, &append(4));
        let early = append(7);
        let mut wait = pin!(turns.wait(1, &early));
        for seq in [5, 6] {
            assert!(wait.as_mut().now_or_never().is_none(), "{seq} is missing");
            turns.given(1, &append(seq));
        }
        assert!(wait.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_without_a_reason() {
        let turns = Turns::default();
        assert!(!waits(&turns, 1, &append(7)), "nothing is known of it");
        turns.given(1, &append(4));
        for seq in [0, 4, 5, 5 + TURN_AHEAD] {
            assert!(!waits(&turns, 1, &append(seq)), "{seq}");
        }
        assert!(waits(&turns, 1, &append(4 + TURN_AHEAD)));
        assert!(!waits(&turns, 2, &append(7)), "another stream");
        let mut later = append(7);
        later.epoch += 1;
        assert!(!waits(&turns, 1, &later), "another life");
        // An earlier one that comes again takes nothing back.
        turns.given(1, &append(2));
        assert!(!waits(&turns, 1, &append(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_waits_for_so_long_and_no_longer_and_what_is_known_is_bounded() {
        let turns = Turns::default();
        turns.given(1, &append(0));
        let start = Instant::now();
        turns.wait(1, &append(2)).await;
        assert_eq!(start.elapsed(), TURN_PATIENCE);
        let early = append(2);
        let mut wait = pin!(turns.wait(1, &early));
        assert!(wait.as_mut().now_or_never().is_none());
        for stream in 2..=TURNS as u64 + 1 {
            turns.given(stream, &append(0));
        }
        assert!(turns.lock().len() < TURNS);
        advance(Duration::ZERO).await;
        assert!(wait.now_or_never().is_some(), "it was forgotten");
    }
}
