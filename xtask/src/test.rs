//! `cargo xtask test`: all tests, step by step.

use crate::shell::{command, root, run};
use crate::tools;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Rust,
    Doc,
    Fuzz,
    E2e,
    Conformance,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Rust,
        Self::Doc,
        Self::Fuzz,
        Self::E2e,
        Self::Conformance,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Doc => "doc",
            Self::Fuzz => "fuzz",
            Self::E2e => "e2e",
            Self::Conformance => "conformance",
        }
    }

    fn run(self, plan: &Plan) -> Result<(), String> {
        match self {
            Self::Rust => rust(),
            Self::Doc => run(command("cargo").args(["test", "--workspace", "--doc"])),
            Self::Fuzz => fuzz(plan.fuzz_seconds),
            Self::E2e => e2e(),
            Self::Conformance => conformance(),
        }
    }
}

struct Plan {
    steps: Vec<Step>,
    fuzz_seconds: u32,
}

impl Plan {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut plan = Self {
            steps: Vec::new(),
            fuzz_seconds: 10,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--only" => {
                    let name = value()?;
                    let step = Step::ALL.into_iter().find(|step| step.name() == name);
                    plan.steps
                        .push(step.ok_or_else(|| format!("there is no step `{name}`"))?);
                }
                "--fuzz-seconds" => {
                    let seconds = value()?;
                    plan.fuzz_seconds = seconds
                        .parse()
                        .map_err(|_| format!("`{seconds}` is not a number of seconds"))?;
                }
                other => return Err(format!("`{other}` is not an option of `cargo xtask test`")),
            }
        }
        if plan.steps.is_empty() {
            plan.steps = Step::ALL.to_vec();
        }
        Ok(plan)
    }
}

/// Runs the steps that `args` name, or all of them. After a failed step the next ones still run.
pub(crate) fn run_all(args: &[String]) -> Result<(), String> {
    let plan = Plan::parse(args)?;
    let mut results: Vec<(Step, Duration, Result<(), String>)> = Vec::new();
    for &step in &plan.steps {
        println!("\n==> {}", step.name());
        let start = Instant::now();
        let result = step.run(&plan);
        let took = start.elapsed();
        if let Err(message) = &result {
            eprintln!("xtask: {message}");
        }
        println!("<== {}: {:.1} s", step.name(), took.as_secs_f64());
        results.push((step, took, result));
    }

    println!("\ncargo xtask test:");
    for (step, took, result) in &results {
        let outcome = match result {
            Ok(()) => "ok",
            Err(message) => message,
        };
        println!(
            "  {:<11} {:>7.1} s  {outcome}",
            step.name(),
            took.as_secs_f64()
        );
    }
    match results
        .iter()
        .filter(|(_, _, result)| result.is_err())
        .count()
    {
        0 => Ok(()),
        failed => Err(format!("{failed} of {} steps failed", results.len())),
    }
}

fn rust() -> Result<(), String> {
    if tools::ensure_nextest() {
        run(command("cargo").args(["nextest", "run", "--workspace"]))
    } else {
        run(command("cargo").args([
            "test",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ]))
    }
}

/// The bodies of the fuzz targets, in the build of the step `rust`.
fn fuzz(seconds: u32) -> Result<(), String> {
    let mut cargo = command("cargo");
    if tools::ensure_nextest() {
        cargo.args(["nextest", "run", "--workspace"]);
        cargo.args(["-E", "package(headwater-fuzz)"]);
    } else {
        cargo.args(["test", "--workspace", "--test", "targets"]);
    }
    run(cargo.env("HEADWATER_FUZZ_SECONDS", seconds.to_string()))
}

fn e2e() -> Result<(), String> {
    let python = tools::ensure_e2e()?;
    let built = built()?;
    run(command(python)
        .args(["-m", "pytest", "tests/e2e"])
        .env("HEADWATER_TOUR", built.join("examples/tour"))
        .env("HEADWATER_TOUR_CLIENT", built.join("examples/tour_client"))
        .env(
            "HEADWATER_TOUR_CLIENT_BLOCKING",
            built.join("examples/tour_client_blocking"),
        )
        .env("HEADWATER_LLM_CHAT", built.join("examples/llm_chat"))
        .env(
            "HEADWATER_PRICE_COMPARE",
            built.join("examples/price_compare"),
        )
        .env("HEADWATER_CLI", built.join("headwater"))
        .env("HEADWATER_HUB", built.join("hub-server"))
        .env("HYPOTHESIS_STORAGE_DIRECTORY", built.join("../hypothesis"))
        .env("HEADWATER_SCREENSHOTS", built.join("../screenshots")))
}

/// Runs the protocol's own conformance suite against `headwater serve`, once for each engine. Fails
/// unless every test passes.
fn conformance() -> Result<(), String> {
    let node = tools::ensure_conformance()?;
    let hub = built()?.join("headwater");
    let suite = || {
        let mut node = command(&node);
        node.arg("tests/conformance/run.mjs").arg(&hub);
        node
    };
    run(&mut suite())?;
    let data = std::env::temp_dir().join(format!("headwater-conformance-{}", std::process::id()));
    let outcome = run(suite().arg("--data").arg(&data));
    fs::remove_dir_all(&data)
        .map_err(|error| format!("{} cannot be removed: {error}", data.display()))?;
    outcome
}

/// Builds the programs that the tests start, and returns their folder.
fn built() -> Result<PathBuf, String> {
    // The whole workspace, as in the step `rust`, so that the features are the same and nothing is
    // built twice.
    run(command("cargo").args(["build", "--quiet", "--workspace", "--bins", "--examples"]))?;
    let target = root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()));
    Ok(target.join("debug"))
}

#[cfg(test)]
mod tests {
    use super::{Plan, Step};

    fn plan(args: &[&str]) -> Result<Plan, String> {
        Plan::parse(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn every_step_runs_unless_some_are_named() {
        assert!(plan(&[]).is_ok_and(|plan| plan.steps == Step::ALL));
        let named = plan(&["--only", "doc", "--only", "e2e"]);
        assert!(named.is_ok_and(|plan| plan.steps == [Step::Doc, Step::E2e]));
    }

    #[test]
    fn an_unknown_argument_is_named_in_the_error() {
        for args in [
            &["--only", "nothing"][..],
            &["--only"],
            &["--fuzz-seconds", "x"],
            &["--all"],
        ] {
            let error = plan(args).err().unwrap_or_default();
            assert!(error.contains(args[args.len() - 1]), "{args:?}: {error}");
        }
    }
}
