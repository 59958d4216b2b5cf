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
