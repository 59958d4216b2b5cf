//! `headwater get`: prints the items of a stream as they arrive.

mod color;
pub(crate) mod output;
pub(crate) mod print;
pub(crate) mod progress;
pub(crate) mod time;

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use headwater_client::{Bytes, Client, Event, Format, Items, Method, Request};
use headwater_wire::json;

use self::{
    output::{Output, Written},
    print::Printer,
};
use crate::{
    args,
    exit::Failure,
    file::{self, Place},
    interrupt::Interrupt,
    retry_report,
};

pub(crate) async fn run(args: Box<args::Get>, mut interrupt: Interrupt) -> Result<(), Failure> {
    refuse_same(&args)?;
    let request = request(&args)?;
    let mut output = Output::open(&args.output)?;
    let done = tokio::select! {
        done = read(&args, request, &mut output) => done,
        number = interrupt.wait() => Err(Failure::signal(number)),
    };
    // Items that are already printed stay, regardless of the outcome.
    output.finish(done)
}

/// Refuses to write to the file from which the body is read.
fn refuse_same(args: &args::Get) -> Result<(), Failure> {
    let (Some(data), Some(output)) = (&args.request.data, &args.output.output) else {
        return Ok(());
    };
    let input = match data.strip_prefix('@') {
        Some(path) => Place::Path(Path::new(path)),
        None if data == "-" => Place::Stdin,
        None => return Ok(()),
    };
    file::refuse_same(input, Place::output(Some(output)))
}

/// The stream is over, or the output is closed.
struct Done;

async fn read(args: &args::Get, request: Request, output: &mut Output) -> Result<Done, Failure> {
    if args.output.raw {
        let pieces = request.raw().await?;
        return copy(pieces, output).await;
    }
    let items = request.events().await?;
    let printer = Printer::new(&args.output, output.is_terminal());
    print(
        items,
        &printer,
        args.reading.max_items.map(u64::from),
        output,
    )
    .await
}

/// Prints items. Items that are already available are written together.
async fn print(
    mut items: Items<Event>,
    printer: &Printer,
    max_items: Option<u64>,
    output: &mut Output,
) -> Result<Done, Failure> {
    let mut damaged = false;
    // The last record is incomplete.
    let mut cut = false;
    let mut number = 0_u64;
    'items: while let Some(mut item) = items.next().await {
        loop {
            match item {
                Ok(event) => {
                    cut = false;
                    number += 1;
                    if items.format() == Some(Format::Ndjson)
                        && let Err(error) = json::check(event.data.as_bytes(), usize::MAX)
                    {
                        output.note(&format!("headwater: item {number} is not JSON: {error}"));
                        damaged = true;
                    }
                    if output.item(|line| printer.print(&event, line))? == Written::OutputClosed {
                        return Ok(Done);
                    }
                    if max_items == Some(output.items()) {
                        break 'items;
                    }
                }
                // The stream continues with all its items.
                Err(error) if error.is_reset() => output.note(&format!("headwater: {error}")),
                // One record of a JSON text sequence; the next may be undamaged.
                Err(error) if items.format().is_some() => {
                    output.note(&format!("headwater: {error}"));
                    damaged = true;
                    cut = error.is_truncated();
                }
                Err(error) => return Err(error.into()),
            }
            match items.next_ready() {
                Some(next) => item = next,
                None => break,
            }
        }
        if output.flush()? == Written::OutputClosed {
            return Ok(Done);
        }
    }
    if cut {
        Err(Failure::cut())
    } else if damaged {
        Err(Failure::damaged())
    } else {
        Ok(Done)
    }
}

async fn copy(mut pieces: Items<Bytes>, output: &mut Output) -> Result<Done, Failure> {
    while let Some(piece) = pieces.next().await {
        output.bytes(&piece?)?;
        if output.flush()? == Written::OutputClosed {
            break;
        }
    }
    Ok(Done)
}

fn request(args: &args::Get) -> Result<Request, Failure> {
    let mut client = args.request.trust.apply(Client::builder())?;
    if !args.output.quiet {
        client = client.on_wait(retry_report::tell);
    }
    if args.request.http2 {
        client = client.http2_prior_knowledge();
    }
    let body = args.request.data.as_deref().map(body).transpose()?;
    let method = args.request.method.clone().unwrap_or(match body {
        Some(_) => Method::POST,
        None => Method::GET,
    });
    let mut request = client.build()?.request(method, &args.url);
    if let Some(token) = args.token.source(&args.request.headers, &args.url)? {
        request = request.token(token);
    }
    for (name, value) in &args.request.headers {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        let named = args
            .request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !named {
            let is_json = json::check(json::without_bom(&body), usize::MAX).is_ok();
            let content_type = if is_json {
                "application/json"
            } else {
                "application/octet-stream"
            };
            request = request.header("content-type", content_type);
        }
        request = request.body(body);
    }
    if let Some(id) = &args.request.last_event_id {
        request = request.last_event_id(id);
    }
    if let Some(format) = args.reading.format {
        request = request.format(format);
    }
    Ok(request
        .reconnect(args.reading.reconnect)
        .idle_timeout(args.reading.idle_timeout))
}

/// Reads the body that `--data` names.
pub(crate) fn body(data: &str) -> Result<Vec<u8>, Failure> {
    match data.strip_prefix('@') {
        Some(path) => {
            fs::read(path).map_err(|error| Failure::other(format!("--data @{path}: {error}")))
        }
        None if data == "-" => {
            let mut body = Vec::new();
            let read = io::stdin().read_to_end(&mut body);
            read.map_err(|error| Failure::other(format!("the standard input: {error}")))?;
            Ok(body)
        }
        None => Ok(data.as_bytes().to_vec()),
    }
}
