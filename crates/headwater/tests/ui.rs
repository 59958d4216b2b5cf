//! Compiler messages for users. `ui/fail` has programs that must not compile, each with the
//! expected message. `ui/pass` has programs that must compile and work, as modules of this test.
//!
//! After a change of a message, `UPDATE_GOLDEN=1 cargo test --workspace --test ui` writes the new
//! ones. Review them: each must state the mistake, its location and the remedy.
//!
//! The programs are compiled with the libraries that this test was linked with, so that these aren't
//! built again.

#![cfg(feature = "openapi")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use regex::Regex;
use serde_json::Value;

#[path = "ui/pass/mod.rs"]
mod pass;

/// The libraries that the programs use.
const LIBRARIES: [&str; 4] = ["futures_util", "headwater", "schemars", "serde"];

#[test]
fn each_mistake_is_reported_at_its_location_with_a_remedy() {
    if !compiler_is_stable() {
        eprintln!("skipped: the messages are those of the stable compiler");
        return;
    }
    let libraries = libraries();
    let mut programs: Vec<PathBuf> = fs::read_dir(Path::new(PACKAGE).join("tests/ui/fail"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    programs.sort();
    assert!(!programs.is_empty());
    let (first, second) = programs.split_at(programs.len() / 2);
    let wrong: Vec<String> = thread::scope(|scope| {
        let halves = [first, second].map(|half| {
            let check = |program: &PathBuf| check(program, &libraries);
            scope.spawn(move || half.iter().filter_map(check).collect::<Vec<_>>())
        });
        halves.map(|half| half.join().unwrap()).concat()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Returns what is wrong with the messages for a program, if anything is.
fn check(program: &Path, libraries: &BTreeMap<String, PathBuf>) -> Option<String> {
    let message = compile(program, libraries);
    let golden = program.with_extension("stderr");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &message).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap_or_default();
    (message != expected).then(|| {
        format!(
            "{}: expected\n{expected}\nbut the compiler says\n{message}",
            program.display()
        )
    })
}

/// Compiles a program. Returns the compiler's messages, without what differs between machines.
fn compile(program: &Path, libraries: &BTreeMap<String, PathBuf>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut rustc = Command::new(rustc());
    rustc
        .current_dir(PACKAGE)
        .args(["--edition", "2024", "--emit", "metadata", "--out-dir"])
        .arg(folder.path())
        .arg(program.strip_prefix(PACKAGE).unwrap());
    for (name, path) in libraries {
        rustc
            .arg("--extern")
            .arg(format!("{name}={}", path.display()));
        let mut dependencies = std::ffi::OsString::from("dependency=");
        dependencies.push(path.parent().unwrap());
        rustc.arg("-L").arg(dependencies);
    }
    let output = rustc.output().unwrap();
    assert!(!output.status.success(), "{} compiles", program.display());
    normalized(&String::from_utf8(output.stderr).unwrap())
}

/// Returns messages without folders, without the numbers of lines in other files than the program,
/// and with margins of one width, which otherwise depends on these numbers.
fn normalized(messages: &str) -> String {
    let root = Path::new(PACKAGE).ancestors().nth(2).unwrap();
    let place = Regex::new(r"^ *(-->|:::) (.*?):\d+:\d+$").unwrap();
    let margin = Regex::new(r"^ *(\d*) *([|=]|\+\+\+)( .*)?$").unwrap();
    let registry = Regex::new(r"/\S*/registry/src/[^/]+").unwrap();
    let others = Regex::new(r"and \d+ others").unwrap();
    let standard = Regex::new(r"/rustc/[0-9a-f]+|/\S*/lib/rustlib/src/rust").unwrap();
    let end =
        Regex::new(r"^(error: aborting due to|For more information|Some errors have detailed)")
            .unwrap();

    let mut text = String::new();
    let mut is_program = true;
    for line in messages.lines().take_while(|line| !end.is_match(line)) {
        let line = line.replace(&format!("{PACKAGE}/"), "");
        let line = line.replace(&root.display().to_string(), "$WORKSPACE");
        let line = registry.replace_all(&line, "$$CARGO");
        let line = standard.replace_all(&line, "$$RUST");
        let line = others.replace_all(&line, "and $$N others");
        let line = if let Some(found) = place.captures(&line) {
            is_program = found[2].starts_with("tests/ui/");
            match is_program {
                true => format!("  {}", line.trim_start()),
                false => format!("  {} {}", &found[1], &found[2]),
            }
        } else if let Some(found) = margin.captures(&line) {
            let number = if is_program { &found[1] } else { "" };
            let rest = found.get(3).map_or("", |rest| rest.as_str());
            format!("{number:>3} {}{rest}", &found[2])
        } else {
            line.into_owned()
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Returns the files of the [`LIBRARIES`], by their names. Cargo lists them for this test in the build
/// of the whole workspace, and builds them if another selection of packages is tested.
fn libraries() -> BTreeMap<String, PathBuf> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Build scripts that depend on the variables of their own package would run again with those of
    // this one.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || text == "OUT_DIR"
        {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        .current_dir(PACKAGE)
        .args(["test", "--workspace", "--test", "ui", "--no-run"])
        .args(["--quiet", "--message-format", "json"])
        .output()
        .unwrap();
    let (messages, errors) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    let mut found: BTreeMap<String, Vec<(usize, PathBuf)>> = BTreeMap::new();
    for line in String::from_utf8(messages).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        let name = message["target"]["name"].as_str().unwrap_or_default();
        let kinds = message["target"]["kind"].as_array();
        let is_library = kinds.is_some_and(|kinds| kinds.contains(&"lib".into()));
        let is_test = message["profile"]["test"] == true;
        if !is_library || is_test || !LIBRARIES.contains(&name) {
            continue;
        }
        let files = message["filenames"].as_array().into_iter().flatten();
        let library = files
            .filter_map(Value::as_str)
            .find(|file| file.ends_with(".rlib"));
        let library = PathBuf::from(library.unwrap());
        let features = message["features"].as_array().map_or(0, Vec::len);
        found
            .entry(name.to_owned())
            .or_default()
            .push((features, library));
    }
    assert_eq!(found.len(), LIBRARIES.len(), "{found:?}");
    let one = |(name, mut files): (String, Vec<(usize, PathBuf)>)| {
        // A build script may use the same library, with fewer features.
        files.sort();
        let (features, library) = files.pop().unwrap();
        assert!(
            files.iter().all(|(other, _)| *other < features),
            "{name} is there more than once: {library:?}, {files:?}"
        );
        (name, library)
    };
    found.into_iter().map(one).collect()
}

fn rustc() -> std::ffi::OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// Other channels have other messages.
fn compiler_is_stable() -> bool {
    let output = Command::new(rustc())
        .arg("--version")
        .output()
        .expect("cargo runs, so there is a compiler");
    let version = String::from_utf8_lossy(&output.stdout);
    let release = version.split(' ').nth(1).unwrap_or_default();
    !release.contains('-')
}
