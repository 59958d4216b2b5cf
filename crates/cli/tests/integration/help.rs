//! The output of `--help`, as golden files, so that every change is reviewed.

use std::path::Path;

use crate::running::{finish, headwater};

/// All commands.
const COMMANDS: [&[&str]; 22] = [
    &[],
    &["serve"],
    &["keys"],
    &["keys", "create"],
    &["keys", "ls"],
    &["keys", "revoke"],
    &["token"],
    &["check"],
    &["publish"],
    &["tail"],
    &["relay"],
    &["streams"],
    &["streams", "ls"],
    &["streams", "create"],
    &["streams", "info"],
    &["streams", "close"],
    &["streams", "rm"],
    &["export"],
    &["import"],
    &["openapi"],
    &["get"],
    &["gather"],
];

#[test]
fn the_short_help_of_every_command_has_examples_and_is_no_longer_than_the_long_one() {
    for command in COMMANDS {
        let help = |flag| {
            let mut run = headwater(&[command, &[flag]].concat());
            run.env_remove("COLUMNS");
            finish(run.spawn().unwrap()).stdout
        };
        let (short, long) = (help("-h"), help("--help"));
        for help in [&short, &long] {
            assert!(help.contains("\nExample"), "{command:?}: {help}");
        }
        assert!(short.lines().count() <= long.lines().count(), "{command:?}");
        assert!(!short.contains("Exit status"), "{command:?}");
        // `headwater` alone refers to the help of its commands.
        let has_statuses = long.contains("\nExit status:\n");
        assert_eq!(has_statuses, !command.is_empty(), "{command:?}: {long}");
    }
}

#[test]
fn the_help_of_every_command_matches_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/help");
    let mut differing = Vec::new();
    // Most commands have an option for https.
    if cfg!(not(feature = "tls")) {
        return;
    }
    for command in COMMANDS {
        let is_whole = cfg!(any(feature = "gather", feature = "relay"));
        if command == ["serve"] && !is_whole {
            continue;
        }
        let mut run = headwater(&[command, &["--help"]].concat());
        // Variables that change the width, or values that would be shown.
        run.env_remove("COLUMNS");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HEADWATER_")) {
            run.env_remove(name);
        }
        let said = finish(run.spawn().unwrap());
        assert_eq!((said.code, &*said.stderr), (0, ""), "{command:?}");
        let longest = said.stdout.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{command:?}: a line of {longest:?}");
        let name = [&["headwater"], command].concat().join("-");
        let path = folder.join(format!("{name}.txt"));
        let golden = std::fs::read_to_string(&path).ok();
        let expected = match cfg!(feature = "nats") {
            true => golden,
            false => golden.map(|golden| without_nats(&golden)),
        };
        if expected.as_ref() == Some(&said.stdout) {
            continue;
        }
        // The files are those of a build with `nats`.
        if cfg!(feature = "nats") && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &said.stdout).unwrap();
        } else {
            differing.push(name);
        }
    }
    assert!(
        differing.is_empty(),
        "the help of {differing:?} differs from its file; look at what UPDATE_GOLDEN=1 makes of it, \
         with the feature `nats`"
    );
}

/// Removes the options that only a build with the feature `nats` shows.
fn without_nats(help: &str) -> String {
    let mut is_hidden = false;
    help.split_inclusive('\n')
        .filter(|line| {
            let is_option = line.starts_with("      --") || line.starts_with("  -");
            if is_option {
                is_hidden = line.starts_with("      --nats-");
            }
            !is_hidden
        })
        .collect()
}
