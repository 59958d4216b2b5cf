//! Commands of users and workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_log::{Error, Info, StreamName};

use super::{Answer, Command, Engine, Part};
use crate::protocol::path::check_new;
use crate::subscriptions::journal::Journal;
use crate::subscriptions::keys::{self, Keys};
use crate::subscriptions::limits::EXPLICIT_LINKS;
use crate::subscriptions::refusal::Refusal;
use crate::subscriptions::response_bodies::{Claimed, SubscriptionView};
use crate::subscriptions::state::{Ack, Config, Link, TOO_MANY_NAMED, Target};

impl Command {
    /// Refuses the command.
    pub(super) fn refuse(self, refusal: Refusal) {
        fn send<T>(answer: Answer<T>, refusal: Refusal) {
            // The client may be gone.
            let _ = answer.send(Err(refusal));
        }
        match self {
            Self::Put { answer, .. } => send(answer, refusal),
            Self::Config { answer, .. } => send(answer, refusal),
            Self::Named { answer, .. } => send(answer, refusal),
            Self::Show { answer, .. } => send(answer, refusal),
            Self::Remove { answer, .. }
            | Self::AddStreams { answer, .. }
            | Self::RemoveStream { answer, .. }
            | Self::Release { answer, .. } => send(answer, refusal),
            Self::Claim { answer, .. } => send(answer, refusal),
            Self::Ack { answer, .. } => send(answer, refusal),
            Self::Keys { answer } => send(answer, refusal),
        }
    }
}

impl Engine {
    pub(super) async fn command(&mut self, command: Command, journal: &mut Journal) {
        let now = self.now();
        self.registry.expire(now);
        match command {
            Command::Put {
                id,
                config,
                base,
                answer,
            } => {
                let put = self.put(&id, &config, &base, journal).await;
                self.hold(answer, put);
            }
            Command::Config { id, answer } => {
                let known = self.registry.get(&id).ok_or(Refusal::NotFound);
                let config = known.map(|known| Arc::clone(&known.config));
                self.hold(answer, config);
            }
            Command::Named { id, answer } => {
                let known = self.registry.get(&id).ok_or(Refusal::NotFound);
                let named = known.map(|known| {
                    let named = known.links.iter().filter(|(_, link)| link.explicit);
                    named.map(|(name, _)| name.clone()).collect()
                });
                self.hold(answer, named);
            }
            Command::Show {
                id,
                base,
                part,
                answer,
            } => {
                let view = self.show(&id, &base, part, journal).await;
                self.hold(answer, view);
            }
            Command::Remove { id, answer } => {
                self.registry.remove(&id);
                self.hold(answer, Ok(()));
            }
            Command::AddStreams {
                id,
                streams,
                answer,
            } => {
                let added = self.add_streams(&id, &streams).await;
                self.hold(answer, added);
            }
            Command::RemoveStream { id, stream, answer } => {
                let removed = self.registry.unname(&id, &stream);
                self.hold(answer, removed);
            }
            Command::Claim { id, worker, answer } => {
                let claimed = self.claim(&id, worker, journal).await;
                self.hold(answer, claimed);
            }
            Command::Ack {
                id,
                token,
                ack,
                webhook,
                answer,
            } => {
                let acked = self.ack(&id, &token, &ack, webhook, journal).await;
                self.hold(answer, acked);
            }
            Command::Release {
                id,
                token,
                wake_id,
                generation,
                answer,
            } => {
                let released = self
                    .authorize(&id, &token, &wake_id, generation, false, journal)
                    .and_then(|()| self.registry.release(&id, &wake_id, generation, now));
                self.hold(answer, released);
            }
            Command::Keys { answer } => {
                let keys = keys(journal);
                self.hold(answer, keys);
            }
        }
    }

    async fn put(
        &mut self,
        id: &Arc<str>,
        config: &Config,
        base: &str,
        journal: &mut Journal,
    ) -> Result<bool, Refusal> {
        keys(journal)?;
        if config.streams.len() > EXPLICIT_LINKS {
            return Err(Refusal::Limit(TOO_MANY_NAMED));
        }
        if self.registry.get(id).is_none()
            && let Target::WakeStream(name) = &config.target
        {
            self.check_wake_stream(name).await?;
        }
        if self.registry.is_empty() {
            // No subscription needs the messages that were appended before.
            self.seen = self.order.head();
            self.registry.saw(self.seen);
        } else if self.registry.get(id).is_none() {
            // Messages that exist already are not for the new subscription.
            self.catch_up_to_head().await?;
        }
        let is_new = self.registry.put(id, config, base, self.wall_time())?;
        if is_new && let Err(refusal) = self.add_streams(id, &config.streams).await {
            self.registry.remove(id);
            return Err(refusal);
        }
        Ok(is_new)
    }

    async fn add_streams(&mut self, id: &Arc<str>, streams: &[StreamName]) -> Result<(), Refusal> {
        if let Some(known) = self.registry.get(id)
            && let Target::WakeStream(wake) = &known.config.target
            && streams.contains(wake)
        {
            // Otherwise, each wake would cause the next one.
            let why = format!(
                "the wake_stream {:?} can't be among the streams",
                wake.as_str()
            );
            return Err(Refusal::Invalid(why));
        }
        for name in streams {
            if let Err(problem) = check_new(name)
                && self.info(name).await?.is_none()
            {
                let why = format!(
                    "there is no stream {:?}, and can't be: {problem}",
                    name.as_str()
                );
                return Err(Refusal::Invalid(why));
            }
        }
        for name in streams {
            self.pace().await;
            let info = self.info(name).await?;
            if self.is_unlinked(id, name) {
                // Messages that the pattern has matched so far are pending, and stay so.
                self.catch_up_to_head().await?;
            }
            self.registry.name(id, name, info.as_ref())?;
        }
        self.known(id)
    }

    /// Returns `true` if the subscription's pattern matches a stream without a link.
    fn is_unlinked(&self, id: &str, name: &StreamName) -> bool {
        self.registry
            .get(id)
            .is_some_and(|known| known.links.get(name).is_none() && known.config.matches(name))
    }

    fn known(&self, id: &str) -> Result<(), Refusal> {
        self.registry.get(id).map(drop).ok_or(Refusal::NotFound)
    }

    /// Returns a part of a subscription.
    async fn show(
        &mut self,
        id: &Arc<str>,
        base: &str,
        part: Part,
        journal: &mut Journal,
    ) -> Result<SubscriptionView, Refusal> {
        self.known(id)?;
        // A stream without a link is processed up to the position that was read. That position has
        // to cover the streams that were listed.
        self.catch_up_to_head().await?;
        let keys = keys(journal)?;
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        Ok(SubscriptionView::new(id, known, part, base, &keys))
    }

    async fn claim(
        &mut self,
        id: &Arc<str>,
        worker: String,
        journal: &mut Journal,
    ) -> Result<Claimed, Refusal> {
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        let keys = keys(journal)?;
        let wake_id = keys::wake_id().map_err(|_| Refusal::Log)?;
        // A claim that is refused anyway doesn't query the log.
        let holder = known.wake.as_ref().and_then(|wake| wake.holder.as_ref());
        let is_held = holder.is_some();
        let told = match is_held {
            true => Vec::new(),
            false => {
                // The claim may be younger than the turn. Appends that were acknowledged before it count.
                if known.links.pending() == 0 {
                    self.catch_up_to_head().await?;
                }
                self.refresh_chosen(id).await?
            }
        };
        let now = self.now();
        self.registry.claim(id, worker, wake_id, &told, now)?;
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        let wake = known.wake.as_ref().ok_or(Refusal::NoPendingWork)?;
        let token = keys.token(id, &wake.id, known.generation, self.wall_time());
        Claimed::new(known, token).ok_or(Refusal::NoPendingWork)
    }

    async fn ack(
        &mut self,
        id: &Arc<str>,
        token: &str,
        ack: &Ack,
        webhook: bool,
        journal: &mut Journal,
    ) -> Result<bool, Refusal> {
        self.authorize(id, token, &ack.wake_id, ack.generation, webhook, journal)?;
        // The worker may have read further than the engine.
        let mut done = BTreeMap::new();
        for (name, at) in &ack.acks {
            self.pace().await;
            if self.is_unlinked(id, name)
                && let Some(info) = self.info(name).await?
            {
                self.catch_up_to_head().await?;
                if self.is_unlinked(id, name) {
                    done.insert(name.clone(), Link::at_tail(&info));
                    continue;
                }
            }
            let link = self
                .registry
                .get(id)
                .and_then(|known| known.links.get(name));
            if link.is_some_and(|link| link.find(*at).is_none_or(|offset| offset > link.tail)) {
                let info = self.info(name).await?;
                self.registry.refresh(id, name, info.as_ref());
            }
        }
        let pending = self.registry.ack(id, ack, &done, self.now())?;
        Ok(ack.done && pending)
    }

    /// Refuses a token that belongs to another wake, and a request that was sent to the wrong
    /// endpoint.
    fn authorize(
        &self,
        id: &Arc<str>,
        token: &str,
        wake_id: &str,
        generation: u64,
        webhook: bool,
        journal: &mut Journal,
    ) -> Result<(), Refusal> {
        // Without keys, no token was issued.
        let keys = journal.keys.as_ref().ok_or(Refusal::TokenInvalid)?;
        let claims = keys.verify(token, id, self.wall_time())?;
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        if matches!(known.config.target, Target::Webhook(_)) != webhook {
            let why =
                "a webhook uses the callback; acknowledge and release are for workers that claimed";
            return Err(Refusal::Invalid(why.to_owned()));
        }
        if claims.wake != wake_id || claims.generation != generation {
            return Err(Refusal::Fenced);
        }
        Ok(())
    }

    /// Returns the log's information on a stream, or `None` if it doesn't exist.
    pub(super) async fn info(&self, name: &StreamName) -> Result<Option<Info>, Refusal> {
        match self.log.info(name).await {
            Ok(info) => Ok(Some(info)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(Refusal::from(&error)),
        }
    }
}

pub(super) fn is_gone(error: &Error) -> bool {
    error.is_not_found() || error.is_gone()
}

pub(super) fn keys(journal: &mut Journal) -> Result<Arc<Keys>, Refusal> {
    journal.keys().ok_or(Refusal::Log)
}
