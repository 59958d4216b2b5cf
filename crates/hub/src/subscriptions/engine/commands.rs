//! What users and workers ask for.

use std::sync::Arc;

use headwater_log::{Error, Info, StreamName};

use super::{Answer, Command, Engine};
use crate::subscriptions::journal::Journal;
use crate::subscriptions::keys::{self, Keys};
use crate::subscriptions::limits::EXPLICIT_LINKS;
use crate::subscriptions::refusal::Refusal;
use crate::subscriptions::state::{Ack, Config, Target};
use crate::subscriptions::views::{Claimed, SubscriptionView};

/// How many streams are listed at once.
const PAGE: usize = 1000;

impl Command {
    /// Refuses it.
    pub(super) fn refuse(self, refusal: Refusal) {
        fn send<T>(answer: Answer<T>, refusal: Refusal) {
            // Whoever asked may have gone.
            let _ = answer.send(Err(refusal));
        }
        match self {
            Self::Put { answer, .. } => send(answer, refusal),
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
            Command::Show { id, base, answer } => {
                let view = self.known(&id).and_then(|()| {
                    let keys = keys(journal)?;
                    self.view(&id, &base, &keys)
                });
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
    ) -> Result<(bool, SubscriptionView), Refusal> {
        let keys = keys(journal)?;
        if config.streams.len() > EXPLICIT_LINKS {
            return Err(Refusal::Limit {
                what: "too many streams by name",
                limit: EXPLICIT_LINKS,
            });
        }
        if self.registry.is_empty() {
            // No one wanted to know what was appended until now.
            self.seen = self.order.head();
        }
        let is_new = self.registry.put(id, config, base, self.now())?;
        if is_new {
            let linked = self.link(id, config).await;
            if let Err(refusal) = linked {
                self.registry.remove(id);
                return Err(refusal);
            }
        }
        Ok((is_new, self.view(id, base, &keys)?))
    }

    /// Links a new subscription to the streams that are there.
    async fn link(&mut self, id: &Arc<str>, config: &Config) -> Result<(), Refusal> {
        self.add_streams(id, &config.streams).await?;
        let Some(prefix) = config.pattern.as_ref().map(|pattern| pattern.prefix()) else {
            return Ok(());
        };
        let mut after = None;
        loop {
            let page = self
                .log
                .list(&prefix, after, PAGE)
                .await
                .map_err(|error| Refusal::from(&error))?;
            if !page
                .streams
                .iter()
                .all(|info| self.registry.backfill(id, info))
            {
                return Ok(());
            }
            after = page.after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn add_streams(&mut self, id: &Arc<str>, streams: &[StreamName]) -> Result<(), Refusal> {
        for name in streams {
            let info = self.info(name).await?;
            self.registry.name(id, name, info.as_ref())?;
        }
        self.known(id)
    }

    fn known(&self, id: &str) -> Result<(), Refusal> {
        self.registry.get(id).map(drop).ok_or(Refusal::NotFound)
    }

    fn view(&self, id: &str, base: &str, keys: &Keys) -> Result<SubscriptionView, Refusal> {
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        Ok(SubscriptionView::new(id, known, base, keys))
    }

    async fn claim(
        &mut self,
        id: &Arc<str>,
        worker: String,
        journal: &mut Journal,
    ) -> Result<Claimed, Refusal> {
        self.known(id)?;
        let keys = keys(journal)?;
        let wake_id = keys::wake_id().map_err(|_| Refusal::Log)?;
        // No one is asked about streams for a claim that is refused anyway.
        let held = self
            .registry
            .get(id)
            .and_then(|known| known.wake.as_ref()?.holder.as_ref());
        let told = match held {
            Some(_) => Vec::new(),
            None => self.refresh_chosen(id).await?,
        };
        let now = self.now();
        self.registry.claim(id, worker, wake_id, &told, now)?;
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        let wake = known.wake.as_ref().ok_or(Refusal::NoPendingWork)?;
        let token = keys.token(id, &wake.id, known.generation, now);
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
        // A worker may have read further than was seen here.
        for (name, at) in &ack.acks {
            let link = self
                .registry
                .get(id)
                .and_then(|known| known.links.get(name));
            if link.is_some_and(|link| link.find(*at).is_none_or(|offset| offset > link.tail)) {
                let info = self.info(name).await?;
                self.registry.refresh(id, name, info.as_ref());
            }
        }
        let pending = self.registry.ack(id, ack, self.now())?;
        Ok(ack.done && pending)
    }

    /// Refuses a token that is not of the wake that the request is about, and a request that came in
    /// by the wrong door.
    fn authorize(
        &self,
        id: &Arc<str>,
        token: &str,
        wake_id: &str,
        generation: u64,
        webhook: bool,
        journal: &mut Journal,
    ) -> Result<(), Refusal> {
        // Where there are no keys yet, no token was given.
        let keys = journal.keys.as_ref().ok_or(Refusal::TokenInvalid)?;
        let claims = keys.verify(token, id, self.now())?;
        let known = self.registry.get(id).ok_or(Refusal::NotFound)?;
        if matches!(known.config.target, Target::Webhook(_)) != webhook {
            let why = "webhooks call back; workers that claimed acknowledge and release";
            return Err(Refusal::Invalid(why.to_owned()));
        }
        if claims.wake != wake_id || claims.generation != generation {
            return Err(Refusal::Fenced);
        }
        Ok(())
    }

    /// What the log says of a stream: `None` where it is not there.
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
