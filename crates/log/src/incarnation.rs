use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Kind};
use crate::offset::{DIGITS, Offset, Position, put_digits};

/// Crockford's alphabet in lower case, without `i`, `l`, `o` and `u`.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Number of characters of an incarnation's text.
const CHARACTERS: usize = 10;

/// Number of bits of an incarnation: five per character.
const BITS: u32 = 50;

/// Length of a mark's text, in bytes.
const MARK: usize = DIGITS + 1 + CHARACTERS;

/// A log's random number. It is created with the log and never changes. A folder that was wiped and
/// created again has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(u64);

impl Identity {
    /// Creates an identity from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Creates a new identity from the operating system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Returns the incarnation of the stream with this [number](crate::Info::id).
    #[must_use]
    pub fn stream(self, id: u64) -> Incarnation {
        let bytes = (u128::from(self.0) << 64 | u128::from(id)).to_be_bytes();
        Incarnation(xxh3_64(&bytes) >> (64 - BITS))
    }

    /// Returns the incarnation of the order of all streams.
    #[must_use]
    pub fn order(self) -> Incarnation {
        Incarnation(xxh3_64(&self.0.to_be_bytes()) >> (64 - BITS))
    }
}

/// A value that distinguishes a stream from every other: from streams of another name or another
/// log, and from earlier and later ones of its name.
///
/// It is a hash of the log's [`Identity`] and the stream's number, 50 bits wide. Its text is ten
/// characters: digits and lower-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Creates an incarnation from its number. Returns `None` if the number is more than 50 bits
    /// wide.
    pub(crate) const fn new(number: u64) -> Option<Self> {
        if number >> BITS == 0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Returns the number.
    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    fn put(self, out: &mut [u8]) {
        let mut rest = self.0;
        for character in out.iter_mut().rev() {
            *character = BASE32[usize::try_from(rest % 32).unwrap_or_default()];
            rest /= 32;
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; CHARACTERS];
        self.put(&mut text);
        // Letters and digits are valid UTF-8.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Incarnation {
    type Err = Error;

    /// # Errors
    ///
    /// If `text` isn't exactly ten characters of the alphabet ([`Error::is_invalid`]).
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Kind::Invalid("an incarnation is ten digits or lower-case letters");
        if text.len() != CHARACTERS {
            return Err(invalid().into());
        }
        let mut number = 0;
        for byte in text.bytes() {
            let digit = BASE32.iter().position(|&character| character == byte);
            number = number * 32 + digit.ok_or_else(invalid)? as u64;
        }
        Ok(Self(number))
    }
}

/// An offset or position together with the incarnation of its stream. Clients receive marks and
/// send them back.
///
/// Its text is the sixteen digits of the offset, `_`, and the ten characters of the incarnation.
/// Texts of one stream sort in the order of its offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark<P = Offset> {
    /// The offset or position.
    pub at: P,
    /// The incarnation of the stream. For a [`Position`], that of the order of all streams.
    pub incarnation: Incarnation,
}

impl<P: Copy + Into<u64>> Mark<P> {
    /// Returns the text as ASCII bytes.
    #[must_use]
    pub fn text(self) -> [u8; MARK] {
        let mut text = [b'_'; MARK];
        put_digits(self.at.into(), &mut text[..DIGITS]);
        self.incarnation.put(&mut text[DIGITS + 1..]);
        text
    }
}

impl<P: Copy + Into<u64>> fmt::Display for Mark<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Letters and digits are valid UTF-8.
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl<P: FromStr<Err = Error>> FromStr for Mark<P> {
    type Err = Error;

    /// # Errors
    ///
    /// If `text` isn't the text of a mark ([`Error::is_invalid`]).
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = Kind::Invalid("an offset is sixteen digits, `_` and ten letters or digits");
        let (at, incarnation) = text.split_once('_').ok_or_else(|| Error::from(invalid))?;
        Ok(Self {
            at: at.parse()?,
            incarnation: incarnation.parse()?,
        })
    }
}

/// The incarnations of a stream's offsets.
///
/// The offsets of a fork have its source's incarnations up to the fork point, so that both streams
/// write the same texts there, and its own incarnation after it. A clone shares the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    own: Incarnation,
    /// `None` for most streams.
    past: Option<Arc<Past>>,
}

/// The incarnations before a stream's own one.
#[derive(Debug, PartialEq, Eq)]
struct Past {
    /// Incarnations of the offsets that the stream didn't begin itself, the first source first, each with the last
    /// offset that has it.
    inherited: Box<[(Offset, Incarnation)]>,
    /// Incarnations that the stream itself had before it lost its newest messages.
    before_losses: Box<[Incarnation]>,
}

impl Lineage {
    /// Creates the lineage of a stream that isn't a fork.
    #[must_use]
    pub fn new(own: Incarnation) -> Self {
        Self { own, past: None }
    }

    /// Creates the lineage of a fork of a stream with this lineage. `parting` is the last offset
    /// that both share.
    #[must_use]
    pub fn fork(&self, own: Incarnation, parting: Offset) -> Self {
        self.part(own, parting, Box::default())
    }

    /// Creates the lineage of a stream with this lineage that has lost the messages after `parting`. Its later
    /// messages have the incarnation `own`.
    #[must_use]
    pub(crate) fn after_loss(&self, own: Incarnation, parting: Offset) -> Self {
        let earlier = self.past.as_ref().map(|past| &*past.before_losses);
        let earlier = earlier.unwrap_or_default().iter().copied();
        self.part(own, parting, earlier.chain([self.own]).collect())
    }

    fn part(&self, own: Incarnation, parting: Offset, before_losses: Box<[Incarnation]>) -> Self {
        let older = self.past.as_ref().map(|past| &*past.inherited);
        let kept = older.unwrap_or_default().iter();
        let kept = kept.take_while(|(last, _)| *last < parting).copied();
        let nearest = (parting, self.at(parting).incarnation);
        let past = Past {
            inherited: kept.chain([nearest]).collect(),
            before_losses,
        };
        Self {
            own,
            past: Some(past.into()),
        }
    }

    /// Creates the lineage of a stream that was restored from elsewhere. `marks` are the
    /// [marks](Self::marks) of the original, so that they stay valid. Later offsets have the incarnation
    /// `own`, because the original may have other messages there.
    #[must_use]
    pub(crate) fn restored(own: Incarnation, marks: &[Mark]) -> Self {
        let inherited = marks.iter().map(|mark| (mark.at, mark.incarnation));
        let past = Past {
            inherited: inherited.collect(),
            before_losses: Box::default(),
        };
        Self {
            own,
            past: Some(past.into()),
        }
    }

    /// Returns the incarnations of the offsets up to a stream's tail, the oldest first, each with the last
    /// offset that has it. The last mark is the tail with the stream's own incarnation, which readers have that
    /// [count](Self::counted) messages, even if the stream has no message of its own.
    #[must_use]
    pub fn marks(&self, tail: Offset) -> Vec<Mark> {
        self.inherited().chain([self.counted(tail)]).collect()
    }

    /// Returns the incarnations that the stream didn't begin itself, each with the last offset that has it.
    pub(crate) fn inherited(&self) -> impl Iterator<Item = Mark> + '_ {
        let past = self.past.as_ref().map(|past| &*past.inherited);
        let inherited = past.unwrap_or_default().iter();
        inherited.map(|&(at, incarnation)| Mark { at, incarnation })
    }

    /// Returns the stream's own incarnation.
    #[must_use]
    pub fn own(&self) -> Incarnation {
        self.own
    }

    /// Returns an offset of the stream, in the form for clients.
    #[must_use]
    #[inline]
    pub fn at(&self, at: Offset) -> Mark {
        let incarnation = match &self.past {
            None => self.own,
            Some(past) => {
                let older = past.inherited.iter().find(|(last, _)| at <= *last);
                older.map_or(self.own, |(_, incarnation)| *incarnation)
            }
        };
        Mark { at, incarnation }
    }

    /// Returns an offset of the stream with the stream's own incarnation, as [`at`](Self::at) returns for the
    /// offsets that the stream didn't inherit. A client that counts messages from there on gets a mark of this
    /// stream.
    #[must_use]
    pub fn counted(&self, at: Offset) -> Mark {
        let incarnation = self.own;
        Mark { at, incarnation }
    }

    /// Returns the offset of a mark in this stream, or `None` if the mark belongs to another
    /// stream.
    ///
    /// Up to the last offset that has an incarnation, the stream with that incarnation has the same messages. So a mark with it fits
    /// at each of these offsets.
    #[must_use]
    pub fn find(&self, mark: Mark) -> Option<Offset> {
        let last = match mark.incarnation == self.own {
            true => None,
            false => Some(
                self.inherited()
                    .find(|it| it.incarnation == mark.incarnation)?,
            ),
        };
        last.is_none_or(|last| mark.at <= last.at)
            .then_some(mark.at)
    }

    /// Returns `true` if a mark that [isn't found](Self::find) is of this stream, after messages that it has lost: the log was
    /// opened without its newest commits. If the stream lost messages several times and was hardly appended to
    /// between, only the first loss is known.
    #[must_use]
    pub fn has_lost(&self, mark: Mark) -> bool {
        let past = self.past.as_ref();
        past.is_some_and(|past| past.before_losses.contains(&mark.incarnation))
            && self.find(mark).is_none()
    }
}

impl Mark {
    /// Returns `true` if `next` may follow in a list of marks: an incarnation without messages of its own ends at
    /// the same offset as the one before.
    pub(crate) fn may_precede(&self, next: &Self) -> bool {
        self.at < next.at || (self.at == next.at && self.incarnation != next.incarnation)
    }
}

impl Mark<Position> {
    /// Creates the mark of a position in the order of all streams of a log.
    #[must_use]
    pub fn in_order(at: Position, log: Identity) -> Self {
        Self {
            at,
            incarnation: log.order(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark(at: u64, identity: u64, id: u64) -> Mark {
        Lineage::new(Identity::new(identity).stream(id)).at(Offset::new(at))
    }

    proptest! {
        #[test]
        fn a_mark_round_trips_as_text_and_sorts_like_its_offset(
            a in 0..=Offset::MAX.number(), b in 0..=Offset::MAX.number(), log: u64, id: u64,
        ) {
            let (one, other) = (mark(a, log, id), mark(b, log, id));
            prop_assert_eq!(one.to_string().parse::<Mark>().unwrap(), one);
            prop_assert_eq!(a.cmp(&b), one.to_string().cmp(&other.to_string()));
            prop_assert_eq!(one.to_string().len(), MARK);
        }

        #[test]
        fn malformed_marks_are_refused_without_a_panic(text in "[0-9a-z_é]{0,30}") {
            if let Ok(mark) = text.parse::<Mark>() {
                prop_assert_eq!(mark.to_string(), text);
            }
        }

        #[test]
        fn a_fork_shares_only_the_offsets_up_to_its_fork_point(
            partings in prop::collection::vec(0_u64..20, 1..6), at in 0_u64..30,
        ) {
            let log = Identity::new(7);
            let mut lineages = vec![Lineage::new(log.stream(1))];
            for (parting, id) in partings.iter().zip(2..) {
                let source = lineages.last().unwrap();
                lineages.push(source.fork(log.stream(id), Offset::new(*parting)));
            }
            for older in 0..lineages.len() {
                for newer in older + 1..lineages.len() {
                    // An offset is shared if it is before every fork point between the two streams.
                    let shared = partings[older..newer].iter().min().unwrap();
                    let mark = lineages[older].at(Offset::new(at));
                    prop_assert_eq!(lineages[newer].find(mark).is_some(), at <= *shared);
                    let mark = lineages[older].counted(Offset::new(at));
                    prop_assert!(lineages[newer].find(mark).is_none() || at <= *shared);
                    let mark = lineages[newer].at(Offset::new(at));
                    prop_assert_eq!(lineages[older].find(mark).is_some(), at <= *shared);
                    let mark = lineages[newer].counted(Offset::new(at));
                    prop_assert_eq!(lineages[older].find(mark), None);
                    prop_assert_eq!(lineages[newer].find(mark), Some(mark.at));
                }
            }
        }
    }

    #[test]
    fn a_copy_of_a_copy_has_the_offsets_of_all_streams_before_it() {
        let log = Identity::new(7);
        // The tails at which the streams are moved: some of them were not appended to.
        let tails = [0, 0, 3, 3, 3, 8, 8];
        let mut lineages = vec![Lineage::new(log.stream(1))];
        for (tail, id) in tails.into_iter().zip(2..) {
            let marks = lineages.last().unwrap().marks(Offset::new(tail));
            assert!(marks.is_sorted_by(Mark::may_precede), "{marks:?}");
            lineages.push(Lineage::restored(log.stream(id), &marks));
        }
        let last = lineages.last().unwrap();
        for (lineage, tail) in lineages.iter().zip(tails) {
            for at in 0..10 {
                let at = Offset::new(at);
                let expected = (at.number() <= tail).then_some(at);
                assert_eq!(last.find(lineage.counted(at)), expected, "{lineage:?}");
                assert_eq!(last.find(lineage.at(at)), expected, "{lineage:?}");
            }
        }
    }

    #[test]
    fn a_mark_without_an_incarnation_or_in_upper_case_is_refused() {
        let good = mark(5, 1, 1).to_string();
        assert!(good.parse::<Mark>().is_ok());
        for bad in [
            "",
            "0000000000000005",
            "0000000000000005_",
            "0000000000000005_0000000000000000",
            "0000000000000005_000000000u",
            "0000000000000005-0000000000",
            "5_0000000000",
            &good.to_uppercase(),
        ] {
            assert!(bad.parse::<Mark>().unwrap_err().is_invalid(), "{bad:?}");
        }
    }

    #[test]
    fn streams_and_logs_have_distinct_incarnations() {
        let (one, other) = (Identity::random(), Identity::random());
        assert_ne!(one, other);
        assert_ne!(one.stream(1), one.stream(2));
        assert_ne!(one.stream(1), other.stream(1));
        assert_ne!(one.order(), other.order());
    }
}
