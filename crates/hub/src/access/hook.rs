//! Authorization by the app that embeds the hub.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use headwater::Problem;
use headwater_auth::{Action, ActionSet, AuthError, Grant, Grants, Identity, StreamPattern};
use headwater_log::StreamName;
use http::request::Parts;
use parking_lot::Mutex;

use super::Denied;

/// Time that the app has to decide again about an open response whose identity has expired.
const AGAIN_PATIENCE: Duration = Duration::from_millis(500);

/// A decision of an app about a request, for [`Options::authorize`](crate::Options::authorize).
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// The request is allowed to take this action on this stream, and nothing else. Without a stream, the
    /// action is allowed on all streams: a listing or `/events` shows everything.
    ///
    /// **For `POST /tickets`**, which asks about the action `read` without a stream, the ticket is good for one
    /// read of any stream or of `/events`, as the app isn't asked again when it is used. Return
    /// [`Identity`](Self::Identity) there, unless the sender may read everything.
    Allow,
    /// The request is of this identity, and its grants decide about everything that the request is for:
    /// also which streams a listing and `/events` show, from which stream a fork may be made, and
    /// whether an append may create its stream. [`Identity::of_application`] makes one.
    ///
    /// When it expires, the app is asked again about responses that are still open.
    Identity(Identity),
    /// The request is refused with 403, because it lacks the action.
    Deny,
    /// The request is refused with this problem, such as one with the status 401. A 401 gets
    /// `WWW-Authenticate: Bearer`.
    Refuse(Problem),
    /// The credentials that the request presents to the hub decide, as without a hook.
    Pass,
}

type Deciding = Pin<Box<dyn Future<Output = Decision> + Send>>;

/// The function of [`Options::authorize`](crate::Options::authorize).
#[derive(Clone)]
pub(crate) struct Hook(Arc<dyn Fn(Parts, Action, Option<StreamName>) -> Deciding + Send + Sync>);

impl Hook {
    pub(crate) fn new<F, R>(decide: F) -> Self
    where
        F: Fn(Parts, Action, Option<StreamName>) -> R + Send + Sync + 'static,
        R: Future<Output = Decision> + Send + 'static,
    {
        Self(Arc::new(move |parts, action, stream| {
            Box::pin(decide(parts, action, stream))
        }))
    }

    /// Asks the app about a request. Returns `None` if it leaves the decision to the hub.
    ///
    /// # Errors
    /// The app refuses the request.
    pub(super) async fn ask(
        &self,
        parts: &Parts,
        action: Action,
        stream: Option<&StreamName>,
    ) -> Result<Option<Identity>, Denied> {
        let Self(decide) = self;
        match decide(parts.clone(), action, stream.cloned()).await {
            Decision::Allow => {
                let grants = exactly(action, stream);
                Ok(Some(Identity::of_application("", grants, None)))
            }
            Decision::Identity(identity) if identity.is_expired(SystemTime::now()) => {
                Err(Denied::Unknown(AuthError::Expired))
            }
            Decision::Identity(identity) => Ok(Some(identity)),
            Decision::Deny => Err(Denied::Lacks(action)),
            Decision::Refuse(problem) => Err(Denied::Refused(Refused::new(problem))),
            Decision::Pass => Ok(None),
        }
    }
}

/// Returns the grant of an action on a stream, or on all.
fn exactly(action: Action, stream: Option<&StreamName>) -> Grants {
    let streams = match stream {
        Some(stream) => StreamPattern::of_name(stream.as_str()),
        None => StreamPattern::everything(),
    };
    let grant = Grant {
        actions: ActionSet::NONE.with(action),
        streams: vec![streams],
    };
    // A name that is too long for a pattern gets no grant.
    Grants::new(vec![grant]).unwrap_or_default()
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// A question to the app, kept with an open response to be asked again.
pub(super) struct Question {
    hook: Hook,
    parts: Parts,
    action: Action,
    stream: Option<StreamName>,
}

impl Question {
    pub(super) fn new(
        hook: &Hook,
        parts: &Parts,
        action: Action,
        stream: Option<&StreamName>,
    ) -> Self {
        Self {
            hook: hook.clone(),
            parts: parts.clone(),
            action,
            stream: stream.cloned(),
        }
    }

    /// Asks the app about an open response. Without a decision in time, it isn't allowed any more.
    pub(super) async fn ask_again(&self) -> Result<Identity, Denied> {
        let expired = || Denied::Unknown(AuthError::Expired);
        let Self {
            hook,
            parts,
            action,
            stream,
        } = self;
        let asked = hook.ask(parts, *action, stream.as_ref());
        let asked = tokio::time::timeout(AGAIN_PATIENCE, asked).await;
        asked.map_err(|_| expired())??.ok_or_else(expired)
    }
}

/// The problem of [`Decision::Refuse`].
#[derive(Clone, Debug)]
pub(crate) struct Refused(Arc<Mutex<Problem>>);

impl Refused {
    fn new(problem: Problem) -> Self {
        Self(Arc::new(Mutex::new(problem)))
    }

    /// Returns the problem. Its cause, which is for the log, is only in the first one.
    pub(super) fn problem(&self) -> Problem {
        let mut problem = self.0.lock();
        let copy = serde_json::to_value(&*problem).and_then(serde_json::from_value);
        let copy = copy.unwrap_or_else(|_| Problem::new(problem.status()));
        std::mem::replace(&mut *problem, copy)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use headwater::StatusCode;

    use super::*;

    /// An extension that counts its clones.
    #[derive(Default)]
    struct Counted(Arc<AtomicUsize>);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    #[tokio::test]
    async fn the_head_of_a_request_is_copied_once_to_ask_the_app() {
        let hook = Hook::new(async |_, _, _| Decision::Allow);
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let counted = Counted::default();
        let clones = Arc::clone(&counted.0);
        parts.extensions.insert(counted);
        let asked = hook.ask(&parts, Action::Read, None).await;
        assert!(asked.is_ok_and(|identity| identity.is_some()));
        assert_eq!(clones.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_problem_is_the_same_each_time() {
        let problem = Problem::new(StatusCode::UNAUTHORIZED).detail("log in");
        let refused = Refused::new(problem.with("code", "no_session"));
        for _ in 0..3 {
            let problem = refused.problem();
            assert_eq!(problem.status(), StatusCode::UNAUTHORIZED);
            let text = serde_json::to_string(&problem).unwrap();
            assert!(
                text.contains("log in") && text.contains("no_session"),
                "{text}"
            );
        }
    }
}
