//! Common options of the commands for a hub: its location, and the names of its streams.

use std::time::Duration;

use clap::Args as ClapArgs;
use headwater_client::{Client, ClientBuilder, Error, Url, hub::Stream};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    args::{header, whole},
    exit::Failure,
    retry_report, streams_root,
    token::TokenArgs,
    trust::Trust,
    url,
};

/// The characters that a path can't contain (RFC 3986 §3.3), and `%`, which would be read as an
/// escape.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The default maximum number of consecutive failed attempts of a request.
const ATTEMPTS: u32 = 10;

#[derive(ClapArgs)]
#[command(next_help_heading = "Hub")]
pub(crate) struct Hub {
    /// The URL of the hub; http:// may be omitted
    #[arg(
        long = "hub",
        value_name = "URL",
        env = "HEADWATER_HUB",
        default_value = "http://127.0.0.1:8000",
        value_parser = url::parse,
        global = true
    )]
    url: String,

    /// The path of the hub's streams, as set by its `serve --root`
    #[arg(
        long,
        value_name = "PATH",
        env = "HEADWATER_ROOT",
        default_value = streams_root::DEFAULT,
        value_parser = streams_root::parse,
        global = true
    )]
    root: String,

    /// Send a header, for example for authentication; may be repeated
    #[arg(
        short = 'H',
        long = "header",
        value_name = "NAME: VALUE",
        value_parser = header,
        global = true
    )]
    headers: Vec<(String, String)>,

    /// Maximum number of consecutive attempts of a request
    #[arg(long, value_name = "N", default_value_t = ATTEMPTS, value_parser = whole::<u32>, global = true)]
    attempts: u32,

    #[command(flatten)]
    trust: Trust,

    #[command(flatten)]
    token: TokenArgs,
}

impl Hub {
    /// The hub at a URL, with this token and default options otherwise.
    pub(crate) fn at_url(url: &str, token: TokenArgs, trust: &Trust) -> Self {
        Self {
            url: url.to_owned(),
            root: streams_root::DEFAULT.to_owned(),
            headers: Vec::new(),
            attempts: ATTEMPTS,
            token,
            trust: trust.clone(),
        }
    }

    /// A client that sends the hub's token with all its requests.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let builder = self.builder()?;
        let token = self.token.source(&self.headers, &self.url)?;
        Ok(match token {
            Some(token) => builder.token(token),
            None => builder,
        }
        .build()?)
    }

    /// A client for a URL that the hub named. It sends the token only if that URL has the hub's
    /// origin.
    pub(crate) fn client_for(&self, url: &str) -> Result<Client, Failure> {
        match origin(url).is_some_and(|url| Some(url) == origin(&self.url)) {
            true => self.client(),
            false => Ok(self.builder()?.build()?),
        }
    }

    fn builder(&self) -> Result<ClientBuilder, Failure> {
        let mut builder = self
            .trust
            .apply(Client::builder())?
            .max_attempts(self.attempts)
            .on_wait(retry_report::tell)
            .backoff(Duration::from_millis(250), Duration::from_secs(15));
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        Ok(builder)
    }

    /// The URL of a path at the hub.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    /// A stream, named by its path or by its whole URL.
    pub(crate) fn stream(&self, client: &Client, name: &str) -> Stream {
        client.stream(self.stream_url(name))
    }

    /// Converts the error of a request for a stream. If the stream doesn't exist, that is all that
    /// matters.
    pub(crate) fn failure(&self, name: &str, error: Error) -> Failure {
        match is_missing(&error) {
            true => self.no_stream(name),
            false => error.into(),
        }
    }

    /// The failure for a stream that doesn't exist.
    pub(crate) fn no_stream(&self, name: &str) -> Failure {
        let mut url = self.stream_url(name);
        if let Ok(mut parsed) = Url::parse(&url) {
            // The hub's URL may have credentials.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.set_fragment(None);
            url = parsed.into();
        }
        Failure::refused(match is_url(name) {
            true => format!("there is no stream {url}"),
            false => format!("there is no stream {}: {url} doesn't exist", shown(name)),
        })
    }

    fn stream_url(&self, name: &str) -> String {
        if is_url(name) {
            return url::with_scheme(name).into_owned();
        }
        let path = utf8_percent_encode(shown(name), IN_PATH);
        let root = self.root.trim_end_matches('/');
        self.at(&format!("{root}/{path}"))
    }

    /// The URL of the list of streams.
    pub(crate) fn list_url(&self) -> String {
        self.at(&self.root)
    }
}

/// Parses an argument that names a stream: a path at the hub, or a whole URL.
///
/// # Errors
/// It is empty, or has an empty segment, `.` or `..`. In a URL, these would name something else than a stream.
pub(crate) fn stream_name(text: &str) -> Result<String, String> {
    let path = shown(text);
    if path.is_empty() {
        return Err("a stream's name can't be empty".to_owned());
    }
    let is_bad = |segment| matches!(segment, "" | "." | "..");
    if !is_url(text) && path.split('/').any(is_bad) {
        return Err("a stream's path has no empty, \".\" or \"..\" segments".to_owned());
    }
    Ok(text.to_owned())
}

/// Returns the name of a stream as it is at the hub, without a slash at its beginning.
pub(crate) fn shown(name: &str) -> &str {
    name.trim_start_matches('/')
}

/// Returns `true` for the error of a stream that doesn't exist.
pub(crate) fn is_missing(error: &Error) -> bool {
    error.status().is_some_and(|status| status.as_u16() == 404)
}

/// The scheme, host and port of a URL.
fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(url.origin().ascii_serialization())
}

/// Returns `true` if a stream is named by its whole URL. Without a scheme, a name is a URL if it
/// begins with a host and a port, and a path if it begins with a slash.
pub(crate) fn is_url(name: &str) -> bool {
    name.starts_with("http://")
        || name.starts_with("https://")
        || url::begins_with_host_and_port(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_under_the_root() {
        for (root, expected) in [("/", "http://hub/a"), ("/v1/s", "http://hub/v1/s/a")] {
            let mut hub = Hub::at_url("http://hub/", TokenArgs::default(), &Trust::default());
            hub.root = root.to_owned();
            assert_eq!(hub.stream_url("a"), expected);
            assert_eq!(hub.list_url(), format!("http://hub{root}"));
        }
    }

    #[test]
    fn a_name_stays_under_the_root() {
        for bad in [
            "",
            "/",
            "//",
            "..",
            "/..",
            "../healthz",
            "a/../b",
            "a/.",
            "a//b",
            "a/",
        ] {
            assert!(stream_name(bad).is_err(), "{bad:?}");
        }
        for good in [
            "a",
            "/a",
            "a..b/.c",
            "...",
            "http://hub/streams/a",
            "hub:1/s/a",
            "a/**",
            "%2e%2e",
        ] {
            assert_eq!(stream_name(good).as_deref(), Ok(good));
        }
    }

    #[test]
    fn a_missing_stream_is_named_without_credentials() {
        let url = "http://user:secret@hub:1/base";
        let hub = Hub::at_url(url, TokenArgs::default(), &Trust::default());
        for (name, expected) in [
            (
                "a/b",
                "no stream a/b: http://hub:1/base/streams/a/b doesn't exist",
            ),
            (
                "http://user:secret@other/x?secret#secret",
                "no stream http://other/x\"",
            ),
        ] {
            let failure = format!("{:?}", hub.no_stream(name));
            assert!(failure.contains(expected), "{failure}");
            assert!(!failure.contains("secret"), "{failure}");
        }
    }

    #[test]
    fn a_stream_is_named_by_its_path_or_its_url() {
        let hub = Hub {
            url: "http://hub:1/base/".to_owned(),
            root: streams_root::DEFAULT.to_owned(),
            headers: Vec::new(),
            attempts: 1,
            token: TokenArgs::default(),
            trust: Trust::default(),
        };
        let url = |name| hub.stream_url(name);
        assert_eq!(url("a/b c?"), "http://hub:1/base/streams/a/b%20c%3F");
        assert_eq!(url("/ä%"), "http://hub:1/base/streams/%C3%A4%25");
        assert_eq!(url("https://other/x"), "https://other/x");
        for bare in [
            "127.0.0.1:8000/s/x",
            "localhost:1/x",
            "[::1]:1/x",
            "a.example:1/x",
        ] {
            assert_eq!(url(bare), format!("http://{bare}"));
        }
        for path in [
            "user:42/chat",
            "a.example/x",
            "localhost:1",
            "localhost/x",
            "1.5:x/y",
        ] {
            assert_eq!(url(path), format!("http://hub:1/base/streams/{path}"));
        }
        assert_eq!(
            url("/localhost:1/x"),
            "http://hub:1/base/streams/localhost:1/x"
        );
    }
}
