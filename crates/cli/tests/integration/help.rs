//! The output of `--help`, as golden files, so that every change is reviewed.

use std::path::Path;

use crate::running::{finish, headwater};

/// All commands.
const COMMANDS: [&[&str]; 20] = [
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
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &said.stdout).unwrap();
        }
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&said.stdout) {
            differing.push(name);
        }
    }
    assert!(
        differing.is_empty(),
        "the help of {differing:?} differs from its file; look at what UPDATE_GOLDEN=1 makes of it"
    );
}
