//! The outcome of an attempt: a result, or a later retry.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::StatusCode;
use tokio::{task::JoinSet, time::Instant};

use super::{GatherResults, Named, Underway};
use crate::{
    error::{Error, Kind, Overdue},
    gather::{
        Answer, Options, Timing,
        attempt::{self, Attempt},
        prepared::Prepared,
        schedule::Schedule,
    },
    session::{readable_type, refusal},
};

impl GatherResults {
    /// Handles the end of an attempt.
    pub(super) fn attempted(&mut self, index: u64, attempt: Attempt) {
        let now = Instant::now();
        let Some(underway) = self.calls.get_mut(&index) else {
            return;
        };
        let (call, host) = (Arc::clone(&underway.call), Arc::clone(&underway.host));
        underway.head = attempt.head;
        let status = attempt.outcome.as_ref().ok().map(Answer::status);
        let wish = attempt.outcome.as_ref().ok().and_then(attempt::wish);
        let wish = wish.map(|wish| self.options.backoff.limited(wish));
        if let Some(wish) = wish
            && status == Some(StatusCode::TOO_MANY_REQUESTS)
        {
            self.schedule.hold(&host, now + wish, now);
        }
        self.schedule.finish(&host, now);
        let is_confirmed_elsewhere = status == Some(StatusCode::NOT_MODIFIED)
            && underway.stored.is_some()
            && attempt.redirected;
        if is_confirmed_elsewhere {
            // The stored response belongs to another URL than the 304. Send the call again without
            // conditions.
            if let Some(cache) = &self.options.cache {
                cache.invalidate(&call.url);
            }
            underway.cacheable = false;
            underway.stored = None;
            return self.schedule.pause(index, &host, now);
        }
        if attempt::is_passing(&attempt.outcome)
            && let Some(at) = underway.again_at(now, wish, &self.options)
        {
            return self.schedule.pause(index, &host, at);
        }
        let attempts = underway.attempts;
        let outcome = underway.settle(attempt, &self.options);
        let outcome = outcome.map_err(|error| error.after_attempts(attempts));
        self.finish(index, outcome, now);
    }

    /// Fails the remaining calls after the time limit of all calls.
    pub(super) fn expire(&mut self, cx: &mut Context<'_>) {
        self.deadline = None;
        self.attempts = JoinSet::new();
        self.schedule = Schedule::new(self.options.per_host, self.options.interval);
        let limit = self.options.total_timeout;
        let overdue = |what| Error::new(Kind::Overdue { limit, what });
        let now = Instant::now();
        let mut left: Vec<_> = self.calls.keys().copied().collect();
        left.sort_unstable();
        for index in left {
            let place = self.calls.get(&index).map(|underway| underway.call.place());
            let error = overdue(Overdue::Run).at(&place.unwrap_or_default());
            self.finish(index, Err(error), now);
        }
        // Only the source knows if there are more calls.
        let next = match self.source.take() {
            None => return,
            Some(mut source) => source.as_mut().poll_next(cx),
        };
        let call = match next {
            Poll::Ready(None) => return,
            Poll::Ready(Some(call)) => call.ok(),
            Poll::Pending => None,
        };
        let named = Named {
            index: self.read,
            key: call.and_then(|call| call.key),
            url: String::new(),
            read: now,
        };
        self.give(named, 0, Timing::default(), Err(overdue(Overdue::Unread)));
    }
}

impl Underway {
    /// The time of the next attempt; `None` if the call may not be retried, or has no time left.
    fn again_at(&self, now: Instant, wish: Option<Duration>, options: &Options) -> Option<Instant> {
        if self.attempts > options.retries || !self.call.is_repeatable() {
            return None;
        }
        let mut rng = fastrand::Rng::new();
        let delay = options
            .backoff
            .delay(None, wish, self.attempts - 1, &mut rng);
        let at = now + delay;
        let has_time = self.deadline.is_none_or(|deadline| at < deadline.at);
        has_time.then_some(at)
    }

    /// Returns the result of the last attempt, after updating the cache.
    fn settle(&mut self, attempt: Attempt, options: &Options) -> Result<Answer, Error> {
        let call = &self.call;
        let answer = attempt.outcome.map_err(|error| error.at(&call.place()))?;
        let Some(cache) = &options.cache else {
            return judge(call, answer);
        };
        if !self.cacheable {
            let has_changed = answer.status.is_success() || answer.status.is_redirection();
            if has_changed && !call.method.is_safe() {
                cache.invalidate(&call.url);
            }
            return judge(call, answer);
        }
        let answer = match self.stored.take() {
            Some(stored) if answer.status == StatusCode::NOT_MODIFIED => {
                let (headers, times) = (&answer.headers, attempt.times);
                cache.confirm(&call.url, &call.headers, &stored, headers, times)
            }
            _ => {
                if !attempt.redirected {
                    cache.keep(&call.url, &call.headers, &answer, attempt.times);
                }
                answer
            }
        };
        judge(call, answer)
    }
}

/// An answer whose status isn't a success, or whose body isn't the JSON that it should be, is an error that
/// contains it.
pub(super) fn judge(call: &Prepared, answer: Answer) -> Result<Answer, Error> {
    let error = match answer.status.is_success() {
        true => match answer.check_json() {
            Ok(()) => return Ok(answer),
            Err(error) => error,
        },
        false => refusal(answer.status, &readable_type(&answer.headers), &answer.body),
    };
    Err(error.at(&call.place()).with_answer(answer))
}
