//! Several sorted sources as one: the newest pair of each key.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    ops::Bound::{self, Excluded, Included},
};

use bytes::Bytes;

use crate::table::{BlockCache, Pair, Table, TableError};

/// Changes in memory: a value or, with `None`, a deletion.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Bytes>>;

type Found = Result<Pair, TableError>;

/// A sorted source of pairs.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Changes(&'a Changes),
    Table(&'a Table),
}

impl<'a> Source<'a> {
    /// Returns the pairs with a key of at least `from` and less than `to`.
    fn range(self, from: &'a [u8], to: &'a [u8], cache: &'a BlockCache) -> Head<'a> {
        let to = Excluded(to);
        match self {
            Self::Changes(changes) => {
                let pairs = changes.range::<[u8], _>((Included(from), to));
                Head::new(pairs.map(|(key, value)| Ok((key.clone(), value.clone()))))
            }
            Self::Table(table) => Head::new(table.range(from, to, Some(cache))),
        }
    }

    /// Returns the pair with the greatest key from `from` to `to`.
    fn last(
        self,
        from: &[u8],
        to: Bound<&[u8]>,
        cache: &BlockCache,
    ) -> Result<Option<Pair>, TableError> {
        match self {
            Self::Changes(changes) if is_range(from, to) => {
                let mut pairs = changes.range::<[u8], _>((Included(from), to));
                let last = pairs.next_back();
                Ok(last.map(|(key, value)| (key.clone(), value.clone())))
            }
            Self::Changes(_) => Ok(None),
            Self::Table(table) => table.last_within(from, to, cache),
        }
    }
}

/// Returns `false` for a range that ends before it starts, for which a `BTreeMap` panics.
pub(super) fn is_range(from: &[u8], to: Bound<&[u8]>) -> bool {
    match to {
        Included(to) => from <= to,
        Excluded(to) => from < to,
        Bound::Unbounded => true,
    }
}

/// Returns the live pair with the greatest key from `from` to `to`. The newest source is the first.
pub(super) fn last_live(
    sources: &[Source<'_>],
    from: &[u8],
    to: Bound<&[u8]>,
    cache: &BlockCache,
) -> Result<Option<(Vec<u8>, Bytes)>, TableError> {
    let last = |source: &Source<'_>| source.last(from, to, cache);
    let mut heads = sources.iter().map(last).collect::<Result<Vec<_>, _>>()?;
    loop {
        let mut greatest: Option<&Pair> = None;
        for head in heads.iter().flatten() {
            if greatest.is_none_or(|(key, _)| head.0 > *key) {
                greatest = Some(head);
            }
        }
        let Some((key, value)) = greatest.cloned() else {
            return Ok(None);
        };
        if let Some(value) = value {
            return Ok(Some((key, value)));
        }
        for (head, source) in heads.iter_mut().zip(sources) {
            if head.as_ref().is_some_and(|(other, _)| *other == key) {
                *head = source.last(from, Excluded(&key), cache)?;
            }
        }
    }
}

/// A source and its next pair.
struct Head<'a> {
    next: Option<Pair>,
    rest: Box<dyn Iterator<Item = Found> + 'a>,
}

impl<'a> Head<'a> {
    fn new(rest: impl Iterator<Item = Found> + 'a) -> Self {
        Self {
            next: None,
            rest: Box::new(rest),
        }
    }

    /// Returns the next pair and moves to the one after it.
    fn take(&mut self) -> Result<Option<Pair>, TableError> {
        let after = self.rest.next().transpose()?;
        Ok(std::mem::replace(&mut self.next, after))
    }
}

/// The newest pair of each key, in ascending order, with deletions.
pub(super) struct Merged<'a> {
    /// The newest first.
    heads: Vec<Head<'a>>,
}

impl<'a> Merged<'a> {
    /// Merges the pairs of a range, which must not end before it starts. The newest source is the
    /// first.
    pub(super) fn range(
        sources: &[Source<'a>],
        from: &'a [u8],
        to: &'a [u8],
        cache: &'a BlockCache,
    ) -> Result<Self, TableError> {
        let range = |source: &Source<'a>| source.range(from, to, cache);
        Self::new(sources.iter().map(range).collect())
    }

    /// Merges tables. The newest is the first.
    pub(super) fn whole(tables: impl Iterator<Item = &'a Table>) -> Result<Self, TableError> {
        let all = |table: &'a Table| Head::new(table.range(&[], Bound::Unbounded, None));
        Self::new(tables.map(all).collect())
    }

    fn new(mut heads: Vec<Head<'a>>) -> Result<Self, TableError> {
        for head in &mut heads {
            head.take()?;
        }
        Ok(Self { heads })
    }

    /// Returns the next pair.
    pub(super) fn take(&mut self) -> Result<Option<Pair>, TableError> {
        let mut least: Option<(usize, &[u8])> = None;
        // Another head has the same key.
        let mut is_shared = false;
        for (at, head) in self.heads.iter().enumerate() {
            let Some((key, _)) = &head.next else { continue };
            match least.map_or(Ordering::Less, |(_, least)| key.as_slice().cmp(least)) {
                Ordering::Less => {
                    least = Some((at, key));
                    is_shared = false;
                }
                Ordering::Equal => is_shared = true,
                Ordering::Greater => {}
            }
        }
        let Some((at, _)) = least else {
            return Ok(None);
        };
        let pair = self.heads[at].take()?;
        if let Some((key, _)) = pair.as_ref().filter(|_| is_shared) {
            for head in &mut self.heads[at + 1..] {
                if head.next.as_ref().is_some_and(|(other, _)| other == key) {
                    head.take()?;
                }
            }
        }
        Ok(pair)
    }
}
