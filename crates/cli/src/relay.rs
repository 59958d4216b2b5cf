//! `headwater relay`: has a hub call an upstream, and follows the response.

use std::{io::Write as _, time::Duration};

use clap::Args as ClapArgs;
use headwater_client::{Error, Event, Method, StatusCode, Str, Token};
use headwater_wire::terminal::ShellWord;

use crate::{
    args::{self, duration, header, method},
    exit::Failure,
    get::{
        body,
        output::{Output, Written},
        print::Printer,
    },
    hub_options::Hub,
    interrupt::Interrupt,
    token::TokenArgs,
    trust::Trust,
    url,
};

/// The variable that has the hub's secret for relays.
pub(crate) const SECRET: &str = "HEADWATER_RELAY_SECRET";

/// The header of the hub's own token.
const AUTHORIZATION: &str = "authorization";

#[derive(ClapArgs)]
pub(crate) struct Relay {
    /// The URL of the upstream, which the hub must allow; http:// may be omitted
    #[arg(value_parser = url::parse)]
    url: String,

    /// The stream that stores the response: its path at the hub
    #[arg(long = "as", value_name = "STREAM")]
    stream: String,

    /// The method [default: GET, or POST with --data]
    #[arg(short = 'X', long = "request", value_name = "METHOD", value_parser = method)]
    method: Option<Method>,

    /// Send a header to the upstream; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,

    /// Send a body to the upstream: this text, a file's content, or with `-` the standard input
    ///
    /// It is sent as application/json if it is JSON, else as application/octet-stream; -H sets
    /// another Content-Type.
    #[arg(
        short = 'd',
        long,
        value_name = "TEXT|@FILE|-",
        allow_hyphen_values = true
    )]
    data: Option<String>,

    /// Join the relay that was started with this key, if there is one
    ///
    /// Without it, an equal request for the same stream also joins.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Keep the stream for this time after its last use: 90s, 10m, 7d [default: the hub's]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,

    /// Abort the call after this time without readers: 90s, 10m [default: never]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    keep_for: Option<Duration>,

    /// Print the stream's URL and exit, instead of following
    #[arg(long)]
    detach: bool,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// Colour JSON; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: args::Color,

    /// The URL of the hub; http:// may be omitted
    #[arg(
        long,
        value_name = "URL",
        env = "HEADWATER_HUB",
        default_value = "http://127.0.0.1:8000",
        value_parser = url::parse,
        help_heading = "Hub"
    )]
    hub: String,

    #[command(flatten)]
    token: TokenArgs,

    /// The former name of --token, for the call alone
    #[arg(
        long,
        value_name = "SECRET",
        hide = true,
        conflicts_with_all = ["token", "token_file"]
    )]
    secret: Option<String>,

    #[command(flatten, next_help_heading = "Hub")]
    trust: Trust,
}

impl Relay {
    /// The hub's secret for relays, which is sent in place of the token with the request that starts
    /// one. An option for the token precedes the variable.
    fn secret(&self) -> Option<String> {
        let variable = || {
            std::env::var(SECRET)
                .ok()
                .filter(|secret| !secret.is_empty())
        };
        match self.token.is_given() {
            true => None,
            false => self.secret.clone().or_else(variable),
        }
    }
}

/// A relay that is running, or has ended.
struct Started {
    /// The signed URL, which can abort the relay.
    url: String,
    /// The public stream's URL.
    stream: String,
}

pub(crate) async fn run(relay: Relay, mut interrupt: Interrupt) -> Result<(), Failure> {
    let hub = Hub::at_url(&relay.hub, relay.token.clone(), &relay.trust);
    let started = tokio::select! {
        started = start(&relay, &hub) => started?,
        number = interrupt.wait() => return Err(Failure::signal(number)),
    };
    if relay.detach {
        // The output may be closed.
        let _ = writeln!(std::io::stdout(), "{}", started.stream);
        report!("{}", how_to_abort(&started));
        return Ok(());
    }
    let settings = args::Output {
        output: None,
        quiet: true,
        raw: false,
        timestamps: false,
        events: false,
        color: relay.color,
    };
    let mut output = Output::open(&settings)?;
    let printer = Printer::new(&settings, output.is_terminal());
    let done = tokio::select! {
        done = follow(&hub, &started.stream, &printer, &mut output) => done,
        number = interrupt.wait() => {
            report!("headwater: the relay continues\n{}", how_to_abort(&started));
            Err(Failure::signal(number))
        }
    };
    // Items that are already printed stay, regardless of the outcome.
    output.finish(done)
}

fn how_to_abort(started: &Started) -> String {
    let abort = format!("{}&action=abort", started.url);
    format!(
        "to abort it:  curl -X PATCH {}\nto follow it: headwater tail {}",
        ShellWord(&abort),
        ShellWord(&started.stream)
    )
}

async fn start(relay: &Relay, hub: &Hub) -> Result<Started, Failure> {
    let method = match (&relay.method, &relay.data) {
        (Some(method), _) => method.clone(),
        (None, Some(_)) => Method::POST,
        (None, None) => Method::GET,
    };
    let mut request = hub
        .client()?
        .post(hub.at("/relay"))
        .query("stream", relay.stream.trim_start_matches('/'))
        .header("upstream-url", &relay.url)
        .header("upstream-method", method.as_str());
    if let Some(key) = &relay.key {
        request = request.query("key", key);
    }
    for (name, time) in [("ttl", relay.ttl), ("keep_for", relay.keep_for)] {
        if let Some(time) = time {
            // The hub accepts whole seconds.
            request = request.query(name, time.as_millis().div_ceil(1000));
        }
    }
    if let Some(data) = &relay.data {
        let data = body(data)?;
        let named = relay.headers.iter();
        if !named
            .clone()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&data).is_ok();
            let content_type = match is_json {
                true => "application/json",
                false => "application/octet-stream",
            };
            request = request.header("content-type", content_type);
        }
        request = request.body(data);
    }
    for (name, value) in &relay.headers {
        // The hub uses the Authorization header itself.
        let name = match name.eq_ignore_ascii_case(AUTHORIZATION) {
            true => "upstream-authorization",
            false => name,
        };
        request = request.header(name, value);
    }
    if let Some(secret) = relay.secret() {
        request = request.token(Token::fixed(secret));
    }
    let answer = request.raw().await.map_err(refusal)?;
    let header = |name: &str| {
        let value = answer.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    match (header("location"), header("content-location")) {
        (Some(url), Some(stream)) => Ok(Started { url, stream }),
        _ => Err(Failure::other(format!(
            "{} relays nothing",
            hub.at("/relay")
        ))),
    }
}

/// The failure to start a relay. A 403 without a problem document is about the upstream, so another
/// token for the hub is no remedy.
fn refusal(error: Error) -> Failure {
    match error.status() {
        Some(StatusCode::FORBIDDEN) if !error.is_problem() => Failure::refused(error),
        _ => error.into(),
    }
}

/// Prints the stream's messages, and new ones until it is closed.
async fn follow(
    hub: &Hub,
    stream: &str,
    printer: &Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    let client = hub.client_for(stream)?;
    let mut reader = hub.stream(&client, stream).reader().open_raw().await?;
    while let Some(message) = reader.next().await {
        let mut next = Some(message);
        while let Some(message) = next {
            let message = match message {
                // The stream continues with all its messages.
                Err(error) if error.is_reset() => {
                    output.note(&format!("headwater: {stream}: {error}"));
                    next = reader.next_ready();
                    continue;
                }
                message => message?,
            };
            let event = Event::new(Str::from_utf8_lossy(message.value));
            if output.item(|line| printer.print(&event, line))? == Written::OutputClosed {
                return Ok(());
            }
            next = reader.next_ready();
        }
        if output.flush()? == Written::OutputClosed {
            return Ok(());
        }
    }
    Ok(())
}
