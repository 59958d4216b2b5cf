//! `headwater streams`: lists, creates, describes, closes and removes streams.

use std::{
    fs,
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::{Args as ClapArgs, Subcommand};
use headwater_client::{Client, hub::Offset};
use headwater_wire::terminal::Escaped;
use serde::{Deserialize, Serialize};

use crate::{
    args::{bytes, duration},
    exit::{self, Failure},
    help,
    hub_options::{Hub, shown, stream_name},
    interrupt::Interrupt,
    output_line::{on_one_line, say},
};

#[derive(ClapArgs)]
pub(crate) struct Streams {
    #[command(subcommand)]
    what: What,

    #[command(flatten)]
    hub: Hub,
}

#[derive(Subcommand)]
enum What {
    /// List streams: messages, bytes, state and path of each, with a heading on a terminal
    #[command(after_help = help::STREAMS_LS, after_long_help = help::long(help::STREAMS_LS, exit::HUB_EXIT_CODES))]
    Ls(List),
    /// Create a stream; one that exists with the same settings is unchanged
    #[command(after_help = help::STREAMS_CREATE, after_long_help = help::long(help::STREAMS_CREATE, exit::HUB_EXIT_CODES))]
    Create(Box<Create>),
    /// Print a stream's metadata
    #[command(after_help = help::STREAMS_INFO, after_long_help = help::long(help::STREAMS_INFO, exit::HUB_EXIT_CODES))]
    Info(One),
    /// Close a stream to appends; its readers end at the tail
    #[command(after_help = help::STREAMS_CLOSE, after_long_help = help::long(help::STREAMS_CLOSE, exit::HUB_EXIT_CODES))]
    Close(One),
    /// Remove streams with all their messages
    #[command(after_help = help::STREAMS_RM, after_long_help = help::long(help::STREAMS_RM, exit::HUB_EXIT_CODES))]
    Rm(Remove),
}

#[derive(ClapArgs)]
struct List {
    /// List only streams whose path starts with this
    prefix: Option<String>,

    /// Print each stream as an object, one per line
    #[arg(long)]
    json: bool,
}

#[derive(ClapArgs)]
struct One {
    /// The stream: its path at the hub, or its whole URL
    #[arg(value_parser = stream_name)]
    stream: String,

    /// Print an object
    #[arg(long)]
    json: bool,
}

#[derive(ClapArgs)]
struct Remove {
    /// The streams: their paths at the hub, or their whole URLs
    #[arg(required = true, value_parser = stream_name)]
    streams: Vec<String>,
}

#[derive(ClapArgs)]
struct Create {
    /// The stream: its path at the hub, or its whole URL
    #[arg(value_parser = stream_name)]
    stream: String,

    /// The content type of the messages [default: application/json, or that of the forked stream]
    #[arg(long = "type", value_name = "CONTENT-TYPE")]
    content_type: Option<String>,

    /// Expire the stream after this time without a read or write: 90s, 10m, 24h
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "expires_at")]
    ttl: Option<Duration>,

    /// Expire the stream at this time: 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,

    /// Trim messages older than this
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,

    /// Trim the oldest messages when all exceed this many bytes: 1000, 64KiB, 1MiB. Messages appended together
    /// are trimmed together
    #[arg(long, value_name = "BYTES", value_parser = bytes::<u64>)]
    max_bytes: Option<u64>,

    /// Check every message against the JSON Schema in this file
    #[arg(long, value_name = "FILE")]
    schema: Option<std::path::PathBuf>,

    /// Fork this stream of the same hub: its path after /streams/
    #[arg(long, value_name = "STREAM")]
    fork: Option<String>,

    /// Fork at this offset [default: the stream's tail]
    #[arg(long, value_name = "OFFSET", requires = "fork")]
    at: Option<String>,
}

pub(crate) async fn run(args: Streams, mut interrupt: Interrupt) -> Result<(), Failure> {
    tokio::select! {
        done = act(&args.hub, args.what) => done,
        number = interrupt.wait() => Err(Failure::signal(number)),
    }
}

async fn act(hub: &Hub, what: What) -> Result<(), Failure> {
    let client = hub.client()?;
    match what {
        What::Ls(args) => list(&args, hub, &client).await,
        What::Create(args) => create(&args, hub, &client).await,
        What::Info(args) => info(&args, hub, &client).await,
        What::Close(args) => {
            let closed = hub.stream(&client, &args.stream).close().await;
            let tail = closed.map_err(|error| hub.failure(&args.stream, error))?;
            match args.json {
                true => say(&format!("{{\"next_offset\":\"{tail}\",\"closed\":true}}")),
                false => say(&format!("{} is closed, at {tail}", shown(&args.stream))),
            }
        }
        What::Rm(args) => {
            for stream in &args.streams {
                let deleted = hub.stream(&client, stream).delete().await;
                deleted.map_err(|error| hub.failure(stream, error))?;
            }
            Ok(())
        }
    }
}

async fn create(args: &Create, hub: &Hub, client: &Client) -> Result<(), Failure> {
    let mut create = hub.stream(client, &args.stream).create();
    if let Some(content_type) = &args.content_type {
        create = create.content_type(content_type);
    }
    if let Some(span) = args.ttl {
        create = create.ttl(span);
    }
    if let Some(time) = &args.expires_at {
        create = create.expires_at(time);
    }
    if let Some(age) = args.max_age {
        create = create.max_age(age);
    }
    if let Some(bytes) = args.max_bytes {
        create = create.max_bytes(bytes);
    }
    if let Some(path) = &args.schema {
        let schema = fs::read_to_string(path);
        let schema = schema
            .map_err(|error| Failure::other(format!("--schema {}: {error}", path.display())))?;
        create = create.schema(&schema);
    }
    if let Some(source) = &args.fork {
        create = create.fork_of(source);
    }
    if let Some(offset) = &args.at {
        create = create.fork_at(&Offset::from(offset.as_str()));
    }
    match create.send().await? {
        true => say(&format!("created {}", shown(&args.stream))),
        false => say(&format!(
            "{} already exists, with the requested configuration",
            shown(&args.stream)
        )),
    }
}

/// The printed metadata of a stream.
#[derive(Serialize)]
struct Known<'a> {
    content_type: &'a str,
    next_offset: &'a str,
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
}

async fn info(args: &One, hub: &Hub, client: &Client) -> Result<(), Failure> {
    let info = hub.stream(client, &args.stream).info().await;
    let info = info.map_err(|error| hub.failure(&args.stream, error))?;
    let known = Known {
        content_type: &info.content_type,
        next_offset: info.tail.as_str(),
        closed: info.closed,
        floor: info.floor.as_ref().map(Offset::as_str),
        ttl: info.ttl.map(|span| span.as_secs()),
        expires_at: info.expires_at.as_deref(),
        max_age: info.max_age.map(|age| age.as_secs()),
        max_bytes: info.max_bytes,
    };
    let failed = |error| Failure::other(format!("can't write the result: {error}"));
    if args.json {
        return say(&on_one_line(&known)?);
    }
    let value = serde_json::to_value(&known).map_err(failed)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        say(&format!(
            "{:<14}{}",
            name.replace('_', " "),
            Escaped(&value)
        ))?;
    }
    Ok(())
}

/// A page of the hub's list of streams.
#[derive(Deserialize)]
struct Page {
    streams: Vec<serde_json::Value>,
    after: Option<String>,
}

async fn list(args: &List, hub: &Hub, client: &Client) -> Result<(), Failure> {
    if !args.json && io::stdout().is_terminal() {
        say(&heading())?;
    }
    let mut after = None;
    loop {
        let page = page(args, hub, client, after.as_deref()).await?;
        for stream in &page.streams {
            say(&match args.json {
                true => on_one_line(stream)?,
                false => line(stream),
            })?;
        }
        match page.after {
            // Pages are in the order of paths. Another one would come for ever.
            Some(next) if Some(&next) <= after.as_ref() => {
                return Err(Failure::other(
                    "the hub's list of streams doesn't end: a page has the same position as the one before",
                ));
            }
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn page(
    args: &List,
    hub: &Hub,
    client: &Client,
    after: Option<&str>,
) -> Result<Page, Failure> {
    let mut request = client.get(hub.list_url()).query("limit", 1000);
    if let Some(prefix) = &args.prefix {
        request = request.query("prefix", prefix);
    }
    if let Some(after) = after {
        request = request.query("after", after);
    }
    Ok(request.value().await?)
}

/// The headings of the columns of [`line`].
fn heading() -> String {
    columns("MESSAGES", "BYTES", "STATE", "PATH")
}

fn columns(messages: &str, bytes: &str, state: &str, path: &str) -> String {
    format!("{messages:>10} {bytes:>11} {state:<6} {path}")
}

/// Formats a stream as a line for people: messages, bytes, state, path.
fn line(stream: &serde_json::Value) -> String {
    let number = |name: &str| stream[name].as_u64().unwrap_or_default();
    let text = |name: &str| stream[name].as_str().unwrap_or_default();
    let state = match stream["closed"].as_bool() {
        Some(true) => "closed",
        _ => "open",
    };
    let path = Escaped(text("path")).to_string();
    let bytes = indicatif::HumanBytes(number("bytes")).to_string();
    columns(&number("messages").to_string(), &bytes, state, &path)
}
