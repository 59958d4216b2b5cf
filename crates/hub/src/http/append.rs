//! `POST`: appends all messages of a request to a stream, or none.

use std::{future::poll_fn, sync::Arc, task::Poll};

use axum::{body::Body, extract::State, response::IntoResponse};
use bytes::Bytes;
use headwater::StatusCode;
use headwater_auth::Action;
use headwater_log::{Append, Error, Info, Outcome, Producer, Receipt, limits};
use http::{HeaderMap, HeaderValue, header};

use super::{
    create, messages,
    ndjson::{self, Target},
    openapi::{Answer, Appending},
    schema,
};
use crate::{
    access::Caller,
    error::{self, Failure, offset_value},
    protocol::{
        close_reason, header_names, headers,
        media_type::{is_json, is_lines, same_type},
        path::StreamPath,
    },
    requests::{body, headers::RequestHeaders, peer::Sender},
    state::HubState,
};

/// Appends to a stream, or closes it.
///
/// For a stream of `application/json` the body is one message, or an array of messages. For any
/// other stream, the body is one message. A body of `application/x-ndjson` is appended to a JSON
/// stream line by line as it arrives, without a limit of its length, and the response contains the
/// number of messages.
///
/// With `Stream-Create: true`, a missing stream is created first, with the body's type, and the
/// status is 201. Lines of NDJSON create a JSON stream. For an existing stream the header has no effect.
#[headwater::operation]
pub(crate) async fn append(
    State(hub): State<Arc<HubState>>,
    path: StreamPath,
    sender: Sender,
    caller: Caller,
    RequestHeaders(headers): RequestHeaders,
    body: Body,
) -> Result<Answer<Appending>, Failure> {
    let (hub, headers, name) = (&*hub, &headers, &path.name);
    let creates = headers::create(headers)?;
    if creates {
        // Checked before the lookup, which would tell if the stream exists.
        caller.check(Action::Create, Some(name.as_str()))?;
    }
    let content_type =
        headers::text(headers, &header::CONTENT_TYPE)?.filter(|text| !text.is_empty());
    let mut append = Append::default();
    append.close = headers::closed(headers)?;
    append.reason = close_reason::given(headers)?;
    append.producer = headers::producer(headers)?;
    append.continues = headers::continues(headers, append.producer.as_ref())?;
    append.seq = headers::text(headers, &header_names::STREAM_SEQ)?.map(str::to_owned);
    if append
        .seq
        .as_ref()
        .is_some_and(|seq| seq.len() > limits::SEQ_BYTES)
    {
        let most = limits::SEQ_BYTES;
        return Err(Failure::bad_request(format!(
            "Stream-Seq has at most {most} bytes"
        )));
    }
    let is_lines = content_type.is_some_and(is_lines);
    if is_lines {
        let target = match hub.log.info(name).await {
            Ok(info) if is_json(&info.settings.content_type) => {
                Some(Target::Existing(Arc::new(info)))
            }
            // Its messages are whole bodies.
            Ok(_) => None,
            Err(error) if error.is_not_found() && creates => Some(Target::Missing(&path, headers)),
            Err(error) => return Err(missing(error)),
        };
        if let Some(target) = target {
            // Rare and large futures are boxed, because this one is moved for each request.
            let lines = Box::pin(ndjson::append(hub, target, append, &sender, body));
            return Ok(lines.await?.into());
        }
    }
    if !is_lines && body::is_long(&body, headers) {
        // Before the body is sent, if its client waits for that, or while it is sent.
        match hub.log.info(name).await {
            Ok(info) if info.closed && append.producer.is_none() => {
                return Err(Failure::closed(info.at(info.tail)));
            }
            Ok(info) => check_type(&info, content_type)?,
            Err(error) if error.is_not_found() && creates => {}
            Err(error) => return Err(missing(error)),
        }
    }
    let mut held = hub.bodies.hold(&hub.options.limits, sender.peer);
    let body = body::whole(body, &hub.options.limits, &mut held).await?;
    let mut known = hub.log.known(name);
    let mut unfit: Option<(u64, Failure)> = None;
    let mut is_charged = false;
    let mut tries = 0;
    let (outcome, is_new, is_empty) = loop {
        let is_old = known.is_some();
        let (info, is_new) = match known.take() {
            Some(info) => (info, false),
            None => match hub.log.info(name).await {
                Ok(info) => (info, false),
                Err(error) if error.is_not_found() && creates => {
                    Box::pin(create::for_append(
                        hub,
                        &path,
                        headers,
                        &sender.meter,
                        &body,
                    ))
                    .await?
                }
                Err(error) => return Err(missing(error)),
            },
        };
        // A closed stream takes precedence over an invalid body.
        match unfit.take() {
            Some(_) if info.closed => return Err(Failure::closed(info.at(info.tail))),
            Some((id, failure)) if id == info.id => return Err(failure),
            _ => {}
        }
        let read = messages(hub, &info, content_type, body.clone(), append.close).await;
        let messages = match read {
            Ok(messages) => messages,
            // Another stream may have the name by now, and this one may be closed.
            Err(failure) if is_old => {
                unfit = Some((info.id, failure));
                continue;
            }
            Err(_) if info.closed => return Err(Failure::closed(info.at(info.tail))),
            Err(failure) => return Err(failure),
        };
        if !std::mem::replace(&mut is_charged, true) {
            sender.meter.take_messages(messages.len())?;
        }
        let is_empty = messages.is_empty();
        let mut attempt = append.clone();
        attempt.messages = messages;
        attempt.stream = Some(info.id);
        let outcome = match &append.producer {
            Some(producer) => in_turn(hub, &info, producer, attempt).await,
            None => hub.log.append(name, attempt).await,
        };
        match outcome {
            Err(error) if error.is_not_found() && tries < TRIES => tries += 1,
            Err(error) => return Err(missing(error)),
            Ok(outcome) => break (outcome, is_new, is_empty),
        }
    };
    let producer = append.producer;
    let (status, receipt) = match outcome {
        Outcome::Appended(receipt) if is_new => (StatusCode::CREATED, receipt),
        Outcome::Appended(receipt) if producer.is_some() && !is_empty => (StatusCode::OK, receipt),
        Outcome::Appended(receipt) | Outcome::Duplicate(receipt) => {
            (StatusCode::NO_CONTENT, receipt)
        }
        Outcome::Refused(refusal) => return Err(error::refusal(&refusal)),
    };
    if receipt.closed {
        hub.ingest_jobs.over(name);
    }
    let mut response = status.into_response();
    note(response.headers_mut(), &receipt);
    if status == StatusCode::CREATED
        && let Some(url) = path.url(hub.options.public_url.as_deref())
    {
        response.headers_mut().insert(header::LOCATION, url);
    }
    if let Some(producer) = producer {
        let headers = response.headers_mut();
        headers.insert(header_names::PRODUCER_EPOCH, producer.epoch.into());
        headers.insert(
            header_names::PRODUCER_SEQ,
            receipt.producer_seq.unwrap_or(producer.seq).into(),
        );
    }
    Ok(response.into())
}

/// Number of times that an append is tried again if its stream was deleted after it was looked up.
const TRIES: usize = 3;

/// Returns the failure for an append to a stream that doesn't exist.
fn missing(error: Error) -> Failure {
    if error.is_not_found() {
        return Failure::new(
            StatusCode::NOT_FOUND,
            "the stream doesn't exist: PUT creates it, and so does this POST with the header `Stream-Create: true`",
        );
    }
    error.into()
}

/// Appends after the producer's earlier appends that are on their way.
async fn in_turn(
    hub: &HubState,
    info: &Info,
    producer: &Producer,
    append: Append,
) -> Result<Outcome, Error> {
    hub.sequencer.wait(info.id, producer).await;
    let mut outcome = hub.log.append(&info.name, append);
    // Polling once submits it, so that the next append needn't wait until it is durable.
    let given = poll_fn(|cx| Poll::Ready(outcome.as_mut().poll(cx))).await;
    hub.sequencer.given(info.id, producer);
    match given {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => outcome.await,
    }
}

/// Adds the stream's tail.
pub(crate) fn note(headers: &mut HeaderMap, receipt: &Receipt) {
    headers.insert(
        header_names::STREAM_NEXT_OFFSET,
        offset_value(receipt.mark()),
    );
    if receipt.closed {
        headers.insert(
            header_names::STREAM_CLOSED,
            HeaderValue::from_static("true"),
        );
    }
}

/// Returns the messages of a request, after checking them.
async fn messages(
    hub: &HubState,
    info: &Info,
    content_type: Option<&str>,
    body: Bytes,
    close: bool,
) -> Result<Vec<Bytes>, Failure> {
    if body.is_empty() {
        return match close {
            true => Ok(Vec::new()),
            false => Err(Failure::bad_request(
                "an append has a body, unless it closes the stream",
            )),
        };
    }
    check_type(info, content_type)?;
    let own = &info.settings.content_type;
    let messages = messages::of_body(own, body, hub.options.limits.append_messages).await?;
    if messages.is_empty() {
        return Err(Failure::bad_request("the array has no messages"));
    }
    if let Some(schema) = hub.schemas.of(info).await? {
        Box::pin(schema::check(&schema, &messages)).await?;
    }
    Ok(messages)
}

/// Checks that a body has its stream's type.
fn check_type(info: &Info, content_type: Option<&str>) -> Result<(), Failure> {
    let own = &info.settings.content_type;
    let Some(content_type) = content_type else {
        return Err(Failure::bad_request(format!(
            "Content-Type is missing: send the header `Content-Type: {own}`, the stream's"
        )));
    };
    if !same_type(content_type, own) {
        return Err(Failure::conflict(format!(
            "the stream is of type {own:?}, not {content_type:?}: send the header `Content-Type: {own}`"
        )));
    }
    Ok(())
}
