use std::{any::Any, error::Error, fmt, time::Duration};

use axum::{
    body::Body,
    extract::rejection,
    response::{IntoResponse, Response},
};
use headwater_wire::{causes, json};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap};
use serde_json::{Map, Value};

/// An error as clients receive it: problem details for HTTP APIs (RFC 9457).
///
/// A handler returns `Result<_, Problem>`; a stream yields `Result<T, Problem>`. `?` converts the
/// rejections of axum's extractors, with their status and text. It converts any other
/// [`std::error::Error`] to a problem with status 500 and no further content; the error itself is
/// logged. A text or a `Box<dyn Error + Send + Sync>` is no such type: use
/// [`.map_err(Problem::internal)?`](Self::internal) for these. Anything else that a client should know is added explicitly:
///
/// ```
/// use headwater::Problem;
///
/// let problem = Problem::not_found("there is no symbol XYZ").with("known", ["ABC", "DEF"]);
/// assert_eq!(
///     serde_json::to_string(&problem).unwrap(),
///     r#"{"title":"Not Found","status":404,"detail":"there is no symbol XYZ","known":["ABC","DEF"]}"#,
/// );
/// ```
// `Problem` doesn't implement `std::error::Error`: that would conflict with the conversion from
// every error, which is more useful.
pub struct Problem(Box<Inner>);

struct Inner {
    status: StatusCode,
    type_uri: Option<String>,
    title: Option<String>,
    detail: Option<String>,
    instance: Option<String>,
    members: Map<String, Value>,
    permanent: bool,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// Media type of a problem (RFC 9457 §3).
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// Creates a problem with only a status. Its title is the status's reason phrase.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self(Box::new(Inner {
            status,
            type_uri: None,
            title: None,
            detail: None,
            instance: None,
            members: Map::new(),
            permanent: false,
            retry_after: None,
            source: None,
        }))
    }

    /// Returns the reason phrase of a status by RFC 9110, the title of a problem that sets no other one.
    /// `None` if the status is unknown.
    #[must_use]
    pub fn reason(status: StatusCode) -> Option<&'static str> {
        headwater_wire::status::renamed(status.as_u16()).or(status.canonical_reason())
    }

    /// Creates a problem with status 400. `detail` explains the error and the valid form.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST).detail(detail)
    }

    /// Creates a problem with status 404. `detail` names the missing resource.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND).detail(detail)
    }

    /// Creates a problem with status 500. Clients see the status; `source` is logged.
    #[must_use]
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR).source(source)
    }

    headwater_wire::setters! {
        /// Sets `type`, a URI that identifies the kind of problem. Default: `about:blank`.
        type_uri(uri: impl Into<String>) => 0.type_uri = Some(uri.into());
        /// Sets `title`, a summary of the kind of problem.
        title(title: impl Into<String>) => 0.title = Some(title.into());
        /// Sets `detail`: the cause of this occurrence, and how to correct it.
        detail(detail: impl Into<String>) => 0.detail = Some(detail.into());
        /// Sets `instance`, a URI that identifies this occurrence.
        instance(uri: impl Into<String>) => 0.instance = Some(uri.into());
    }

    /// Adds an extension member (RFC 9457 §3.2). A name of one of the standard's own members is
    /// ignored.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        if !["type", "title", "status", "detail", "instance"].contains(&name.as_str()) {
            self.0.members.insert(name, value.into());
        }
        self
    }

    /// Marks the failure as permanent, so that `EventSource` clients don't retry.
    ///
    /// After a stream fails, an `EventSource` reconnects and calls the handler again. After a
    /// permanent failure, that reconnect is answered with 204, which stops it: the error event
    /// carries the id that marks the end. In other formats, and as a response of its own, the
    /// problem is unchanged.
    #[must_use]
    pub fn permanent(mut self) -> Self {
        self.0.permanent = true;
        self
    }

    /// Sets `Retry-After` of the response, for a 429 or a 503: the time after which to try again, rounded up to
    /// seconds. Headwater's clients wait for it and repeat a request that is safe to repeat.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::response::IntoResponse;
    /// use headwater::{Problem, StatusCode};
    ///
    /// let busy = Problem::new(StatusCode::SERVICE_UNAVAILABLE).retry_after(Duration::from_millis(1500));
    /// assert_eq!(busy.into_response().headers()["retry-after"], "2");
    /// ```
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.0.retry_after = Some(time);
        self
    }

    /// Sets the cause, which is logged. Clients don't see it.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn is_permanent(&self) -> bool {
        self.0.permanent
    }

    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Logs the cause, if there is one, or an internal error. A status like 503 or 507 without a
    /// cause is a deliberate refusal, which the client has received in full. It is logged at debug
    /// level only, because every request may cause one.
    pub(crate) fn log(&self) {
        let status = self.0.status;
        if let Some(source) = &self.0.source {
            tracing::error!(status = status.as_u16(), error = %causes::text(&**source), "{self}");
        } else if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status = status.as_u16(), "{self}");
        } else if status.is_server_error() {
            tracing::debug!(status = status.as_u16(), "{self}");
        }
    }
}

/// Logs the error that cut a stream. Its status was sent earlier, so the access log doesn't show
/// the error.
pub(crate) fn log_cut(problem: &Problem) {
    if problem.0.source.is_some() || problem.0.status == StatusCode::INTERNAL_SERVER_ERROR {
        problem.log();
    } else {
        tracing::warn!(
            status = problem.0.status.as_u16(),
            "a stream failed: {problem}"
        );
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Problem {
    fn from(error: E) -> Self {
        rejection(&error).unwrap_or_else(|| Self::internal(error))
    }
}

/// Converts a rejection of one of axum's extractors, which clients may see, with the status that
/// axum assigns. With it, a handler that accepts `Result<Query<T>, QueryRejection>` can use `?`.
fn rejection(error: &dyn Any) -> Option<Problem> {
    macro_rules! any_of {
        ($($rejection:ident),*) => {$(
            if let Some(rejection) = error.downcast_ref::<rejection::$rejection>() {
                let status = rejection.status();
                // The text of an error of the server tells of the app's types: it is for the log.
                return (!status.is_server_error())
                    .then(|| Problem::new(status).detail(rejection.body_text()));
            }
        )*};
    }
    any_of!(
        QueryRejection,
        PathRejection,
        RawPathParamsRejection,
        FormRejection,
        RawFormRejection,
        JsonRejection,
        BytesRejection,
        StringRejection
    );
    None
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            status,
            title,
            detail,
            ..
        } = &*self.0;
        let title = title
            .as_deref()
            .or(Self::reason(*status))
            .unwrap_or("unknown status");
        match detail {
            Some(detail) => write!(f, "{title}: {detail}"),
            None => f.write_str(title),
        }
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status)
            .field("title", &self.0.title)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner {
            status,
            type_uri,
            title,
            detail,
            instance,
            members,
            ..
        } = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(type_uri) = type_uri {
            map.serialize_entry("type", type_uri)?;
        }
        if let Some(title) = title.as_deref().or(Self::reason(*status)) {
            map.serialize_entry("title", title)?;
        }
        map.serialize_entry("status", &status.as_u16())?;
        if let Some(detail) = detail {
            map.serialize_entry("detail", detail)?;
        }
        if let Some(instance) = instance {
            map.serialize_entry("instance", instance)?;
        }
        for (name, value) in members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Reads the output of [`Serialize`]. A problem without a `status`, which RFC 9457 allows, has
/// status 500.
impl<'de> Deserialize<'de> for Problem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Members {
            #[serde(rename = "type")]
            type_uri: Option<String>,
            title: Option<String>,
            status: Option<u16>,
            detail: Option<String>,
            instance: Option<String>,
            #[serde(flatten)]
            members: Map<String, Value>,
        }
        let Members {
            type_uri,
            title,
            status,
            detail,
            instance,
            members,
        } = Members::deserialize(deserializer)?;
        let status = match status {
            Some(status) => StatusCode::from_u16(status).map_err(D::Error::custom)?,
            None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Ok(Self(Box::new(Inner {
            status,
            type_uri,
            title,
            detail,
            instance,
            members,
            permanent: false,
            retry_after: None,
            source: None,
        })))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.log();
        // Strings, numbers and JSON values under string keys always serialise.
        let mut body = Vec::with_capacity(128);
        let _ = json::encode_on_one_line(&self, &mut body);
        // A terminal's prompt then starts on a new line.
        body.push(b'\n');
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.0.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(Self::CONTENT_TYPE),
        );
        if let Some(time) = self.0.retry_after {
            let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_internal_error_exposes_only_its_status() {
        fn fails() -> Result<(), Problem> {
            Err(io::Error::other("password is hunter2"))?;
            Ok(())
        }
        let problem = fails().unwrap_err();
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"title":"Internal Server Error","status":500}"#
        );
        assert!(format!("{problem:?}").contains("hunter2"));
    }

    #[test]
    fn a_title_is_the_reason_phrase_of_rfc_9110() {
        for (status, title) in [
            (StatusCode::PAYLOAD_TOO_LARGE, "Content Too Large"),
            (StatusCode::UNPROCESSABLE_ENTITY, "Unprocessable Content"),
            (StatusCode::URI_TOO_LONG, "URI Too Long"),
        ] {
            let problem = Problem::new(status);
            assert_eq!(problem.to_string(), title);
            assert_eq!(serde_json::to_value(problem).unwrap()["title"], title);
        }
    }

    #[test]
    fn a_problem_is_restored_from_its_json() {
        let problem = Problem::new(StatusCode::BAD_GATEWAY)
            .type_uri("https://example.com/torn")
            .title("Torn")
            .detail("after 3 items")
            .instance("/relay/1")
            .with("items", 3);
        let text = serde_json::to_string(&problem).unwrap();
        let back: Problem = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        let bare: Problem = serde_json::from_str("{}").unwrap();
        assert_eq!(bare.status(), StatusCode::INTERNAL_SERVER_ERROR);
        for none in [r#"{"status":7}"#, r#"{"status":"x"}"#, "[]"] {
            assert!(serde_json::from_str::<Problem>(none).is_err(), "{none}");
        }
    }

    #[test]
    fn the_members_are_in_the_standards_order() {
        let problem = Problem::new(StatusCode::CONFLICT)
            .with("balance", 30)
            .with("status", 999)
            .detail("too little")
            .title("No credit")
            .instance("/account/1")
            .type_uri("https://example.com/credit");
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"https://example.com/credit","title":"No credit","status":409,"detail":"too little","instance":"/account/1","balance":30}"#
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }
}
