//! The expected content of a journal, and a random load.

use std::{collections::BTreeMap, sync::Arc};

use fastrand::Rng;
use headwater_journal::{Checkpoint, Disk, Found, Journal, OpenError, Options, open};

use crate::sim::Sim;

const IDENTITY: u64 = 0x6865_6164;
/// Short, so that a test fills several.
const SEGMENT: u64 = 16 << 10;

/// A frame: its head contains a sum of its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    head: Vec<u8>,
    data: Vec<u8>,
}

impl Item {
    fn random(rng: &mut Rng) -> Self {
        let most = [20, 900, 5000][rng.usize(..3)];
        let data: Vec<u8> = (0..rng.usize(..most)).map(|_| rng.u8(..)).collect();
        let mut head = sum(&data).to_le_bytes().to_vec();
        head.extend((0..rng.usize(..40)).map(|_| rng.u8(..)));
        Self { head, data }
    }
}

fn sum(data: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| {
        (sum ^ u64::from(*byte))
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(5)
    };
    data.iter().fold(0xcbf2_9ce4_8422_2325, add)
}

/// The frames that a journal must have, and may have.
#[derive(Clone, Default)]
pub(crate) struct Model {
    /// In order. The first has the number 1.
    items: Vec<Item>,
    /// Number of those that were synced. The others may be missing after a loss of power.
    synced: usize,
    /// Other contents that the journal may have: it gave up their last frames after a failure, and
    /// hasn't synced a header since.
    instead: Vec<Vec<Item>>,
    /// A synced start of a segment, from which the journal can be opened.
    checkpoint: Option<Checkpoint>,
    /// The segment of the last frame.
    segment: u64,
    /// The end of the last frame of each segment.
    ends: BTreeMap<u64, u64>,
}

/// Returns the index of the frame with this number.
fn index(number: u64) -> usize {
    usize::try_from(number - 1).expect("there are few")
}

/// Returns `true` with this probability.
fn chance(rng: &mut Rng, probability: f64) -> bool {
    rng.f64() < probability
}

impl Model {
    /// Returns the number of frames.
    pub(crate) fn count(&self) -> usize {
        self.items.len()
    }

    /// Opens the journal from the checkpoint on and compares its content. `is_strict` tells that each
    /// frame was synced by itself.
    ///
    /// # Errors
    /// The disk failed, or the journal is damaged.
    pub(crate) fn open(
        &mut self,
        disk: &Sim,
        is_strict: bool,
    ) -> Result<(Journal, Found), OpenError> {
        let mut options = Options::default();
        options.segment_bytes = SEGMENT;
        options.loose_from = (!is_strict).then_some(self.synced as u64 + 1);
        let first = self.checkpoint.map_or(1, |from| from.tail.next);
        let mut items = Vec::new();
        let opened = open(
            &(Arc::new(disk.clone()) as Arc<dyn Disk>),
            IDENTITY,
            &options,
            self.checkpoint,
            |frame| {
                assert_eq!(frame.number, first + items.len() as u64);
                let is_whole = frame.head.get(..8) == Some(&sum(frame.data).to_le_bytes());
                if is_whole {
                    items.push(Item {
                        head: frame.head.to_vec(),
                        data: frame.data.to_vec(),
                    });
                }
                is_whole
            },
        );
        let (journal, found) = opened?;
        assert_eq!(found.frames, items.len() as u64);
        let before = index(first);
        let all = before + items.len();
        assert_eq!(journal.next(), all as u64 + 1);
        assert!(all >= self.synced, "{all} of {} are left", self.synced);
        self.instead.push(self.items.clone());
        let is_this = |known: &&Vec<Item>| known.get(before..all) == Some(&items);
        let known = self.instead.iter().rev().find(is_this);
        let mut known = known.expect("the journal has other frames").clone();
        known.truncate(all);
        self.items = known;
        self.synced = all;
        self.instead.clear();
        Ok((journal, found))
    }

    /// Appends a random frame and syncs it with a probability. Returns `false` if that failed.
    pub(crate) fn append(&mut self, journal: &mut Journal, rng: &mut Rng, syncs: f64) -> bool {
        let item = Item::random(rng);
        self.append_item(journal, &item, rng, syncs)
    }

    /// As [`append`](Self::append), with a frame of this data.
    pub(crate) fn append_data(&mut self, journal: &mut Journal, data: &[u8]) -> bool {
        let item = Item {
            head: sum(data).to_le_bytes().to_vec(),
            data: data.to_vec(),
        };
        self.append_item(journal, &item, &mut Rng::with_seed(0), 1.0)
    }

    fn append_item(
        &mut self,
        journal: &mut Journal,
        item: &Item,
        rng: &mut Rng,
        syncs: f64,
    ) -> bool {
        let (one, two) = item.data.split_at(rng.usize(..=item.data.len()));
        let number = journal.next();
        assert_eq!(number, self.items.len() as u64 + 1);
        self.items.push(item.clone());
        let tail = journal.tail();
        let Ok(place) = journal.append(&item.head, &[one, two]) else {
            self.give_up(journal);
            return false;
        };
        self.ends.insert(place.segment, place.end());
        let is_first = std::mem::replace(&mut self.segment, place.segment) != place.segment;
        if !chance(rng, syncs) {
            return true;
        }
        if journal.sync().is_err() {
            self.give_up(journal);
            return false;
        }
        self.synced = self.items.len();
        self.instead.clear();
        if is_first && chance(rng, 0.5) {
            self.checkpoint = Some(Checkpoint {
                segment: place.segment,
                tail,
            });
        }
        true
    }

    /// Returns the end of the last frame of a segment.
    pub(crate) fn end_of(&self, segment: u64) -> usize {
        usize::try_from(self.ends[&segment]).expect("it is small")
    }

    /// Returns a model that is opened from the first frame on and requires none of them.
    pub(crate) fn without_demands(mut self) -> Self {
        self.checkpoint = None;
        self.synced = 0;
        self
    }

    /// Returns the segments that are older than the checkpoint.
    pub(crate) fn older(&self, found: &Found) -> Vec<u64> {
        let from = self.checkpoint.map_or(0, |from| from.segment);
        let mut older = found.segments.clone();
        older.retain(|number| *number < from);
        older
    }

    /// Follows the journal in giving up frames. Until a later sync, they may still turn up.
    fn give_up(&mut self, journal: &Journal) {
        let left = index(journal.next());
        assert!(left >= self.synced, "synced frames are given up");
        self.instead.push(self.items.clone());
        self.items.truncate(left);
    }
}
