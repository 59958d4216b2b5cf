use clap::Parser as _;

use super::{super::settings_file, *};
use crate::args::{Args, Command};

pub(in crate::serve) fn lay(args: &[&str], file: &str) -> Config {
    let args = [&["headwater", "serve"], args].concat();
    let Command::Serve(args) = Args::parse_from(args).command else {
        panic!("it is serve")
    };
    Config::lay(*args, toml::from_str(file).unwrap()).unwrap()
}

#[test]
fn the_command_line_overrides_the_root_and_the_socket_mode_of_the_file() {
    let file = "root = \"/b\"\nsocket_mode = \"660\"\n";
    let laid = lay(
        &["--root=/a", "--socket-mode=0600", "--listen=unix:s"],
        file,
    );
    assert_eq!((&*laid.root, laid.socket_mode), ("/a", 0o600));
    let laid = lay(&[], file);
    assert_eq!((&*laid.root, laid.socket_mode), ("/b", 0o660));
    assert_eq!(lay(&[], "").socket_mode, 0o600);
    for bad in ["", "8", "1000", "rw", "-1"] {
        assert!(mode(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_command_line_overrides_the_file_which_overrides_the_defaults() {
    let file = "listen = \"[::1]:1\"\ndata = \"memory\"\ndurability = \"os\"\n";
    let config = lay(&["--listen", "[::1]:2"], file);
    assert_eq!(config.listen, "[::1]:2");
    assert_eq!(config.data, PathBuf::from("memory"));
    assert_eq!(config.disk.durability, headwater_log::Durability::Os);
    let config = lay(&[], "");
    assert_eq!(config.listen, "127.0.0.1:8000");
    assert_eq!(config.data, PathBuf::from("./headwater-data"));
    assert_eq!(config.disk.durability, headwater_log::Durability::Fsync);
}

#[test]
fn the_printed_file_sets_only_the_defaults() {
    let shown = |file| {
        let mut config = lay(&[], file);
        // Random, so it differs each time.
        config.memory.identity = headwater_log::Identity::new(1);
        format!("{config:?}")
    };
    assert_eq!(shown(&settings_file::text()), shown(""));
}

#[test]
fn the_printed_file_has_every_setting() {
    // Settings without a default are in comments.
    let is_setting = |line: &str| {
        let (name, _) = line.split_once(" = ").unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let file: String = settings_file::text()
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|line| is_setting(line))
                .unwrap_or(line)
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let file: File = toml::from_str(&file).unwrap();
    let mut shown = format!("{file:?}");
    if cfg!(not(feature = "nats")) {
        // They are read, but not printed.
        shown = shown.replace(&format!("{:?}", file.nats), "");
    }
    assert!(!shown.contains("None"), "{shown}");
    // A flag without a value in the file would parse as `false`, its default, so search the
    // text.
    let text = settings_file::text();
    for flag in [
        "private",
        "open",
        "anonymous",
        "mercure",
        #[cfg(feature = "webhooks")]
        "loopback_webhooks",
        "accept_missing_end",
        "accept_damage",
        "cors",
        "allow_hosts",
        "trusted_proxies",
        #[cfg(any(feature = "gather", feature = "relay"))]
        "allow",
    ] {
        assert!(text.contains(&format!("\n{flag} = ")), "{flag}");
    }
}

#[test]
fn trusted_proxies_come_from_the_command_line_or_else_from_the_file() {
    let file = "trusted_proxies = [\"10.0.0.0/8\"]\n";
    let of = |args: &[&str]| lay(args, file).proxies;
    let trusted = |proxies: &[&str]| TrustedProxies::parse(proxies).unwrap();
    assert_eq!(of(&[]), trusted(&["10.0.0.0/8"]));
    let args = [
        "--trusted-proxy",
        "unix,::1",
        "--trusted-proxy",
        "192.0.2.1",
    ];
    assert_eq!(of(&args), trusted(&["unix", "::1", "192.0.2.1"]));
    assert!(lay(&[], "").proxies.is_empty());
}

#[test]
fn rates_come_from_the_command_line_or_else_from_the_file() {
    let file = "[rates]\naddress = \"requests=5,open=1\"\nsubject = \"created=1/h\"\n\
                [auth]\nkeys = \"f\"\njwt = { secret_file = \"f\" }\n";
    let shown = |args: &[&str]| format!("{:?}", lay(args, file).hub);
    let expected = |text: &str| format!("{:?}", text.parse::<headwater_auth::Rates>().unwrap());
    let laid = shown(&["--key-rates", "messages=7", "--address-rates", "bytes=1MiB"]);
    for (name, rates) in [
        ("address", "bytes=1MiB"),
        ("key", "messages=7"),
        ("subject", "created=1/h"),
    ] {
        let part = format!("{name}: {}", expected(rates));
        assert!(laid.contains(&part), "{part}: {laid}");
    }
    assert!(shown(&[]).contains(&expected("requests=5,open=1")));
    let error = toml::from_str::<File>("[rates]\nkey = \"requests=0\"").unwrap_err();
    assert!(error.to_string().contains("requests=0"), "{error}");
}

#[test]
fn each_v_logs_more() {
    assert_eq!(lay(&[], "").log, DEFAULT_LOG);
    assert_eq!(lay(&[], "log = \"warn\"\n").log, "warn");
    assert_eq!(lay(&["-v"], "log = \"warn\"\n").log, "info");
    assert_eq!(lay(&["-vv"], "").log, "debug");
    for level in ["info", DEFAULT_LOG, "debug"] {
        super::super::logging::filter(level).unwrap();
    }
}

#[test]
fn an_unknown_name_is_an_error_with_its_location() {
    let error = toml::from_str::<File>("[limits]\nbody_byte = 1\n").unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("line 2") && text.contains("body_byte"),
        "{text}"
    );
    let error = toml::from_str::<File>("heartbeat = \"1y\"\n").unwrap_err();
    assert!(error.to_string().contains("not a unit of time"), "{error}");
}

#[test]
fn a_limit_with_which_nothing_could_be_stored_is_an_error_and_others_turn_a_part_off() {
    for name in [
        "body_bytes",
        "bodies_bytes",
        "peer_bodies_bytes",
        "line_bytes",
        "message_bytes",
        "append_messages",
        "streams",
    ] {
        let error = toml::from_str::<File>(&format!("[limits]\n{name} = 0\n")).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("expected a nonzero"),
            "{text}"
        );
        toml::from_str::<File>(&format!("[limits]\n{name} = 1\n")).unwrap();
    }
    toml::from_str::<File>("memory_bytes = 0\n").unwrap_err();
    let error = toml::from_str::<File>("body_grace = \"0\"\n").unwrap_err();
    assert!(error.to_string().contains("more than 0"), "{error}");
    let off = "[limits]\nsubscribers = 0\nsubscriptions = 0\ningest_jobs = 0\nschema_bytes = 0\n";
    toml::from_str::<File>(off).unwrap();
}

#[test]
fn limits_reach_the_hub_and_the_log() {
    let file = "[limits]\nbody_bytes = 100000000\nmessage_bytes = 7\n";
    let config = lay(&[], file);
    assert_eq!(config.disk.limits.message_bytes, 7);
    assert_eq!(config.memory.limits.append_bytes, 100_000_000);
}

#[test]
fn origins_are_loopback_any_none_or_a_list() {
    let of = |origins: &[&str]| {
        let origins: Vec<_> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        cors(&origins).ok()
    };
    assert_eq!(of(&[]), Some(Cors::Loopback));
    assert_eq!(of(&["loopback"]), Some(Cors::Loopback));
    assert_eq!(of(&["any"]), Some(Cors::Any));
    assert_eq!(of(&["none"]), Some(Cors::Off));
    let list = Cors::Only(vec!["https://a.example".to_owned()]);
    assert_eq!(of(&["https://a.example"]), Some(list));
    for bad in [
        "a.example",
        "https://",
        "https://a.example/",
        "https://a b",
        "https://a.example?x",
    ] {
        assert_eq!(of(&[bad]), None, "{bad}");
    }
    assert_eq!(of(&["any", "https://a.example"]), None);
    assert_eq!(of(&["loopback", "https://a.example"]), None);
}

#[test]
fn hosts_come_from_the_command_line_or_else_from_the_file_and_from_the_public_url() {
    let file = "allow_hosts = [\"file.example\"]\n";
    let hosts = |args: &[&str], file| lay(args, file).hosts;
    assert_eq!(hosts(&[], ""), Hosts::default());
    assert!(hosts(&[], file).contains("file.example:1"));
    let args = ["--allow-host", "a.example,b.example"];
    let listed = hosts(&args, file);
    assert!(listed.contains("a.example") && listed.contains("b.example"));
    assert!(!listed.contains("file.example"));
    assert_eq!(hosts(&["--allow-host", "any"], file), Hosts::any());
    for url in ["https://hub.example", "http://hub.example:8080/"] {
        let known = hosts(&["--public-url", url], "");
        assert_eq!(known, Hosts::default().and("hub.example").unwrap(), "{url}");
    }
    let known = hosts(&["--public-url", "http://[2001:db8::1]:80"], "");
    assert!(known.contains("[2001:db8::1]"));
    assert!(super::hosts(&["any".to_owned(), "a:80".to_owned()]).is_err());
}

#[test]
fn the_hub_is_opened_by_the_file_or_the_command_line_and_keys_take_precedence() {
    let exposure = |args: &[&str], file| lay(args, file).exposure;
    let args = ["--data", "memory", "--listen", "192.0.2.1:80"];
    let opened = "is open to every client (--open)";
    assert_eq!(exposure(&args, "open = true"), opened);
    assert_eq!(exposure(&[&args as &[_], &["--open"]].concat(), ""), opened);
    let file = "open = true\n[auth]\nkeys = \"k\"\n";
    assert_eq!(exposure(&args, file), "requires a key");
}

#[test]
fn options_without_effect_are_refused() {
    let lay = |args: &[&str], file| {
        let args = [&["headwater", "serve", "--data", "memory"], args].concat();
        let Command::Serve(args) = Args::parse_from(args).command else {
            panic!("it is serve")
        };
        let laid = Config::lay(*args, toml::from_str(file).unwrap());
        laid.map(drop).map_err(|failure| format!("{failure:?}"))
    };
    let (key, subject) = ("--key-rates=open=1", "--subject-rates=open=1");
    let (keys, tokens) = ("--keys=f", "--jwt-secret-file=f");
    for (args, file, part) in [
        (&["--durability=fsync"][..], "", "--durability is for"),
        (&["--socket-mode=600"], "", "--socket-mode is for"),
        (&[key], "", "--keys"),
        (&[key, tokens], "", "--keys"),
        (&[], "[rates]\nkey = \"open=1\"\n", "--keys"),
        (&[subject], "", "--jwt-secret-file"),
        (&[subject, keys], "", "--jwt-secret-file"),
    ] {
        let error = lay(args, file).unwrap_err();
        assert!(error.contains(part), "{args:?}: {error}");
    }
    // A file has settings that the command line makes pointless.
    lay(&[], "durability = \"os\"\nsocket_mode = \"600\"\n").unwrap();
    lay(&[key, subject, keys, tokens], "").unwrap();
    lay(&["--socket-mode=600", "--listen=unix:a"], "").unwrap();
}

#[cfg(any(feature = "gather", feature = "relay"))]
#[test]
fn the_secret_of_relays_excludes_keys_and_tokens() {
    let file = "data = \"memory\"\n[relay]\nsecret = \"s\"\n[auth.jwt]\nsecret_file = \"f\"\n";
    let args = Args::parse_from(["headwater", "serve"]);
    let Command::Serve(args) = args.command else {
        panic!("it is serve")
    };
    let failure = Config::lay(*args, toml::from_str(file).unwrap()).unwrap_err();
    let error = format!("{failure:?}");
    assert!(error.contains("grant the actions"), "{error}");
}
