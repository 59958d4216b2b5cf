use std::{io, path::Path};

use super::*;

fn ask(token: Token, refused: Option<&str>) -> Result<String, Error> {
    let refused = refused.map(|text| Bearer::new(text.to_owned()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let asked = runtime.unwrap().block_on(token.ask(refused));
    asked.map(Bearer::into_text)
}

/// A file that is removed with the value.
struct TempFile(PathBuf);

impl TempFile {
    fn new(content: impl AsRef<[u8]>) -> Self {
        let name = format!(
            "headwater-token-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let file = Self(std::env::temp_dir().join(name));
        file.write(content);
        file
    }

    fn write(&self, content: impl AsRef<[u8]>) {
        std::fs::write(&self.0, content).unwrap();
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_is_read_for_each_attempt_without_its_line_breaks() {
    let file = TempFile::new("one\n");
    let token = Token::from_file(&file.0);
    assert_eq!(ask(token.clone(), None).unwrap(), "one");
    for (content, wanted) in [("two", "two"), ("three\r\n", "three"), ("a b\n\n", "a b")] {
        file.write(content);
        assert_eq!(ask(token.clone(), Some("one")).unwrap(), wanted);
    }
}

#[test]
fn a_file_that_holds_no_token_is_an_error_that_names_it() {
    let file = TempFile::new("");
    let path = file.0.display().to_string();
    let long = "secret".repeat(MAX_TOKEN_BYTES);
    for (content, fault) in [
        (&b""[..], "is empty"),
        (b"\n", "is empty"),
        (b"secret\nsecret\n", "holds a control character at byte 6"),
        (b" secret", "white space"),
        (b"secret\xff", "is not UTF-8"),
        (long.as_bytes(), "is longer than the limit of 16384 bytes"),
    ] {
        file.write(content);
        let error = ask(Token::from_file(&file.0), None).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(
            error.is_token() && text.contains(&path) && text.contains(fault),
            "{text}"
        );
        assert!(!text.contains("secret"), "{text}");
    }
    for path in [
        Path::new("/nonexistent/token"),
        Path::new("/dev"),
        Path::new("/dev/null"),
    ] {
        let error = ask(Token::from_file(path), None).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_token_is_limited_in_length() {
    let longest = "x".repeat(MAX_TOKEN_BYTES);
    let file = TempFile::new(format!("{longest}\r\n\r\n"));
    for token in [Token::fixed(&*longest), Token::from_file(&file.0)] {
        assert_eq!(ask(token, None).unwrap(), longest);
    }
    file.write(format!("{longest}x\n"));
    for token in [Token::fixed(longest + "x"), Token::from_file(&file.0)] {
        let error = ask(token, None).unwrap_err().to_string();
        assert!(
            error.contains("longer than the limit of 16384 bytes"),
            "{error}"
        );
    }
}

#[test]
fn a_function_learns_which_token_was_refused() {
    let tell = |request: &TokenRequest| Ok::<_, io::Error>(format!("{:?}", request.refused()));
    let sync = Token::from_fn(move |request| tell(&request));
    let later = Token::from_async_fn(move |request| async move { tell(&request) });
    for token in [sync, later] {
        assert_eq!(ask(token.clone(), None).unwrap(), "None");
        assert_eq!(ask(token, Some("one")).unwrap(), "Some(\"one\")");
    }
}

#[test]
fn the_error_of_a_function_is_the_cause() {
    let error = ask(Token::from_fn(|_| Err::<String, _>("not logged in")), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no token to send: its source failed: not logged in"
    );
    assert!(error.is_token() && error.is_passing());
}

#[test]
fn no_token_is_shown() {
    let request = TokenRequest {
        refused: Some("secret".to_owned()),
    };
    let bearer = Bearer::new("secret".to_owned()).unwrap();
    let invalid = ask(Token::fixed("secret\r\nx: y"), None).unwrap_err();
    for shown in [
        format!("{:?}", Token::fixed("secret")),
        format!("{request:?}"),
        format!("{bearer:?} {:?}", bearer.header().unwrap()),
        format!("{invalid} {invalid:?}"),
    ] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}
