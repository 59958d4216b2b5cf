use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Kind};
use crate::offset::{DIGITS, Offset, Position, put_digits};

/// Crockford's alphabet in lower case, without `i`, `l`, `o` and `u`.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// How many characters an incarnation's text has.
const CHARACTERS: usize = 10;

/// How many bits an incarnation has: five a character.
const BITS: u32 = 50;

/// The bytes of a mark's text.
const MARK: usize = DIGITS + 1 + CHARACTERS;

/// The random number of a log, made with it and never changed: a folder that was wiped and made again has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(u64);

impl Identity {
    /// The identity of this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// A new identity, from the operating system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The incarnation of the stream with this [number](crate::Info::id).
    #[must_use]
    pub fn stream(self, id: u64) -> Incarnation {
        let bytes = (u128::from(self.0) << 64 | u128::from(id)).to_be_bytes();
        Incarnation(xxh3_64(&bytes) >> (64 - BITS))
    }

    /// The incarnation of the order of all streams.
    #[must_use]
    pub fn order(self) -> Incarnation {
        Incarnation(xxh3_64(&self.0.to_be_bytes()) >> (64 - BITS))
    }
}

/// Tells a stream from every other: of another name, of another log, and from an earlier or later one of its name.
///
/// It is a hash of the log's [`Identity`] and the stream's number, 50 bits wide. Its text is ten characters: digits and
/// lower-case letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// The incarnation of this number, if it is one.
    pub(crate) const fn new(number: u64) -> Option<Self> {
        if number >> BITS == 0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
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
        // Letters and digits are text.
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Incarnation {
    type Err = Error;

    /// # Errors
    ///
    /// When `text` is anything but ten of its characters ([`Error::is_invalid`]).
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

/// A place, and the incarnation of what it is a place in: what clients are given, and send back.
///
/// Its text is the place's sixteen digits, `_`, and the incarnation's ten characters, so texts of one stream order as the
/// places do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark<P = Offset> {
    /// The place.
    pub at: P,
    /// The stream that it is in; of a [`Position`], the order of all streams.
    pub incarnation: Incarnation,
}

impl<P: Copy + Into<u64>> Mark<P> {
    /// Its text, as bytes of ASCII.
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
        // Letters and digits are text.
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl<P: FromStr<Err = Error>> FromStr for Mark<P> {
    type Err = Error;

    /// # Errors
    ///
    /// When `text` is not the text of a mark ([`Error::is_invalid`]).
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = Kind::Invalid("an offset is sixteen digits, `_` and ten letters or digits");
        let (at, incarnation) = text.split_once('_').ok_or_else(|| Error::from(invalid))?;
        Ok(Self {
            at: at.parse()?,
            incarnation: incarnation.parse()?,
        })
    }
}

/// The incarnations that a stream's offsets belong to.
///
/// Those of a fork are its source's up to where the two part, so that both write the same texts there, and its own from
/// then on. A clone shares what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    own: Incarnation,
    /// What a fork has from others, the first first: each up to and with an offset.
    inherited: Option<Arc<[(Offset, Incarnation)]>>,
}

impl Lineage {
    /// The lineage of a stream that is no fork.
    #[must_use]
    pub fn new(own: Incarnation) -> Self {
        Self {
            own,
            inherited: None,
        }
    }

    /// The lineage of a fork of a stream of this one. The last offset that both have is `parting`.
    #[must_use]
    pub fn fork(&self, own: Incarnation, parting: Offset) -> Self {
        let older = self.inherited.as_deref().unwrap_or_default();
        let kept = older.iter().take_while(|(last, _)| *last < parting);
        let nearest = (parting, self.at(parting).incarnation);
        Self {
            own,
            inherited: Some(kept.copied().chain([nearest]).collect()),
        }
    }

    /// The stream's own incarnation.
    #[must_use]
    pub fn own(&self) -> Incarnation {
        self.own
    }

    /// An offset of the stream, as clients are given it.
    #[must_use]
    #[inline]
    pub fn at(&self, at: Offset) -> Mark {
        let incarnation = match &self.inherited {
            None => self.own,
            Some(inherited) => {
                let older = inherited.iter().find(|(last, _)| at <= *last);
                older.map_or(self.own, |(_, incarnation)| *incarnation)
            }
        };
        Mark { at, incarnation }
    }

    /// The offset that a mark means in this stream; `None` where it is one of another stream.
    #[must_use]
    pub fn find(&self, mark: Mark) -> Option<Offset> {
        (self.at(mark.at) == mark).then_some(mark.at)
    }
}

impl Mark<Position> {
    /// A position in the order of all streams of a log.
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
        fn the_text_of_a_mark_parses_to_the_mark_and_orders_as_the_offsets_do(
            a in 0..=Offset::MAX.number(), b in 0..=Offset::MAX.number(), log: u64, id: u64,
        ) {
            let (one, other) = (mark(a, log, id), mark(b, log, id));
            prop_assert_eq!(one.to_string().parse::<Mark>().unwrap(), one);
            prop_assert_eq!(a.cmp(&b), one.to_string().cmp(&other.to_string()));
            prop_assert_eq!(one.to_string().len(), MARK);
        }

        #[test]
        fn what_is_no_mark_is_refused_and_never_panics(text in "[0-9a-z_é]{0,30}") {
            if let Ok(mark) = text.parse::<Mark>() {
                prop_assert_eq!(mark.to_string(), text);
            }
        }

        #[test]
        fn a_fork_shares_the_offsets_up_to_the_parting_and_no_others(
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
                    // What the newer one has of the older one went through all forks between them.
                    let shared = partings[older..newer].iter().min().unwrap();
                    let mark = lineages[older].at(Offset::new(at));
                    prop_assert_eq!(lineages[newer].find(mark).is_some(), at <= *shared);
                    let mark = lineages[newer].at(Offset::new(at));
                    prop_assert_eq!(lineages[older].find(mark).is_some(), at <= *shared);
                }
            }
        }
    }

    #[test]
    fn a_text_without_an_incarnation_or_of_another_case_is_none_of_a_mark() {
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
    fn streams_and_logs_have_incarnations_of_their_own() {
        let (one, other) = (Identity::random(), Identity::random());
        assert_ne!(one, other);
        assert_ne!(one.stream(1), one.stream(2));
        assert_ne!(one.stream(1), other.stream(1));
        assert_ne!(one.order(), other.order());
    }
}
