use super::*;

/// An error with a chain of causes, the outermost first.
#[derive(Debug)]
struct Cause(&'static [&'static str], Option<Box<Cause>>);

impl Cause {
    fn chain(messages: &'static [&'static str]) -> Self {
        let (_, below) = messages.split_first().unwrap();
        let below = (!below.is_empty()).then(|| Box::new(Self::chain(below)));
        Self(messages, below)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0[0])
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_deref().map(|below| below as _)
    }
}

fn no_response(causes: &'static [&'static str]) -> Error {
    Error::new(Kind::Connect)
        .at("GET http://localhost/")
        .with_source(Cause::chain(causes))
}

#[test]
fn an_error_that_main_returns_is_its_message_and_its_causes_on_one_line() {
    let error = no_response(&["can't connect", "tcp", "connection refused"]).after_attempts(3);
    let attempts = "(gave up after 3 attempts in a row)";
    assert_eq!(
        format!("{error:?}"),
        format!(
            "GET http://localhost/: no response: can't connect: tcp: connection refused \
             {attempts}"
        )
    );
    assert_eq!(format!("{error:#?}"), format!("{error:?}"));
    assert_eq!(
        error.to_string(),
        format!("GET http://localhost/: no response: connection refused {attempts}")
    );
}

#[test]
fn a_repeated_cause_is_written_once() {
    let error = no_response(&["tcp: refused", "refused", "refused"]);
    let text = format!("{error:?}");
    assert_eq!(text, "GET http://localhost/: no response: tcp: refused");
    let json = headwater_wire::json::check(b"[1", 9).unwrap_err();
    let error = Error::new(Kind::BodyNotJson(json));
    assert!(StdError::source(&error).is_some());
    assert_eq!(format!("{error:?}"), error.to_string());
}

#[test]
fn a_cause_cannot_add_a_line() {
    let text = format!("{:?}", no_response(&["one\ntwo", "\u{1b}[2J"]));
    assert!(
        text.ends_with("no response: one\\ntwo: \\u{1b}[2J"),
        "{text}"
    );
}

#[test]
fn an_error_without_a_cause_is_its_message() {
    let error = Error::request("there is no URL");
    assert_eq!(format!("{error:?}"), "there is no URL");
}

#[test]
fn an_error_says_that_a_body_has_no_content_type() {
    let found = |found: Option<&str>| {
        let found = found.map(str::to_owned);
        let wanted = Wanted::AnyFormat;
        Error::new(Kind::ContentType { found, wanted }).to_string()
    };
    let text = found(None);
    assert!(
        text.starts_with("the body has no Content-Type; it should be application/x-ndjson"),
        "{text}"
    );
    let text = found(Some("image/png"));
    assert!(
        text.starts_with("the body is image/png, which is not a stream of items; it should be "),
        "{text}"
    );
}
