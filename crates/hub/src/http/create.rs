//! `PUT`: ensures that a stream with the requested settings exists.

use std::sync::Arc;

use axum::{body::Body, extract::State, response::IntoResponse};
use bytes::Bytes;
use headwater::{StatusCode, schema::Schema};
use headwater_auth::Action;
use headwater_log::{
    Clock, Create, Created, Expiry, ForkFrom, Info, Offset, Settings, Skip, limits,
};
use http::{HeaderMap, HeaderValue, header};

use super::{
    messages,
    openapi::{Answer, Creation},
    schema,
};
use crate::{
    access::Caller,
    error::{Failure, offset_value},
    protocol::{
        header_names, headers,
        media_type::{essence, is_json, is_media_type, same_type},
        path::{self, StreamPath},
        read_query::Place,
        time,
    },
    requests::{body, peer::Sender, rates::Meter},
    state::HubState,
};

/// The content type of a stream that was created without one.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// Creates a stream.
///
/// If a stream with the requested settings exists at that path, nothing happens. If it differs, the
/// response is 409.
#[headwater::operation]
pub(crate) async fn create_stream(
    State(hub): State<Arc<HubState>>,
    path: StreamPath,
    headers: HeaderMap,
    sender: Sender,
    caller: Caller,
    body: Body,
) -> Result<Answer<Creation>, Failure> {
    let wish = Wish::read(&path, &headers).await?;
    if let Some(fork) = &wish.fork {
        // A fork has its source's messages.
        caller.check(Action::Read, Some(fork.source.as_str()))?;
    }
    let source = match &wish.fork {
        Some(fork) => match hub.log.info(&fork.source).await {
            Ok(source) => Some(source),
            Err(error) => {
                // A fork that exists is found although its source was deleted (§4.2).
                let existing = hub.log.info(&path.name).await;
                let info = existing.map_err(|_| of_source(error))?;
                wish.matches(&info)?;
                return Ok(answer(&hub, &path, &info, false));
            }
        },
        None => None,
    };
    let mut held = hub.bodies.hold(&hub.options.limits, sender.peer);
    let body = body::whole(body, &hub.options.limits, &mut held).await?;
    let most = hub.options.limits.append_messages;
    let create = wish.create(source.as_ref(), body, most).await?;
    wish.check_messages(&create).await?;
    sender.meter.take_messages(create.messages.len())?;
    let created = create_in_log(&hub, &path, &sender.meter, create).await?;
    if !created.is_new {
        wish.matches(&created.info)?;
    }
    Ok(answer(&hub, &path, &created.info, created.is_new))
}

fn answer(hub: &HubState, path: &StreamPath, info: &Info, is_new: bool) -> Answer<Creation> {
    let mut response = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
    .into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, content_type(info));
    answer.insert(
        header_names::STREAM_NEXT_OFFSET,
        offset_value(info.at(info.tail)),
    );
    if info.closed {
        answer.insert(
            header_names::STREAM_CLOSED,
            HeaderValue::from_static("true"),
        );
    }
    if is_new && let Some(url) = path.url(hub.options.public_url.as_deref()) {
        answer.insert(header::LOCATION, url);
    }
    response.into()
}

/// Creates the stream for an append, without the append's messages. An existing stream is left
/// unchanged. Also returns `true` if the stream is new.
///
/// # Errors
/// The append doesn't fit the stream that it asks for, which isn't created then.
pub(crate) async fn for_append(
    hub: &HubState,
    path: &StreamPath,
    headers: &HeaderMap,
    meter: &Meter,
    body: &Bytes,
) -> Result<(Info, bool), Failure> {
    let wish = Wish::read(path, headers).await?;
    if wish.fork.is_some() {
        return Err(Failure::bad_request("a fork is created with PUT"));
    }
    match wish.content_type.as_deref().map(essence).as_deref() {
        None => {
            return Err(Failure::bad_request(
                "Content-Type is missing: it becomes the type of the new stream",
            ));
        }
        // The defaults of curl and of HTML forms.
        Some("application/x-www-form-urlencoded" | "multipart/form-data") => {
            return Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type is that of a form, the default of `curl -d` and `curl -F`: send the header \
                 `Content-Type: application/json`, or the type of the stream's content; a stream of forms is \
                 created with PUT",
            ));
        }
        Some(_) => {}
    }
    let mut create = wish
        .create(None, body.clone(), hub.options.limits.append_messages)
        .await?;
    if create.messages.is_empty() && !(body.is_empty() && wish.closed) {
        return Err(Failure::bad_request(
            "an append has messages, unless it closes the stream",
        ));
    }
    wish.check_messages(&create).await?;
    create.messages.clear();
    create.closed = false;
    let created = create_in_log(hub, path, meter, create).await?;
    Ok((created.info, created.is_new))
}

async fn create_in_log(
    hub: &HubState,
    path: &StreamPath,
    meter: &Meter,
    create: Create,
) -> Result<Created, Failure> {
    if let Err(problem) = path::check_new(&path.name)
        && hub.log.info(&path.name).await.is_err()
    {
        return Err(problem.into());
    }
    let is_counted = match meter.take_stream() {
        Ok(()) => true,
        // An existing stream isn't created, so it doesn't need one of them.
        Err(_) if hub.log.info(&path.name).await.is_ok() => false,
        Err(refusal) => return Err(refusal),
    };
    let messages = create.messages.len() as u64;
    let created = hub.log.create(&path.name, create).await;
    if is_counted && !created.as_ref().is_ok_and(|created| created.is_new) {
        meter.give_back_stream();
    }
    created.map_err(|error| {
        let limit = error.limit().unwrap_or_default();
        if error.is_gone() {
            Failure::conflict("the path is kept by forks of a stream that was deleted")
        } else if error.is_too_many() && messages <= limit {
            // The limit isn't that of messages, but of streams or of nested forks.
            Failure::new(StatusCode::INSUFFICIENT_STORAGE, error.to_string())
                .with("code", "too_many_streams")
                .with("limit", limit)
        } else if error.is_trimmed() || error.is_beyond_tail() {
            Failure::bad_request(error.to_string())
        } else {
            error.into()
        }
    })
}

/// A deleted source is a conflict for a fork.
fn of_source(error: headwater_log::Error) -> Failure {
    match (error.is_gone(), error.is_not_found()) {
        (true, _) => Failure::conflict("the stream to fork was deleted"),
        (_, true) => Failure::new(StatusCode::NOT_FOUND, "the stream to fork doesn't exist"),
        _ => error.into(),
    }
}

/// Returns the content type of a stream as a header.
pub(crate) fn content_type(info: &Info) -> HeaderValue {
    // It was received as a header.
    let value = HeaderValue::try_from(&info.settings.content_type);
    value.unwrap_or(HeaderValue::from_static(DEFAULT_TYPE))
}

/// The stream that a `PUT` requests.
struct Wish {
    content_type: Option<String>,
    settings: Settings,
    /// The compiled schema of the settings.
    schema: Option<Schema>,
    fork: Option<ForkFrom>,
    /// The sub-offset of the fork, in messages or bytes, depending on the source's type.
    skip: u64,
    closed: bool,
}

impl Wish {
    async fn read(path: &StreamPath, headers: &HeaderMap) -> Result<Self, Failure> {
        let content_type = headers::text(headers, &header::CONTENT_TYPE)?;
        let content_type = content_type.map(str::trim).filter(|text| !text.is_empty());
        if content_type.is_some_and(|text| text.len() > limits::CONTENT_TYPE_BYTES) {
            let most = limits::CONTENT_TYPE_BYTES;
            return Err(Failure::bad_request(format!(
                "Content-Type has at most {most} bytes"
            )));
        }
        if content_type.is_some_and(|text| !is_media_type(text)) {
            return Err(Failure::bad_request(
                "Content-Type is a media type, such as application/json or text/plain",
            ));
        }
        let mut settings = Settings::default();
        settings.expiry = headers::expiry(headers, Clock::system().now())?;
        settings.max_age = headers::seconds(headers, &header_names::STREAM_MAX_AGE)?;
        settings.max_bytes = headers::number(headers, &header_names::STREAM_MAX_BYTES, u64::MAX)?;
        let mut schema = None;
        if let Some(header) = headers::one(headers, &header_names::STREAM_SCHEMA)? {
            let (document, compiled) = schema::read(header.as_bytes()).await?;
            settings.schema = Some(document);
            schema = Some(compiled);
        }
        let skip = headers::number(headers, &header_names::STREAM_FORK_SUB_OFFSET, u64::MAX)?;
        let at = headers::text(headers, &header_names::STREAM_FORK_OFFSET)?;
        let fork = match headers::text(headers, &header_names::STREAM_FORKED_FROM)? {
            Some(source) => {
                let source = path.other(source)?;
                let (at, of) = match at.map(Place::parse).transpose()? {
                    None | Some(Place::Now) => (None, None),
                    Some(Place::Start | Place::First) => (Some(Offset::START), None),
                    Some(Place::At(mark)) => (Some(mark.at), Some(mark.incarnation)),
                    Some(Place::Unknown(_)) => {
                        let detail =
                            "Stream-Fork-Offset is not an offset of the source: it has no stream";
                        return Err(Failure::bad_request(detail));
                    }
                };
                Some(ForkFrom {
                    source,
                    at,
                    of,
                    skip: Skip::NONE,
                })
            }
            None if at.is_some() || skip.is_some() => {
                return Err(Failure::bad_request(
                    "a fork names its source in Stream-Forked-From",
                ));
            }
            None => None,
        };
        Ok(Self {
            content_type: content_type.map(str::to_owned),
            settings,
            schema,
            fork,
            skip: skip.unwrap_or(0),
            closed: headers::closed(headers)?,
        })
    }

    /// Returns the stream to create, from its source if it is a fork, with at most `most` messages.
    async fn create(
        &self,
        source: Option<&Info>,
        body: Bytes,
        most: usize,
    ) -> Result<Create, Failure> {
        let mut settings = self.settings.clone();
        settings.content_type = match (&self.content_type, source) {
            (Some(wanted), Some(source)) if !same_type(wanted, &source.settings.content_type) => {
                return Err(Failure::conflict(format!(
                    "the stream to fork is of type {:?}",
                    source.settings.content_type
                )));
            }
            (Some(wanted), None) => wanted.clone(),
            (_, Some(source)) => source.settings.content_type.clone(),
            (None, None) => DEFAULT_TYPE.to_owned(),
        };
        if settings.schema.is_none() {
            settings.schema = source.and_then(|source| source.settings.schema.clone());
        }
        let is_json = is_json(&settings.content_type);
        if settings.schema.is_some() && !is_json {
            return Err(Failure::bad_request(
                "only a stream of application/json can have a schema",
            ));
        }
        let mut create = Create::new(settings);
        create.closed = self.closed;
        if !body.is_empty() {
            create.messages = messages::of_body(&create.settings.content_type, body, most).await?;
        }
        create.fork = self.fork.clone().map(|fork| ForkFrom {
            skip: if is_json {
                Skip::Messages(self.skip)
            } else {
                Skip::Bytes(self.skip)
            },
            ..fork
        });
        Ok(create)
    }

    /// Checks the first messages of the stream against its schema, which is the source's if the
    /// request has none.
    async fn check_messages(&self, create: &Create) -> Result<(), Failure> {
        if create.messages.is_empty() {
            return Ok(());
        }
        match (&self.schema, &create.settings.schema) {
            (Some(schema), _) => schema::check(schema, &create.messages).await,
            (None, Some(of_source)) => {
                let schema = schema::compile(of_source.clone()).await?;
                schema::check(&schema, &create.messages).await
            }
            (None, None) => Ok(()),
        }
    }

    /// Checks that the existing stream is the requested one. Settings that the request leaves open
    /// match anything that they could have become.
    fn matches(&self, info: &Info) -> Result<(), Failure> {
        let settings = &info.settings;
        let differs = |what: &str, hint: String| {
            Err(Failure::conflict(format!(
                "the stream already exists, and has another {what}: {hint}"
            )))
        };
        let is_fork = self.fork.is_some();
        let wanted = self
            .content_type
            .as_deref()
            .or((!is_fork).then_some(DEFAULT_TYPE));
        if wanted.is_some_and(|wanted| !same_type(wanted, &settings.content_type)) {
            let own = &settings.content_type;
            return differs(
                "content type",
                format!("send the header `Content-Type: {own}`"),
            );
        }
        let fits = |same: bool, left_open: bool| same || (is_fork && left_open);
        if !fits(
            self.settings.expiry == settings.expiry,
            self.settings.expiry.is_none(),
        ) {
            let hint = match settings.expiry {
                Some(Expiry::Idle(span)) => {
                    format!("send the header `Stream-TTL: {}`", span.as_secs())
                }
                Some(Expiry::At(moment)) => {
                    format!(
                        "send the header `Stream-Expires-At: {}`",
                        time::format(moment)
                    )
                }
                None => "leave Stream-TTL and Stream-Expires-At out".to_owned(),
            };
            return differs("expiry", hint);
        }
        if !fits(
            self.settings.schema == settings.schema,
            self.settings.schema.is_none(),
        ) {
            let hint = match settings.schema {
                Some(_) => "send its own as the header `Stream-Schema`",
                None => "leave Stream-Schema out",
            };
            return differs("schema", hint.to_owned());
        }
        if self.settings.max_age != settings.max_age
            || self.settings.max_bytes != settings.max_bytes
        {
            let header = |name: &str, value: Option<u64>| match value {
                Some(value) => format!("send the header `{name}: {value}`"),
                None => format!("leave {name} out"),
            };
            let age = header("Stream-Max-Age", settings.max_age.map(|age| age.as_secs()));
            let bytes = header("Stream-Max-Bytes", settings.max_bytes);
            return differs("age or size cap", format!("{age}, and {bytes}"));
        }
        if self.closed != info.closed {
            let state = match info.closed {
                true => "closed: send the header `Stream-Closed: true`",
                false => "open: leave Stream-Closed out",
            };
            return Err(Failure::conflict(format!(
                "the stream already exists, and is {state}"
            )));
        }
        let same_fork = match (&self.fork, &info.fork) {
            (None, None) => true,
            (Some(wanted), Some(fork)) => {
                let (Skip::Messages(skip) | Skip::Bytes(skip)) = fork.skip;
                wanted.source == fork.source
                    && wanted.at.is_none_or(|at| at == fork.at)
                    && wanted
                        .of
                        .is_none_or(|of| of == info.at(fork.at).incarnation)
                    && self.skip == skip
            }
            _ => false,
        };
        if same_fork {
            return Ok(());
        }
        // The source isn't named: the caller may not know of it.
        let hint = match (&info.fork, &self.fork) {
            (Some(fork), Some(wanted)) if wanted.source == fork.source => {
                "it is a fork of that stream, but from another offset"
            }
            (Some(_), _) => "it is a fork, so send the header `Stream-Forked-From` with its source",
            (None, _) => "it is not a fork, so leave Stream-Forked-From out",
        };
        differs("source", hint.to_owned())
    }
}
