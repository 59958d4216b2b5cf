//! The encoding of the state, on the engine in memory.

use headwater_log::{Clock, Identity, Log, MemoryLog};
use proptest::prelude::*;

use crate::ops::{Memory, Op, Subject, cases, compare, memory, op, perform};
use crate::support::START;

/// An engine in memory that is encoded and decoded at every restart.
struct Decoded(Memory);

impl Subject for Decoded {
    fn log(&self) -> &dyn Log {
        self.0.log()
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn restart(&mut self) {
        let log = &self.0.0;
        let state = log.state();
        let usage = log.usage();
        log.set_state(&state).unwrap();
        assert!(log.state() == state);
        assert_eq!(log.usage(), usage);
    }
}

/// Returns a log after these operations.
fn after(ops: &[Op], clock: &Clock) -> MemoryLog {
    let mut log = Memory(memory(clock, Identity::new(7)));
    perform(&mut log, clock, ops);
    log.0
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn a_decoded_state_behaves_like_the_encoded_one(ops in prop::collection::vec(op(), 1..60)) {
        let clock = Clock::by_hand(START);
        compare(&mut Decoded(Memory(memory(&clock, Identity::new(7)))), &clock, &ops);
    }

    #[test]
    fn a_changed_state_is_refused_or_can_be_used(
        before in prop::collection::vec(op(), 1..60), later in prop::collection::vec(op(), 1..20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let clock = Clock::by_hand(START);
        let mut state = after(&before, &clock).state();
        for (at, byte) in changes {
            let at = at.index(state.len());
            state[at] ^= byte;
        }
        if let Some(cut) = cut {
            state.truncate(cut.index(state.len()));
        }
        let log = memory(&clock, Identity::new(7));
        if log.set_state(&state).is_ok() {
            perform(&mut Memory(log), &clock, &later);
        }
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let clock = Clock::by_hand(START);
        let _ = memory(&clock, Identity::new(7)).set_state(&bytes);
    }
}
