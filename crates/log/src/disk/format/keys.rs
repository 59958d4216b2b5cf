//! The keys of the index. Numbers are big-endian, so that keys sort as the numbers do.

/// The number of ends that are kept.
pub(crate) const ENDS: &[u8] = b"L";

const NAME: u8 = b'N';
const SETTINGS: u8 = b'S';
const STATE: u8 = b'T';
const PRODUCER: u8 = b'P';
const DUE: u8 = b'D';
const GARBAGE: u8 = b'G';
const TRIMMED: u8 = b'R';
const END: u8 = b'E';
const PARTINGS: u8 = b'I';
// `F` is the tag of locations in sorted files.

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

/// The stream of a name. Also a prefix of the keys of all names that start with `name`.
pub(crate) fn name(name: &str) -> Vec<u8> {
    tagged(NAME, name.as_bytes())
}

/// Returns the name in a key, if it is the key of a name.
pub(crate) fn name_of(key: &[u8]) -> Option<&str> {
    let (&tag, name) = key.split_first()?;
    (tag == NAME)
        .then(|| std::str::from_utf8(name).ok())
        .flatten()
}

/// A key after those of all names.
pub(crate) fn after_names() -> Vec<u8> {
    vec![NAME + 1]
}

/// The settings with which a stream was created.
pub(crate) fn settings(id: u64) -> Vec<u8> {
    tagged(SETTINGS, &id.to_be_bytes())
}

/// The offsets after which a stream has other incarnations.
pub(crate) fn partings(id: u64) -> Vec<u8> {
    tagged(PARTINGS, &id.to_be_bytes())
}

/// The mutable state of a stream.
pub(crate) fn state(id: u64) -> Vec<u8> {
    tagged(STATE, &id.to_be_bytes())
}

/// Returns the stream in the key of a state.
pub(crate) fn state_of(key: &[u8]) -> Option<u64> {
    (key.first() == Some(&STATE)).then_some(())?;
    number(key.get(1..)?)
}

/// The state of a producer in a stream. With an empty id, the prefix of all producers of
/// the stream.
pub(crate) fn producer(id: u64, producer: &str) -> Vec<u8> {
    let mut key = tagged(PRODUCER, &id.to_be_bytes());
    key.extend_from_slice(producer.as_bytes());
    key
}

/// Returns the producer's id in a producer's key.
pub(crate) fn producer_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

/// An entry of the timetable, by which a stream is processed at this time.
pub(crate) fn due(time: u64, id: u64) -> Vec<u8> {
    let mut key = tagged(DUE, &time.to_be_bytes());
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Returns the time and the stream in a key of the timetable.
pub(crate) fn due_of(key: &[u8]) -> Option<(u64, u64)> {
    (key.first() == Some(&DUE)).then_some(())?;
    Some((number(key.get(1..9)?)?, number(key.get(9..)?)?))
}

/// A removed stream whose producers have to be removed.
pub(crate) fn garbage(id: u64) -> Vec<u8> {
    tagged(GARBAGE, &id.to_be_bytes())
}

/// Returns the stream in a key of the garbage.
pub(crate) fn garbage_of(key: &[u8]) -> Option<u64> {
    (key.first() == Some(&GARBAGE)).then_some(())?;
    number(key.get(1..)?)
}

/// The notice that a stream's caps removed its messages before this position. The first
/// message that it still has is later.
pub(crate) fn trimmed(position: u64, id: u64) -> Vec<u8> {
    let mut key = tagged(TRIMMED, &position.to_be_bytes());
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Returns the position and the stream in a key of a trimming notice.
pub(crate) fn trimmed_of(key: &[u8]) -> Option<(u64, u64)> {
    (key.first() == Some(&TRIMMED)).then_some(())?;
    Some((number(key.get(1..9)?)?, number(key.get(9..)?)?))
}

/// The end of a stream with this position.
pub(crate) fn end(position: u64) -> Vec<u8> {
    tagged(END, &position.to_be_bytes())
}

/// Returns the position in the key of an end.
pub(crate) fn end_of(key: &[u8]) -> Option<u64> {
    (key.first() == Some(&END)).then_some(())?;
    number(key.get(1..)?)
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_round_trip_and_sort_like_their_numbers(a: (u64, u64), b: (u64, u64)) {
            prop_assert_eq!(due_of(&due(a.0, a.1)), Some(a));
            prop_assert_eq!(trimmed_of(&trimmed(a.0, a.1)), Some(a));
            prop_assert_eq!(trimmed(a.0, a.1).cmp(&trimmed(b.0, b.1)), a.cmp(&b));
            prop_assert_eq!(garbage_of(&garbage(a.0)), Some(a.0));
            prop_assert_eq!(end_of(&end(a.0)), Some(a.0));
            prop_assert_eq!(due(a.0, a.1).cmp(&due(b.0, b.1)), a.cmp(&b));
        }
    }

    #[test]
    fn names_and_producers_round_trip() {
        assert_eq!(name_of(&name("a/b")), Some("a/b"));
        assert_eq!(producer_of(&producer(7, "p")), Some("p"));
        assert_eq!(name_of(ENDS), None);
    }
}
