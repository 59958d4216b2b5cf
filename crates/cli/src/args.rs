use std::{
    num::{IntErrorKind, NonZeroU64, ParseIntError},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use headwater_client::{Format, Method};
use headwater_wire::amount;

use crate::{
    check::{self, Check},
    exit,
    gather::Gather,
    help,
    keys::Keys,
    mint::Mint,
    moving::{export::Export, import::Import},
    openapi::Document,
    publish::Publish,
    relay::Relay,
    serve::{self, Serve},
    streams::Streams,
    tail::Tail,
    token::TokenArgs,
    trust::Trust,
    url,
};

/// Streams of JSON over plain HTTP.
#[derive(Parser)]
#[command(
    name = "headwater",
    version,
    arg_required_else_help = true,
    after_help = help::HEADWATER,
    max_term_width = 100
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the hub: streams by URL, published with POST, followed from anywhere
    #[command(after_help = serve::EXAMPLES, after_long_help = help::long(serve::EXAMPLES, serve::DETAILS))]
    Serve(Box<Serve>),

    /// Create, list and revoke the keys of a hub
    ///
    /// They are in a file, by their hashes. A hub that serves with the file notices a change within
    /// a second. A hub that was started without one has to be restarted once.
    #[command(after_help = help::KEYS, after_long_help = help::long(help::KEYS, exit::LOCAL_EXIT_CODES), arg_required_else_help = true, verbatim_doc_comment)]
    Keys(Keys),

    /// Make a token (JWT) for a hub, signed with a secret or a private key
    ///
    /// Prints the token alone. Anyone who has it may do what it grants until it expires: it can't
    /// be revoked by itself, so let it expire soon.
    #[command(after_help = help::TOKEN, after_long_help = help::long(help::TOKEN, exit::LOCAL_EXIT_CODES), verbatim_doc_comment)]
    Token(Box<Mint>),

    /// Check the data of a stopped hub for damage
    #[command(after_help = check::EXAMPLE, after_long_help = help::long(check::EXAMPLE, check::DETAILS))]
    Check(Check),

    /// Publish messages to a stream of a hub, each exactly once
    ///
    /// Messages of a JSON stream are JSON values. The stream is created if it doesn't exist. A
    /// message without a response is sent again, and is still stored only once.
    #[command(after_help = help::PUBLISH, after_long_help = help::long(help::PUBLISH, exit::HUB_EXIT_CODES), verbatim_doc_comment)]
    Publish(Box<Publish>),

    /// Print the messages of streams of a hub, and follow them
    ///
    /// Prints one message per line. After a broken connection it resumes with the next message. It
    /// ends when the stream is closed.
    #[command(after_help = help::TAIL, after_long_help = help::long(help::TAIL, exit::HUB_EXIT_CODES), verbatim_doc_comment)]
    Tail(Box<Tail>),

    /// Have a hub call an upstream, store the response as a stream, and follow it
    ///
    /// The call is made once: the hub continues it when this command ends, and another command with
    /// the same request joins it. Prints one item per line; for Server-Sent Events, their data.
    #[command(after_help = help::RELAY, after_long_help = help::long(help::RELAY, exit::HUB_EXIT_CODES), verbatim_doc_comment)]
    Relay(Box<Relay>),

    /// List, create, describe, close and remove streams of a hub
    #[command(after_help = help::STREAMS, after_long_help = help::long(help::STREAMS, exit::HUB_EXIT_CODES), arg_required_else_help = true)]
    Streams(Streams),

    /// Write streams of a hub as lines, for a backup or for `import` into another hub
    ///
    /// The hub stays in use meanwhile. Each stream is complete up to its tail at one moment, with its
    /// settings, its producers and its closed state. Offsets stay valid where it is imported, but not
    /// the positions of /events. Subscriptions aren't exported.
    #[command(after_help = help::EXPORT, after_long_help = help::long(help::EXPORT, exit::HUB_EXIT_CODES), verbatim_doc_comment)]
    Export(Box<Export>),

    /// Read what `export` has written, and add the streams to a hub
    ///
    /// Readers continue after their last offset, and producers after their last append. A stream
    /// can be used once it is complete. If the import is interrupted, run it again: it continues.
    #[command(after_help = help::IMPORT, after_long_help = help::long(help::IMPORT, exit::HUB_EXIT_CODES), verbatim_doc_comment)]
    Import(Import),

    /// Print the document that describes a hub's API
    #[command(after_help = help::OPENAPI, after_long_help = help::long(help::OPENAPI, exit::LOCAL_EXIT_CODES))]
    Openapi(Document),

    /// Print the items of a stream as they arrive
    ///
    /// Reads Server-Sent Events, NDJSON, JSON text sequences, a JSON array or lines of text,
    /// whichever the server sends, and prints one item per line. A truncated body is an error,
    /// never a quiet end.
    #[command(after_help = help::GET, after_long_help = help::long(help::GET, exit::EXIT_CODES), verbatim_doc_comment)]
    Get(Box<Get>),

    /// Make many HTTP calls at once, and print each result as it arrives
    ///
    /// A call is a line: a URL, or a JSON object, of which only `url` is required:
    ///
    ///   {"url": "https://…", "method": "PUT", "headers": {"X-A": "1"}, "body": {"a": 1}, "key": "7"}
    ///
    /// A URL may omit http://. A body that is a string is sent as text, any other as JSON. A result
    /// is a line of JSON:
    ///
    ///   {"index":0,"key":"7","url":"https://…","status":200,"ms":12,"attempts":1,"body":{"b":2}}
    ///
    /// `index` is the call's number, from 0. The body is JSON if the response is JSON; otherwise it
    /// is a string, or base64 with "encoding":"base64". A call fails if its response isn't 2xx, if
    /// it is compressed although the call has no Accept-Encoding, or if its type is JSON and its
    /// body isn't. A failed call has "error":{"type":…,"title":…,"detail":…} and doesn't end the
    /// run. A line that isn't a call is a failed call, too.
    #[command(after_help = help::GATHER, after_long_help = help::long(help::GATHER, exit::GATHER_EXIT_CODES), verbatim_doc_comment)]
    Gather(Box<Gather>),
}

#[derive(ClapArgs)]
pub(crate) struct Get {
    /// The URL of the stream; http:// may be omitted
    #[arg(value_parser = url::parse)]
    pub(crate) url: String,

    #[command(flatten)]
    pub(crate) request: Request,
    #[command(flatten)]
    pub(crate) token: TokenArgs,
    #[command(flatten)]
    pub(crate) reading: Reading,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Request")]
pub(crate) struct Request {
    /// Send a header; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,

    /// The method [default: GET, or POST with --data]
    #[arg(short = 'X', long = "request", value_name = "METHOD", value_parser = method)]
    pub(crate) method: Option<Method>,

    /// Send a body: this text, a file's content, or with `-` the standard input
    ///
    /// It is sent as application/json if it is JSON, else as application/octet-stream; -H sets
    /// another Content-Type.
    #[arg(
        short = 'd',
        long,
        value_name = "TEXT|@FILE|-",
        allow_hyphen_values = true
    )]
    pub(crate) data: Option<String>,

    /// Resume after this event
    #[arg(long, value_name = "ID")]
    pub(crate) last_event_id: Option<String>,

    /// Use HTTP/2 with prior knowledge, also without TLS
    #[arg(long)]
    pub(crate) http2: bool,

    #[command(flatten)]
    pub(crate) trust: Trust,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Reading")]
pub(crate) struct Reading {
    /// Request this format, and read the body in it
    #[arg(long, value_name = "FORMAT", value_parser = FormatParser)]
    pub(crate) format: Option<Format>,

    /// Reconnect and resume an SSE stream that breaks or ends unfinished
    #[arg(long, conflicts_with = "raw")]
    pub(crate) reconnect: bool,

    /// Exit after this many items
    #[arg(short = 'n', long, value_name = "N", value_parser = whole::<NonZeroU64>, conflicts_with = "raw")]
    pub(crate) max_items: Option<NonZeroU64>,

    /// Fail, or reconnect, if no byte arrives for this time: 90s, 500ms, 2m; 0 disables the limit
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) idle_timeout: Duration,
}

#[derive(ClapArgs)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// Write to a file, with progress on stderr
    ///
    /// The file keeps its content until the first item (with --raw, byte) of a success, and is then
    /// overwritten as items arrive. It can't be the file that --data reads.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// No progress on stderr
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print the bytes as they arrive, undecoded
    #[arg(long)]
    pub(crate) raw: bool,

    /// Prefix each item with the time of its arrival (UTC)
    #[arg(short, long, conflicts_with = "raw")]
    pub(crate) timestamps: bool,

    /// Prefix each item with its event type and id (`-` without an id)
    #[arg(short = 'i', long = "events", conflicts_with = "raw")]
    pub(crate) events: bool,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// Colour JSON; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// Parses a format by its name, and makes `--help` list the names.
#[derive(Clone)]
struct FormatParser;

impl clap::builder::TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, clap::Error> {
        let names = clap::builder::PossibleValuesParser::new(Format::ALL.map(Format::name));
        let name = names.parse_ref(command, arg, value)?;
        Format::from_name(&name)
            .ok_or_else(|| clap::Error::new(clap::error::ErrorKind::InvalidValue))
    }

    fn possible_values(
        &self,
    ) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        let names = Format::ALL.into_iter().map(Format::name);
        Some(Box::new(names.map(clap::builder::PossibleValue::new)))
    }
}

/// Longest time until a key or a token expires: 100 years of 365 days.
const MAX_LIFETIME: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Parses the time until a key or a token expires.
pub(crate) fn lifetime(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        lifetime if lifetime < Duration::from_secs(1) => Err("it is at least 1s".to_owned()),
        lifetime if lifetime > MAX_LIFETIME => Err("it is at most 36500d".to_owned()),
        lifetime => Ok(lifetime),
    }
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(crate) fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| "not a method".to_owned())
}

/// Parses a whole number.
pub(crate) fn whole<T: FromStr<Err = ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: ParseIntError| {
        let what = match error.kind() {
            IntErrorKind::Zero => "it is at least 1",
            IntErrorKind::PosOverflow => "it is too large",
            _ => "not a whole number",
        };
        what.to_owned()
    })
}

/// Parses a number of bytes, which may have one of the units KiB, MiB and GiB.
pub(crate) fn bytes<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let bytes = amount::parse(text)
        .ok_or("not a number of bytes, or too large: write it like 1000, 64KiB or 1MiB")?;
    bytes.try_into().map_err(|_| "it is too large".to_owned())
}

/// Parses a number that may have decimals.
pub(crate) fn decimal(text: &str) -> Result<f64, String> {
    let number = text.parse();
    number.map_err(|_| "not a number: write it like 10 or 0.5".to_owned())
}

/// Parses a number with one of the units ms, s, m, h, d. Only 0 needs none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        unit => {
            return Err(format!(
                "`{unit}` is not a unit of time; the units are ms, s, m, h and d"
            ));
        }
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "not a time: write it like 90s, 1.5s or 500ms")?;
    if digits == text && number != 0.0 {
        return Err(format!(
            "it has no unit: write {text}s for seconds; the units are ms, s, m, h and d"
        ));
    }
    Duration::try_from_secs_f64(number * scale).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_definition_is_valid() {
        Args::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        let read = |text| duration(text).map(|time| time.as_millis());
        assert_eq!(read("60s"), Ok(60_000));
        assert_eq!(read("1.5s"), Ok(1500));
        assert_eq!(read("500ms"), Ok(500));
        assert_eq!(read("2m"), Ok(120_000));
        assert_eq!(read("7d"), Ok(604_800_000));
        assert_eq!(read("0"), Ok(0));
        for bad in ["", "s", "1y", "-1s", "1e400s", "x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for bare in ["20", "1.5"] {
            let error = read(bare).unwrap_err();
            assert!(
                error.contains(&format!("write {bare}s for seconds")),
                "{error}"
            );
        }
    }

    #[test]
    fn numbers_are_whole_and_bytes_have_units() {
        assert_eq!(whole::<NonZeroU64>("7").map(NonZeroU64::get), Ok(7));
        for (text, error) in [
            ("0", "it is at least 1"),
            ("99999999999999999999", "it is too large"),
            ("x", "not a whole number"),
            ("", "not a whole number"),
        ] {
            assert_eq!(whole::<NonZeroU64>(text), Err(error.to_owned()));
        }
        assert_eq!(bytes::<u64>("64KiB"), Ok(65_536));
        assert!(bytes::<u64>("1MB").is_err());
        assert!(bytes::<u32>("4GiB").is_err());
        assert_eq!(decimal("0.5"), Ok(0.5));
        assert!(decimal("x").is_err());
    }

    #[test]
    fn a_lifetime_is_from_a_second_to_a_hundred_years() {
        for (text, is_valid) in [
            ("1s", true),
            ("0.9s", false),
            ("0", false),
            ("36500d", true),
            ("36501d", false),
        ] {
            assert_eq!(lifetime(text).is_ok(), is_valid, "{text}");
        }
    }
}
