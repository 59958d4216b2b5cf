//! Tickets on a log that other hubs use too: each is valid at every hub, and accepted once, by one of them.
//!
//! A ticket is `hwt_SECRET.PERIOD.OFFSET`. Its record is the message at that offset of the stream
//! `__ds/tickets/PERIOD`. It has the token with which the ticket was requested, or the proof of a key, encrypted
//! under a key that is derived from the ticket ([`SharedTicket`]). So the log alone gives access to nothing,
//! and the hub that redeems a ticket verifies what is in the record by its own keys.
//!
//! ```text
//! POST /tickets      append the record                         ─► offset ─► ticket
//! GET …?ticket=…     read the record, decrypt it, verify the token or proof
//!                    append, as the producer that the ticket names ─► the first one is admitted
//! ```
//!
//! The log decides which redemption is the first: each is the append 0 of the same producer, and only one
//! can be [`Outcome::Appended`].
//!
//! A stream for each ticket would be simpler, but the ends of streams use up [`Limits::ended`], which is for
//! readers of `/events`. So the tickets of a period share a stream. Its messages are trimmed at the end of a
//! ticket's life, by the time of the log: that of the hub whose clock is most ahead. It remembers producers until
//! it ends, and it ends when it wasn't used for a period. That is two periods and a ticket's life after it
//! began at the latest.
//!
//! [`Limits::ended`]: headwater_log::Limits::ended

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use headwater_auth::{SharedTicket, limits::TICKET_LIFE};
use headwater_log::{
    Append, Create, Error, Expiry, Log, Offset, Outcome, ReadFrom, Settings, StreamName,
};

use super::Denied;
use crate::limits::{TICKET_PATIENCE, TICKET_PERIOD};

/// Prefix of the names of the streams that have records.
const PREFIX: &str = "__ds/tickets/";

/// The records of tickets.
pub(super) struct TicketRecords(Arc<dyn Log>);

/// A ticket whose record was found and opened.
pub(super) struct FoundTicket {
    pub(super) ticket: SharedTicket,
    /// The decrypted content of the record: a token, or the proof of a key.
    pub(super) opened: String,
    stream: StreamName,
}

impl TicketRecords {
    pub(super) fn new(log: &Arc<dyn Log>) -> Self {
        Self(Arc::clone(log))
    }

    /// Stores the record of a ticket. Returns the text for the client.
    ///
    /// # Errors
    /// The errors of the log.
    pub(super) async fn store(
        &self,
        ticket: &SharedTicket,
        credential: &str,
        now: SystemTime,
    ) -> Result<String, Error> {
        let Self(log) = self;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let period = since.as_secs() / TICKET_PERIOD.as_secs();
        let stream = stream_of(period)?;
        let record = ticket.seal(credential, stream.as_str());
        let record = record.ok_or_else(|| Error::storage("the credential can't be stored"))?;
        let append = Append::new(vec![record.into()]);
        let appended = match log.append(&stream, append.clone()).await {
            Err(error) if error.is_not_found() => {
                log.create(&stream, Create::new(settings())).await?;
                log.append(&stream, append).await
            }
            appended => appended,
        };
        match appended? {
            Outcome::Appended(receipt) => {
                let offset = receipt.next.number().saturating_sub(1);
                Ok(ticket.at(&format!("{period}.{offset}")))
            }
            refused => Err(Error::storage(format!(
                "the stream takes no records: {refused:?}"
            ))),
        }
    }

    /// Returns the ticket of a text, unless it has expired or never existed.
    ///
    /// # Errors
    /// The errors of the log, if it can't tell.
    pub(super) async fn find(&self, text: &str) -> Result<Option<FoundTicket>, Error> {
        let Some((ticket, period, offset)) = parse(text) else {
            return Ok(None);
        };
        let stream = stream_of(period)?;
        let record = match self.0.read(&stream, ReadFrom::At(offset), 1).await {
            Ok(chunk) => chunk.messages().next(),
            Err(error) if is_missing(&error) => None,
            Err(error) => return Err(error),
        };
        let opened = record.and_then(|it| ticket.open(&it.bytes, stream.as_str()));
        Ok(opened.map(|opened| FoundTicket {
            ticket,
            opened,
            stream,
        }))
    }

    /// Redeems a ticket. Returns `false` if it was redeemed before, by any hub.
    ///
    /// # Errors
    /// The errors of the log. The ticket may have been redeemed nevertheless.
    pub(super) async fn redeem(&self, found: &FoundTicket) -> Result<bool, Error> {
        let redemption = Append::new(vec![Bytes::new()]).by(&found.ticket.id(), 0, 0);
        match self.0.append(&found.stream, redemption).await {
            Ok(outcome) => Ok(matches!(outcome, Outcome::Appended(_))),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Waits for the log. A client that has no response for long is better off with another ticket.
pub(super) async fn in_time<T>(work: impl Future<Output = Result<T, Denied>>) -> Result<T, Denied> {
    let late = || Denied::tickets(Error::unavailable("it doesn't answer in time"));
    let done = tokio::time::timeout(TICKET_PATIENCE, work).await;
    done.unwrap_or_else(|_| Err(late()))
}

/// Returns `true` if a text is of a ticket that has a record.
pub(super) fn is_shared(text: &str) -> bool {
    parse(text).is_some()
}

/// Returns the ticket of a text, and its record's period and offset.
fn parse(text: &str) -> Option<(SharedTicket, u64, Offset)> {
    let (ticket, place) = SharedTicket::parse(text)?;
    let (period, offset) = place.split_once('.')?;
    let number = |text: &str| text.parse::<u64>().ok();
    Some((ticket, number(period)?, Offset::new(number(offset)?)))
}

fn stream_of(period: u64) -> Result<StreamName, Error> {
    StreamName::new(&format!("{PREFIX}{period}"))
}

fn settings() -> Settings {
    let mut settings = Settings::of_type("application/octet-stream");
    settings.max_age = Some(TICKET_LIFE);
    settings.expiry = Some(Expiry::Idle(TICKET_PERIOD));
    settings
}

/// Returns `true` if a record isn't in the log, or not any more.
fn is_missing(error: &Error) -> bool {
    error.is_not_found() || error.is_gone() || error.is_trimmed() || error.is_beyond_tail()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use headwater_auth::{Grants, Identity, Tickets, limits::TICKETS};
    use headwater_log::{Clock, MemoryLog, MemoryOptions, Position, Timestamp};

    use super::*;

    const CREDENTIAL: &str = "header.claims.signature";

    struct Fixture {
        log: Arc<MemoryLog>,
        clock: Clock,
        records: TicketRecords,
    }

    fn fixture() -> Fixture {
        let clock = Clock::by_hand(Timestamp(1_800_000_000_000));
        let mut options = MemoryOptions::default();
        options.clock = clock.clone();
        let log = Arc::new(MemoryLog::new(options));
        let shared: Arc<dyn Log> = Arc::clone(&log) as _;
        Fixture {
            records: TicketRecords::new(&shared),
            log,
            clock,
        }
    }

    fn ticket() -> SharedTicket {
        let identity = Identity::anonymous(Grants::none());
        let ticket = Tickets::new().issue_shared(identity, None, SystemTime::now());
        ticket.unwrap()
    }

    impl Fixture {
        async fn issue(&self) -> String {
            let stored = self.records.store(&ticket(), CREDENTIAL, UNIX_EPOCH).await;
            stored.unwrap()
        }

        async fn find(&self, text: &str) -> Option<FoundTicket> {
            self.records.find(text).await.unwrap()
        }

        fn pass(&self, time: Duration) {
            self.clock.advance(time);
            while self.log.reclaim(1000) {}
        }

        /// Returns the number of streams, the bytes of their messages, and the number of ends.
        async fn left(&self) -> (u64, u64, usize) {
            let usage = self.log.usage();
            let order = self.log.read_order(Position::START, usize::MAX, None).await;
            (usage.streams, usage.bytes, order.unwrap().ended.len())
        }
    }

    #[tokio::test]
    async fn a_ticket_is_found_for_its_life_and_redeemed_once() {
        let it = fixture();
        let (first, second) = (it.issue().await, it.issue().await);
        it.pass(TICKET_LIFE - Duration::from_millis(1));
        for _ in 0..2 {
            let found = it.find(&first).await.unwrap();
            assert_eq!(found.opened, CREDENTIAL);
        }
        let found = it.find(&first).await.unwrap();
        assert!(it.records.redeem(&found).await.unwrap());
        assert!(!it.records.redeem(&found).await.unwrap());
        let found = it.find(&second).await.unwrap();
        it.pass(Duration::from_millis(1));
        assert!(it.find(&second).await.is_none());
        // It was found in time.
        assert!(it.records.redeem(&found).await.unwrap());
        it.pass(TICKET_PERIOD);
        assert!(it.find(&second).await.is_none());
        assert!(!it.records.redeem(&found).await.unwrap());
    }

    #[tokio::test]
    async fn a_text_of_no_ticket_is_not_found() {
        let it = fixture();
        let text = it.issue().await;
        let (rest, offset) = text.rsplit_once('.').unwrap();
        let (secret, period) = rest.split_once('.').unwrap();
        assert_eq!((period, offset), ("0", "0"));
        for place in ["0.1", "0.2", "1.0", "0.18446744073709551615"] {
            let other = format!("{secret}.{place}");
            assert!(
                is_shared(&other) && it.find(&other).await.is_none(),
                "{place}"
            );
        }
        for place in [
            "",
            "0",
            "0.",
            ".0",
            "0.0.0",
            "a.0",
            "0.-1",
            "18446744073709551616.0",
        ] {
            assert!(!is_shared(&format!("{secret}.{place}")), "{place}");
        }
        assert!(!is_shared(secret));
        assert!(it.find(&text).await.is_some());
    }

    #[tokio::test]
    async fn records_of_others_open_no_ticket() {
        let it = fixture();
        let (own, text) = (ticket(), it.issue().await);
        let found = it.find(&text).await.unwrap();
        let record = it
            .log
            .read(&found.stream, ReadFrom::Start, 1)
            .await
            .unwrap();
        let record = record.messages().next().unwrap().bytes;
        // A record is bound to its ticket, and to its stream.
        assert!(it.find(&own.at("0.0")).await.is_none());
        let mut damaged = record.to_vec();
        damaged[3] ^= 1;
        let (at, elsewhere) = (&found.stream, stream_of(1).unwrap());
        let create = Create::new(settings());
        it.log.create(&elsewhere, create).await.unwrap();
        for (stream, bytes) in [
            (at, damaged.into()),
            (at, Bytes::new()),
            (at, vec![0; 1 << 20].into()),
            (&elsewhere, record),
        ] {
            it.log
                .append(stream, Append::new(vec![bytes]))
                .await
                .unwrap();
        }
        for place in ["0.1", "0.2", "0.3", "1.0"] {
            assert!(it.find(&found.ticket.at(place)).await.is_none(), "{place}");
        }
        assert!(it.find(&text).await.is_some());
    }

    #[tokio::test]
    async fn many_tickets_leave_one_end_of_a_stream() {
        assert!(TICKET_PERIOD > 2 * TICKET_LIFE);
        let it = fixture();
        for _ in 0..TICKETS {
            let text = it.issue().await;
            let found = it.find(&text).await.unwrap();
            assert!(it.records.redeem(&found).await.unwrap());
        }
        for _ in 0..TICKETS {
            it.issue().await;
        }
        let (streams, bytes, ended) = it.left().await;
        assert_eq!((streams, ended), (1, 0));
        assert!(bytes < 100 * TICKETS as u64, "{bytes}");
        it.pass(TICKET_LIFE);
        assert_eq!(it.left().await, (1, 0, 0));
        assert!(it.log.state().len() < 100 * TICKETS);
        it.pass(TICKET_PERIOD - TICKET_LIFE);
        assert_eq!(it.left().await, (0, 0, 1));
        assert!(it.log.state().len() < 100);
    }
}
