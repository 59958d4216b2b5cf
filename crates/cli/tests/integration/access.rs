//! Keys and tokens: `headwater keys`, `headwater token`, and a hub that requires them.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use crate::{
    running::{Said, Scratch, finish, headwater, wait},
    serving::Hub,
};

/// Longest time from the revocation of a key to the end of what it has open.
const CUT: Duration = Duration::from_secs(2);

fn run(args: &[&str]) -> Said {
    let mut command = headwater(args);
    for name in ["TOKEN", "TOKEN_FILE", "KEYS", "DATA", "HUB", "ROOT"] {
        command.env_remove(format!("HEADWATER_{name}"));
    }
    finish(command.spawn().unwrap())
}

/// Runs a command for a hub with a token.
fn with_token(hub: &Hub, token: &str, args: &[&str]) -> Said {
    run(&[
        args,
        &["--hub", hub.url(), "--attempts", "1", "--token", token],
    ]
    .concat())
}

/// Creates a key in a data folder. Returns the key.
#[track_caller]
fn key(data: &Scratch, name: &str, allow: &str, more: &[&str]) -> String {
    let args = [
        "keys",
        "create",
        "--data",
        data.path(),
        "--name",
        name,
        "--allow",
        allow,
    ];
    let said = run(&[&args, more].concat());
    assert_eq!(said.code, 0, "{}", said.stderr);
    // Only the key is on the standard output.
    let key = said.stdout.strip_suffix('\n').unwrap().to_owned();
    assert!(key.starts_with("hwk_") && !key.contains(char::is_whitespace));
    assert!(!said.stderr.contains(&key), "{}", said.stderr);
    key
}

#[track_caller]
fn refused(said: &Said, parts: &[&str]) {
    assert_eq!(said.code, 4, "{}", said.stderr);
    for part in parts {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
}

#[test]
fn a_hub_with_keys_in_its_data_folder_requires_one_and_follows_changes() {
    let data = Scratch::new("access-keys");
    let writer = key(&data, "writer", "read,publish,create:a/**", &["list:a/**"]);
    let mode = fs::metadata(data.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let hub = Hub::serve(&["--data", data.path(), "--anonymous", "read:a/open"]);
    let says = "The hub requires a key; without one: read:a/open.";
    assert!(
        hub.greeting().contains(&says.to_owned()),
        "{:?}",
        hub.greeting()
    );

    for stream in ["a/b", "a/open"] {
        let said = with_token(&hub, &writer, &["publish", stream, "1"]);
        assert_eq!(said.code, 0, "{}", said.stderr);
    }
    let tail = ["tail", "a/b", "--no-follow"];
    assert_eq!(with_token(&hub, &writer, &tail).stdout, "1\n");
    let listed = with_token(&hub, &writer, &["streams", "ls"]).stdout;
    assert!(listed.contains("a/b"), "{listed}");
    refused(
        &with_token(&hub, &writer, &["publish", "b", "1"]),
        &["create"],
    );

    let without = |args: &[&str]| run(&[args, &["--hub", hub.url()]].concat());
    for args in [
        &tail as &[&str],
        &["publish", "a/open", "2"],
        &["streams", "ls"],
    ] {
        refused(&without(args), &["needs a key or a token", "--token-file"]);
    }
    assert_eq!(without(&["tail", "a/open", "--no-follow"]).stdout, "1\n");
    let last = if writer.ends_with('x') { 'y' } else { 'x' };
    let other = format!("{}{last}", &writer[..writer.len() - 1]);
    refused(&with_token(&hub, &other, &tail), &["--token"]);

    // The hub notices a key that is created while it runs, and its expiry.
    let reader = key(&data, "reader", "read:**", &["--expires", "4s"]);
    let start = Instant::now();
    while with_token(&hub, &reader, &tail).code != 0 {
        assert!(start.elapsed() < CUT, "the key isn't accepted");
    }
    thread::sleep(Duration::from_secs(5).saturating_sub(start.elapsed()));
    refused(&with_token(&hub, &reader, &tail), &["expired"]);
}

#[test]
fn a_revoked_key_ends_what_it_has_open_and_the_command_tells_why() {
    let data = Scratch::new("access-revoked");
    let token = key(&data, "k", "all:**", &[]);
    let hub = Hub::serve(&["--data", data.path()]);
    let said = with_token(&hub, &token, &["publish", "a", "1"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let args = ["tail", "a", "--hub", hub.url(), "--token", &token];
    let mut tail = headwater(&args).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tail.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "1\n");

    let said = run(&["keys", "revoke", "k", "--data", data.path()]);
    assert!(said.stdout.contains("(k) is revoked"), "{said:?}");
    let start = Instant::now();
    wait(&mut tail);
    assert!(start.elapsed() < CUT, "{:?}", start.elapsed());
    refused(&finish(tail), &["revoked"]);
}

#[test]
fn keys_are_listed_with_their_state_and_revoked_by_id_or_name() {
    let data = Scratch::new("access-list");
    let in_data = |args: &[&str]| run(&[&["keys"], args, &["--data", data.path()]].concat());
    let none = in_data(&["ls"]);
    assert_eq!((none.code, &*none.stdout), (0, ""));
    assert!(none.stderr.contains("has no keys"), "{}", none.stderr);

    let first = key(&data, "first", "read,publish:a/**,b", &["list:**"]);
    key(&data, "second", "gather", &["--expires", "90d"]);
    let id = first.split('_').nth(1).unwrap();
    assert_eq!(in_data(&["revoke", id]).code, 0);
    let objects = in_data(&["ls", "--json"]).stdout;
    let objects: Vec<serde_json::Value> = objects
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(objects[0]["id"], id);
    assert_eq!(objects[0]["state"], "revoked");
    assert_eq!(objects[0]["grants"][0]["streams"][1], "b");
    assert_eq!(objects[1]["state"], "valid");
    assert!(objects[1]["expires"].is_string() && objects[1].get("revoked").is_none());
    let lines = in_data(&["ls"]).stdout;
    assert!(
        lines.contains("first  read,publish:a/**,b list:**"),
        "{lines}"
    );

    let rates = ["--rates", "requests=100,open=20"];
    key(&data, "third", "read:a", &rates);
    let lines = in_data(&["ls"]).stdout;
    for part in [
        "first  -                    read,publish:a/**,b list:**\n",
        "third  requests=100,open=20 read:a\n",
    ] {
        assert!(lines.contains(part), "{lines}");
    }

    let unknown = in_data(&["revoke", "fourth"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("keys.json"), "{}", unknown.stderr);
    let taken = in_data(&["create", "--name", "second", "--allow", "gather"]);
    assert_eq!((taken.code, &*taken.stdout), (1, ""));
    let invalid = in_data(&["create", "--name", "x", "--allow", "fly:a"]);
    assert_eq!(invalid.code, 2);
    assert!(
        invalid.stderr.contains("not an action"),
        "{}",
        invalid.stderr
    );
    let memory = run(&["keys", "ls", "--data", "memory"]);
    assert_eq!(memory.code, 2);
}

#[test]
fn a_minted_token_is_accepted_and_one_of_another_secret_is_refused() {
    let secret = |name: &str, letter: &str| {
        let file = Scratch::new(name);
        fs::write(file.path(), format!("{}\n", letter.repeat(32))).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        file
    };
    let (ours, other) = (secret("access-ours", "a"), secret("access-other", "b"));
    let mint = |file: &Scratch, more: &[&str]| {
        let args = [
            "token",
            "--jwt-secret-file",
            file.path(),
            "--allow",
            "all:**",
        ];
        let said = run(&[&args, more].concat());
        assert_eq!((said.code, &*said.stderr), (0, ""));
        said.stdout.trim_end().to_owned()
    };
    let hub = Hub::serve(&[
        "--data",
        "memory",
        "--jwt-secret-file",
        ours.path(),
        "--jwt-issuer",
        "me",
        "--jwt-audience",
        "hub",
    ]);
    let parties = ["--issuer", "me", "--audience", "hub"];
    let token = mint(&ours, &[&["--subject", "alice"], &parties as &[_]].concat());
    let said = with_token(&hub, &token, &["publish", "a", "1"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let tail = ["tail", "a", "--no-follow"];
    assert_eq!(with_token(&hub, &token, &tail).stdout, "1\n");
    for (token, part) in [
        (mint(&other, &parties), "signature"),
        (mint(&ours, &["--issuer", "me"]), "audience"),
        (mint(&ours, &["--audience", "hub"]), "issuer"),
    ] {
        refused(&with_token(&hub, &token, &tail), &[part]);
    }
}

#[test]
fn a_token_of_a_private_key_is_accepted_by_a_hub_with_the_public_one_or_its_set() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../auth/src/token/tests/keys");
    let set = Scratch::new("access-jwks");
    let x = fs::read_to_string(format!("{keys}/ed25519.x")).unwrap();
    let jwk = format!(
        r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{}"}}]}}"#,
        x.trim()
    );
    fs::write(set.path(), jwk).unwrap();
    let token = |kid: &str| {
        let private = format!("{keys}/ed25519.pem");
        let args = ["token", "--jwt-private-key", &private, "--kid", kid];
        let said = run(&[&args as &[_], &["--allow", "read:a"]].concat());
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout.trim_end().to_owned()
    };
    let (known, unknown) = (token("one"), token("two"));
    let public = format!("{keys}/ed25519.pub.pem");
    for (option, file, accepts_any) in [
        ("--jwt-public-key", &*public, true),
        ("--jwks", set.path(), false),
    ] {
        let hub = Hub::serve(&["--data", "memory", option, file]);
        let read = |token: &str| {
            let said = with_token(&hub, token, &["tail", "a", "--no-follow"]);
            assert_eq!(said.code, 4, "{}", said.stderr);
            // An accepted token reads a stream that doesn't exist.
            said.stderr.contains("there is no stream a: ")
        };
        assert!(read(&known), "{option}");
        assert_eq!(read(&unknown), accepts_any, "{option}");
    }
}

#[cfg(feature = "jwks")]
#[test]
fn a_hub_whose_issuer_is_down_starts_and_answers_tokens_with_503() {
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../auth/src/token/tests/keys");
    let private = format!("{keys}/ed25519.pem");
    let said = run(&[
        "token",
        "--jwt-private-key",
        &private,
        "--kid",
        "one",
        "--allow",
        "read:a",
    ]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    // Nothing listens on a port that was free just now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", free.local_addr().unwrap());
    drop(free);
    let hub = Hub::serve(&["--data", "memory", "--jwks", &url]);
    let read = ["tail", "a", "--no-follow"];
    let read = with_token(&hub, said.stdout.trim_end(), &read);
    assert!(read.stderr.contains("503"), "{}", read.stderr);
    let ready = run(&["get", &format!("{}/readyz", hub.url())]);
    assert!(ready.stderr.contains("503"), "{}", ready.stderr);
}

#[test]
fn a_token_needs_exactly_one_key_that_can_sign() {
    let short = Scratch::new("access-short");
    fs::write(short.path(), "a".repeat(31)).unwrap();
    let allow = ["--allow", "read:a"];
    for (args, code, part) in [
        (&[] as &[&str], 2, "--jwt-secret-file"),
        (
            &["--jwt-secret-file", "a", "--jwt-private-key", "b"],
            2,
            "cannot be used",
        ),
        (&["--jwt-secret-file", short.path()], 1, "at least 32"),
        (&["--jwt-private-key", short.path()], 1, "PEM"),
    ] {
        let said = run(&[&["token"], args, &allow].concat());
        assert_eq!((said.code, &*said.stdout), (code, ""), "{args:?}");
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
}

#[test]
fn a_hub_that_other_machines_reach_requires_credentials_or_to_be_opened() {
    let serve = ["serve", "--data", "memory", "--listen", "0.0.0.0:0"];
    let said = run(&serve);
    assert_eq!((said.code, &*said.stdout), (1, ""));
    for part in ["0.0.0.0:0", "headwater keys create", "--open"] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    let hub = Hub::run(&mut headwater(&[&serve, &["--open"] as &[_]].concat()));
    let says = "The hub is open to every client (--open).".to_owned();
    assert!(hub.greeting().contains(&says), "{:?}", hub.greeting());
    let says = "The hub is open to every client on this machine.".to_owned();
    assert!(Hub::start().greeting().contains(&says));
}

#[test]
fn settings_that_contradict_each_other_prevent_the_start() {
    let empty = Scratch::new("access-jwks-ca");
    fs::write(empty.path(), "no certificate").unwrap();
    let serve = ["serve", "--data", "memory", "--listen", "127.0.0.1:0"];
    for (args, part) in [
        (&["--anonymous", "read:a"] as &[&str], "requires none"),
        (&["--jwt-issuer", "a"], "tokens need a key"),
        #[cfg(feature = "jwks")]
        (
            &["--jwks", "http://idp.example/jwks"],
            "https, or http at a loopback address",
        ),
        #[cfg(not(feature = "jwks"))]
        (&["--jwks", "https://idp.example/jwks"], "feature `jwks`"),
        (&["--jwks-ca", "ca.pem"], "tokens need a key"),
        (
            &[
                "--keys",
                "k",
                "--jwt-secret-file",
                "s",
                "--jwks-ca",
                "ca.pem",
            ],
            "for the https URL of a JWK Set",
        ),
        #[cfg(all(feature = "jwks", feature = "tls"))]
        (
            &[
                "--jwks",
                "https://idp.example/jwks",
                "--jwks-ca",
                "/nowhere.pem",
            ],
            "/nowhere.pem: No such file",
        ),
        #[cfg(all(feature = "jwks", feature = "tls"))]
        (
            &[
                "--jwks",
                "https://idp.example/jwks",
                "--jwks-ca",
                empty.path(),
            ],
            "holds no PEM section `CERTIFICATE`",
        ),
        #[cfg(all(feature = "jwks", feature = "tls"))]
        (
            &[
                "--jwks",
                "http://127.0.0.1:1/jwks",
                "--jwks-ca",
                empty.path(),
            ],
            "this URL is http",
        ),
        #[cfg(feature = "relay")]
        (
            &["--keys", "k", "--relay-secret", "s"],
            "grant the actions `relay`",
        ),
    ] {
        let said = run(&[&serve, args].concat());
        assert_eq!((said.code, &*said.stdout), (1, ""), "{args:?}");
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
}
