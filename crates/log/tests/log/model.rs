//! Random operations, compared with the model: the engine in memory. Every response must be the
//! same, and so must everything that can be read, also after restarts.

use std::path::Path;

use headwater_log::{Clock, DiskLog, Identity, Log};
use proptest::prelude::*;

use crate::ops::{Memory, Subject, cases, compare, few, memory, op};
use crate::support::{START, options, quick_folder};

struct Disk<'a> {
    folder: &'a Path,
    clock: Clock,
    hot: usize,
    log: Option<DiskLog>,
}

impl<'a> Disk<'a> {
    fn new(folder: &'a Path, clock: &Clock, hot: usize) -> Self {
        let mut disk = Self {
            folder,
            clock: clock.clone(),
            hot,
            log: None,
        };
        disk.restart();
        disk
    }
}

impl Subject for Disk<'_> {
    fn log(&self) -> &dyn Log {
        self.log.as_ref().unwrap()
    }

    fn settle(&self) {
        while self.log.as_ref().unwrap().reclaim().unwrap() {}
    }

    fn restart(&mut self) {
        if let Some(log) = self.log.take()
            && self.hot == 1
        {
            log.give_back().unwrap();
        }
        let mut options = options(&self.clock, few());
        options.hot_streams = self.hot;
        options.recent_bytes = if self.hot == 1 { 0 } else { 1000 };
        let log = DiskLog::open(self.folder, options).unwrap();
        assert_eq!(log.recovery().missing, 0);
        self.log = Some(log);
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn the_engine_on_disk_behaves_like_the_model(
        ops in prop::collection::vec(op(), 1..60), hot in prop_oneof![Just(1_usize), Just(1000)]
    ) {
        let clock = Clock::by_hand(START);
        let folder = quick_folder();
        compare(&mut Disk::new(folder.path(), &clock, hot), &clock, &ops);
    }

    #[test]
    fn the_engine_in_memory_is_deterministic(ops in prop::collection::vec(op(), 1..60)) {
        let clock = Clock::by_hand(START);
        compare(&mut Memory(memory(&clock, Identity::new(7))), &clock, &ops);
    }
}
