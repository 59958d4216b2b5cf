use super::*;

fn lay(args: JwtArgs, file: &str) -> Result<Option<Jwt>, String> {
    let context = Context {
        data: Path::new("memory"),
        root: "/streams",
        public_url: Some("https://hub.example/"),
    };
    let laid = args.lay(toml::from_str(file).unwrap(), &context);
    laid.map_err(|failure| format!("{failure:?}"))
}

fn args(secret: Option<&str>, public: Option<&str>, set: Option<&str>) -> JwtArgs {
    JwtArgs {
        jwt_secret_file: secret.map(Into::into),
        jwt_public_key: public.map(Into::into),
        jwks: set.map(Into::into),
        jwks_ca: None,
        jwt_issuer: None,
        jwt_audience: None,
    }
}

#[test]
fn a_key_of_the_command_line_replaces_that_of_the_file() {
    let file = "secret_file = \"f\"\nissuer = \"i\"\nleeway = \"5m\"\n";
    let jwt = lay(args(None, None, Some("s")), file).unwrap().unwrap();
    assert_eq!(jwt.key, Key::Set("s".into()));
    assert_eq!(jwt.issuer.as_deref(), Some("i"));
    let jwt = lay(args(None, None, None), file).unwrap().unwrap();
    assert_eq!(jwt.key, Key::Secret("f".into()));
    assert_eq!(jwt.leeway, Some(MAX_LEEWAY));
    assert!(lay(args(None, None, None), "").unwrap().is_none());
}

#[test]
fn tokens_have_exactly_one_key() {
    for (args, file, part) in [
        (args(Some("a"), Some("b"), None), "", "one source"),
        (args(None, Some("a"), Some("b")), "", "one source"),
        (
            args(None, None, None),
            "secret_file = \"a\"\njwks = \"b\"",
            "one source",
        ),
        (args(None, None, None), "issuer = \"i\"", "need a key"),
        (args(None, None, None), "mercure = true", "need a key"),
        (args(None, None, None), "leeway = \"1s\"", "need a key"),
    ] {
        let error = lay(args, file).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn the_url_of_a_set_is_told_from_a_file() {
    for url in ["https://idp.example/jwks", "HTTP://idp.example/jwks"] {
        let laid = lay(args(None, None, Some(url)), "");
        #[cfg(feature = "jwks")]
        assert_eq!(laid.unwrap().unwrap().jwks_url(), Some(url));
        #[cfg(not(feature = "jwks"))]
        assert!(laid.unwrap_err().contains("feature `jwks`"));
    }
    let file = lay(args(None, None, Some("https/jwks.json")), "");
    assert_eq!(
        file.unwrap().unwrap().key,
        Key::Set("https/jwks.json".into())
    );
}

#[test]
fn a_private_authority_is_for_the_url_of_a_set() {
    let with_ca = |key: JwtArgs| JwtArgs {
        jwks_ca: Some("ca".into()),
        ..key
    };
    for (args, file) in [
        (with_ca(args(Some("a"), None, None)), ""),
        (with_ca(args(None, None, Some("jwks.json"))), ""),
        (
            args(None, None, None),
            "secret_file = \"a\"\njwks_ca = \"ca\"",
        ),
    ] {
        let error = lay(args, file).unwrap_err();
        assert!(error.contains("for the https URL"), "{error}");
    }
    let error = lay(with_ca(args(None, None, None)), "").unwrap_err();
    assert!(error.contains("need a key"), "{error}");

    let file = "jwks = \"https://idp.example/jwks\"\njwks_ca = \"of the file\"";
    // The file's URL is replaced, and with it the authority.
    let jwt = lay(args(Some("a"), None, None), file).unwrap().unwrap();
    assert_eq!(jwt.ca, None);
    #[cfg(feature = "jwks")]
    for (args, ca) in [
        (args(None, None, None), "of the file"),
        (
            args(None, None, Some("https://other.example/jwks")),
            "of the file",
        ),
        (with_ca(args(None, None, None)), "ca"),
    ] {
        let jwt = lay(args, file).unwrap().unwrap();
        assert_eq!(jwt.ca.as_deref(), Some(Path::new(ca)));
    }
}

#[test]
fn a_long_leeway_is_refused() {
    let error = lay(args(Some("a"), None, None), "leeway = \"301s\"").unwrap_err();
    assert!(error.contains("300s"), "{error}");
}

#[test]
fn topics_are_urls_under_the_root_of_the_streams() {
    let stream = |public_url, root, topic: &str| {
        let context = Context {
            data: Path::new("memory"),
            root,
            public_url,
        };
        let topics = topics(&context).unwrap();
        topics.stream(topic).map(std::borrow::Cow::into_owned)
    };
    let url = Some("https://hub.example/");
    let a = Some("a".to_owned());
    assert_eq!(stream(url, "/v1/s", "https://hub.example/v1/s/a"), a);
    assert_eq!(stream(url, "/", "https://hub.example/a"), a);
    assert_eq!(stream(url, "/streams", "https://other.example/a"), None);
    assert_eq!(
        stream(None, "/streams", "https://hub.example/streams/a"),
        None
    );
    assert_eq!(stream(None, "/streams", "a"), a);
}
