//! The rules for appends to a stream, as pure functions that both engines use.

use std::sync::Arc;

use bytes::Bytes;

use crate::append::{Append, Producer, Refusal};
use crate::incarnation::Lineage;
use crate::offset::Offset;
use crate::producers::{ProducerState, Repeats};

/// The mutable state of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The offset of the first own message that is still stored.
    pub(crate) floor: u64,
    /// The position after the last message that the caps removed, or 0.
    pub(crate) trimmed: u64,
    pub(crate) tail: u64,
    /// Bytes of the own messages that are still stored.
    pub(crate) bytes: u64,
    pub(crate) closed: bool,
    /// The producer, epoch and sequence number of the append that closed it.
    pub(crate) closed_by: Option<Producer>,
    /// The reason for which it was closed, if one was given.
    pub(crate) reason: Option<Bytes>,
    /// `true` if it was deleted but remains for its forks.
    pub(crate) hidden: bool,
    /// `true` while it is being restored from elsewhere. It is hidden until then.
    pub(crate) restoring: bool,
    /// Number of direct forks.
    pub(crate) forks: u32,
    /// The latest time at which it expires, as last written; 0 is never.
    pub(crate) expires: u64,
    /// The time of its entry in the timetable, or 0.
    pub(crate) due: u64,
    pub(crate) appended: u64,
    pub(crate) seq: Option<Arc<str>>,
    /// Number of producers that it remembers.
    pub(crate) producers: u32,
}

impl State {
    /// Returns the state without what follows from the rest of its stream.
    pub(crate) fn stored(&self) -> Self {
        Self {
            tail: self.floor,
            bytes: 0,
            forks: 0,
            expires: 0,
            due: 0,
            producers: 0,
            ..self.clone()
        }
    }

    /// Adds messages that end at an offset.
    pub(crate) fn add(&mut self, end: u64, bytes: u64, time: u64) {
        self.tail = end;
        self.bytes += bytes;
        self.appended = time;
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    /// A request only to close a stream that is closed already.
    Done,
    Duplicate(ProducerState),
    Refuse(Refusal),
}

/// Judges an append to a stream with this state and lineage. `known` is the remembered state of its
/// producer.
pub(crate) fn judge(
    state: &State,
    lineage: &Lineage,
    known: Option<ProducerState>,
    append: &Append,
) -> Verdict {
    if state.closed {
        return judge_closed(state, lineage, known, append);
    }
    if let Some(producer) = &append.producer
        && let Some(verdict) = judge_producer(known, producer, append)
    {
        return verdict;
    }
    if let (Some(seq), Some(last)) = (&append.seq, &state.seq)
        && **seq <= **last
    {
        return Verdict::Refuse(Refusal::SeqRegression {
            last: last.to_string(),
        });
    }
    Verdict::Accept
}

/// Judges an append to a closed stream. A repetition of an append that is in the stream is a
/// duplicate, however late it arrives. It is acknowledged with the tail, which the closed stream keeps: with the
/// offset of an earlier append, a client would take that for the end of the stream.
///
/// A repetition of the append that closed the stream is recognised by producer, epoch and sequence
/// number alone. If its messages differ, it would be a conflict elsewhere, but the protocol's
/// conformance suite requires success here ("close-with-different-body-dedup").
fn judge_closed(
    state: &State,
    lineage: &Lineage,
    known: Option<ProducerState>,
    append: &Append,
) -> Verdict {
    let at_tail = |known| {
        Verdict::Duplicate(ProducerState {
            next: state.tail,
            ..known
        })
    };
    match (&append.producer, known) {
        (Some(_), Some(known)) if append.producer == state.closed_by => at_tail(known),
        (Some(producer), Some(known))
            if producer.epoch == known.epoch
                && matches!(known.repeats(append, producer.seq), Repeats::Same) =>
        {
            at_tail(known)
        }
        (None, _) if append.messages.is_empty() => Verdict::Done,
        _ => Verdict::Refuse(Refusal::Closed {
            tail: lineage.at(Offset::new(state.tail)),
        }),
    }
}

fn judge_producer(
    known: Option<ProducerState>,
    producer: &Producer,
    append: &Append,
) -> Option<Verdict> {
    let received = producer.seq;
    let refusal = match known {
        None if received == 0 => return judge_start(None, append),
        None => Refusal::Gap {
            expected: 0,
            received,
        },
        Some(known) if producer.epoch < known.epoch => Refusal::StaleEpoch {
            current: known.epoch,
        },
        Some(known) if producer.epoch > known.epoch => {
            if received == 0 {
                return judge_start(Some(known), append);
            }
            Refusal::EpochStart { received }
        }
        Some(known) if received <= known.seq => match known.repeats(append, received) {
            Repeats::Same => return Some(Verdict::Duplicate(known)),
            Repeats::Other => Refusal::Reused {
                received,
                last: known.seq,
            },
            Repeats::TooOld => Refusal::TooOld {
                received,
                oldest: known.oldest(),
                last: known.seq,
            },
        },
        Some(known) if received == known.seq + 1 => return None,
        Some(known) => Refusal::Gap {
            expected: known.seq + 1,
            received,
        },
    };
    Some(Verdict::Refuse(refusal))
}

/// Judges the first append of an epoch.
fn judge_start(known: Option<ProducerState>, append: &Append) -> Option<Verdict> {
    let published = known.map(|known| known.published).unwrap_or_default();
    let is_expected = append
        .continues
        .is_none_or(|expected| expected == published);
    (!is_expected).then_some(Verdict::Refuse(Refusal::Diverged {
        published,
        epoch: known.map(|known| known.epoch),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incarnation::Identity;
    use crate::limits::PRODUCER_WINDOW;
    use crate::producers::Published;
    use bytes::Bytes;

    fn judge(state: &State, known: Option<ProducerState>, append: &Append) -> Verdict {
        super::judge(state, &lineage(), known, append)
    }

    fn lineage() -> Lineage {
        Lineage::new(Identity::new(1).stream(1))
    }

    fn append() -> Append {
        Append::new(vec![Bytes::from_static(b"m")])
    }

    /// Returns the state of a producer that has appended `append()` once for each sequence number
    /// up to `seq`.
    fn known(epoch: u64, seq: u64) -> Option<ProducerState> {
        (0..=seq).fold(None, |before, seq| {
            let producer = Producer {
                id: "p".into(),
                epoch,
                seq,
            };
            Some(ProducerState::after(before, &producer, &append(), 9, 0))
        })
    }

    #[track_caller]
    fn check(known: Option<ProducerState>, epoch: u64, seq: u64, expected: &Verdict) {
        assert_eq!(
            &judge(&State::default(), known, &append().by("p", epoch, seq)),
            expected
        );
    }

    #[test]
    fn a_producer_starts_at_zero_and_counts_up_by_one() {
        check(None, 0, 0, &Verdict::Accept);
        check(None, 7, 0, &Verdict::Accept);
        check(
            None,
            0,
            1,
            &Verdict::Refuse(Refusal::Gap {
                expected: 0,
                received: 1,
            }),
        );
        check(known(0, 4), 0, 5, &Verdict::Accept);
        check(
            known(0, 4),
            0,
            6,
            &Verdict::Refuse(Refusal::Gap {
                expected: 5,
                received: 6,
            }),
        );
    }

    #[test]
    fn a_repeated_append_is_a_duplicate() {
        for seq in [0, 3, 4] {
            check(
                known(0, 4),
                0,
                seq,
                &Verdict::Duplicate(known(0, 4).unwrap()),
            );
        }
    }

    #[test]
    fn a_repeated_number_with_other_content_is_refused() {
        let mut closing = append();
        closing.close = true;
        for other in [Append::new(vec![Bytes::from_static(b"n")]), closing] {
            for seq in [0, 3, 4] {
                let verdict = judge(
                    &State::default(),
                    known(0, 4),
                    &other.clone().by("p", 0, seq),
                );
                let (received, last) = (seq, 4);
                let expected = Verdict::Refuse(Refusal::Reused { received, last });
                assert_eq!(verdict, expected, "{other:?}");
            }
        }
    }

    #[test]
    fn a_number_older_than_the_window_is_refused() {
        let window = PRODUCER_WINDOW as u64;
        let known = || known(3, 2 * window);
        let oldest = window + 1;
        check(known(), 3, oldest, &Verdict::Duplicate(known().unwrap()));
        let too_old = Refusal::TooOld {
            received: oldest - 1,
            oldest,
            last: 2 * window,
        };
        check(known(), 3, oldest - 1, &Verdict::Refuse(too_old));
    }

    #[test]
    fn an_epoch_starts_only_if_the_published_messages_match() {
        let from = |published| Append {
            continues: Some(published),
            ..append().by("p", 7, 0)
        };
        let mut one = Published {
            messages: 1,
            ..Published::default()
        };
        one.digest.add(b"m");
        let none = Published::default();
        let state = State::default();
        let refused = |published, epoch| Verdict::Refuse(Refusal::Diverged { published, epoch });
        assert_eq!(judge(&state, None, &from(none)), Verdict::Accept);
        assert_eq!(judge(&state, None, &from(one)), refused(none, None));
        assert_eq!(judge(&state, known(3, 0), &from(one)), Verdict::Accept);
        assert_eq!(
            judge(&state, known(3, 0), &from(none)),
            refused(one, Some(3))
        );
        assert_eq!(
            judge(&state, known(3, 1), &from(one)),
            refused(known(3, 1).unwrap().published, Some(3))
        );
        // A repetition is a duplicate whatever it continues.
        let known = known(7, 0);
        assert_eq!(
            judge(&state, known, &from(none)),
            Verdict::Duplicate(known.unwrap())
        );
    }

    #[test]
    fn a_higher_epoch_starts_at_zero_and_fences_the_lower() {
        check(known(1, 4), 2, 0, &Verdict::Accept);
        check(
            known(1, 4),
            2,
            1,
            &Verdict::Refuse(Refusal::EpochStart { received: 1 }),
        );
        check(
            known(1, 4),
            0,
            5,
            &Verdict::Refuse(Refusal::StaleEpoch { current: 1 }),
        );
    }

    #[test]
    fn a_closed_stream_accepts_only_repetitions_and_closes() {
        let by = |seq| Producer {
            id: "p".into(),
            epoch: 0,
            seq,
        };
        let state = State {
            closed: true,
            closed_by: Some(by(4)),
            tail: 12,
            ..State::default()
        };
        let closed = Verdict::Refuse(Refusal::Closed {
            tail: lineage().at(Offset::new(12)),
        });
        // The producer's last append ended at 9.
        let duplicate = Verdict::Duplicate(ProducerState {
            next: 12,
            ..known(0, 4).unwrap()
        });
        let again = append().by("p", 0, 4);
        assert_eq!(judge(&state, known(0, 4), &again), duplicate);
        let later = append().by("p", 0, 3);
        assert_eq!(judge(&state, known(0, 4), &later), duplicate);
        let other = Append::new(vec![Bytes::from_static(b"n")]);
        assert_eq!(judge(&state, known(0, 4), &other.by("p", 0, 3)), closed);
        assert_eq!(judge(&state, known(1, 4), &later), closed);
        assert_eq!(judge(&state, known(0, 4), &append().by("p", 0, 5)), closed);
        assert_eq!(judge(&state, None, &append().by("q", 0, 0)), closed);
        assert_eq!(judge(&state, None, &append()), closed);
        assert_eq!(judge(&state, None, &Append::closing()), Verdict::Done);
    }

    #[test]
    fn seq_texts_must_increase_byte_by_byte() {
        let state = State {
            seq: Some("10".into()),
            ..State::default()
        };
        let with = |seq: &str| Append {
            seq: Some(seq.into()),
            ..append()
        };
        let last = "10".to_owned();
        for low in ["10", "1", "09", ""] {
            let expected = Verdict::Refuse(Refusal::SeqRegression { last: last.clone() });
            assert_eq!(judge(&state, None, &with(low)), expected, "{low:?}");
        }
        for high in ["100", "11", "2", "a"] {
            assert_eq!(
                judge(&state, None, &with(high)),
                Verdict::Accept,
                "{high:?}"
            );
        }
        assert_eq!(judge(&state, None, &append()), Verdict::Accept);
    }
}
