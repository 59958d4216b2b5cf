//! The development tasks of this repository. `cargo xtask help` lists them.
//!
//! It needs only the standard library, so that it builds in a second on a fresh machine.

#![allow(
    clippy::print_stdout,
    reason = "this program's output is for the person at the terminal"
)]

mod bench;
mod features;
mod fuzz;
mod shell;
mod test;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <command>

Commands:
  test      Install what the tests need where it is missing, and run them all
  features  Check each feature of each package alone, and none of them (cargo clippy)
  fuzz      Let libFuzzer search for inputs that fail, with the address sanitizer
  bench     Run the benchmarks side by side with their peers (cargo xtask bench --help)
  help      Print this text

cargo xtask test [--only rust|doc|fuzz|e2e|conformance]... [--fuzz-seconds N]
  rust   unit and integration tests (cargo nextest)
  doc    the examples in the documentation (cargo test --doc)
  fuzz   each fuzz target for N seconds of processor time (default 10), with mutations of its seeds
  e2e    the tour and the hub read by curl, Python, Node.js, Chromium and through nginx, killed in
         mid-stream, and held to their documents by validators, a client generator and
         schemathesis (pytest)
  conformance
         the Durable Streams protocol's own suite against the hub, over each engine, and against two
         hubs on a cluster
  Beside e2e, fuzz and conformance run in the background; their output follows.

cargo xtask fuzz [--seconds N] [TARGET]...
  Each target, or those that are named, for N seconds (default 60). The first build takes minutes.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match command {
        "test" => test::run_all(rest),
        "features" => features::run_all(),
        "fuzz" => fuzz::run_all(rest),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(format!(
            "there is no command `{other}`; `cargo xtask help` lists them"
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
