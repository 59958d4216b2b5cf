//! Issues and sends wakes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use headwater_log::{Append, Info, Outcome, StreamName};

use super::{Call, Engine, Issued, To};
use crate::protocol::media_type::is_json;
use crate::subscriptions::delivery::{self, Delivered};
use crate::subscriptions::journal::Journal;
use crate::subscriptions::keys;
use crate::subscriptions::limits::{DELIVERIES, WEBHOOK_TIMEOUT};
use crate::subscriptions::refusal::Refusal;
use crate::subscriptions::response_bodies;
use crate::subscriptions::state::{Subscription, Target};
use crate::subscriptions::webhooks;

/// Maximum number of wakes that one turn issues.
const WAKES: usize = 256;

impl Engine {
    /// Starts the wakes that are due. They are sent when they are stored.
    pub(super) async fn issue_due(&mut self, journal: &mut Journal) {
        for _ in 0..WAKES {
            let calls = self.calls.len() + self.issued.len();
            let now = self.now();
            let Some(id) = self.registry.due(calls < DELIVERIES, now) else {
                return;
            };
            let issued = self.issue(&id, journal).await;
            match issued {
                // Nothing is pending after all, so it isn't due any more.
                Ok(None) => {}
                Ok(Some(issued)) => self.issued.push(issued),
                Err(_) => {
                    // Otherwise it would be due again at once.
                    self.registry.postpone(&id, now, fastrand::f64());
                }
            }
        }
    }

    async fn issue(
        &mut self,
        id: &Arc<str>,
        journal: &mut Journal,
    ) -> Result<Option<Issued>, Refusal> {
        let keys = super::commands::keys(journal)?;
        let wake_id = keys::wake_id().map_err(|_| Refusal::Log)?;
        let told = self.refresh_chosen(id).await?;
        let now = self.now();
        if !self.registry.issue(id, wake_id.clone(), &told, now) {
            return Ok(None);
        }
        let wall_time = self.wall_time();
        let Some(known) = self.registry.get(id) else {
            return Ok(None);
        };
        let token = || keys.token(id, &wake_id, known.generation, wall_time);
        let (to, body) = match &known.config.target {
            Target::Webhook(url) => {
                // Checked when the subscription was created, but the rules may have changed since.
                match webhooks::check(url, self.options.loopback_webhooks) {
                    Ok(url) => {
                        let to = To::Webhook {
                            url,
                            timeout: timeout(known),
                        };
                        (to, response_bodies::notification(id, known, token()))
                    }
                    Err(why) => {
                        tracing::warn!(subscription = &**id, why, "a webhook is not called");
                        let chance = fastrand::f64();
                        self.registry.failed(id, &wake_id, now, chance);
                        return Ok(None);
                    }
                }
            }
            Target::WakeStream(name) => (
                To::Stream(name.clone()),
                response_bodies::wake_event(id, known, wall_time.0),
            ),
        };
        let body = body.unwrap_or_default();
        Ok(Some(Issued {
            id: Arc::clone(id),
            wake_id,
            body,
            to,
        }))
    }

    /// Issues unclaimed wake events again: after a restart it isn't known whether they were
    /// written. A worker that sees one twice sees the same generation twice.
    pub(super) fn repeat_events(&mut self) {
        let now = self.wall_time().0;
        for (id, known) in self.registry.iter() {
            let wake = known.wake.as_ref().filter(|wake| wake.lease.is_none());
            if let (Some(wake), Target::WakeStream(name)) = (wake, &known.config.target)
                && let Some(body) = response_bodies::wake_event(id, known, now)
            {
                let (id, wake_id) = (Arc::clone(id), wake.id.clone());
                self.issued.push(Issued {
                    id,
                    wake_id,
                    body,
                    to: To::Stream(name.clone()),
                });
            }
        }
    }

    /// Queries the log about the streams of the next wake, and returns them without those that are
    /// gone.
    pub(super) async fn refresh_chosen(
        &mut self,
        id: &Arc<str>,
    ) -> Result<Vec<StreamName>, Refusal> {
        let chosen = self.registry.choose(id);
        for name in &chosen {
            let link = self
                .registry
                .get(id)
                .and_then(|known| known.links.get(name));
            if link.is_some_and(|link| link.is_pending()) {
                let info = self.info(name).await?;
                self.registry.refresh(id, name, info.as_ref());
            }
        }
        Ok(chosen)
    }

    /// Sends wakes that were issued and are stored now.
    pub(super) async fn send_issued(&mut self, journal: &mut Journal) {
        for Issued {
            id,
            wake_id,
            body,
            to,
        } in std::mem::take(&mut self.issued)
        {
            match to {
                To::Webhook { url, timeout } => {
                    let Some(keys) = journal.keys() else { continue };
                    let signature = keys.sign(&body, self.wall_time());
                    let call = delivery::Call {
                        url,
                        signature,
                        body: Bytes::from(body),
                        timeout,
                    };
                    let call = self.caller.call(call);
                    let lease = self.lease.clone();
                    self.calls.spawn(async move {
                        let delivered = match lease.is_none_or(|lease| lease.is_valid()) {
                            true => call.await,
                            // The wake is stored. The owner sends it when its lease has ended.
                            false => Delivered::Failed,
                        };
                        (id, wake_id, delivered)
                    });
                }
                To::Stream(name) => {
                    if let Err(why) = self.write_event(&name, body).await {
                        tracing::warn!(subscription = &*id, why, "a wake event can't be written");
                        self.registry
                            .failed(&id, &wake_id, self.now(), fastrand::f64());
                    }
                }
            }
        }
    }

    /// Checks that a stream can have wake events.
    ///
    /// # Errors
    /// It doesn't exist, isn't of JSON, or is closed.
    pub(super) async fn check_wake_stream(&self, name: &StreamName) -> Result<(), Refusal> {
        let why = match self.info(name).await? {
            None => "doesn't exist: create it first, with the type application/json",
            Some(info) => match unusable(&info) {
                None => return Ok(()),
                Some(why) => why,
            },
        };
        Err(Refusal::Invalid(format!(
            "the wake_stream {:?} {why}",
            name.as_str()
        )))
    }

    async fn write_event(&self, name: &StreamName, event: Vec<u8>) -> Result<(), String> {
        if !self.may_send() {
            return Err("this hub isn't the owner of the log now".to_owned());
        }
        let info = self.log.info(name).await;
        let info = info.map_err(|error| error.to_string())?;
        if let Some(why) = unusable(&info) {
            return Err(format!("the wake stream {why}"));
        }
        match self.log.append(name, Append::new(vec![event.into()])).await {
            Ok(Outcome::Refused(_)) => Err("the wake stream is closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Applies the result of a webhook call.
    pub(super) fn called(&mut self, (id, wake_id, delivered): &Call) {
        match delivered {
            Delivered::Done => self.registry.delivered(id, wake_id, true),
            Delivered::Accepted => self.registry.delivered(id, wake_id, false),
            Delivered::Failed => self
                .registry
                .failed(id, wake_id, self.now(), fastrand::f64()),
        }
    }
}

/// Returns the reason for which a stream takes no wake events, if there is one.
fn unusable(info: &Info) -> Option<&'static str> {
    if !is_json(&info.settings.content_type) {
        return Some("is not of the type application/json");
    }
    info.closed.then_some("is closed")
}

/// Returns the timeout of a webhook call. It is slightly shorter than the lease, so that a call
/// without a response counts as failed and is retried after a backoff instead of at once.
fn timeout(known: &Subscription) -> Duration {
    let lease = Duration::from_millis(known.config.lease_ms);
    WEBHOOK_TIMEOUT.min(lease - lease / 10)
}
