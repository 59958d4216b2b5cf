//! Gathers whose results are written to a stream.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use futures_util::StreamExt as _;
use headwater::{Json, Problem, StatusCode};
use headwater_client::gather;
use headwater_log::{Info, Settings, StreamName};
use headwater_wire::json::encode_on_one_line;
use http::{HeaderValue, header};
use ring::digest;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    calls::{Calls, ListFormat},
    params::Options,
    result::Sent,
    run::Run,
};
use crate::{
    error::Failure,
    ingest::{self, IngestRequest},
    protocol::media_type::is_json,
    requests::{body, peer::Sender},
    state::HubState,
};

/// A request for a stored gather.
pub(super) struct Wanted {
    /// The stream for the results.
    pub(super) name: StreamName,
    pub(super) options: Options,
    pub(super) format: ListFormat,
}

/// The location of the results.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GatherStream")]
pub(super) struct Stored {
    /// The path of the stream, relative to the root of the streams.
    stream: String,
    /// Its URL.
    url: String,
}

/// Starts an ingest job for the calls, or joins that of an equal request.
///
/// # Errors
/// The list is invalid, or a limit is exceeded. 409: the stream of that name belongs to something
/// else.
pub(super) async fn start(
    hub: &HubState,
    url: &str,
    wanted: Wanted,
    sender: &Sender,
    body: Body,
) -> Result<Response, Failure> {
    let Wanted {
        name,
        options,
        format,
    } = wanted;
    let limits = &hub.options.limits;
    let mut held = hub.bodies.hold(limits, sender.peer);
    let list = body::whole(body, limits, &mut held).await?;
    let print = fingerprint(&list, format, &options);
    let answer = || answer(&name, url.to_owned());
    // A request that joins another one needs no permit.
    match hub.log.info(&name).await {
        Ok(info) => return joins(&info, &print).map(|()| answer()),
        Err(error) if error.is_not_found() => {}
        Err(error) if error.is_gone() => {
            let detail = "the path is kept by forks of a stream that was deleted";
            return Err(Failure::conflict(detail));
        }
        Err(error) => return Err(error.into()),
    }
    let run = Run::new(hub, sender.peer)?;
    let calls = Calls::new(format, Body::from(list), limits).all().await?;
    let client = hub.gathers.client(&hub.options.upstream.allow)?;
    let gathered = options.start(gather::from_iter(calls), &client)?;
    let results = run.results(gathered, options.headers);
    let fill = IngestRequest::new(name.clone(), Settings::of_type("application/json"));
    let fill = fill.note(json!({ NOTE: print }));
    let messages = move || {
        results.map(move |result| {
            // The list is held for as long as its calls may be made.
            let _held = &held;
            message(&result?)
        })
    };
    sender.meter.take_stream()?;
    let started = hub.ingest_jobs.start(fill, messages).await;
    if !started.as_ref().is_ok_and(|started| started.is_new) {
        sender.meter.give_back_stream();
    }
    let started = started?;
    if !started.is_new {
        joins(&started.info, &print)?;
    }
    Ok(answer())
}

/// The key of the request's fingerprint in the note of a stream.
const NOTE: &str = "gather";

/// Returns a fingerprint of a request: its calls, and the form of the results.
fn fingerprint(list: &[u8], format: ListFormat, options: &Options) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[u8::from(format == ListFormat::Lines), options.form()]);
    context.update(list);
    BASE64.encode(context.finish())
}

/// Checks that an existing stream belongs to an equal request.
fn joins(info: &Info, print: &str) -> Result<(), Failure> {
    let note = ingest::note(info);
    let of = note
        .as_ref()
        .and_then(|note| note.get(NOTE))
        .and_then(Value::as_str);
    match of {
        Some(of) if of == print => Ok(()),
        Some(_) => Err(Failure::conflict(
            "the stream already exists, with the results of other calls",
        )),
        None if !is_json(&info.settings.content_type) => Err(Failure::conflict(format!(
            "the stream already exists, and is of type {:?}",
            info.settings.content_type
        ))),
        None => Err(Failure::conflict(
            "the stream already exists, and wasn't created for results",
        )),
    }
}

fn message(result: &Sent) -> Result<Bytes, Problem> {
    let mut text = Vec::new();
    encode_on_one_line(result, &mut text).map_err(Problem::internal)?;
    Ok(text.into())
}

fn answer(name: &StreamName, url: String) -> Response {
    let location = HeaderValue::try_from(&url);
    let stored = Stored {
        stream: name.as_str().to_owned(),
        url,
    };
    let mut response = (StatusCode::ACCEPTED, Json(stored)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
