//! The index: changes in memory over tables.

use std::{
    collections::BTreeMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use fastrand::Rng;
use headwater_journal::{Disk, Index, Install, TableRef, TableWriter, table_name};

use crate::{
    seeds,
    sim::{Event, Sim},
};

type Change = (Vec<u8>, Option<Bytes>);

/// An index and what it must contain.
struct Model {
    disk: Sim,
    index: Index,
    /// The live pairs.
    content: BTreeMap<Vec<u8>, Bytes>,
    /// Changes that aren't in a table: of the active map, and of the frozen one.
    active: Vec<Change>,
    frozen: Option<Vec<Change>>,
    /// The tables that the manifest names.
    manifest: Vec<TableRef>,
    next: u64,
    /// Number of possible keys.
    keys: u32,
}

fn shared(disk: &Sim) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn key(number: u32) -> Vec<u8> {
    format!("key {number:06}").into_bytes()
}

impl Model {
    fn new(seed: u64, keys: u32) -> Self {
        let disk = Sim::new(seed);
        Self {
            index: Index::open(shared(&disk), &[], 50_000).expect("the tables open"),
            disk,
            content: BTreeMap::new(),
            active: Vec::new(),
            frozen: None,
            manifest: Vec::new(),
            next: 1,
            keys,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    fn changes(&self, rng: &mut Rng, most: usize) -> Vec<Change> {
        let deletes = rng.f64();
        let change = |rng: &mut Rng| {
            let value: Vec<u8> = (0..rng.usize(..60)).map(|_| rng.u8(..)).collect();
            let is_live = rng.f64() > deletes;
            (key(rng.u32(..self.keys)), is_live.then(|| value.into()))
        };
        (0..rng.usize(..most)).map(|_| change(rng)).collect()
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for (key, change) in changes.clone() {
            match change {
                Some(value) => self.content.insert(key, value),
                None => self.content.remove(&key),
            };
        }
        self.active.extend_from_slice(&changes);
        self.index.apply(changes);
    }

    fn freeze(&mut self) {
        let is_free = self.frozen.is_none();
        assert_eq!(self.index.freeze(), is_free);
        if is_free {
            self.frozen = Some(mem::take(&mut self.active));
            assert_eq!(self.index.changed_bytes(), 0);
        }
    }

    /// Writes a checkpoint. Returns `false` if that failed.
    fn checkpoint(&mut self) -> bool {
        let number = self.number();
        match self.index.write_frozen(&shared(&self.disk), number) {
            Ok(Some(table)) => {
                assert_eq!((table.number(), self.frozen.is_some()), (number, true));
                self.install(Install::Checkpoint(table))
            }
            Ok(None) => {
                let frozen = self.frozen.take();
                assert!(frozen.is_none_or(|frozen| frozen.is_empty()));
                true
            }
            Err(_) => false,
        }
    }

    /// Adds a table of keys that nothing in memory changes.
    fn add(&mut self, rng: &mut Rng) -> bool {
        let hidden = self.active.iter().chain(self.frozen.iter().flatten());
        let hidden: Vec<Vec<u8>> = hidden.map(|(key, _)| key.clone()).collect();
        let changes: BTreeMap<_, _> = self.changes(rng, 30).into_iter().collect();
        let number = self.number();
        let Ok(mut writer) = TableWriter::create(&shared(&self.disk), number) else {
            return false;
        };
        for (key, change) in &changes {
            if writer.put(key, change.as_deref()).is_err() {
                return false;
            }
        }
        let Ok(table) = writer.finish() else {
            return false;
        };
        let is_installed = self.install(Install::Add(table));
        let visible = changes.into_iter().filter(|(key, _)| !hidden.contains(key));
        for (key, change) in visible.filter(|_| is_installed) {
            match change {
                Some(value) => self.content.insert(key, value),
                None => self.content.remove(&key),
            };
        }
        is_installed
    }

    /// Merges the planned tables, or else random ones.
    fn merge(&mut self, rng: &mut Rng) -> bool {
        let old = self.index.plan_merge().unwrap_or_else(|| {
            let start = rng.usize(..=self.manifest.len());
            let end = rng.usize(start..=self.manifest.len());
            self.manifest[start..end].to_vec()
        });
        let number = self.number();
        let stops = rng.u8(..10) == 0;
        let Ok(merged) = self.index.merge(&old, number, &|| stops) else {
            return false;
        };
        let is_expected = !stops && !old.is_empty();
        let Some((table, TableRef { level, .. })) = merged else {
            assert!(!is_expected);
            return true;
        };
        assert!(is_expected);
        self.install(Install::Replace { old, table, level })
    }

    /// Does what the owner of the manifest does. Returns `false` if the disk fails before that.
    fn install(&mut self, change: Install) -> bool {
        if self.disk.sync().is_err() {
            return false;
        }
        self.manifest = self.index.after(&change);
        if matches!(change, Install::Checkpoint(_)) {
            self.frozen = None;
        }
        for old in self.index.install(change) {
            // A file that stays is removed by a later start.
            let _ = self.disk.remove(&table_name(old));
        }
        assert_eq!(self.index.tables(), self.manifest);
        true
    }

    /// Opens the index again and applies the changes that aren't in a table.
    fn reopen(&mut self, disk: Sim) {
        self.disk = disk;
        self.index =
            Index::open(shared(&self.disk), &self.manifest, 50_000).expect("the tables open");
        let frozen = self.frozen.take().unwrap_or_default();
        self.active.splice(0..0, frozen);
        self.index.apply(self.active.clone());
    }

    /// Compares some reads.
    fn check(&self, rng: &mut Rng) {
        let key = |rng: &mut Rng| key(rng.u32(..self.keys));
        for _ in 0..5 {
            let (from, to) = (key(rng), key(rng));
            let expected = self.content.get(&from).cloned();
            assert_eq!(
                self.index.get(&from).expect("the tables are readable"),
                expected
            );
            let pair = |(key, value): (&Vec<u8>, &Bytes)| (key.clone(), value.clone());
            let last = self
                .index
                .last_at_most(&from, &to)
                .expect("the tables are readable");
            let most = [0, 1, 5, usize::MAX][rng.usize(..4)];
            let range = self
                .index
                .range(&from, &to, most)
                .expect("the tables are readable");
            if from > to {
                assert_eq!((last, range), (None, Vec::new()));
                continue;
            }
            let expected = self.content.range(from.clone()..=to.clone()).next_back();
            assert_eq!(last, expected.map(pair));
            let expected = self.content.range(from..to).take(most).map(pair);
            assert_eq!(range, expected.collect::<Vec<_>>());
        }
    }

    fn check_all(&self) {
        let found = self
            .index
            .range(b"", b"l", usize::MAX)
            .expect("the tables are readable");
        assert!(found.into_iter().eq(self.content.clone()));
    }
}

#[test]
fn the_index_contains_what_was_applied() {
    for seed in seeds(30) {
        let mut rng = Rng::with_seed(seed);
        let keys = [30, 300, 3000][rng.usize(..3)];
        let mut model = Model::new(seed, keys);
        for _ in 0..150 {
            match rng.u8(..20) {
                0..9 => model.apply(model.changes(&mut rng, 40)),
                9..12 => model.freeze(),
                12..15 => assert!(model.checkpoint()),
                15 => assert!(model.add(&mut rng)),
                16..19 => assert!(model.merge(&mut rng)),
                _ => model.reopen(model.disk.copy()),
            }
            model.check(&mut rng);
        }
        model.check_all();
        let mut files = model.disk.list().unwrap();
        files.sort();
        let mut named: Vec<_> = model
            .manifest
            .iter()
            .map(|it| table_name(it.number))
            .collect();
        named.sort();
        assert_eq!(files, named);
    }
}

#[test]
fn ranges_of_many_changes_in_memory_are_complete() {
    for seed in seeds(3) {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new(seed, 6000);
        for deletes in [false, true, false] {
            let all = 0..model.keys;
            let value = |number: u32| Bytes::from(number.to_string());
            model.apply(
                all.filter(|_| rng.bool())
                    .map(|number| (key(number), (!deletes).then(|| value(number))))
                    .collect(),
            );
            for _ in 0..20 {
                model.check(&mut rng);
            }
            model.check_all();
            model.freeze();
            assert!(model.checkpoint());
        }
    }
}

#[test]
fn thousands_of_deletions_in_memory_are_passed() {
    let mut model = Model::new(1, 5000);
    let value = Some(Bytes::from("value"));
    let all = 0..model.keys;
    model.apply(all.map(|number| (key(number), value.clone())).collect());
    model.freeze();
    assert!(model.checkpoint());
    for kept in [4000, 1000, 0] {
        let deleted = kept + 1..model.keys;
        model.apply(deleted.map(|number| (key(number), None)).collect());
        let last = model.index.last_at_most(&key(0), &key(4999)).unwrap();
        assert_eq!(last, value.clone().map(|value| (key(kept), value)));
        assert_eq!(
            model
                .index
                .last_at_most(&key(kept + 1), &key(4999))
                .unwrap(),
            None
        );
        let from = key(kept.saturating_sub(1));
        let found = model.index.range(&from, &key(5000), usize::MAX).unwrap();
        assert!(found.into_iter().eq(model.content.clone().split_off(&from)));
    }
}

#[test]
fn failures_and_losses_of_power_lose_nothing() {
    let mut failed = 0;
    for seed in seeds(40) {
        let mut rng = Rng::with_seed(seed);
        let mut model = Model::new(seed, 200);
        for _ in 0..20 {
            let event = [Event::PowerLoss, Event::Failure, Event::Full][rng.usize(..3)];
            let after = rng.u64(1..30);
            model.disk.plan(after, event);
            let last = model.disk.operations() + after;
            while model.disk.operations() < last {
                model.apply(model.changes(&mut rng, 40));
                model.freeze();
                let is_done = match rng.u8(..4) {
                    0 | 1 => model.checkpoint(),
                    2 => model.add(&mut rng),
                    _ => model.merge(&mut rng),
                };
                // Failures to remove a file are ignored.
                failed += u32::from(!is_done);
                assert!(is_done || model.disk.operations() >= last);
            }
            if rng.bool() || event == Event::PowerLoss {
                model.reopen(model.disk.after_power_loss());
            }
            model.check(&mut rng);
            model.check_all();
        }
    }
    assert!(failed > 500, "{failed} operations failed");
}

#[test]
fn eight_tables_of_a_level_are_merged_into_one_of_the_next() {
    let mut rng = Rng::with_seed(1);
    let mut model = Model::new(1, 100);
    let mut most = 0;
    for _ in 0..200 {
        model.apply(vec![(key(rng.u32(..100)), rng.bool().then(Bytes::new))]);
        model.freeze();
        assert!(model.checkpoint());
        while let Some(planned) = model.index.plan_merge() {
            assert_eq!(planned.len(), 8);
            assert!(planned.iter().all(|table| table.level == planned[0].level));
            assert!(model.merge(&mut rng));
        }
        most = most.max(model.manifest.len());
    }
    assert!(most <= 7 * 3, "{most} tables");
    let levels: Vec<u8> = model.manifest.iter().map(|table| table.level).collect();
    assert!(
        levels.is_sorted_by(|older, newer| older >= newer),
        "{levels:?}"
    );
    assert_eq!(levels[0], 2);
    model.check_all();
}

#[test]
fn a_deletion_is_dropped_once_nothing_older_can_have_its_key() {
    let mut model = Model::new(1, 100);
    let mut numbers = Vec::new();
    for change in [Some(Bytes::from("value")), Some(Bytes::new()), None] {
        model.apply(vec![(key(1), change)]);
        model.freeze();
        assert!(model.checkpoint());
        numbers.push(*model.manifest.last().unwrap());
    }
    let (table, _) = model
        .index
        .merge(&numbers[1..], 10, &|| false)
        .unwrap()
        .unwrap();
    assert_eq!(table.pairs(), 1);
    let (table, merged) = model.index.merge(&numbers, 11, &|| false).unwrap().unwrap();
    assert_eq!(
        (table.pairs(), merged),
        (
            0,
            TableRef {
                number: 11,
                level: 1
            }
        )
    );
    // Others than neighbours aren't merged.
    let others = [numbers[0], numbers[2]];
    assert!(model.index.merge(&others, 12, &|| false).unwrap().is_none());
}

#[test]
fn changed_bytes_follow_the_active_changes() {
    let model = Model::new(1, 100);
    let index = &model.index;
    assert_eq!(index.changed_bytes(), 0);
    index.apply(vec![(key(1), Some(vec![0; 1000].into())), (key(2), None)]);
    let before = index.changed_bytes();
    assert!((1000..1400).contains(&before), "{before} bytes");
    index.apply(vec![(key(1), None), (key(2), Some(vec![0; 1000].into()))]);
    assert_eq!(index.changed_bytes(), before);
    index.apply(vec![(key(2), None)]);
    assert_eq!(index.changed_bytes(), before - 1000);
}

/// The value of each round's keys.
fn round(value: &Bytes) -> u64 {
    u64::from_le_bytes(value[..8].try_into().expect("they are 8 bytes"))
}

#[test]
fn readers_see_no_change_undone_or_in_part_while_tables_are_written() {
    const KEYS: u32 = 40;
    let disk = Sim::new(1);
    let index = Index::open(shared(&disk), &[], 10_000).unwrap();
    let applied = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let checkpoints = AtomicU64::new(0);
    let write = |next: &mut u64| {
        index.freeze();
        *next += 1;
        if let Some(table) = index.write_frozen(&shared(&disk), *next).unwrap() {
            assert!(index.install(Install::Checkpoint(table)).is_empty());
            checkpoints.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(old) = index.plan_merge() {
            *next += 1;
            let (table, merged) = index.merge(&old, *next, &|| false).unwrap().unwrap();
            let level = merged.level;
            let removed = index.install(Install::Replace { old, table, level });
            assert_eq!(removed.len(), 8);
            for number in removed {
                disk.remove(&table_name(number)).unwrap();
            }
        }
    };
    let read = |mut rng: Rng| {
        let mut reads = 0;
        while !is_over.load(Ordering::Relaxed) {
            // Each round writes all keys, and deletes the one that it writes last.
            let least = applied.load(Ordering::SeqCst);
            let all = index.range(&key(0), &key(KEYS), usize::MAX).unwrap();
            let most = applied.load(Ordering::SeqCst) + 1;
            let Some((_, first)) = all.first() else {
                assert_eq!(least, 0);
                continue;
            };
            let found = round(first);
            assert!(
                (least..=most).contains(&found),
                "{found} of {least} to {most}"
            );
            assert!(all.iter().all(|(_, value)| round(value) == found));
            assert_eq!(all.len(), usize::try_from(KEYS).unwrap() - 1);
            let missing = key(u32::try_from(found % u64::from(KEYS)).unwrap());
            assert!(all.iter().all(|(key, _)| *key != missing));

            let (_, last) = index.last_at_most(&key(0), &key(KEYS)).unwrap().unwrap();
            let last = round(&last);
            assert!(last >= found, "{last} after {found}");
            let key = key(rng.u32(..KEYS));
            if let Some(value) = index.get(&key).unwrap() {
                assert!(round(&value) >= last);
            }
            reads += 1;
        }
        reads
    };
    thread::scope(|scope| {
        let readers = [1, 2].map(|seed| scope.spawn(move || read(Rng::with_seed(seed))));
        let writer = scope.spawn(|| {
            let mut next = 0;
            while !is_over.load(Ordering::Relaxed) {
                write(&mut next);
            }
        });
        let mut rounds = 0;
        while checkpoints.load(Ordering::Relaxed) < 200 && !writer.is_finished() {
            rounds += 1;
            let value = |at: u32| {
                let is_live = u64::from(at) != rounds % u64::from(KEYS);
                is_live.then(|| Bytes::from([rounds.to_le_bytes(); 20].concat()))
            };
            index.apply((0..KEYS).map(|at| (key(at), value(at))).collect());
            applied.store(rounds, Ordering::SeqCst);
        }
        is_over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 10);
        }
        writer.join().unwrap();
    });
}
