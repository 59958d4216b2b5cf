//! `cargo xtask fuzz`: the targets in `fuzz/`, a workspace of its own, under libFuzzer with the address sanitizer.

use std::fs;
use std::process::Command;

use crate::shell::{command, output, root, run};
use crate::tools;

/// Builds the targets that `args` name, or all of them, and runs each for a time.
pub(crate) fn run_all(args: &[String]) -> Result<(), String> {
    let mut seconds = 60_u32;
    let mut named = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let value = args.next().ok_or("--seconds needs a value")?;
                seconds = value
                    .parse()
                    .map_err(|_| format!("`{value}` is not a number of seconds"))?;
            }
            option if option.starts_with('-') => {
                return Err(format!("`{option}` is not an option of `cargo xtask fuzz`"));
            }
            target => named.push(target),
        }
    }
    tools::ensure_fuzz()?;
    let listed = output(cargo_fuzz().arg("list"))?;
    let listed: Vec<_> = listed.split_whitespace().collect();
    if let Some(unknown) = named.iter().find(|name| !listed.contains(name)) {
        let known = listed.join(", ");
        return Err(format!("there is no target `{unknown}`; there are {known}"));
    }
    let targets = if named.is_empty() { listed } else { named };
    for target in targets {
        run_one(target, seconds)?;
    }
    Ok(())
}

fn run_one(target: &str, seconds: u32) -> Result<(), String> {
    // New inputs go to the first folder; the committed seeds are only read.
    let corpus = root().join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus)
        .map_err(|error| format!("{} cannot be created: {error}", corpus.display()))?;
    let mut cargo = cargo_fuzz();
    cargo.args(["run", target]).arg(corpus);
    cargo.arg(root().join("crates/fuzz/seeds").join(target));
    cargo.args([
        "--",
        &format!("-max_total_time={seconds}"),
        "-timeout=10",
        "-verbosity=0",
    ]);
    run(&mut cargo)
}

fn cargo_fuzz() -> Command {
    let mut cargo = command("cargo");
    if has_nightly() {
        cargo.arg("+nightly");
    } else {
        // The sanitizer's flag is unstable. The stable compiler accepts it with this.
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.arg("fuzz");
    cargo
}

fn has_nightly() -> bool {
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "list"]);
    output(&mut rustup).is_ok_and(|list| list.lines().any(|line| line.starts_with("nightly")))
}
