//! The task that competes for the lease, and renews it.

use std::{sync::Arc, time::Duration};

use headwater_log::{Error, Follower, Known, Log, Outcome, Refusal};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Lease, Role,
    record::{Record, Records, Seen},
};
use crate::limits::{
    OWNER_ATTEMPT, OWNER_LEASE, OWNER_MARGIN, OWNER_PAUSE, OWNER_RELEASE, OWNER_RENEWAL,
};

/// Receives the lease, and its end.
pub(super) type Notify = Box<dyn Fn(Option<Lease>) + Send + Sync>;

/// Is dropped when the lease is released.
pub(super) type Released = oneshot::Sender<()>;

pub(super) struct Task {
    log: Arc<dyn Log>,
    hub: String,
    url: Option<String>,
    role: watch::Sender<Role>,
    notify: Notify,
}

/// A term that this hub has begun.
struct Held {
    term: u64,
    /// The number of the next renewal.
    next: u64,
    /// The end of the lease. `None`: it isn't known when the term was begun.
    until: Option<Instant>,
}

/// The reason for which the tasks ends, or a term.
enum End {
    /// Another hub has begun the next term.
    Lost,
    /// The log is closed.
    Closed,
}

impl Task {
    pub(super) fn new(
        log: Arc<dyn Log>,
        url: Option<String>,
        role: watch::Sender<Role>,
        notify: Notify,
    ) -> Self {
        Self {
            log,
            hub: format!("{:032x}", fastrand::u128(..)),
            url,
            role,
            notify,
        }
    }

    /// Competes for the lease until it is stopped, which releases it, or the log is closed. When it is
    /// stopped, it continues to follow the owner.
    pub(super) async fn run(self, mut stop: oneshot::Receiver<Released>) {
        let log = Arc::clone(&self.log);
        let Ok(records) = Records::new(&*log) else {
            return;
        };
        loop {
            let mut held = tokio::select! {
                biased;
                released = &mut stop => {
                    drop(released);
                    return self.watch(&records).await;
                }
                begun = self.follow(&records, true) => match begun {
                    Some(held) => held,
                    None => return,
                },
            };
            let end = tokio::select! {
                biased;
                released = &mut stop => Err(released),
                end = self.hold(&records, &mut held) => Ok(end),
            };
            self.role.send_replace(Role::Vacant);
            (self.notify)(None);
            match end {
                Ok(End::Lost) => {
                    let term = held.term;
                    tracing::warn!(term, "this hub isn't the owner of the log any more");
                }
                Ok(End::Closed) => return,
                Err(released) => {
                    // Otherwise the others wait until the lease has ended.
                    let _ = timeout(OWNER_RELEASE, self.release(&records, &held)).await;
                    drop(released);
                    return self.watch(&records).await;
                }
            }
        }
    }

    fn record(&self, term: u64) -> Record {
        Record {
            hub: self.hub.clone(),
            term,
            url: self.url.clone(),
            released: false,
        }
    }

    /// Follows the owner until the log is closed.
    async fn watch(&self, records: &Records<'_>) {
        let _ = self.follow(records, false).await;
    }

    /// Follows the owner. If it `competes`, waits until no other hub can be the owner, and begins the next
    /// term. Returns `None` if the log is closed.
    async fn follow(&self, records: &Records<'_>, competes: bool) -> Option<Held> {
        let mut follower = None;
        // The newest record, and a moment after which nothing of it is on its way any more.
        let mut newest: Option<(Option<Known>, Instant)> = None;
        loop {
            let seen = timeout(OWNER_ATTEMPT, look(records, &mut follower)).await;
            let Seen { known, record } = match seen {
                Ok(Ok(seen)) => seen,
                Ok(Err(error)) if error.is_closed() => return None,
                Ok(Err(_)) | Err(_) => {
                    pause().await;
                    continue;
                }
            };
            let since = match newest {
                Some((is, since)) if is == known => since,
                _ => Instant::now(),
            };
            newest = Some((known, since));
            // One of a term that has begun since is read again.
            let term = known.map_or(0, |known| known.epoch);
            let record = record.filter(|record| record.term == term);
            let is_free = known.is_none() || record.as_ref().is_some_and(|record| record.released);
            if let (Some(known), Some(record)) = (known, &record)
                && record.hub == self.hub
                && competes
                && !is_free
            {
                // The term was begun by an append whose outcome was unknown.
                return Some(Held {
                    term,
                    next: known.seq + 1,
                    until: None,
                });
            }
            self.note(term, record.filter(|_| !is_free));
            let free_at = since + OWNER_LEASE + OWNER_MARGIN;
            let sent = Instant::now();
            if competes && (is_free || free_at <= sent) {
                let term = term + 1;
                let begun = timeout(OWNER_ATTEMPT, records.begin(&self.record(term), known)).await;
                if let Ok(Ok(Outcome::Appended(_))) = begun {
                    return Some(Held {
                        term,
                        next: 1,
                        until: Some(sent + OWNER_LEASE),
                    });
                }
                // Also for a duplicate: the record tells whose it is.
                pause().await;
                continue;
            }
            let is_open = match &mut follower {
                Some(follower) => tokio::select! {
                    is_open = Follower::changed(follower) => is_open,
                    () = sleep_until(free_at), if competes => true,
                },
                None => false,
            };
            if !is_open {
                follower = None;
                pause().await;
            }
        }
    }

    /// Publishes the owner's record.
    fn note(&self, term: u64, record: Option<Record>) {
        let role = match record {
            None => Role::Vacant,
            Some(record) => Role::Other {
                term,
                url: record.url.map(Arc::from),
            },
        };
        self.role.send_if_modified(|known| {
            let is_new = known.term() != role.term();
            if is_new {
                if let Role::Other { term, url } = &role {
                    let url = url.as_deref().unwrap_or("none");
                    tracing::info!(term, url, "another hub is the owner of the log");
                }
                *known = role;
            }
            is_new
        });
    }

    /// Renews the lease for as long as the log accepts that.
    async fn hold(&self, records: &Records<'_>, held: &mut Held) -> End {
        let term = held.term;
        let record = self.record(term);
        let mut is_announced = false;
        loop {
            if let Some(until) = held.until {
                self.role.send_replace(Role::Owner { term, until });
                if !is_announced {
                    is_announced = true;
                    tracing::info!(term, "this hub is the owner of the log");
                    (self.notify)(Some(Lease {
                        term,
                        role: self.role.subscribe(),
                    }));
                }
                sleep_until(until - OWNER_LEASE + OWNER_RENEWAL).await;
            }
            // Repetitions don't count from later: the first one may have arrived.
            let sent = Instant::now();
            let mut is_lapsed = false;
            loop {
                let renewed = timeout(OWNER_ATTEMPT, records.append(&record, held.next)).await;
                match renewed {
                    Ok(Ok(Outcome::Appended(_) | Outcome::Duplicate(_))) => break,
                    Ok(Ok(Outcome::Refused(_))) => return End::Lost,
                    Ok(Err(error)) if error.is_closed() => return End::Closed,
                    // The records were removed.
                    Ok(Err(error)) if error.is_not_found() || error.is_gone() => return End::Lost,
                    Ok(Err(_)) | Err(_) => {}
                }
                if !is_lapsed && held.until.is_some_and(|until| until <= Instant::now()) {
                    is_lapsed = true;
                    tracing::warn!(
                        term,
                        "the lease of the log has ended, as the log doesn't answer: subscriptions and relays wait"
                    );
                }
                pause().await;
            }
            held.next += 1;
            held.until = Some(sent + OWNER_LEASE);
        }
    }

    /// Ends the term, so that another hub begins the next one at once.
    async fn release(&self, records: &Records<'_>, held: &Held) {
        let record = Record {
            url: None,
            released: true,
            ..self.record(held.term)
        };
        let mut next = held.next;
        loop {
            match records.append(&record, next).await {
                // The number was used by a renewal that was on its way.
                Ok(Outcome::Refused(Refusal::Reused { last, .. })) => next = last + 1,
                Ok(_) => return,
                Err(error) if error.is_closed() => return,
                Err(_) => pause().await,
            }
        }
    }
}

/// Reads the newest record. Later changes wake the follower.
async fn look(records: &Records<'_>, follower: &mut Option<Follower>) -> Result<Seen, Error> {
    match follower {
        Some(follower) => drop(follower.progress()),
        None => *follower = Some(records.follow().await?),
    }
    let seen = records.read().await;
    if seen.is_err() {
        *follower = None;
    }
    seen
}

/// Waits before another attempt. Several hubs don't wait equally long.
async fn pause() {
    sleep(OWNER_PAUSE.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
}

/// The times are in order: a lease outlasts a renewal that is repeated once.
const _: () = assert!(
    OWNER_RENEWAL.as_millis() + 2 * OWNER_ATTEMPT.as_millis() < OWNER_LEASE.as_millis()
        && Duration::as_millis(&OWNER_PAUSE) < OWNER_MARGIN.as_millis()
);
