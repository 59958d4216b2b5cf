//! Tickets: what a browser puts into a URL instead of a token.
//!
//! An `EventSource` can't send an `Authorization` header, and a token in a URL ends up in logs and in
//! the browser's history. A client therefore exchanges its token for a ticket, which works once and
//! only for [`TICKET_LIFE`].

mod shared;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::SystemTime;

use parking_lot::Mutex;
use ring::digest;

pub use self::shared::SharedTicket;
use crate::limits::{TICKET_LIFE, TICKETS, TICKETS_PER_SENDER};
use crate::random::SECRET_CHARS;
use crate::{Identity, NoRandom};

/// The start of every ticket.
pub(crate) const TICKET_PREFIX: &str = "hwt_";

/// The reason for which no ticket was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// [`TICKETS`] tickets of all senders wait to be redeemed.
    #[error("too many tickets wait to be redeemed; try again in {} s", TICKET_LIFE.as_secs())]
    TooMany,
    /// [`TICKETS_PER_SENDER`] tickets of the sender wait to be redeemed.
    #[error(
        "{TICKETS_PER_SENDER} tickets of this sender wait to be redeemed; try again in {} s",
        TICKET_LIFE.as_secs()
    )]
    TooManyOfSender,
    /// The operating system gave no random bytes.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
}

/// The tickets that wait to be redeemed. They are in memory only. [Shared](Self::issue_shared) ones are
/// counted here, and redeemed by their records.
///
/// ```
/// use std::time::SystemTime;
///
/// use headwater_auth::{Grants, Identity, Tickets};
///
/// let now = SystemTime::now();
/// let tickets = Tickets::new();
/// let identity = Identity::anonymous(Grants::none());
/// let ticket = tickets.issue(identity.clone(), Some("192.0.2.1"), now)?;
/// assert_eq!(tickets.redeem(&ticket, now), Some(identity));
/// assert_eq!(tickets.redeem(&ticket, now), None);
/// # Ok::<(), headwater_auth::TicketError>(())
/// ```
#[derive(Default)]
pub struct Tickets(Mutex<Waiting>);

/// The SHA-256 of a ticket. A lookup by it takes a time that tells nothing of other tickets.
type TicketHash = [u8; 32];

#[derive(Default)]
struct Waiting {
    tickets: HashMap<TicketHash, Ticket>,
    /// The number of tickets of each sender that has any.
    senders: HashMap<Box<str>, usize>,
    /// Tickets in the order of their issue, redeemed ones included.
    order: VecDeque<(SystemTime, TicketHash)>,
}

struct Ticket {
    identity: Identity,
    sender: Option<Box<str>>,
    issued: SystemTime,
    /// `true` if it is only counted here.
    is_shared: bool,
}

impl Ticket {
    fn is_valid(&self, now: SystemTime) -> bool {
        is_alive(self.issued, now) && !self.identity.is_expired(now)
    }
}

/// Returns `true` within the life of a ticket. A clock that was set back doesn't prolong it by more
/// than its length.
fn is_alive(issued: SystemTime, now: SystemTime) -> bool {
    match now.duration_since(issued) {
        Ok(age) => age < TICKET_LIFE,
        Err(ahead) => ahead.duration() < TICKET_LIFE,
    }
}

impl Tickets {
    /// Makes an empty set of tickets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Issues a ticket for an identity: `hwt_` and 43 characters of `[A-Za-z0-9]`.
    ///
    /// `sender` is the name of the sender among all senders, whose tickets are limited: a subject, or an address for
    /// an identity without one. With `None`, the ticket counts only among those of all.
    ///
    /// # Errors
    /// Too many tickets wait, in all or of the sender, or there are no random bytes.
    pub fn issue(
        &self,
        identity: Identity,
        sender: Option<&str>,
        now: SystemTime,
    ) -> Result<String, TicketError> {
        let ticket = self.add(identity, sender, now, false)?;
        Ok(ticket.as_str().to_owned())
    }

    /// Issues a ticket that is redeemed by its record. Here it only counts as one that waits, until it
    /// expires or is [released](Self::release).
    ///
    /// # Errors
    /// As [`issue`](Self::issue).
    pub fn issue_shared(
        &self,
        identity: Identity,
        sender: Option<&str>,
        now: SystemTime,
    ) -> Result<SharedTicket, TicketError> {
        self.add(identity, sender, now, true)
    }

    fn add(
        &self,
        identity: Identity,
        sender: Option<&str>,
        now: SystemTime,
        is_shared: bool,
    ) -> Result<SharedTicket, TicketError> {
        let ticket = SharedTicket::random()?;
        let mut waiting = self.0.lock();
        waiting.remove_expired(now);
        // Entries of redeemed tickets stay in `order` for the rest of their life, so it is the bound.
        if waiting.order.len() >= TICKETS {
            return Err(TicketError::TooMany);
        }
        if let Some(sender) = sender {
            match waiting.senders.get_mut(sender) {
                Some(count) if *count >= TICKETS_PER_SENDER => {
                    return Err(TicketError::TooManyOfSender);
                }
                Some(count) => *count += 1,
                None => _ = waiting.senders.insert(sender.into(), 1),
            }
        }
        let hash = hash(ticket.as_str());
        waiting.order.push_back((now, hash));
        waiting.tickets.insert(
            hash,
            Ticket {
                identity,
                sender: sender.map(Box::from),
                issued: now,
                is_shared,
            },
        );
        Ok(ticket)
    }

    /// Returns the identity of a ticket, and removes the ticket. The identity keeps its own expiry.
    ///
    /// Returns `None` if there is no such ticket, if it was redeemed before or has expired, if the
    /// identity has expired, or if it is a [shared](Self::issue_shared) one.
    #[must_use]
    pub fn redeem(&self, ticket: &str, now: SystemTime) -> Option<Identity> {
        if ticket.len() != TICKET_PREFIX.len() + SECRET_CHARS {
            return None;
        }
        let hash = hash(ticket);
        let mut waiting = self.0.lock();
        if waiting.tickets.get(&hash)?.is_shared {
            return None;
        }
        let ticket = waiting.remove(&hash)?;
        ticket.is_valid(now).then_some(ticket.identity)
    }

    /// Stops counting a shared ticket, if it was issued here.
    pub fn release(&self, ticket: &SharedTicket) {
        self.0.lock().remove(&hash(ticket.as_str()));
    }

    /// Returns the number of tickets that wait, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().tickets.len()
    }

    /// Returns `true` if no ticket waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Waiting {
    fn remove(&mut self, hash: &TicketHash) -> Option<Ticket> {
        let ticket = self.tickets.remove(hash)?;
        if let Some(sender) = &ticket.sender
            && let Some(count) = self.senders.get_mut(sender)
        {
            *count -= 1;
            if *count == 0 {
                self.senders.remove(sender);
            }
        }
        Some(ticket)
    }

    fn remove_expired(&mut self, now: SystemTime) {
        while let Some((issued, hash)) = self.order.front().copied()
            && !is_alive(issued, now)
        {
            self.order.pop_front();
            self.remove(&hash);
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

fn hash(ticket: &str) -> TicketHash {
    let digest = digest::digest(&digest::SHA256, ticket.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::{Grants, IdentityKind};

    const NOW: SystemTime = UNIX_EPOCH;
    const TICK: Duration = Duration::from_millis(1);

    fn identity() -> Identity {
        Identity::new("a", Grants::everything(), None, IdentityKind::Anonymous)
    }

    #[test]
    fn a_ticket_works_once_and_within_its_life() {
        let tickets = Tickets::new();
        let issue = || tickets.issue(identity(), None, NOW).unwrap();
        for (now, is_valid) in [
            (NOW, true),
            (NOW + TICKET_LIFE - TICK, true),
            (NOW + TICKET_LIFE, false),
            (NOW - TICKET_LIFE, false),
        ] {
            let ticket = issue();
            assert_eq!(tickets.redeem(&ticket, now).is_some(), is_valid);
            assert_eq!(tickets.redeem(&ticket, NOW), None);
        }
        let ticket = issue();
        for bad in [
            "",
            "hwt_",
            &ticket[1..],
            &format!("{ticket}a"),
            &ticket.to_lowercase(),
        ] {
            assert_eq!(tickets.redeem(bad, NOW), None);
        }
        assert_eq!(tickets.redeem(&ticket, NOW), Some(identity()));
        assert!(tickets.is_empty());
    }

    #[test]
    fn a_ticket_of_an_identity_that_has_expired_isnt_valid() {
        let tickets = Tickets::new();
        let expires = Some(NOW + TICK);
        let short = Identity::new("a", Grants::none(), expires, IdentityKind::Anonymous);
        let ticket = tickets.issue(short.clone(), None, NOW).unwrap();
        assert_eq!(tickets.redeem(&ticket, NOW), Some(short.clone()));
        let ticket = tickets.issue(short, None, NOW).unwrap();
        assert_eq!(tickets.redeem(&ticket, NOW + TICK), None);
    }

    #[test]
    fn the_tickets_of_a_sender_are_limited_until_they_are_redeemed_or_expire() {
        let tickets = Tickets::new();
        let issue = |sender, now| tickets.issue(identity(), Some(sender), now);
        let issued: Vec<_> = (0..TICKETS_PER_SENDER)
            .map(|_| issue("a", NOW).unwrap())
            .collect();
        assert_eq!(issue("a", NOW), Err(TicketError::TooManyOfSender));
        assert!(issue("b", NOW).is_ok());
        assert!(tickets.issue(identity(), None, NOW).is_ok());
        assert!(tickets.redeem(&issued[0], NOW).is_some());
        assert!(issue("a", NOW).is_ok());
        assert_eq!(issue("a", NOW), Err(TicketError::TooManyOfSender));
        assert!(issue("a", NOW + TICKET_LIFE).is_ok());
        assert_eq!(tickets.len(), 1);
    }

    #[test]
    fn a_shared_ticket_is_counted_until_it_is_released_and_redeemed_only_by_its_record() {
        let tickets = Tickets::new();
        let issue = || tickets.issue_shared(identity(), Some("a"), NOW);
        let issued: Vec<_> = (0..TICKETS_PER_SENDER).map(|_| issue().unwrap()).collect();
        assert_eq!(issue(), Err(TicketError::TooManyOfSender));
        let text = issued[0].at("place");
        assert_eq!(tickets.redeem(issued[0].as_str(), NOW), None);
        assert_eq!(tickets.redeem(&text, NOW), None);
        assert_eq!(issue(), Err(TicketError::TooManyOfSender));
        for _ in 0..2 {
            tickets.release(&issued[0]);
        }
        assert!(issue().is_ok());
        assert_eq!(issue(), Err(TicketError::TooManyOfSender));
        tickets.release(&Tickets::new().issue_shared(identity(), None, NOW).unwrap());
        assert_eq!(issue(), Err(TicketError::TooManyOfSender));
    }

    #[test]
    fn all_tickets_are_limited() {
        let tickets = Tickets::new();
        for number in 0..TICKETS {
            let sender = (number / TICKETS_PER_SENDER).to_string();
            assert!(tickets.issue(identity(), Some(&sender), NOW).is_ok());
        }
        let issue = |now| tickets.issue(identity(), Some("x"), now);
        assert_eq!(issue(NOW), Err(TicketError::TooMany));
        assert!(issue(NOW + TICKET_LIFE).is_ok());
        let waiting = tickets.0.lock();
        assert_eq!(
            (
                waiting.tickets.len(),
                waiting.senders.len(),
                waiting.order.len()
            ),
            (1, 1, 1)
        );
    }

    #[test]
    fn of_many_that_redeem_a_ticket_one_succeeds() {
        let tickets = Tickets::new();
        let ticket = tickets.issue(identity(), None, NOW).unwrap();
        let redeemed = thread::scope(|scope| {
            let redeem = || tickets.redeem(&ticket, NOW).is_some();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(redeem)).collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .filter(|it| *it)
                .count()
        });
        assert_eq!(redeemed, 1);
    }

    #[test]
    fn nothing_printed_contains_a_ticket() {
        let tickets = Tickets::new();
        let ticket = tickets.issue(identity(), None, NOW).unwrap();
        assert!(!format!("{tickets:?}").contains(&ticket[4..]));
    }
}
