//! The keys of the database. Numbers are big-endian, so that keys sort as the numbers do.

/// `meta`: the version of the format.
pub(crate) const VERSION: &[u8] = b"V";
/// `meta`: the log's random number.
pub(crate) const IDENTITY: &[u8] = b"I";
/// `meta`: the last commit.
pub(crate) const HEAD: &[u8] = b"H";
/// `meta`: the commit up to which nothing depends on the journal.
pub(crate) const CHECKPOINT: &[u8] = b"C";
/// `meta`: the number of ends that are kept.
pub(crate) const ENDS: &[u8] = b"L";

/// Every keyspace: a key without meaning before all other keys, written so that the keyspace has
/// something to write out.
pub(crate) const TOUCHED: &[u8] = b"\0";
/// `meta`: bytes without meaning that fill up a journal.
pub(crate) const FILLER: &[u8] = b"\0f";

const NAME: u8 = b'N';
const SETTINGS: u8 = b'S';
const STATE: u8 = b'T';
const PRODUCER: u8 = b'P';
const DUE: u8 = b'D';
const GARBAGE: u8 = b'G';
const TRIMMED: u8 = b'R';
const END: u8 = b'E';

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(tag);
    key.extend_from_slice(rest);
    key
}

/// `meta`: the stream of a name. Also a prefix of the keys of all names that start with `name`.
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

/// `meta`: the settings with which a stream was created.
pub(crate) fn settings(id: u64) -> Vec<u8> {
    tagged(SETTINGS, &id.to_be_bytes())
}

/// `meta`: the mutable state of a stream.
pub(crate) fn state(id: u64) -> Vec<u8> {
    tagged(STATE, &id.to_be_bytes())
}

/// `meta`: the state of a producer in a stream. With an empty id, the prefix of all producers of
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

/// `meta`: an entry of the timetable, by which a stream is processed at this time.
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

/// `meta`: a removed stream whose records and producers have to be removed.
pub(crate) fn garbage(id: u64) -> Vec<u8> {
    tagged(GARBAGE, &id.to_be_bytes())
}

/// Returns the stream in a key of the garbage.
pub(crate) fn garbage_of(key: &[u8]) -> Option<u64> {
    (key.first() == Some(&GARBAGE)).then_some(())?;
    number(key.get(1..)?)
}

/// `meta`: the notice that a stream's caps removed its messages before this position. The first
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

/// `meta`: the end of a stream with this position.
pub(crate) fn end(position: u64) -> Vec<u8> {
    tagged(END, &position.to_be_bytes())
}

/// Returns the position in the key of an end.
pub(crate) fn end_of(key: &[u8]) -> Option<u64> {
    (key.first() == Some(&END)).then_some(())?;
    number(key.get(1..)?)
}

/// `records`: the record of a stream that starts at an offset.
pub(crate) fn record(id: u64, first: u64) -> [u8; 16] {
    pair(id, first)
}

/// Returns the stream and the first offset in a record's key.
pub(crate) fn record_of(key: &[u8]) -> Option<(u64, u64)> {
    Some((number(key.get(..8)?)?, number(key.get(8..)?)?))
}

/// `order`: a commit and the position of its first message.
pub(crate) fn commit(position: u64, commit: u64) -> [u8; 16] {
    pair(position, commit)
}

/// Returns the position and the number in a commit's key.
pub(crate) fn commit_of(key: &[u8]) -> Option<(u64, u64)> {
    record_of(key)
}

fn pair(high: u64, low: u64) -> [u8; 16] {
    ((u128::from(high) << 64) | u128::from(low)).to_be_bytes()
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
            prop_assert_eq!(record_of(&record(a.0, a.1)), Some(a));
            prop_assert_eq!(due_of(&due(a.0, a.1)), Some(a));
            prop_assert_eq!(trimmed_of(&trimmed(a.0, a.1)), Some(a));
            prop_assert_eq!(trimmed(a.0, a.1).cmp(&trimmed(b.0, b.1)), a.cmp(&b));
            prop_assert_eq!(garbage_of(&garbage(a.0)), Some(a.0));
            prop_assert_eq!(end_of(&end(a.0)), Some(a.0));
            prop_assert_eq!(record(a.0, a.1).cmp(&record(b.0, b.1)), a.cmp(&b));
            prop_assert_eq!(due(a.0, a.1).cmp(&due(b.0, b.1)), a.cmp(&b));
        }
    }

    #[test]
    fn names_and_producers_round_trip() {
        assert_eq!(name_of(&name("a/b")), Some("a/b"));
        assert_eq!(producer_of(&producer(7, "p")), Some("p"));
        assert_eq!(name_of(HEAD), None);
    }
}
