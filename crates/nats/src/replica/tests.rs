use headwater_log::{Append, Create, Settings, StreamName};

use super::*;
use crate::format::batch::Encoder;

/// A writer of a log of its own.
struct Log {
    replica: Replica,
    sequence: u64,
}

impl Log {
    fn new() -> Self {
        let head = watch::Sender::new(Position::START);
        Self {
            replica: Replica::new(Identity::new(1), head),
            sequence: 0,
        }
    }

    fn batch(&self, ops: &[Op]) -> Bytes {
        let mut encoder = Encoder::new(self.replica.head(Timestamp(5), true));
        ops.iter().for_each(|op| encoder.put(op));
        encoder.finish()
    }

    fn store(&mut self, part: Part) -> Applied {
        self.sequence += 1;
        let applied = self
            .replica
            .apply(self.sequence, self.sequence * 3, part, Timestamp(5));
        applied.unwrap()
    }

    fn write(&mut self, session: u64, number: u64, ops: &[Op]) -> Applied {
        let data = self.batch(ops);
        self.store(part(session, number, 0, 1, data))
    }

    /// Returns the number of messages of the stream.
    fn tail(&self) -> u64 {
        let info = self.replica.machine.info(&name()).unwrap();
        info.tail.number()
    }
}

fn part(session: u64, number: u64, index: u16, of: u16, data: Bytes) -> Part {
    Part {
        session,
        number,
        index,
        of,
        data,
    }
}

fn name() -> StreamName {
    StreamName::new("s").unwrap()
}

fn create() -> Op {
    Op::Create(name(), Create::new(Settings::of_type("text/plain")))
}

fn append(text: &str) -> Op {
    Op::Append(name(), Append::new(vec![text.to_owned().into()]))
}

#[test]
fn a_batch_that_is_sent_again_is_applied_once() {
    let mut log = Log::new();
    log.write(1, 1, &[]);
    log.write(1, 2, &[create()]);
    let data = log.batch(&[append("a")]);
    let applied = log.store(part(1, 3, 0, 1, data.clone()));
    assert!(matches!(applied, Applied::Batch { number: 3, .. }));
    for number in [2, 3] {
        let again = log.store(part(1, number, 0, 1, data.clone()));
        assert!(matches!(again, Applied::Nothing));
    }
    assert_eq!(log.tail(), 1);
    // A number that was given up is late, or never comes.
    let applied = log.write(1, 5, &[append("b")]);
    assert!(matches!(applied, Applied::Batch { number: 5, .. }));
    assert!(matches!(log.write(1, 4, &[append("c")]), Applied::Nothing));
    assert_eq!(log.tail(), 2);
}

#[test]
fn a_batch_of_an_unknown_session_is_ignored() {
    let mut log = Log::new();
    log.write(1, 1, &[create()]);
    let applied = log.write(2, 2, &[append("a")]);
    assert!(matches!(
        applied,
        Applied::Unknown {
            session: 2,
            number: 2
        }
    ));
    assert_eq!(log.tail(), 0);
}

#[test]
fn parts_may_be_mixed_and_sent_again() {
    let mut log = Log::new();
    log.write(1, 1, &[create()]);
    log.write(2, 1, &[]);
    let size = 20;
    let data = log.batch(&[append(&"a".repeat(50))]);
    let parts: Vec<Bytes> = (0..data.len())
        .step_by(size)
        .map(|start| data.slice(start..data.len().min(start + size)))
        .collect();
    let of = u16::try_from(parts.len()).unwrap();
    assert!(of > 2);
    let at = |index: u16| part(1, 2, index, of, parts[usize::from(index)].clone());
    assert!(matches!(log.store(at(0)), Applied::Nothing));
    assert!(matches!(log.store(at(1)), Applied::Nothing));
    log.write(2, 2, &[append("other")]);
    // Sent again from the first, with a late part of the first time in between.
    log.store(at(0));
    log.store(at(2));
    for index in 1..of - 1 {
        log.store(at(index));
    }
    let applied = log.store(at(of - 1));
    assert!(matches!(
        applied,
        Applied::Batch {
            session: 1,
            number: 2,
            ..
        }
    ));
    assert!(matches!(log.store(at(of - 1)), Applied::Nothing));
    assert_eq!(log.tail(), 2);
}

#[test]
fn a_batch_of_a_hub_with_another_history_is_ignored() {
    let mut log = Log::new();
    log.write(1, 1, &[create()]);
    let mut encoder = Encoder::new(Head {
        hash: 99,
        ..log.replica.head(Timestamp(5), true)
    });
    encoder.put(&append("a"));
    let applied = log.store(part(1, 2, 0, 1, encoder.finish()));
    assert!(matches!(applied, Applied::Disputed { after: 1, .. }));
    assert_eq!(log.tail(), 0);
    log.write(1, 3, &[append("b")]);
    assert_eq!(log.tail(), 1);
}

#[test]
fn a_session_that_is_idle_for_a_day_is_forgotten() {
    let mut log = Log::new();
    log.write(1, 1, &[create()]);
    let later = Timestamp(5).after(SESSION_IDLE);
    let mut head = log.replica.head(later, true);
    log.store(part(2, 1, 0, 1, Encoder::new(head).finish()));
    head.after = log.sequence;
    head.hash = log.sequence * 3;
    let mut encoder = Encoder::new(head);
    encoder.put(&append("late"));
    let applied = log.store(part(1, 2, 0, 1, encoder.finish()));
    assert!(matches!(applied, Applied::Unknown { .. }));
    assert_eq!(log.tail(), 0);
}

#[test]
fn a_late_copy_of_the_first_batch_does_not_bring_a_session_back() {
    for (after, is_back) in [(SESSION_IDLE, false), (SESSION_IDLE / 2, true)] {
        let mut log = Log::new();
        let first = log.batch(&[]);
        let second = log.batch(&[create()]);
        log.store(part(1, 1, 0, 1, first.clone()));
        log.store(part(1, 2, 0, 1, second));
        let late = log.batch(&[append("late")]);
        let head = log.replica.head(Timestamp(5).after(after), true);
        log.store(part(2, 1, 0, 1, Encoder::new(head).finish()));
        log.store(part(1, 1, 0, 1, first));
        log.store(part(1, 3, 0, 1, late));
        assert_eq!(log.tail(), u64::from(is_back));
    }
}

#[test]
fn a_clock_counts_as_far_as_the_clusters_confirms_it() {
    let mut log = Log::new();
    let skew = u64::try_from(CLOCK_SKEW.as_millis()).unwrap();
    let stored = Timestamp(1_000_000);
    for (number, (time, expected)) in (1..).zip([
        (0, 1_000_000 - skew),
        (2_000_000_000, 1_000_000 + skew),
        (1_000_001, 1_000_000 + skew),
    ]) {
        log.sequence += 1;
        let head = log.replica.head(Timestamp(time), false);
        let data = Encoder::new(head).finish();
        let part = part(1, number, 0, 1, data);
        log.replica.apply(log.sequence, 0, part, stored).unwrap();
        assert_eq!(log.replica.machine.now().0, expected);
    }
}
