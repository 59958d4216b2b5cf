//! The memory of a stream.

use super::*;
use crate::append::Append;
use crate::settings::Create;

type Messages = Arc<[Bytes]>;

fn rules() -> Rules {
    Rules {
        max_bytes: u64::MAX,
        limits: Limits::default(),
        identity: Identity::new(7),
    }
}

/// Returns a machine that has one stream with one message.
fn with_one() -> (Machine<Messages>, StreamName) {
    let mut machine = Machine::new(rules(), watch::Sender::new(Position::START));
    let name = StreamName::new("a").unwrap();
    let mut create = Create::new(Settings::of_type("text/plain"));
    create.messages = vec!["1".into()];
    let store: Store<'_, Messages> = &mut |_| ["1".into()].into();
    machine.create(&name, create, store).unwrap();
    (machine, name)
}

fn append(machine: &mut Machine<Messages>, name: &StreamName) {
    let store: Store<'_, Messages> = &mut |_| ["2".into()].into();
    let append = Append::new(vec!["2".into()]);
    machine.append(name, append, store).unwrap();
}

#[test]
fn a_stream_has_a_channel_only_while_it_is_followed() {
    let (mut machine, name) = with_one();
    append(&mut machine, &name);
    let has_channel = |machine: &Machine<_>| machine.by_id[&1].progress.get().is_some();
    assert!(!has_channel(&machine));
    let mut first = machine.follow(&name).unwrap();
    let mut second = machine.follow(&name).unwrap();
    assert_eq!(first.progress().tail, Offset::new(2));
    append(&mut machine, &name);
    assert_eq!(first.progress().tail, Offset::new(3));
    drop(first);
    append(&mut machine, &name);
    assert_eq!(second.progress().tail, Offset::new(4));
    drop(second);
    append(&mut machine, &name);
    assert!(!has_channel(&machine));
    let mut again = machine.follow(&name).unwrap();
    assert_eq!(again.progress().tail, Offset::new(5));
    machine.delete(&name).unwrap();
    assert!(again.progress().gone);
}

#[test]
fn a_stream_with_one_record_has_room_for_no_other() {
    let (machine, _) = with_one();
    assert_eq!(machine.by_id[&1].records.capacity(), 1);
    let mut encoded = Vec::new();
    machine.freeze().encode(&mut encoded, &mut |_, _, _| {});
    let head = watch::Sender::new(Position::START);
    let take: TakeHandle<'_, Messages> = &mut |_, _| Ok(["1".into()].into());
    let decoded = Machine::decode(&mut Cursor(&encoded), rules(), head, take).unwrap();
    assert_eq!(decoded.by_id[&1].records.capacity(), 1);
}

#[test]
fn a_stream_and_its_counts_fit_in_512_bytes() {
    // Of the allocator's sizes, the next one is 640.
    let counts = 2 * size_of::<usize>();
    assert!(counts + size_of::<Stream<Messages>>() <= 512);
}
