use bytes::Bytes;
use headwater_log::{Append, Create, ForkFrom, Settings, Skip, StreamName};
use proptest::prelude::*;

use super::*;
use crate::format::batch::{Encoder, Op};
use crate::format::part::Part;

const LOG: Identity = Identity::new(1);

/// A batch of a writer, or the first parts of it.
#[derive(Clone, Debug)]
struct Written {
    session: u64,
    ops: Vec<(u8, u8, Vec<u32>)>,
    parts: usize,
    is_whole: bool,
    seconds: u64,
}

fn written() -> impl Strategy<Value = Written> {
    let sizes = prop::collection::vec(prop_oneof![9 => 0..60_u32, 1 => 30_000..70_000_u32], 1..4);
    let op = (0..12_u8, 0..4_u8, sizes);
    (
        1..4_u64,
        prop::collection::vec(op, 0..4),
        prop_oneof![3 => Just(1_usize), 1 => 2..5_usize],
        prop::bool::weighted(0.8),
        prop_oneof![9 => 0..20_u64, 1 => Just(90_000)],
    )
        .prop_map(|(session, ops, parts, is_whole, seconds)| Written {
            session,
            ops,
            parts,
            is_whole,
            seconds,
        })
}

fn op((kind, stream, sizes): &(u8, u8, Vec<u32>), at: u64) -> Op {
    let name = |stream: u8| StreamName::new(&format!("s{stream}")).unwrap();
    let feed = if kind % 2 == 0 { "\n" } else { "" };
    let message = |size: &u32| Bytes::from(format!("{at}{feed}{}", "x".repeat(*size as usize)));
    let messages: Vec<Bytes> = sizes.iter().map(message).collect();
    match kind {
        0..2 => {
            let mut settings = Settings::of_type("text/plain");
            settings.max_bytes = (*kind == 1).then_some(200);
            let mut create = Create::new(settings);
            create.messages = messages;
            Op::Create(name(*stream), create)
        }
        2 => {
            let mut create = Create::new(Settings::of_type(""));
            create.fork = Some(ForkFrom {
                source: name(*stream),
                at: None,
                of: None,
                skip: Skip::NONE,
            });
            Op::Create(name((stream + 1) % 4), create)
        }
        3 => Op::Delete(name(*stream)),
        4..7 => {
            let append = Append::new(messages).by("p", 0, sizes.len() as u64 % 2);
            Op::Append(name(*stream), append)
        }
        _ => Op::Append(name(*stream), Append::new(messages)),
    }
}

/// A replica and the records that it has applied.
struct Log {
    replica: Replica,
    numbers: HashMap<u64, u64>,
    sequence: u64,
    now: u64,
}

impl Log {
    fn new() -> Self {
        Self {
            replica: Replica::new(LOG, watch::Sender::default()),
            numbers: HashMap::new(),
            sequence: 0,
            now: 1_000_000,
        }
    }

    /// Returns the records of a batch.
    fn records(&mut self, written: &Written) -> Vec<Part> {
        self.now += written.seconds * 1000;
        let number = self.numbers.entry(written.session).or_default();
        *number += 1;
        let mut encoder = Encoder::new(self.replica.head(Timestamp(self.now), true));
        if *number > 1 {
            let ops = written.ops.iter();
            ops.for_each(|put| encoder.put(&op(put, written.seconds)));
        }
        let data = encoder.finish();
        let size = data.len().div_ceil(written.parts);
        let of = u16::try_from(data.len().div_ceil(size)).unwrap();
        let sent = if written.is_whole { of } else { of - 1 };
        let parts = (0..sent).map(|index| Part {
            session: written.session,
            number: *number,
            index,
            of,
            data: data.slice(index as usize * size..data.len().min((index as usize + 1) * size)),
        });
        parts.collect()
    }

    /// Writes a batch. Returns the effects of its records.
    fn write(&mut self, written: &Written, twin: Option<&mut Replica>) -> Vec<[String; 2]> {
        let mut twin = twin;
        let mut effects = Vec::new();
        for part in self.records(written) {
            self.sequence += 1;
            let (at, time) = (self.sequence, Timestamp(self.now));
            let mut apply = |replica: &mut Replica| {
                let applied = replica.apply(at, at * 3, part.clone(), time);
                format!("{:?}", applied.unwrap())
            };
            let own = apply(&mut self.replica);
            let other = twin.as_deref_mut().map(&mut apply);
            effects.push([own.clone(), other.unwrap_or(own)]);
        }
        effects
    }

    fn encode(&self) -> Bytes {
        self.replica.freeze(LOG).encode()
    }
}

fn decode(snapshot: &[u8]) -> Result<Replica, Malformed> {
    Replica::decode(snapshot, LOG, watch::Sender::default())
}

proptest! {
    #[test]
    fn a_decoded_replica_behaves_like_the_encoded_one(
        before in prop::collection::vec(written(), 0..30),
        later in prop::collection::vec(written(), 0..20),
    ) {
        let mut log = Log::new();
        before.iter().for_each(|written| drop(log.write(written, None)));
        let snapshot = log.encode();
        let mut twin = decode(&snapshot).unwrap();
        prop_assert_eq!(&twin.freeze(LOG).encode(), &snapshot);
        for written in &later {
            for [own, other] in log.write(written, Some(&mut twin)) {
                prop_assert_eq!(own, other);
            }
        }
        prop_assert_eq!(twin.freeze(LOG).encode(), log.encode());
    }

    #[test]
    fn a_frozen_replica_does_not_change(
        before in prop::collection::vec(written(), 1..20),
        later in prop::collection::vec(written(), 1..20),
    ) {
        let mut log = Log::new();
        before.iter().for_each(|written| drop(log.write(written, None)));
        let frozen = log.replica.freeze(LOG);
        let expected = log.encode();
        later.iter().for_each(|written| drop(log.write(written, None)));
        prop_assert_eq!(frozen.encode(), expected);
    }

    #[test]
    fn the_places_of_a_snapshot_are_those_of_its_messages(
        before in prop::collection::vec(written(), 0..30),
    ) {
        let mut log = Log::new();
        before.iter().for_each(|written| drop(log.write(written, None)));
        let frozen = log.replica.freeze(LOG);
        let mut expected: Vec<u64> = frozen
            .state
            .handles()
            .flat_map(|handle| handle.batch.sequences().to_vec())
            .chain(frozen.partial.iter().flat_map(|(_, part)| part.sequences.clone()))
            .collect();
        expected.sort_unstable();
        expected.dedup();
        let mut found = places(&log.encode()).unwrap();
        found.dedup();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_changed_snapshot_is_refused_or_can_be_used(
        before in prop::collection::vec(written(), 1..20),
        later in prop::collection::vec(written(), 1..10),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
    ) {
        let mut log = Log::new();
        before.iter().for_each(|written| drop(log.write(written, None)));
        let mut snapshot = log.encode().to_vec();
        for (at, change) in changes {
            let at = at.index(snapshot.len());
            snapshot[at] ^= change;
        }
        let _ = places(&snapshot);
        if let Ok(mut twin) = decode(&snapshot) {
            for written in &later {
                for part in log.records(written) {
                    let at = twin.applied + 1;
                    let _ = twin.apply(at, at, part, Timestamp(log.now));
                }
            }
            twin.freeze(LOG).encode();
        }
    }
}

#[test]
fn the_snapshot_of_another_log_is_refused() {
    let snapshot = Log::new().encode();
    let other = Replica::decode(&snapshot, Identity::new(2), watch::Sender::default());
    assert!(other.is_err());
}
