use headwater_log::Identity;
use proptest::prelude::*;

use super::*;

fn head() -> Head {
    Head {
        time: Timestamp(1_700_000_000_000),
        by_hand: true,
        after: 7,
        hash: u64::MAX,
    }
}

fn any_name() -> impl Strategy<Value = StreamName> {
    "[a-zé/]{1,9}".prop_map(|text| StreamName::new(&text).unwrap())
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from)
}

fn any_span() -> impl Strategy<Value = Duration> {
    (0..u64::MAX).prop_map(Duration::from_millis)
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let expiry = prop_oneof![
        Just(None),
        any_span().prop_map(|span| Some(Expiry::Idle(span))),
        any::<u64>().prop_map(|time| Some(Expiry::At(Timestamp(time)))),
    ];
    let schema = prop::option::of(any_bytes());
    let caps = (prop::option::of(any_span()), any::<Option<u64>>());
    (".{0,9}", expiry, caps, schema, any_bytes()).prop_map(
        |(content_type, expiry, (max_age, max_bytes), schema, note)| {
            let mut settings = Settings::of_type(&content_type);
            settings.expiry = expiry;
            settings.max_age = max_age;
            settings.max_bytes = max_bytes;
            settings.schema = schema;
            settings.note = note;
            settings
        },
    )
}

fn any_fork() -> impl Strategy<Value = ForkFrom> {
    let at = prop::option::of((0..1_u64 << 50).prop_map(Offset::new));
    let of = any::<Option<u64>>().prop_map(|id| id.map(|id| Identity::new(id).stream(id)));
    let skip = (any::<bool>(), any::<u64>()).prop_map(|(is_bytes, count)| match is_bytes {
        true => Skip::Bytes(count),
        false => Skip::Messages(count),
    });
    (any_name(), at, of, skip).prop_map(|(source, at, of, skip)| ForkFrom {
        source,
        at,
        of,
        skip,
    })
}

fn any_messages() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec(any_bytes(), 0..4)
}

fn any_create() -> impl Strategy<Value = Create> {
    let fork = prop::option::of(any_fork());
    (any_settings(), fork, any_messages(), any::<bool>()).prop_map(
        |(settings, fork, messages, closed)| {
            let mut create = Create::new(settings);
            create.fork = fork;
            create.messages = messages;
            create.closed = closed;
            create
        },
    )
}

fn any_append() -> impl Strategy<Value = Append> {
    let producer = (".{1,9}", any::<u64>(), any::<u64>());
    let continues = (any::<u64>(), any::<[u8; 16]>());
    let optional = (
        prop::option::of(producer),
        prop::option::of(continues),
        any::<Option<String>>(),
    );
    let reason = prop::option::of(any_bytes());
    (any_messages(), optional, any::<bool>(), reason).prop_map(
        |(messages, (producer, continues, seq), close, reason)| {
            let mut append = Append::new(messages);
            append.producer = producer.map(|(id, epoch, seq)| Producer { id, epoch, seq });
            append.continues = continues.map(|(messages, digest)| Published {
                messages,
                digest: Digest::from_bytes(digest),
            });
            append.seq = seq;
            append.close = close;
            append.reason = reason;
            append
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (any_name(), any_create()).prop_map(|(name, create)| Op::Create(name, create)),
        (any_name(), any_append()).prop_map(|(name, append)| Op::Append(name, append)),
        (any_name(), any_messages(), any::<u64>()).prop_map(|(name, messages, time)| {
            let times = (0..messages.len() as u64).map(|at| Timestamp(time.wrapping_add(at)));
            let (at, times) = (Offset::new(time), times.collect());
            let restore = Restore::Messages {
                at,
                times,
                messages,
            };
            Op::Restore(name, restore)
        }),
        any_name().prop_map(|name| Op::Restore(name, Restore::End)),
        any_name().prop_map(Op::Touch),
        any_name().prop_map(Op::Delete),
        any_name().prop_map(Op::Expire),
        any::<u32>().prop_map(Op::Sweep),
        any::<(u64, u32, u32)>().prop_map(|(streams, producers, ended)| {
            let mut limits = Limits::default();
            limits.streams = streams;
            limits.producers = producers;
            limits.ended = ended;
            Op::Limit(limits)
        }),
    ]
}

proptest! {
    #[test]
    fn a_batch_round_trips(ops in prop::collection::vec(any_op(), 0..5)) {
        let mut encoder = Encoder::new(head());
        ops.iter().for_each(|op| encoder.put(op));
        prop_assert!(encoder.len() > 0);
        let batch = encoder.finish();
        let (found, placed) = decode(batch.clone()).unwrap();
        prop_assert_eq!(found, head());
        let decoded: Vec<&Op> = placed.iter().map(|placed| &placed.op).collect();
        prop_assert_eq!(format!("{decoded:?}"), format!("{ops:?}"));
        // The layout finds the messages in the batch.
        for Placed { op, layout } in &placed {
            let (Op::Append(_, Append { messages, .. })
            | Op::Create(_, Create { messages, .. })
            | Op::Restore(_, Restore::Messages { messages, .. })) = op
            else {
                continue;
            };
            for (index, message) in messages.iter().enumerate() {
                prop_assert_eq!(&batch.slice(layout.message(index)), message);
            }
        }
        // A batch that is cut off has fewer operations, or is refused.
        for end in 0..batch.len() {
            if let Ok((_, cut)) = decode(batch.slice(..end)) {
                prop_assert!(cut.len() < ops.len());
            }
        }
    }

    #[test]
    fn a_malformed_batch_is_refused_without_a_panic(bytes: Vec<u8>) {
        let _ = decode(bytes.into());
    }
}

#[test]
fn an_unknown_operation_is_named() {
    let mut batch = Encoder::new(head()).finish().to_vec();
    batch.push(99);
    assert_eq!(decode(batch.into()).unwrap_err(), Malformed::Kind(99));
}
